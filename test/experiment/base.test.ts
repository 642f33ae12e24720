/** `base`: a training before the cell's own, in a spec and in its cells. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createRig, minimal, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('base');
test.before(async (context) => {
  context.rig = await createRig();
});
test.after(async ({ rig }) => rig.remove());

test('left out it is nowhere; a field of it that is left out has the default, `train` what the spec says of it', async ({
  rig,
}) => {
  assert.not.ok('base' in (await rig.expand(minimal)).cells[0]!.config);
  const { cells } = await rig.expand(
    `${minimal}base: {}\nadapter: { type: lora, train: { learning_rate: 0.5 } }\ntrain: { epochs: 2, batch_size: 4 }\n`,
  );
  const { base, train } = cells[0]!.config;
  assert.equal([base!.poisoning, base!.adapter], [{ attack: 'none' }, { type: 'full' }]);
  assert.equal(
    base!.train,
    { ...train, learning_rate: 3e-5 },
    "an adapter's own overrides are its own",
  );
});

test("what it says of `train` goes over the spec's, and its adapter's over that; steps replace epochs", async ({
  rig,
}) => {
  const { cells } = await rig.expand(`${minimal}train: { epochs: 2, batch_size: 4, max_length: 16 }
base:
  adapter: [{ type: full }, { type: lora, rank: 4, train: { batch_size: 3 } }]
  train: { steps: 7, max_length: 32 }
`);
  assert.equal(
    cells.map(({ config: { base, train } }) => [
      base!.train.steps,
      base!.train.epochs,
      base!.train.batch_size,
      base!.train.max_length,
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

test('each field may be an axis; cells are named by it, in full', async ({ rig }) => {
  const { cells } = await rig.expand(grid);
  assert.is(cells.length, 3 * 2 * 3 * 2);
  assert.is(
    cells.at(-1)!.label,
    'adapter=lora rank=8 base.attack=badnets base.rate=0.3 base.learning_rate=0.2 seed=2',
  );
  const { axes } = cells.at(-1)!;
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
  assert.is(new Set(cells.map(({ label }) => label)).size, cells.length);
  assert.is(new Set(cells.map(({ config }) => JSON.stringify(config))).size, cells.length);
});

test('patterns and --only match its fields by their full names', async ({ rig }) => {
  const count = async (more: string, only: string[] = []): Promise<number> =>
    (await rig.expand(grid + more, { only })).cells.length;
  assert.is(await count('', ['base.poisoning.rate=0.3', 'base.train.learning_rate=0.1']), 6);
  assert.is(await count('exclude: [{ base.poisoning.attack: none }]\n'), 24);
  assert.is(await count('', ['rank=8']), 12, "the cell's own comes first");
});

test('a variant of it may be for some cells alone', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}base: { adapter: [{ type: full }, { type: lora, when: { adapter.type: lora } }] }\nadapter: [{ type: full }, { type: lora }]\n`,
  );
  assert.equal(
    cells.map(({ config: { base, adapter } }) => `${base!.adapter.type} ${adapter.type}`),
    ['full full', 'full lora', 'lora lora'],
  );
});

test('a field is found where it is written', async ({ rig }) => {
  const { cells } = await rig.expand(`${minimal}train: { batch_size: 4 }
base:
  poisoning: [{ attack: badnets, rate: [0.1, 0.3] }]
  adapter: { type: lora, rank: 4 }
`);
  const at = (path: string): string => {
    const { line, column } = cells[1]!.locate(path.split('.'));
    return `${line}:${column}`;
  };
  assert.equal(
    [
      'base.poisoning.rate',
      'base.adapter.rank',
      'base.train.batch_size',
      'base.train.steps',
      'base',
      'adapter.rank',
      'train.batch_size',
    ].map(at),
    ['6:46', '7:32', '4:22', '4:8', '5:1', '1:1', '4:22'],
  );
});

test('the resolved spec means the same grid', async ({ rig }) => {
  const first = await rig.expand(grid);
  const again = await rig.expand(JSON.stringify(first.resolved));
  assert.equal(
    again.cells.map(({ config, axes }) => [config, axes]),
    first.cells.map(({ config, axes }) => [config, axes]),
  );
});

test('--set reaches it', async ({ rig }) => {
  const { cells } = await rig.expand(grid, {
    sets: ['base.poisoning={ attack: label-flip }', 'base.train.learning_rate=0.7'],
  });
  assert.equal(
    [
      cells.length,
      cells[0]!.config.base!.poisoning.attack,
      cells[0]!.config.base!.train.learning_rate,
    ],
    [6, 'label-flip', 0.7],
  );
});

test('an axis of `train` that it would inherit is a fault: which base a cell starts from would go by it', async ({
  rig,
}) => {
  const spec = `${minimal}base: { poisoning: { attack: badnets } }\ntrain: { learning_rate: [0.1, 0.2] }\n`;
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

test('faults of it are told as those of the sections they are like', async ({ rig }) => {
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
