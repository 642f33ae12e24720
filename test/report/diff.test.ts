import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import {
  type ComparedCell,
  differenceRows,
  fieldDifferences,
  summariseDifferences,
} from '../../src/report/diff.ts';
import { present } from '../rig/present.ts';

const test = suite('diff');
const cell = (
  axes: JsonObject,
  seed: number,
  accuracy: number,
  config: unknown = {},
): ComparedCell => ({ names: [{ axes, config }], seed, metrics: { evaluate: { accuracy } } });
const lora = (rank: number) => ({ 'adapter.type': 'lora', 'adapter.rank': rank });

test('rows are matched by cell and seed, whatever the order; what one side lacks is null', () => {
  assert.equal(
    differenceRows(
      [cell(lora(4), 1, 0.5), cell(lora(8), 1, 0.75), cell(lora(4), 2, 0.5)],
      [cell({ 'adapter.rank': 4, 'adapter.type': 'lora' }, 2, 0.25), cell(lora(4), 1, 1)],
    ).map(({ cell: { 'adapter.rank': rank }, seed, stage, metric, a, b, difference }) => [
      rank,
      seed,
      stage,
      metric,
      a,
      b,
      difference,
    ]),
    [
      [4, 1, 'evaluate', 'accuracy', 0.5, 1, 0.5],
      [8, 1, 'evaluate', 'accuracy', 0.75, null, null],
      [4, 2, 'evaluate', 'accuracy', 0.5, 0.25, -0.25],
    ],
  );
});

test('a field that is an axis of one spec only is read from the config of the other', () => {
  const axis = (rate: number) =>
    cell({ ...lora(4), 'train.learning_rate': rate }, 1, rate, { train: { learning_rate: rate } });
  const fixed = cell(lora(4), 1, 0.125, { train: { learning_rate: 0.5 } });
  assert.equal(
    differenceRows([axis(0.25), axis(0.5)], [fixed]).map(({ a, b, difference }) => [
      a,
      b,
      difference,
    ]),
    [
      [0.25, null, null],
      [0.5, 0.125, -0.375],
    ],
  );
});

test('a training setting that differs and follows from the other axes tells no cells apart', () => {
  const of = (axes: JsonObject, rate: number, seed: number, accuracy: number): ComparedCell =>
    cell({ ...axes, 'train.learning_rate': rate, 'base.train.steps': rate }, seed, accuracy);
  const full = { 'adapter.type': 'full' };
  const pairs = (b: readonly ComparedCell[]) =>
    differenceRows([of(full, 1, 1, 0.5), of(lora(4), 2, 1, 0.5)], b).map((row) => [
      ...[row.cell['adapter.type'], row.cell['train.learning_rate'], row.a, row.b],
    ]);
  assert.equal(pairs([of(full, 1, 1, 0.75), of(lora(4), 3, 1, 0.25)]), [
    ['full', undefined, 0.5, 0.75],
    ['lora', undefined, 0.5, 0.25],
  ]);
  assert.equal(
    pairs([of(lora(4), 2, 1, 0.75), of(lora(4), 3, 1, 0.25)]),
    [
      ['full', 1, 0.5, null],
      ['lora', 2, 0.5, 0.75],
      ['lora', 3, null, 0.25],
    ],
    'two rates of one adapter are two cells',
  );
});

test('two cells with several names are compared once, under the first that both have', () => {
  const scaled = (...alphas: (string | number)[]) =>
    alphas.map((alpha) => ({ axes: { ...lora(16), 'adapter.alpha': alpha }, config: {} }));
  const of = (seed: number, accuracy: number, ...alphas: (string | number)[]): ComparedCell => ({
    ...cell({}, seed, accuracy),
    names: scaled(...alphas),
  });
  const listed = (a: readonly ComparedCell[], b: readonly ComparedCell[]) =>
    differenceRows(a, b).map((row) => [row.cell['adapter.alpha'], row.seed, row.a, row.b]);
  // The second seed has no number in B, so it is listed under the name of the first.
  assert.equal(listed([of(1, 0.5, 'r', 16), of(2, 0.25, 'r', 16)], [of(1, 1, 'r', 16)]), [
    ['r', 1, 0.5, 1],
    ['r', 2, 0.25, null],
  ]);
  assert.equal(listed([of(1, 0.5, 'r', 16)], [of(1, 1, 16, 'r')]), [['r', 1, 0.5, 1]]);
  assert.equal(listed([of(1, 0.5, 'r', 16)], [of(1, 1, 16)]), [[16, 1, 0.5, 1]]);
  assert.equal(listed([of(1, 0.5, 16)], [of(1, 1, 'r', 16)]), [[16, 1, 0.5, 1]]);
  assert.equal(listed([of(1, 0.5, 'r', 16)], [of(1, 1, 8)]), [
    ['r', 1, 0.5, null],
    [8, 1, null, 1],
  ]);
});

