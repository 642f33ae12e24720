import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import {
  doseEntries,
  type Entries,
  rankEntries,
  varianceEntries,
} from '../../src/report/figures/defaults.ts';
import { drawEntry, OF_REPORT } from '../../src/report/figures/entry.ts';
import { shortened } from '../../src/report/figures/points.ts';
import { renderReport } from '../../src/report/report.tsx';
import type { Figure, ReportCell } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, inputOf, rowsOf, visible } from './cells.ts';
import { fixture } from './fixture.ts';
import { QUICK_ADAPTERS } from './trainings.ts';

const test = suite('figures along axes');
const ids = (figures: readonly { readonly id: string }[]): string[] => figures.map(({ id }) => id);
const cellsOf = (options: Parameters<typeof fixture>[0]) => fixture(options).cells;
const drawn = (entriesOf: Entries) => async (cells: readonly ReportCell[]) => {
  const conditions = conditionsOf(cells, []);
  const figures: Figure[] = [];
  for (const entry of entriesOf(conditions))
    figures.push(...(await drawEntry(entry, { conditions }, OF_REPORT)));
  return figures;
};
const [doseFigures, rankFigures, varianceFigures] = [
  drawn(doseEntries),
  drawn(rankEntries),
  drawn(varianceEntries),
] as const;

/** What is drawn, by the CSV: the line's name, the place on x, the seed and the number. */
const linesOf = (figure: Figure | undefined): readonly string[] =>
  rowsOf(figure).map(({ line, x, seed, ...numbers }) => {
    const value = Object.entries(numbers).find(([name]) => /^value$|^evaluate/.test(name))?.[1];
    return [line, x, seed, value].join(' | ');
  });
/**
 * LoRA with two layers of different fan-in.
 * @param written σ² as the spec states it
 * @param variance σ² of a layer by fan-in
 */
const withVariance = (written: string | number, variance: (fanIn: number) => number) => {
  const groups = [64, 256].map((fanIn) => ({
    fanIn,
    rank: 4,
    scale: 1,
    layers: 1,
    variance: variance(fanIn),
    measured: null,
  }));
  return cellOf({
    seed: 1,
    adapter: { type: 'lora', rank: 4, 'init.variance': written },
    evaluate: { accuracy: 0.9 },
    change: { lora: groups },
  });
};

test('curves are drawn along the axes that the grid has, and no others', async () => {
  const quick = cellsOf({});
  assert.equal([ids(await doseFigures(quick)), ids(await varianceFigures(quick))], [[], []]);
  const doses = cellsOf({
    attacks: [
      { attack: 'none' },
      ...[0.01, 0.1].map((rate) => ({ attack: 'badnets', rate })),
      { attack: 'label-flip', rate: 0.3 },
    ],
  });
  assert.equal(ids(await doseFigures(doses)), [
    'dose-badnets-poisoning-rate-accuracy',
    'dose-badnets-poisoning-rate-asr',
  ]);
  const one = cellsOf({ adapters: QUICK_ADAPTERS.slice(0, 2) });
  assert.equal([ids(await rankFigures(one)), ids(await varianceFigures(one))], [[], []]);
  assert.equal(ids(await rankFigures(quick)).slice(0, 4), [
    'rank-accuracy',
    'rank-accuracy-drop',
    'rank-asr',
    'rank-information-bits',
  ]);
});

test('an adapter at a single place of an axis has no line, and is named; full has its own', async () => {
  const lora = (rank: number, alpha: string | number, accuracy: number) =>
    cellOf({ seed: 1, adapter: { type: 'lora', rank, alpha }, evaluate: { accuracy } });
  const [figure] = await rankFigures([
    cellOf({ seed: 1, evaluate: { accuracy: 0.95 } }),
    lora(4, 'r', 0.5),
    lora(8, 'r', 0.6),
    lora(4, 16, 0.7),
    lora(8, 16, 0.8),
    lora(8, 64, 0.9),
    cellOf({ seed: 1, adapter: { type: 'bitfit' }, evaluate: { accuracy: 0.9 } }),
  ]);
  assert.equal(linesOf(figure), [
    'LoRA, α = r | 4 | 1 | 0.5',
    'LoRA, α = r | 8 | 1 | 0.6',
    'LoRA, α = 16 | 4 | 1 | 0.7',
    'LoRA, α = 16 | 8 | 1 | 0.8',
    'full |  | 1 | 0.95',
  ]);
  const { caption } = present(figure);
  assert.match(caption, 'because they have no value on this axis: bitfit without attack.');
  assert.match(
    caption,
    ' 1 more condition is left out of this figure: LoRA r = 8, α = 64 without attack. An entry',
  );
});

