import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { byName, conditionsOf, metricOf, seriesOf } from '../../src/report/conditions.ts';
import { varyingPaths } from '../../src/report/labels.ts';
import { present } from '../rig/present.ts';
import { cellOf, LORA4, LORA8, stageOf } from './cells.ts';

const test = suite('conditions');

test('cells that differ in their seed alone are one condition, in the order of the spec', () => {
  const cells = [1, 2].flatMap((seed) => [
    cellOf({ seed }),
    cellOf({ seed, adapter: LORA8 }),
    cellOf({ seed, adapter: LORA4 }),
  ]);
  const conditions = conditionsOf(cells, []);
  assert.equal(
    conditions.map(({ adapterLabel, cells: of }) => [adapterLabel, of.map(({ seed }) => seed)]),
    [
      ['full', [1, 2]],
      ['LoRA r = 8', [1, 2]],
      ['LoRA r = 4', [1, 2]],
    ],
  );
});

test('training is part of a condition, so that two learning rates are never averaged', () => {
  const cells = [0.1, 0.2].map((rate) =>
    cellOf({ seed: 1, change: { train: { learning_rate: rate } } }),
  );
  assert.is(conditionsOf(cells, []).length, 2);
});

test('a name holds the dose, the rank and what varies, and nothing else', () => {
  const cells = [
    cellOf({ seed: 1 }),
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate: 0.1, target: 'ham', mode: 'dirty' } }),
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate: 0.1, target: 'ham', mode: 'clean' } }),
    cellOf({
      seed: 1,
      attack: 'label-flip',
      poisoning: { rate: 0.3 },
      adapter: { ...LORA4, alpha: 4 },
    }),
    cellOf({
      seed: 1,
      attack: 'label-flip',
      poisoning: { rate: 0.3 },
      adapter: { ...LORA4, alpha: 8 },
    }),
  ];
  assert.equal(
    conditionsOf(cells, []).map(({ attackLabel, adapterLabel, setting }) => [
      attackLabel,
      adapterLabel,
      setting,
    ]),
    [
      ['no attack', 'full', ''],
      ['badnets, rate 0.1, mode = dirty', 'full', ''],
      ['badnets, rate 0.1, mode = clean', 'full', ''],
      ['label-flip, rate 0.3', 'LoRA r = 4, α = 4', ''],
      ['label-flip, rate 0.3', 'LoRA r = 4, α = 8', ''],
    ],
  );
});

test('an attack that expects a defence is told from the same one that does not', () => {
  const cells = [{}, { adaptive: true }].map((more) =>
    cellOf({ seed: 1, attack: 'badnets', poisoning: { rate: 0.1, ...more } }),
  );
  assert.equal(
    conditionsOf(cells, []).map(({ attackLabel }) => attackLabel),
    ['badnets, rate 0.1', 'badnets, rate 0.1, adaptive = true'],
  );
});

test('a cell with two names is one condition; along an axis it has a place under each name', () => {
  const lora = (rank: number, alpha: number | string, also?: number | string) =>
    [1, 2].map((seed) => {
      const cell = cellOf({ seed, adapter: { type: 'lora', rank, alpha } });
      return also === undefined
        ? cell
        : { ...cell, also: [{ ...cell.axes, 'adapter.alpha': also }] };
    });
  const conditions = conditionsOf([...lora(8, 'r'), ...lora(8, 16), ...lora(16, 'r', 16)], []);
  assert.equal(
    conditions.map(({ adapterLabel, cells }) => [adapterLabel, cells.length]),
    [
      ['LoRA r = 8, α = r', 2],
      ['LoRA r = 8, α = 16', 2],
      ['LoRA r = 16, α = r = 16', 2],
    ],
  );
  const lines = byName(conditions).map((condition) => [
    condition.labelsWithout('adapter.rank').adapterLabel,
    condition.axes['adapter.rank'],
  ]);
  assert.equal(lines, [
    ['LoRA, α = r', 8],
    ['LoRA, α = 16', 8],
    ['LoRA, α = r', 16],
    ['LoRA, α = 16', 16],
  ]);
  assert.is(
    present(conditionsOf(lora(16, 'r', 16), [])[0]).adapterLabel,
    'LoRA r = 16, α = r = 16',
    'two names show two values, whatever else the grid has',
  );
});

test('other axes are the setting, and an axis that is drawn is not named', () => {
  const cells = [16, 64].flatMap((limit) =>
    [4, 8].map((rank) => {
      const cell = cellOf({ seed: 1, adapter: { type: 'lora', rank } });
      return { ...cell, axes: { ...cell.axes, 'data.train.limit': limit } };
    }),
  );
  const [first] = conditionsOf(cells, []);
  assert.is(present(first).setting, 'train.limit = 16');
  assert.equal(present(first).labelsWithout('adapter.rank'), {
    attackLabel: 'no attack',
    adapterLabel: 'LoRA',
    setting: 'train.limit = 16',
    defence: '',
  });
  assert.is(present(first).labelsWithout('data.train.limit').setting, '');
});

