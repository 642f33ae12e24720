/** The report's chapter on defences: attacks against defences as heat maps. */
import { h } from 'preact';
import { renderToString } from 'preact-render-to-string';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { conditionsOf } from '../../src/report/conditions.ts';
import { defenceFigures } from '../../src/report/figures/defences.ts';
import { Defences } from '../../src/report/html/defences.tsx';
import { present } from '../rig/present.ts';
import { cellOf } from './cells.ts';

const test = suite('defences in the report');

/** An attack and the same one prepared for ONION, each without a defence and with ONION. */
const cells = [{}, { adaptive: true }].flatMap((more) =>
  [null, 'onion'].map((defence, i) => {
    const cell = cellOf({
      seed: 1,
      attack: 'badnets',
      poisoning: { rate: 0.1, ...more },
      evaluate: { accuracy: 0.875, asr: 'adaptive' in more ? 0.75 : 1 - i / 2 },
    });
    return defence === null
      ? cell
      : { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
  }),
);

test('an adaptive attack stands beside the one that is not', async () => {
  const [asr, accuracy] = await defenceFigures(conditionsOf(cells, []));
  assert.equal(present(present(asr).csv).trim().split(/\r?\n/), [
    'adapter,attack,defence,asr,evidence',
    'full,"badnets, rate 0.1",no defence,1,true',
    'full,"badnets, rate 0.1",onion,0.5,true',
    'full,"badnets, rate 0.1, adaptive = true",no defence,0.75,true',
    'full,"badnets, rate 0.1, adaptive = true",onion,0.75,true',
  ]);
  assert.match(present(asr).svg, 'adaptive = true');
  assert.is(present(present(accuracy).csv).trim().split(/\r?\n/).length, 5);
});

test('the table of detection has only conditions in which something was detected', () => {
  const [undefended, onion] = cells;
  const withDefence = (defence: string, metrics: { readonly [metric: string]: number }) => {
    const { axes, metrics: own, ...cell } = present(onion);
    return {
      ...cell,
      axes: { ...axes, 'defence.defence': defence },
      metrics: { ...own, evaluate: { ...own['evaluate'], ...metrics } },
    };
  };
  const html = renderToString(
    Defences({
      conditions: conditionsOf(
        [
          present(undefended),
          withDefence('cube', { filter_auroc: 0.75 }),
          withDefence('wanda', {}),
        ],
        [],
      ),
      figures: [],
    }) ?? h('p', null),
  );
  const table = html.slice(html.indexOf('<table'));
  assert.match(table, 'cube');
  assert.not.match(table, 'wanda');
});

test('a grid without a defence has no such figures', async () => {
  assert.equal(await defenceFigures(conditionsOf([cellOf({ seed: 1 })], [])), []);
});

test.run();
