import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import { adapterPairs, compareAdapters, compareKernels } from '../../src/report/comparisons.ts';
import { conditionsOf } from '../../src/report/conditions.ts';
import { premiseRows } from '../../src/report/theory.ts';
import type { FisherPoint } from '../../src/report/types.ts';
import { present } from '../rig/present.ts';
import { cellOf, facts, LORA4, LORA8 } from './cells.ts';

const test = suite('comparisons');
const near = (a: number | null, b: number, within = 1e-9): void =>
  assert.ok(a !== null && Math.abs(a - b) < within, `${a} is not ${b}`);

test('LoRA − full is paired by seed; a seed without a partner is counted, not used', () => {
  const conditions = conditionsOf(
    [
      cellOf({ seed: 1, evaluate: { accuracy: 0.9 } }),
      cellOf({ seed: 2, evaluate: { accuracy: 0.94 } }),
      cellOf({ seed: 3 }),
      cellOf({ seed: 1, adapter: LORA4, evaluate: { accuracy: 0.92 } }),
      cellOf({ seed: 2, adapter: LORA4, evaluate: { accuracy: 0.98 } }),
      cellOf({ seed: 3, adapter: LORA4, evaluate: { accuracy: 0.1 } }),
    ],
    [],
  );
  const [accuracy] = compareAdapters(conditions);
  assert.equal(
    [
      present(accuracy).metric.metric,
      present(accuracy).seeds,
      present(accuracy).incomplete,
      present(accuracy).verdict,
    ],
    ['accuracy', [1, 2], 1, null],
  );
  near(present(accuracy!.difference).mean, 0.03);
  near(present(accuracy!.difference).effect, 0.03 / (0.02 / Math.SQRT2));
  near(present(accuracy!.difference).low, 0.03 - 12.706204736 * 0.01, 1e-6);
});

test('pairs stay within an attack and its dose', () => {
  const cells = [
    { attack: 'none' },
    { attack: 'badnets', poisoning: { rate: 0.1 } },
    { attack: 'badnets', poisoning: { rate: 0.2 } },
  ].flatMap((attack) => [
    cellOf({ seed: 1, ...attack }),
    cellOf({ seed: 1, ...attack, adapter: LORA4 }),
    cellOf({ seed: 1, ...attack, adapter: LORA8 }),
  ]);
  assert.equal(
    adapterPairs(conditionsOf(cells, [])).map(({ adapter, full }) => [
      adapter.attackLabel,
      adapter.adapterLabel,
      full.attackLabel,
      full.adapterLabel,
    ]),
    [
      ['no attack', 'LoRA r = 4', 'no attack', 'full'],
      ['no attack', 'LoRA r = 8', 'no attack', 'full'],
      ['badnets, rate 0.1', 'LoRA r = 4', 'badnets, rate 0.1', 'full'],
      ['badnets, rate 0.1', 'LoRA r = 8', 'badnets, rate 0.1', 'full'],
      ['badnets, rate 0.2', 'LoRA r = 4', 'badnets, rate 0.2', 'full'],
      ['badnets, rate 0.2', 'LoRA r = 8', 'badnets, rate 0.2', 'full'],
    ],
  );
});

test('training axes that both have are matched; else every full condition is a partner', () => {
  const at = (rate: number, adapter: typeof LORA4 | { type: 'full' }, more: JsonObject = {}) => {
    const cell = cellOf({ seed: 1, adapter });
    return { ...cell, axes: { ...cell.axes, 'train.learning_rate': rate, ...more } };
  };
  const rates = (cells: ReturnType<typeof at>[]) =>
    adapterPairs(conditionsOf(cells, [])).map(({ adapter, full }) => [
      adapter.axes['train.learning_rate'],
      full.axes['train.learning_rate'],
    ]);
  assert.equal(
    rates([at(1, { type: 'full' }), at(2, { type: 'full' }), at(1, LORA4), at(2, LORA4)]),
    [
      [1, 1],
      [2, 2],
    ],
  );
  assert.equal(rates([at(1, { type: 'full' }), at(2, { type: 'full' }), at(9, LORA4)]), [
    [9, 1],
    [9, 2],
  ]);
  const plain = cellOf({ seed: 1, adapter: LORA4 }),
    full = cellOf({ seed: 1 });
  const longer = { ...full, axes: { ...full.axes, 'train.steps': 40 } };
  assert.equal(
    adapterPairs(conditionsOf([full, longer, plain], [])).map((pair) => pair.full.axes),
    [full.axes],
    'the full condition that lacks the same axes',
  );
  // Each adapter has its own learning rate: it is compared at the same number of steps.
  const [short, long] = [{ 'train.steps': 40 }, { 'train.steps': 80 }];
  const cells = [short, long].flatMap((steps) => [
    at(1, { type: 'full' }, steps),
    at(9, LORA4, steps),
  ]);
  assert.equal(
    adapterPairs(conditionsOf(cells, [])).map(({ adapter, full }) => [
      adapter.axes['train.steps'],
      full.axes['train.steps'],
    ]),
    [
      [40, 40],
      [80, 80],
    ],
  );
});