test('a learning rate is named, with the adapter, only where it varies within the adapter', () => {
  const at = (adapter: typeof LORA4 | { type: 'full' }, rate: number) => {
    const cell = cellOf({ seed: 1, adapter });
    return {
      ...cell,
      axes: { ...cell.axes, 'train.learning_rate': rate },
      train: { learning_rate: rate },
    };
  };
  const labels = (cells: ReturnType<typeof at>[]) =>
    conditionsOf(cells, []).map(({ adapterLabel, setting }) => [adapterLabel, setting]);
  assert.equal(labels([at({ type: 'full' }, 0.1), at(LORA4, 0.2)]), [
    ['full', ''],
    ['LoRA r = 4', ''],
  ]);
  assert.equal(labels([at({ type: 'full' }, 0.1), at(LORA4, 0.2), at(LORA4, 0.3)]), [
    ['full', ''],
    ['LoRA r = 4, learning rate = 0.2', ''],
    ['LoRA r = 4, learning rate = 0.3', ''],
  ]);
  assert.equal(
    labels([at({ type: 'full' }, 0.1), at({ type: 'full' }, 0.2)]).map(([adapter]) => adapter),
    ['full, learning rate = 0.1', 'full, learning rate = 0.2'],
  );
});

test('a path that only some cells have varies by its values, not by its absence elsewhere', () => {
  assert.equal(
    [...varyingPaths([{ axes: { a: 1 } }, { axes: { b: 2 } }, { axes: { b: 3 } }])],
    ['b'],
  );
});

test('over seeds: mean and interval by hand, failed seeds counted and never averaged', () => {
  const stages = [stageOf('train-1'), stageOf('train-3', { state: 'failed', error: 'NaN' })];
  const cells = [
    cellOf({ seed: 1, evaluate: { accuracy: 0.9 }, change: { stages: { train: 'train-1' } } }),
    cellOf({ seed: 2, evaluate: { accuracy: 0.94 } }),
    cellOf({ seed: 3, change: { stages: { train: 'train-3' } } }),
    cellOf({ seed: 4, evaluate: {} }),
  ];
  const [condition] = conditionsOf(cells, stages);
  const { summary, failed, missing, values } = seriesOf(
    present(condition),
    metricOf('evaluate', 'accuracy'),
  );
  assert.equal(
    [values.map(({ seed }) => seed), failed, missing, present(summary).n],
    [[1, 2], 1, 1, 2],
  );
  assert.ok(Math.abs(present(summary).mean - 0.92) < 1e-12);
  // t(0.975, 1 degree of freedom) = 12.7062, s = 0.04/√2: half-width 12.7062·0.04/√2/√2 = 0.254124.
  assert.ok(Math.abs(present(summary!.high) - (0.92 + 0.254124)) < 1e-5);
  assert.equal([...present(condition).failedCells], [cells[2]]);
});

test('what only one of two like attacks, adapters or defences has is in its name', () => {
  const onBadnets = (axes: JsonObject) => {
    const type = axes['adapter.type'] === 'lora' ? 'lora' : 'full';
    const cell = cellOf({
      seed: 1,
      attack: 'badnets',
      poisoning: { rate: 0.1 },
      adapter: { type },
    });
    return { ...cell, axes: { ...cell.axes, ...axes } };
  };
  const labels = (...some: readonly JsonObject[]) =>
    conditionsOf(some.map(onBadnets), []).map((condition) => [
      condition.attackLabel,
      condition.adapterLabel,
      condition.setting,
    ]);
  const lora = { 'adapter.type': 'lora', 'adapter.rank': 4 },
    defence = { 'defence.defence': 'spectral-signatures' },
    base = { 'base.adapter.type': 'lora', 'base.adapter.rank': 4 };
  assert.equal(labels({}, { 'poisoning.place': 'end' }), [
    ['badnets, rate 0.1', 'full', ''],
    ['badnets, rate 0.1, place = end', 'full', ''],
  ]);
  assert.equal(labels({}, lora, { ...lora, 'adapter.rank_pattern.query': 2 }), [
    ['badnets, rate 0.1', 'full', ''],
    ['badnets, rate 0.1', 'LoRA r = 4', ''],
    ['badnets, rate 0.1', 'LoRA r = 4, rank_pattern.query = 2', ''],
  ]);
  assert.equal(labels(lora, { ...lora, 'train.steps': 2 }), [
    ['badnets, rate 0.1', 'LoRA r = 4', ''],
    ['badnets, rate 0.1', 'LoRA r = 4, steps = 2', ''],
  ]);
  assert.equal(labels({}, defence, { ...defence, 'defence.epsilon': 0.2 }), [
    ['badnets, rate 0.1', 'full', 'no defence'],
    ['badnets, rate 0.1', 'full', 'spectral-signatures'],
    ['badnets, rate 0.1', 'full', 'spectral-signatures, epsilon = 0.2'],
  ]);
  assert.equal(labels(base, { ...base, 'base.adapter.layers': [0, 1] }), [
    ['badnets, rate 0.1', 'full', ''],
    ['badnets, rate 0.1', 'full', 'base layers = [0,1]'],
  ]);
});

test('what only some adapters turn on is in their names', () => {
  const cells = [{}, { use_dora: true }, { lora_plus_ratio: 16 }].map((form) =>
    cellOf({ seed: 1, adapter: { type: 'lora', rank: 4, ...form } }),
  );
  assert.equal(
    conditionsOf(cells, []).map(({ adapterLabel }) => adapterLabel),
    ['LoRA r = 4', 'LoRA r = 4, DoRA = true', 'LoRA r = 4, LoRA+ ratio = 16'],
  );
});

test.run();
