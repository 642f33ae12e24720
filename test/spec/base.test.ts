/** `base`: the training that comes before the cell's own. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cellAt, createRig, first, last, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('base');
test.before(async (context) => {
  context.rig = await createRig();
});

test('a spec without a base has cells without one', async ({ rig }) => {
  assert.not.ok('base' in first((await rig.expand(minimal)).cells).config);
});

test("an empty base has the defaults, and the spec's train", async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}base: {}
adapter: { type: lora, train: { learning_rate: 0.5 } }
train: { epochs: 2, batch_size: 4 }
`,
  );
  const { base, train } = first(cells).config;
  assert.equal(base, {
    poisoning: { attack: 'none' },
    adapter: { type: 'full' },
    // The cell's adapter does not override the train of the base.
    train: { ...train, learning_rate: 3e-5 },
  });
});

test("a base's train goes over the spec's, and its adapter's train over that", async ({ rig }) => {
  const { cells } = await rig.expand(`${minimal}train: { epochs: 2, batch_size: 4, max_length: 16 }
base:
  adapter: [{ type: full }, { type: lora, rank: 4, train: { batch_size: 3 } }]
  train: { steps: 7, max_length: 32 }
`);
  assert.equal(
    cells.map(({ config: { base, train } }) => [
      base?.train.steps,
      base?.train.epochs,
      base?.train.batch_size,
      base?.train.max_length,
      train.epochs,
    ]),
    [
      [7, undefined, 4, 32, 2],
      [7, undefined, 3, 32, 2],
    ],
  );
});

const grid = `${minimal}seeds: [1, 2]
base:
  poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.3] }]
  train: { learning_rate: [0.1, 0.2] }
adapter: [{ type: full }, { type: lora, rank: [4, 8] }]
`;

test('the fields of a base may be axes, which are part of the name', async ({ rig }) => {
  const { cells } = await rig.expand(grid);
  assert.is(cells.length, 3 * 2 * 3 * 2);
  const { label, axes } = last(cells);
  assert.is(
    label,
    'adapter=lora rank=8 base.attack=badnets base.rate=0.3 base.learning_rate=0.2 seed=2',
  );
  assert.equal(
    [
      axes['base.poisoning.attack'],
      axes['base.poisoning.rate'],
      axes['base.train.learning_rate'],
      axes['base.adapter.type'],
      axes['adapter.rank'],
      axes['poisoning.attack'],
    ],
    ['badnets', 0.3, 0.2, 'full', 8, 'none'],
  );
  assert.is(new Set(cells.map((cell) => cell.label)).size, cells.length);
  assert.is(new Set(cells.map(({ config }) => JSON.stringify(config))).size, cells.length);
});

test('patterns and --only match the fields of a base by their full names', async ({ rig }) => {
  const count = async (more: string, only: string[] = []): Promise<number> =>
    (await rig.expand(grid + more, { only })).cells.length;
  assert.is(await count('', ['base.poisoning.rate=0.3', 'base.train.learning_rate=0.1']), 6);
  assert.is(await count('exclude: [{ base.poisoning.attack: none }]\n'), 24);
  assert.is(await count('', ['rank=8']), 12, "the cell's own comes first");
});

test('a variant of a base may be restricted by when', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}base: { adapter: [{ type: full }, { type: lora, when: { adapter.type: lora } }] }
adapter: [{ type: full }, { type: lora }]
`,
  );
  assert.equal(
    cells.map(({ config: { base, adapter } }) => `${base?.adapter.type ?? ''} ${adapter.type}`),
    ['full full', 'full lora', 'lora lora'],
  );
});

test('a field of a base is located where it is written', async ({ rig }) => {
  const { cells } = await rig.expand(`${minimal}train: { batch_size: 4 }
base:
  poisoning: [{ attack: badnets, rate: [0.1, 0.3] }]
  adapter: { type: lora, rank: 4 }
`);
  const at = (path: string): string => {
    const { line, column } = cellAt(cells, 1).locate(path.split('.'));
    return `${line}:${column}`;
  };
  assert.equal(
    [
      ...'base.poisoning.rate base.adapter.rank base.train.batch_size'.split(' '),
      ...'base.train.steps base adapter.rank train.batch_size'.split(' '),
    ].map(at),
    ['6:46', '7:32', '4:22', '4:8', '5:1', '1:1', '4:22'],
  );
});

test('the resolved spec has the same grid', async ({ rig }) => {
  const first = await rig.expand(grid);
  const again = await rig.expand(JSON.stringify(first.resolved));
  assert.equal(
    again.cells.map(({ config, axes }) => [config, axes]),
    first.cells.map(({ config, axes }) => [config, axes]),
  );
});

test('--set sets fields of a base', async ({ rig }) => {
  const { cells } = await rig.expand(grid, {
    sets: ['base.poisoning={ attack: label-flip }', 'base.train.learning_rate=0.7'],
  });
  const { base } = first(cells).config;
  assert.equal(
    [cells.length, base?.poisoning.attack, base?.train.learning_rate],
    [6, 'label-flip', 0.7],
  );
});

test('an axis of `train` that a base would inherit is a fault', async ({ rig }) => {
  const spec = `${minimal}base: { poisoning: { attack: badnets } }
train: { learning_rate: [0.1, 0.2] }
`;
  assert.is(
    await rig.faults(spec),
    `error[inherited-axis]: "train.learning_rate" is an axis, and the base inherits it
 --> DIR/spec.yaml:5:25
  |
5 | train: { learning_rate: [0.1, 0.2] }
  |                         ^^^^^^^^^^
  = each base is one training: give it a value of its own, as base.train.learning_rate

1 error
`,
  );
  assert.is(
    await rig.faults(
      spec.replace('attack: badnets }', 'attack: badnets }, train: { learning_rate: 0.1 }'),
    ),
    '',
  );
});

test('faults in a base are explained like those in the sections of the cell', async ({ rig }) => {
  assert.is(
    await rig.faults(`${minimal}base: { adapter: lora, posioning: { attack: badnets } }\n`),
    `error[wrong-type]: "base.adapter" must be a mapping or a list, not "lora"
 --> DIR/spec.yaml:4:18
  |
4 | base: { adapter: lora, posioning: { attack: badnets } }
  |                  ^^^^
  = write { type: lora }

error[unknown-key]: unknown key "posioning" in "base"
 --> DIR/spec.yaml:4:24
  |
4 | base: { adapter: lora, posioning: { attack: badnets } }
  |                        ^^^^^^^^^
  = did you mean "poisoning"?

2 errors
`,
  );
  assert.is(
    await rig.faults(
      `${minimal}base: { poisoning: [{ attack: badnets, rte: 0.1 }], adapter: { type: lora, rank: 0 } }\n`,
    ),
    `error[unknown-key]: attack "badnets" takes no "rte"
 --> DIR/spec.yaml:4:40
  |
4 | base: { poisoning: [{ attack: badnets, rte: 0.1 }], adapter: { type: lora, rank: 0 } }
  |                                        ^^^
  = did you mean "rate"?

error[out-of-range]: "base.adapter.rank" must be a whole number of at least 1, not 0
 --> DIR/spec.yaml:4:82
  |
4 | base: { poisoning: [{ attack: badnets, rte: 0.1 }], adapter: { type: lora, rank: 0 } }
  |                                                                                  ^

2 errors
`,
  );
});

test.run();
