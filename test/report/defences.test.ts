/** The report's chapter on defences: attacks against defences as heat maps. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { analyse } from '../../src/report/analysis.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { defenceFinding } from '../../src/report/defences.ts';
import { drawFigures } from '../../src/report/figures/index.ts';
import { renderReport } from '../../src/report/report.tsx';
import { present } from '../rig/present.ts';
import { cellOf, inputOf, LORA4, rowsOf, rowWith, visible } from './cells.ts';

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
  const { defences } = await drawFigures(analyse(inputOf(cells)));
  const [asr, accuracy] = defences;
  assert.equal(
    rowsOf(asr).map(({ adapter, attack, setting, 'evaluate.asr': value, not_evidence: reason }) =>
      [adapter, attack, setting, value, reason].join(' | '),
    ),
    [
      'full | badnets, rate 0.1 | no defence | 1 | ',
      'full | badnets, rate 0.1 | onion | 0.5 | ',
      'full | badnets, rate 0.1, adaptive = true | no defence | 0.75 | ',
      'full | badnets, rate 0.1, adaptive = true | onion | 0.75 | ',
    ],
  );
  assert.match(present(asr).svg, '>.50<');
  assert.match(present(asr).svg, 'adaptive = true');
  assert.is(rowsOf(accuracy).length, 4);
});

test('what else varies has rows of panels, each whole, and the others are named', async () => {
  const based = Array.from({ length: 16 }, (_, i) => i + 1).flatMap((rank) =>
    [0.1, 0.2].flatMap((rate) =>
      [{}, { 'defence.defence': 'onion' }, { 'defence.defence': 'cube' }].map((defence) => {
        const cell = cellOf({ seed: 1, attack: 'badnets', evaluate: { accuracy: 0.875, asr: 1 } });
        const base = { 'base.poisoning.attack': 'badnets', 'base.poisoning.rate': rate };
        const axes = { 'poisoning.attack': 'none', 'base.adapter.rank': rank, ...base, ...defence };
        return { ...cell, ofBase: 'base', axes };
      }),
    ),
  );
  const [asr] = (await drawFigures(analyse(inputOf(based)))).defences;
  const { svg, caption } = present(asr);
  // 13 panels of three rows each.
  assert.equal(
    [...svg.matchAll(/font-weight="bold"[^>]*>base r = (\d+)</g)].map(([, rank]) => Number(rank)),
    Array.from({ length: 13 }, (_, i) => i + 1),
  );
  for (const defence of ['no defence', 'onion', 'cube'])
    assert.is(svg.split(`>${defence}<`).length - 1, 13, defence);
  assert.is(svg.split('>rate 0.2<').length - 1, 1, 'one axis for all');
  assert.match(caption, 'Throughout: badnets in the base.');
  assert.is(rowsOf(asr).length, 13 * 6);
  assert.match(
    caption,
    / 18 more conditions are left out of this figure: full under badnets in the base, rate 0\.1 · .*base r = 14; .*; 10 more\. An entry of report\.figures can choose them/,
  );
});

/** A cell of badnets with a defence, beside the same training without one. */
const defended = (defence: string, adapter: typeof LORA4 | { type: 'full' }, seed: number) => {
  const cell = cellOf({
    seed,
    attack: 'badnets',
    poisoning: { rate: 0.1 },
    adapter,
    evaluate: {
      accuracy: 0.75,
      accuracy_undefended: 0.875,
      asr: seed / 4,
      asr_undefended: 1,
      asr_removed: 1 - seed / 4,
      rows_judged: 16,
      rows_dropped: 4,
      predicted_share: defence === 'cube' && seed === 2 ? 1 : 0.5,
    },
  });
  return { ...cell, axes: { ...cell.axes, 'defence.defence': defence } };
};