test('a pair with a model that is not evidence is marked, and no mean counts it', () => {
  const collapsed: ComparedCell = {
    ...cell(lora(4), 1, 0.5),
    metrics: { evaluate: { accuracy: 0.5, predicted_share: 1 }, train: { loss: 2 } },
  };
  const sound = (seed: number, accuracy: number): ComparedCell => ({
    ...cell(lora(4), seed, accuracy),
    metrics: { evaluate: { accuracy, predicted_share: 0.5 }, train: { loss: 1 } },
  });
  const rows = differenceRows([sound(1, 0.75), sound(2, 0.75)], [collapsed, sound(2, 1)]);
  const summaries = summariseDifferences(rows);
  const [first, second] = rows.filter(({ metric }) => metric === 'accuracy');
  assert.equal(
    [present(first).difference, present(first).excluded],
    [-0.25, 'B predicts one class only'],
  );
  assert.equal([present(second).difference, present(second).excluded], [0.25, null]);
  const of = (name: string) => present(summaries.find(({ metric }) => metric === name));
  assert.equal(
    [of('accuracy').b, of('accuracy').difference, of('accuracy').pairs, of('accuracy').excluded],
    [1, 0.25, 1, 1],
  );
  assert.equal([of('loss').pairs, of('loss').excluded], [2, 0]); // no number of the evaluation
  assert.equal([of('accuracy').reasonsA, of('accuracy').reasonsB], [[], []]); // of the other pair
});

test('a mean without a pair says which of its numbers are not evidence', () => {
  const collapsed: ComparedCell = {
    ...cell(lora(4), 1, 0.5),
    metrics: { evaluate: { accuracy: 0.5, predicted_share: 1 } },
  };
  const sound: ComparedCell = { ...cell(lora(4), 1, 0.75) };
  const accuracy = (a: readonly ComparedCell[], b: readonly ComparedCell[]) => {
    const summaries = summariseDifferences(differenceRows(a, b));
    const {
      a: meanA,
      b: meanB,
      reasonsA,
      reasonsB,
    } = present(summaries.find(({ metric }) => metric === 'accuracy'));
    return [meanA, reasonsA, meanB, reasonsB];
  };
  assert.equal(accuracy([collapsed], []), [0.5, ['predicts one class only'], null, []]);
  assert.equal(accuracy([sound], [collapsed]), [0.75, [], 0.5, ['predicts one class only']]);
});

test('a pair whose numbers are on different rows says on how many each is', () => {
  const of = (seed: number, examples: number, accepted: object = {}): ComparedCell => ({
    ...cell(lora(4), seed, 0.5),
    metrics: { evaluate: { accuracy: 0.5, f1: 0.5, examples, ...accepted } },
  });
  const rejects = { accuracy_accepted: 0.625, rejected_share: 0.2 };
  const summaries = summariseDifferences(
    differenceRows([of(1, 30), of(2, 30), of(3, 30)], [of(1, 45), of(2, 30, rejects)]),
  );
  const fewer = (name: string) => {
    const { fewerA, fewerB } = present(summaries.find(({ metric }) => metric === name));
    return [fewerA, fewerB].map((counts) => counts.map(({ rows, of: all }) => `${rows} of ${all}`));
  };
  assert.equal(fewer('accuracy'), [['30 of 45'], []]);
  assert.equal(fewer('f1'), [['30 of 45'], ['24 of 30']]);
});

test('numbers that are not finite are left out', () => {
  assert.equal(
    differenceRows([cell(lora(4), 1, NaN)], [cell(lora(4), 1, 0.5)]).map(({ a, b, difference }) => [
      a,
      b,
      difference,
    ]),
    [[null, 0.5, null]],
  );
});

