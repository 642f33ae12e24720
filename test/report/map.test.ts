import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bitsAt } from '../../src/report/figures/map.ts';
import { renderReport } from '../../src/report/report.tsx';
import type { MapFacts, MapModelFacts, MapPointFacts, ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, inputOf, LORA4, LORA8, rowWith, visible } from './cells.ts';

const test = suite('report: map of rank and variance');

const model = (shift: number): MapModelFacts => ({
  h1: 1 + shift,
  h2: -2 + shift,
  count: 6,
  information_bits: -3 + shift,
  information_bits_normalised: -5.5,
  h2_normalised: 0.75,
});
const point = (
  rank: number,
  scale: number,
  shift: number,
  change: Partial<MapPointFacts> = {},
): MapPointFacts => ({
  distribution: 'normal',
  rank,
  scale,
  closed: { h1: 1.25, h2_published: 4.5, h2: -4.25 },
  drawn: { h1: 1.125 + shift, h2: -4.125 },
  model: model(shift),
  ...change,
});
const map = (shift: number): MapFacts => ({
  init: 'random',
  width: 1024,
  rows: 16,
  outputs: 'class logits',
  information: 'true',
  classes: 2,
  full: model(2 * shift),
  points: [
    point(4, 0.333, shift),
    point(4, 2, shift),
    point(512, 0.333, shift, { model: null }),
    point(512, 2, shift, { model: null }),
  ],
});

/** A cell of a model; with the stage that measured its map, unless it failed. */
const mapped = (model: string, seed: number, facts?: MapFacts): ReportCell => {
  const stages = { 'theory-map': `theory-map-${model}-${seed}` };
  const cell = cellOf({ seed, change: facts ? { stages, map: facts } : { stages } });
  return { ...cell, axes: { ...cell.axes, 'model.source': model } };
};

test("at PEFT's variance a table shows published, exact, drawn and measured values", async () => {
  const { html, files } = await renderReport(
    inputOf([mapped('a', 1, map(0)), mapped('a', 2, map(0.5))]),
  );
  const text = visible(html);
  assert.match(text, 'The map of rank and variance');
  assert.match(text, 'measured on this model, with random weights,');
  assert.match(text, '16 rows of the model (random weights) where training starts');
  // The full kernel's numbers are those of its two seeds, shifted by 0 and by 1.
  assert.match(
    text,
    'At σ²·d = 0.3330; means over 2 seeds. The full kernel at the same point: log Σλ 1.500, ' +
      'H₂ −1.500, 6 eigenvalues, IB −2.500, normalised −5.500, H₂ normalised 0.7500.',
  );
  for (const full of ['1.500', '−1.500', '−2.500 (normalised −5.500)'])
    assert.match(text, `in full it has ${full}. Means over 2 seeds`);
  // IB at α = 16 and r = 4: s² = 16 multiplies six eigenvalues, ½·6·log 16 = 6 log 4 = 8.318.
  assert.equal(rowWith(html, 'normal', '4', '4.500'), [
    ...'normal 4 1.250 1.375 4.500 −4.250 −4.125 1.250 −1.750 0.7500 6 −2.750 5.568'.split(' '),
    ...'−5.500'.split(' '),
  ]);
  assert.equal(rowWith(html, 'normal', '512').slice(-7), ['–', '–', '–', '–', '–', '–', '–']);
  assert.equal(
    Object.keys(files)
      .filter((name) => name.startsWith('figures/map-'))
      .sort(),
    ['bits', 'h1', 'h2'].flatMap((of) =>
      ['csv', 'svg', 'tex', 'vl.json'].map((form) => `figures/map-${of}-normal.${form}`),
    ),
  );
  assert.match(present(files['figures/map-h2-normal.csv']), 'normal,"exact, −log E Σλ²",4,2,-4.25');
  assert.not.match(html, 'NaN');
});

test('each model has a map of its own, whichever seeds of another failed', async () => {
  const { html, files } = await renderReport(
    inputOf(
      [LORA4, LORA8].flatMap((adapter) =>
        [
          mapped('a', 1),
          mapped('a', 2, map(0)),
          mapped('b', 1, map(4)),
          mapped('b', 2, map(5)),
        ].map((cell) => ({
          ...cell,
          adapter: 'lora',
          axes: { ...cell.axes, 'adapter.type': 'lora', 'adapter.rank': adapter.rank },
        })),
      ),
    ),
  );
  const text = visible(html);
  assert.match(text, 'measured on each model, with random weights,');
  assert.match(text, 'source = a. At σ²·d = 0.3330; means over 1 seed. The full kernel');
  assert.match(text, 'source = b. At σ²·d = 0.3330; means over 2 seeds. The full kernel');
  assert.match(text, 'log Σλ 1, H₂ −2,');
  assert.match(text, 'log Σλ 10, H₂ 7,');
  const tables = html.split('aria-label="Map at one variance').slice(1);
  assert.equal(
    tables.map((table) => rowWith(table, 'normal', '4', '4.500').slice(7, 9)),
    [
      ['1', '−2'],
      ['5.500', '2.500'],
    ],
  );
  const ofH1 = (suffix: string): string => present(files[`figures/map-h1-normal${suffix}.svg`]);
  assert.match(ofH1('-source-a'), 'normal A · source = a<');
  assert.match(ofH1('-source-b'), 'normal A · source = b<');
  assert.is(files['figures/map-h1-normal-source-b-2.svg'], undefined, 'adapters share a map');
});

test('information bits follow from α, with s = 1 at α = r; unknown bits stay unknown', () => {
  assert.is(bitsAt(point(16, 1, 0), 16), -3);
  assert.is(bitsAt(point(4, 1, 0, { model: null }), 16), null);
});

test('a run without the stage shows no map', async () => {
  const { html } = await renderReport(inputOf([cellOf({ seed: 1 })]));
  assert.not.match(visible(html), 'The map of rank and variance');
});

test.run();