test('what was found begins with what each defence did, and what of it is not evidence', async () => {
  const full = { type: 'full' } as const;
  const { html } = await renderReport(
    inputOf(
      ['cube', 'onion'].flatMap((defence) =>
        [full, LORA4].flatMap((adapter) => [1, 2].map((seed) => defended(defence, adapter, seed))),
      ),
    ),
  );
  const found = html.slice(html.indexOf('What the defences did'));
  assert.match(visible(found), 'The grid has no oracle');
  // ASR .25 and .5 where it was 1: −.75 and −.5.
  assert.equal(rowWith(found, 'onion · LoRA r = 4').slice(0, 6), [
    'onion · LoRA r = 4',
    '1.000',
    '0.375',
    '0.875',
    '0.750',
    '0.250',
  ]);
  assert.match(present(rowWith(found, 'onion · full')[6]), /^−0\.625 \(.*\) n = 2$/);
  // The second seed's model predicts one class.
  assert.is(
    rowWith(found, 'cube · full')[6],
    '−0.750 n = 1 1 of 2 not evidence: the model predicts one class only',
  );
  assert.match(found, '<a href="#defences">Attacks against defences</a>');
  assert.match(html, '<h3 id="defences">');
});

test('a grid of many conditions has a row for each defence, with the range of its means', () => {
  const cells = ['cube', 'onion'].flatMap((defence) =>
    [1, 2, 3, 4, 5].flatMap((rank) => {
      const cell = defended(defence, LORA4, rank === 5 ? 2 : 1);
      return [{ ...cell, axes: { ...cell.axes, 'adapter.rank': rank } }];
    }),
  );
  const { rows, sentence } = present(defenceFinding(conditionsOf(cells, [])));
  assert.equal(
    rows.map(({ label, values, difference }) => [label, values[1], difference]),
    [
      // The cell of seed 2 predicts one class.
      ['cube', '0.250 to 0.500 †', null],
      ['onion', '0.250 to 0.500', null],
    ],
  );
  assert.match(sentence, 'the least and the largest mean');
  const worn = defended('cube', LORA4, 1),
    evaluate = { ...worn.metrics['evaluate'], predicted_share_undefended: 1 };
  const found = present(defenceFinding(conditionsOf([{ ...worn, metrics: { evaluate } }], [])));
  assert.equal(found.rows[0]?.values.slice(0, 4), ['1.000 †', '0.250', '0.875 †', '0.750']);
  assert.match(found.sentence, 'has an undefended run that predicts one class only');
  assert.is(defenceFinding(conditionsOf([cellOf({ seed: 1 })], [])), null);
});

test('‡ stands where any seed has a number on fewer rows, also of the share predicted most', async () => {
  const of = (
    defence: string | null,
    seed: number,
    evaluate: { readonly [name: string]: number },
  ) => {
    const cell = cellOf({ seed, attack: 'badnets', evaluate });
    return defence ? { ...cell, axes: { ...cell.axes, 'defence.defence': defence } } : cell;
  };
  const onAll = { accuracy: 0.75, predicted_share: 1, examples: 50 };
  const { html } = await renderReport(
    inputOf([
      ...[1, 2].map((seed) => of(null, seed, onAll)),
      of('cube', 1, {}),
      of('cube', 2, { ...onAll, accuracy: 0.5, examples: 30 }),
    ]),
  );
  const table = html.slice(html.indexOf('Results by condition'));
  const [accuracy, predicted] = rowWith(table, 'cube').slice(-2);
  assert.equal([accuracy, predicted], ['0.500 (n = 1) † ‡', '1.000 (n = 1) ‡ (1 of 2 one class)']);
  assert.match(visible(table), '‡ Under a defence, measured on fewer rows (30 of 50):');
});

test('the table of the task has the share of rows that a defence rejects, and ‡ beside it', async () => {
  const scores = { accuracy: 0.25, accuracy_accepted: 0.5, f1: 0.5, majority_share: 0.75 };
  const evaluate = { ...scores, rejected_share: 0.5, examples: 40 };
  const cell = cellOf({ seed: 1, evaluate });
  const axes = { ...cell.axes, 'defence.defence': 'strip' };
  const { html } = await renderReport(inputOf([{ ...cell, axes }]));
  const table = html.slice(html.indexOf('Results by condition'));
  assert.equal(rowWith(table, 'strip').slice(-4), ['0.250', '0.750 ‡', '0.500 ‡', '0.500']);
  assert.match(visible(table), 'measured on fewer rows (20 of 40)');
});