test('conditions without full fine-tuning beside them are named where it is subtracted', async () => {
  const of = (type: string, rate: number): ReportCell =>
    cellOf({
      ...{ seed: 1, attack: 'badnets', poisoning: { rate } },
      adapter: type === 'full' ? { type } : { type, rank: 4 },
      evaluate: { accuracy: 0.9, predicted_share: 0.5, asr: rate },
    });
  const conditions = conditionsOf([of('full', 0.1), of('lora', 0.1), of('lora', 0.2)], []);
  const entry = {
    ...{ name: 'differences', x: { field: 'attack' }, y: [{ field: 'evaluate.asr' }] },
    against: 'full',
  } as const;
  const [figure] = await drawEntry(entry, { conditions });
  assert.match(
    present(figure).caption,
    'because they have no full fine-tuning beside them: LoRA r = 4 under badnets, rate 0.2.',
  );
});

test('a condition with two names has a point on each name’s line, but one per place', async () => {
  const withAlpha = (rank: number, alpha: number | string, also?: JsonObject): ReportCell[] =>
    [1, 2].map((seed) => {
      const cell = cellOf({
        seed,
        adapter: { type: 'lora', rank, alpha },
        evaluate: { accuracy: 0.9 + rank / 1000 },
      });
      return also === undefined ? cell : { ...cell, also: [{ ...cell.axes, ...also }] };
    });
  const [figure] = await rankFigures([
    ...withAlpha(8, 'r'),
    ...withAlpha(8, 16),
    ...withAlpha(16, 'r', { 'adapter.alpha': 16 }),
    ...withAlpha(32, 'r', { 'adapter.rank': 32 }),
  ]);
  const points = [
    ['r', 8, 0.908],
    ['16', 8, 0.908],
    ['r', 16, 0.916],
    ['16', 16, 0.916],
    ['r', 32, 0.932],
  ].flatMap(([alpha, rank, value]) =>
    [1, 2].map((seed) => `LoRA, α = ${alpha} | ${rank} | ${seed} | ${value}`),
  );
  assert.equal(linesOf(figure), points);
});

test('the axis of a theory figure has a title that fits beside it', async () => {
  const bits = present(
    (await rankFigures(cellsOf({}))).find(({ id }) => id === 'rank-information-bits'),
  );
  assert.match(bits.title, 'IB of LoRA’s kernel after training, against rank');
  assert.match(bits.svg, />IB \(nats\)</);
});

test('dose 0 is the run without attack, or the clean model’s trigger rate', async () => {
  const cells = [
    cellOf({ seed: 1, evaluate: { accuracy: 0.95 } }),
    ...[0.1, 0.2].map((rate) =>
      cellOf({
        seed: 1,
        attack: 'badnets',
        poisoning: { rate },
        evaluate: { accuracy: 0.9 - rate, asr: rate * 4, asr_clean: 0.07 },
      }),
    ),
  ];
  const [accuracy, asr] = await doseFigures(cells);
  assert.equal(linesOf(accuracy), [
    'full | 0 | 1 | 0.95',
    'full | 0.1 | 1 | 0.8',
    'full | 0.2 | 1 | 0.7',
  ]);
  assert.is(linesOf(asr)[0], 'full | 0 | 1 | 0.07');
  assert.is(rowsOf(asr)[0]?.['metric'], 'evaluate.asr_clean');
});

test('the variance axis is σ²n where it is the same for every layer, as with k/d', async () => {
  const cells = [
    withVariance('1/d', (fanIn) => 1 / fanIn),
    withVariance('1/(3d)', (fanIn) => 1 / (3 * fanIn)),
  ];
  const [figure] = await varianceFigures(cells);
  assert.equal(linesOf(figure), ['no attack | 1 | 1 | 0.9', 'no attack | 0.333333333 | 1 | 0.9']);
  assert.match(present(figure).svg, 'σ²·n');
});

test('the variance axis is σ² where more conditions have one; others are named', async () => {
  const cells = [
    withVariance('1/d', (fanIn) => 1 / fanIn),
    withVariance(0.01, () => 0.01),
    withVariance(0.02, () => 0.02),
  ];
  const [figure] = await varianceFigures(cells);
  assert.equal(linesOf(figure), ['no attack | 0.01 | 1 | 0.9', 'no attack | 0.02 | 1 | 0.9']);
  assert.match(present(figure).svg, 'variance σ² of A');
  assert.not.match(present(figure).svg, 'σ²·n');
  assert.match(
    present(figure).caption,
    'Left out, because their value on this axis differs between layers: σ² = 1/d.',
  );
});