test('verdicts follow the paper: ASR under backdoors, the drop under untargeted attacks', () => {
  const seeds = [1, 2, 3, 4, 5];
  const cells = seeds.flatMap((seed) => [
    cellOf({ seed, attack: 'badnets', evaluate: { asr: 0.9, accuracy_drop: 0 } }),
    cellOf({
      seed,
      attack: 'badnets',
      adapter: LORA4,
      evaluate: { asr: 0.5 + seed / 1000, accuracy_drop: 0 },
    }),
    cellOf({ seed, attack: 'label-flip', evaluate: { accuracy_drop: 0.3 } }),
    cellOf({
      seed,
      attack: 'label-flip',
      adapter: LORA4,
      evaluate: { accuracy_drop: 0.1 + seed / 1000 },
    }),
  ]);
  const verdicts = compareAdapters(conditionsOf(cells, [])).map(({ metric, adapter, verdict }) => [
    metric.metric,
    adapter.attack,
    verdict?.state ?? null,
  ]);
  assert.equal(verdicts, [
    ['accuracy_drop', 'badnets', null],
    ['accuracy_drop', 'label-flip', 'refuted'],
    ['asr', 'badnets', 'held'],
  ]);
});

test('a cell’s kernels are compared at the same weights: λ = 4, 1 against 9, 4, by hand', () => {
  const point: FisherPoint = { lora: { true: facts([4, 1]) }, full: { true: facts([9, 4]) } };
  const cells = [1, 2].map((seed) =>
    cellOf({ seed, adapter: LORA4, change: { fisher: { init: point } } }),
  );
  const found = new Map(
    compareKernels(conditionsOf(cells, [])).map((comparison) => [
      comparison.quantity.id,
      comparison,
    ]),
  );
  near(present(found.get('information_bits')!.difference).mean, Math.log(4) / 2 - Math.log(36) / 2);
  near(
    present(found.get('information_bits_normalised')!.difference).mean,
    Math.log(4 / 25) / 2 - Math.log(36 / 169) / 2,
  );
  near(present(found.get('renyi_raw_2')!.difference).mean, -Math.log(17) + Math.log(97));
  near(
    present(found.get('renyi_normalised_2')!.difference).mean,
    -Math.log(17 / 25) + Math.log(97 / 169),
  );
  near(present(found.get('information_bits')).margin, (0.01 * Math.log(36)) / 2);
  assert.equal(
    [...found.values()].map(({ checkpoint }) => checkpoint),
    ['init', 'init', 'init', 'init'],
  );
});

test('the paper’s α = 16, r = 8 breaks the premise (s²σ²n = 4/3), PEFT’s default keeps it', () => {
  const layers = { fanIn: 1024, rank: 8, layers: 12, variance: 1 / (3 * 1024), measured: null };
  const cells = [16, 8].map((alpha) =>
    cellOf({
      seed: 1,
      adapter: { type: 'lora', rank: 8, alpha },
      change: { lora: [{ ...layers, scale: alpha / 8 }] },
    }),
  );
  const [paper, peft] = premiseRows(conditionsOf(cells, []));
  assert.equal(
    [present(paper).theorem, present(paper).withScale, present(paper).negativeSemiDefinite],
    [true, false, false],
  );
  near(present(paper).scaled, 4 / 3);
  const spread = Math.sqrt(8 / 1024);
  near(present(paper).predicted.low, (4 / 3) * (1 - spread) ** 2 - 1);
  near(present(paper).predicted.high, (4 / 3) * (1 + spread) ** 2 - 1);
  assert.equal(
    [present(peft).theorem, present(peft).withScale, present(peft).negativeSemiDefinite],
    [true, true, true],
  );
  near(present(peft).scaled, 1 / 3);
});

test('σ² = 1/n breaks the premise at every fan-in, and the samples are shown beside it', () => {
  const cells = [0.9, 1.2].map((factor, i) =>
    cellOf({
      adapter: { type: 'lora', rank: 4 },
      seed: i + 1,
      change: {
        lora: [49, 384].map((fanIn) => ({
          fanIn,
          rank: 4,
          scale: 1,
          layers: 2,
          variance: 1 / fanIn,
          sample: { low: (factor - 0.1) / fanIn, high: factor / fanIn },
          measured: null,
        })),
      },
    }),
  );
  const rows = premiseRows(conditionsOf(cells, []));
  assert.equal(
    rows.map(({ n, theorem, withScale }) => [n, theorem, withScale]),
    [
      [49, false, false],
      [384, false, false],
    ],
  );
  assert.equal(present(rows[1]).sample, { low: 0.8 / 384, high: 1.2 / 384 });
});

test('measured extremes are over all seeds, and overrule the predicted ones', () => {
  const at = (high: number) => [
    { fanIn: 64, rank: 4, scale: 1, layers: 2, variance: 1 / 128, measured: { low: -0.9, high } },
  ];
  const cells = [
    cellOf({ seed: 1, adapter: LORA4, change: { lora: at(-0.1) } }),
    cellOf({ seed: 2, adapter: LORA4, change: { lora: at(0.02) } }),
  ];
  const [row] = premiseRows(conditionsOf(cells, []));
  assert.equal(
    [present(row).measured, present(row).predicted.high < 0, present(row).negativeSemiDefinite],
    [{ low: -0.9, high: 0.02 }, true, false],
  );
});

test.run();