test('the table of detection has only conditions in which something was detected', async () => {
  const [undefended, onion] = cells;
  const withDefence = (defence: string, metrics: { readonly [metric: string]: number }) => {
    const { axes, metrics: own, ...cell } = present(onion);
    return {
      ...cell,
      axes: { ...axes, 'defence.defence': defence },
      metrics: { ...own, evaluate: { ...own['evaluate'], ...metrics } },
    };
  };
  const { html } = await renderReport(
    inputOf([
      present(undefended),
      withDefence('cube', { filter_auroc: 0.75 }),
      withDefence('wanda', {}),
    ]),
  );
  const from = html.indexOf('aria-label="How well defences detect');
  const table = html.slice(from, html.indexOf('</table>', from));
  assert.match(table, 'cube');
  assert.not.match(table, 'wanda');
});

test('curves of detection in several settings are lines of their own', async () => {
  const [, onion] = cells;
  const { defences } = await drawFigures(
    analyse(
      inputOf(
        [4, 8].map((rows) => ({
          ...present(onion),
          axes: { ...present(onion).axes, 'ntk.rows': rows, 'ntk.split': `file:…/${rows}.tsv` },
          roc: { inputs: [[0, 0] as const, [1, rows / 8] as const] },
        })),
      ),
    ),
  );
  const roc = defences.find(({ id }) => id === 'defences-roc');
  // Straight between points, so that where scores tie, the area below is the AUROC.
  assert.match(present(roc).svg, /d="M0,230L230,115"/);
  for (const rows of [4, 8])
    assert.match(present(roc).svg, `>onion (inputs) · rows = ${rows}, split = file:…/${rows}.tsv<`);
  const width = Number(/ width="([\d.]+)"/.exec(present(roc).svg)?.[1]);
  assert.ok(width < 520, `the legend makes the figure ${width} wide`);
  assert.equal(
    rowsOf(roc).map(({ defence, setting, true_positive_rate: rate }) =>
      [defence, setting, rate].join(' | '),
    ),
    [
      'onion (inputs) | rows = 4, split = file:…/4.tsv | 0',
      'onion (inputs) | rows = 4, split = file:…/4.tsv | 0.5',
      'onion (inputs) | rows = 8, split = file:…/8.tsv | 0',
      'onion (inputs) | rows = 8, split = file:…/8.tsv | 1',
    ],
  );
});

test('a defence has one colour in ROC curves and in figures of the grid', async () => {
  const [undefended, onion] = cells;
  const withRoc = (defence: string, of: string) => ({
    ...present(onion),
    axes: { ...present(onion).axes, 'defence.defence': defence },
    roc: { [of]: [[0, 0] as const, [1, 1] as const] },
  });
  const { files } = await renderReport({
    ...inputOf([present(undefended), withRoc('onion', 'inputs'), withRoc('cube', 'filter')]),
    entries: {
      defaults: true,
      tables: [],
      figures: [
        {
          ...{ name: 'own', x: { field: 'adapter' }, y: [{ field: 'evaluate.asr' }] },
          color: { fields: ['defence'] },
        },
      ],
    },
  });
  // Returns the colour of each name in the legend.
  const legendOf = (figure: string): readonly (readonly [string, string])[] => {
    const svg = present(files[`figures/${figure}.svg`]),
      from = svg.slice(svg.indexOf('role-legend-symbol'));
    const names = [...from.matchAll(/>((?:cube|onion|no defence)[^<]*)<\/text>/g)],
      colours = [...from.matchAll(/role-legend-symbol"><path [^>]*(?:fill|stroke)="(#[^"]+)"/g)];
    return names.map(([, name = ''], i) => [name, colours[i]?.[1] ?? ''] as const);
  };
  const own = new Map(legendOf('own'));
  assert.equal([...own.keys()], ['no defence', 'onion', 'cube']);
  assert.equal(legendOf('defences-roc'), [
    ['onion (inputs)', own.get('onion')],
    ['cube (training rows)', own.get('cube')],
  ]);
});

test('a grid without a defence has no such figures', async () => {
  assert.equal((await drawFigures(analyse(inputOf([cellOf({ seed: 1 })])))).defences, []);
});

test.run();