test('conditions that a figure cannot tell apart cost that figure alone, and the page says so', async () => {
  const cells = [withVariance('1/d', (fanIn) => 1 / fanIn), withVariance(1 / 64, () => 1 / 64)].map(
    (cell) => ({ ...cell, lora: present(cell.lora).slice(0, 1) }),
  );
  const { html, files } = await renderReport(inputOf(cells));
  const fault =
    'the figure variance-accuracy has several cells at one place, which nothing in it tells apart: ' +
    'an entry of this name under report.figures takes its place';
  assert.match(visible(html), `variance-accuracy : ${fault}.`);
  assert.equal((JSON.parse(present(files['entries.json'])) as unknown[])[0], {
    name: 'variance-accuracy',
    files: [],
    lacks: [fault],
  });
  assert.ok('figures/scores-accuracy.svg' in files);
  assert.not('figures/variance-accuracy.svg' in files);
});

test('a figure has five lines at most: more are shared out evenly, and none is lost', async () => {
  const figures = await rankFigures(
    Array.from({ length: 8 }, (_, i) => (i + 1) / 10).flatMap((rate) =>
      [4, 8].map((rank) =>
        cellOf({
          seed: 1,
          attack: 'badnets',
          poisoning: { rate },
          adapter: { type: 'lora', rank },
          evaluate: { accuracy: 0.9 },
        }),
      ),
    ),
  );
  assert.equal(
    figures.map(({ id, title }) => [id, title]),
    [
      ['rank-accuracy', 'Clean accuracy, against rank (1 of 2)'],
      ['rank-accuracy-2', 'Clean accuracy, against rank (2 of 2)'],
    ],
  );
  const lines = figures.map((figure) => new Set(rowsOf(figure).map(({ line }) => line)).size);
  assert.equal(lines, [4, 4]);
});

test('names that would not be clear without what they share stay whole', () => {
  for (const names of [
    ['badnets, rate 0.1', 'badnets, rate 0.1, trigger = mn'],
    ['a, rate 0.1 · b, rate 0.1', 'a, rate 0.1 · c, rate 0.2'], // of b too
  ])
    assert.equal(names.map(shortened(names).short), names);
});

test('what all names of a figure share is in its caption, not in each name', async () => {
  const figures = await rankFigures(
    ['badnets', 'addsent'].flatMap((attack) =>
      ['0.1', 'x, 0.2', '0.3'].flatMap((trigger) =>
        [4, 8].map((rank) =>
          cellOf({
            seed: 1,
            attack,
            poisoning: { rate: 0.1, trigger },
            adapter: { type: 'lora', rank },
            evaluate: { accuracy: 0.9 },
          }),
        ),
      ),
    ),
  );
  // Both figures share the rate; the lines of each have an attack of their own.
  assert.equal(
    figures.map(({ id }) => id),
    ['rank-accuracy', 'rank-accuracy-2-addsent'],
  );
  for (const [i, attack] of ['badnets', 'addsent'].entries()) {
    const figure = present(figures[i]);
    assert.match(figure.caption, `Throughout: ${attack}, rate 0.1.`);
    assert.match(figure.svg, '>trigger = x, 0.2</text>');
    assert.not.match(figure.svg, `>${attack}`);
    assert.is(present(rowsOf(figure)[0]).line, `${attack}, rate 0.1, trigger = 0.1`);
  }
});

test('a figure of a long trigger has a name that a file can have', async () => {
  const figures = await rankFigures(
    ['alpha ', 'beta '].flatMap((word) =>
      [4, 8].flatMap((rank) =>
        ['a', 'b', 'c'].map((place) =>
          cellOf({
            seed: 1,
            attack: 'addsent',
            poisoning: { sentence: word.repeat(60), place },
            adapter: { type: 'lora', rank },
            evaluate: { accuracy: 0.9 },
          }),
        ),
      ),
    ),
  );
  assert.is(figures.length, 2);
  for (const { id } of figures) assert.ok(id.length < 120, id);
});

test('values that differ by rounding at most have an axis with readable ticks', async () => {
  const drop = (values: readonly number[]) =>
    rankFigures(
      [4, 8].map((rank, i) =>
        cellOf({
          seed: 1,
          attack: 'label-flip',
          adapter: { type: 'lora', rank },
          evaluate: { accuracy_drop: present(values[i]) },
        }),
      ),
    );
  for (const values of [
    [0, 0],
    [0, 1e-17],
  ]) {
    const [figure] = await drop(values);
    const ticks = [...present(figure).svg.matchAll(/>([−-]?0\.\d+)</g)].map(([, text]) =>
      present(text),
    );
    assert.ok(ticks.length > 0 && ticks.every((text) => text.length <= 6), ticks.join(' '));
    assert.not.match(present(figure).svg, /e-\d+</);
  }
});

test.run();