test('both means, the difference and its interval are over complete pairs', () => {
  const [summary, ...more] = summariseDifferences(
    differenceRows(
      [cell(lora(4), 1, 0), cell(lora(4), 2, 1), cell(lora(4), 3, 8)],
      [cell(lora(4), 1, 1), cell(lora(4), 2, 4)],
    ),
  );
  assert.equal(more, []);
  // Differences 1 and 3: mean 2, s = √2, half of the interval t(.975, 1)·√2/√2 = 12.7062.
  assert.equal(
    [present(summary).a, present(summary).b, present(summary).difference, present(summary).pairs],
    [0.5, 2.5, 2, 2],
  );
  assert.ok(
    Math.abs(present(summary!.high) - 14.7062) < 1e-4 &&
      Math.abs(present(summary!.low) + 10.7062) < 1e-4,
  );
});

test('p-values are Holm-corrected over the cells that have the metric', () => {
  const of = (rank: number, values: readonly number[]) =>
    values.map((value, i) => cell(lora(rank), i + 1, value));
  const zeros = (rank: number, n: number) =>
    of(
      rank,
      Array.from({ length: n }, () => 0),
    );
  const summaries = summariseDifferences(
    differenceRows(
      [...zeros(4, 5), ...zeros(8, 5), ...zeros(16, 2), ...zeros(32, 5)],
      [
        ...of(4, [1, 2, 3, 4, 5]), // t = 3√2: p = 0.0132354 with 4 degrees of freedom
        ...of(8, [1, 1, 1, 1, 1]), // all equal: the sign test has 2⁻⁴
        ...of(16, [1, 2]), // two seeds have no interval to speak of, and no p
        ...of(32, [0, 0, 0, 0, 0]),
      ],
    ),
  );
  const ps = summaries.map(({ p }) => p);
  assert.ok(Math.abs(present(ps[0]) - 3 * 0.01323544) < 1e-6, String(ps[0]));
  assert.equal(ps.slice(1), [2 * 0.0625, null, 1]);
});

test('without a pair, the means are over the seeds of each side', () => {
  const [summary] = summariseDifferences(
    differenceRows([cell(lora(4), 1, 0), cell(lora(4), 2, 1)], [cell(lora(4), 3, 8)]),
  );
  const { a, b, difference, pairs, unpaired } = present(summary);
  assert.equal([a, b, difference, pairs, unpaired], [0.5, 8, null, 0, 3]);
});

test('chains of two specs are compared training by training', () => {
  const first = { name: 'poisoned', train: { epochs: 3 } };
  assert.equal(
    fieldDifferences({ base: [first] }, { base: [{ ...first, train: { epochs: 4 } }, {}] }),
    [
      { path: 'base.0.train.epochs', a: 3, b: 4 },
      { path: 'base.1', a: null, b: {} },
    ],
  );
  assert.equal(fieldDifferences({ base: first }, { base: [first] }), [
    { path: 'base', a: first, b: [first] },
  ]);
});

test('variants that name the same plugins are compared one by one', () => {
  const adapters = (rate: number, type = 'full') => ({
    adapter: [{ type }, { type: 'lora', train: { learning_rate: rate } }],
  });
  assert.equal(fieldDifferences(adapters(2), adapters(1)), [
    { path: 'adapter.1.train.learning_rate', a: 2, b: 1 },
  ]);
  assert.equal(
    fieldDifferences(adapters(2), adapters(1, 'bitfit')).map(({ path }) => path),
    ['adapter'],
  );
});

test('fields of two specs are compared by path, lists as a whole, in any order of keys', () => {
  assert.equal(
    fieldDifferences(
      {
        train: { steps: 5, learning_rate: 0.1 },
        seeds: [1, 2],
        adapter: [{ type: 'lora', rank: 4 }],
      },
      {
        seeds: [1, 3],
        train: { learning_rate: 0.2, steps: 5, dropout: 0 },
        adapter: [{ rank: 4, type: 'lora' }],
      },
    ),
    [
      { path: 'train.learning_rate', a: 0.1, b: 0.2 },
      { path: 'train.dropout', a: null, b: 0 },
      { path: 'seeds', a: [1, 2], b: [1, 3] },
    ],
  );
});

test.run();
