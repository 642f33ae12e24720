/** `base`: the training that comes before the cell's own. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  attackOf,
  baseOf,
  basesOf,
  type Cell,
  cleanTwin,
  isOfBase,
  type TrainingRequest,
  trainingsOf,
} from '../../src/api.ts';
import { cellAt, createRig, first, last, minimal, type Rig } from './rig.ts';

const baseIn = (cell: Cell) => basesOf(cell)[0];

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
    cells.map(({ config }) => {
      const { steps, epochs, batch_size, max_length } = baseIn(config)?.train ?? {};
      return [steps, epochs, batch_size, max_length, config.train.epochs];
    }),
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
    'type=lora rank=8 base.attack=badnets base.rate=0.3 base.learning_rate=0.2 seed=2',
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
    cells.map(({ config }) => `${baseIn(config)?.adapter.type ?? ''} ${config.adapter.type}`),
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
  const base = baseIn(first(cells).config);
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

// ---- a list: a chain of trainings
// ----------------------------------------------------------------

const chain = `${minimal}seeds: [1, 2]
base:
  - name: poison
    poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.3] }]
    adapter: { type: lora, rank: 4, train: { batch_size: 3 } }
  - data: { train: { source: "npm:others", limit: [5, 7] } }
    train: { learning_rate: 0.2 }
train: { learning_rate: 0.1, steps: 4 }
`;

test('a list is a chain, whose fields may be axes by their place in it', async ({ rig }) => {
  const { cells } = await rig.expand(chain);
  assert.is(cells.length, 3 * 2 * 2);
  const { label, axes, config } = last(cells);
  assert.is(label, 'base.0.attack=badnets base.0.rate=0.3 base.1.limit=7 seed=2');
  assert.equal(
    [axes['base.0.adapter.rank'], axes['base.1.poisoning.attack'], axes['base.1.data.train.limit']],
    [4, 'none', 7],
  );
  const [first, second] = basesOf(config);
  assert.equal(
    [first, second].map((base) => [base?.name, base?.data?.train.limit, base?.train.learning_rate]),
    [
      ['poison', undefined, 0.1],
      [undefined, 7, 0.2],
    ],
  );
  assert.equal([first?.train.batch_size, first?.train.steps], [3, 4]);
  assert.is(new Set(cells.map((cell) => cell.label)).size, cells.length);
});

test('the trainings of a chain start one from the other, each from its own rows', async ({
  rig,
}) => {
  const { cells } = await rig.expand(chain);
  const { config } = last(cells);
  const trainings = trainingsOf(config);
  assert.equal(
    trainings.map(({ section, cell }) => [section, cell.data.train.limit, basesOf(cell).length]),
    [
      ['base.0', undefined, 0],
      ['base.1', 7, 1],
      [undefined, undefined, 2],
    ],
  );
  const [{ cell: first }] = trainings as [TrainingRequest];
  const [only] = basesOf(config);
  const single = { ...config, base: only } as Cell;
  assert.equal(first, baseOf(single), 'the first is the base of a spec without a list');
});

test('the clean twin of a chain has none of its attacks', async ({ rig }) => {
  const { cells } = await rig.expand(
    `${minimal}base: [{ poisoning: { attack: badnets } }, { poisoning: { attack: label-flip } }, {}]
`,
  );
  const { config } = first(cells);
  assert.equal([attackOf(config).attack, isOfBase(config)], ['label-flip', true]);
  const twin = cleanTwin(config, undefined);
  assert.equal(
    trainingsOf(twin).map(({ cell }) => cell),
    trainingsOf(config).map(({ cell }) => ({
      ...cell,
      poisoning: { attack: 'none' },
      ...(cell.base === undefined
        ? {}
        : { base: basesOf(cell).map((base) => ({ ...base, poisoning: { attack: 'none' } })) }),
    })),
  );
});

test('patterns name the fields of a chain by their place', async ({ rig }) => {
  const { cells } = await rig.expand(chain, {
    only: ['base.0.poisoning.rate=0.3', 'base.1.data.train.limit=5'],
  });
  assert.is(cells.length, 2);
  const faults = await rig.faults(`${chain}exclude: [{ base.poisoning.rate: 0.3 }]\n`);
  assert.match(faults, /there is no field "base\.poisoning\.rate" to match/);
  assert.match(faults, /did you mean "base\.0\.poisoning\.rate"/);
});

test('a field of a chain is located where it is written', async ({ rig }) => {
  const { cells } = await rig.expand(chain);
  const at = (path: string): string => {
    const { line, column } = last(cells).locate(path.split('.'));
    return `${line}:${column}`;
  };
  assert.equal(
    'base.0.poisoning.rate base.0.adapter.rank base.1.data.train.limit base.1.train.steps'
      .split(' ')
      .map(at),
    ['7:66', '8:34', '9:55', '11:37'],
  );
});

test('the resolved spec of a chain has the same grid', async ({ rig }) => {
  const first = await rig.expand(chain);
  const again = await rig.expand(JSON.stringify(first.resolved));
  assert.equal(
    again.cells.map(({ config, axes }) => [config, axes]),
    first.cells.map(({ config, axes }) => [config, axes]),
  );
});

test('--set sets fields of one training of a chain', async ({ rig }) => {
  const { cells } = await rig.expand(chain, {
    sets: ['base[0].poisoning={ attack: label-flip }', 'base.1.data.train.limit=3'],
  });
  assert.equal(
    [cells.length, ...basesOf(first(cells).config).map((base) => base.poisoning.attack)],
    [2, 'label-flip', 'none'],
  );
});

test('faults in a chain are at their place', async ({ rig }) => {
  assert.is(
    await rig.faults(`${minimal}base:
  - { adapter: { type: lora, rnk: 4 } }
  - { data: { train: { limit: 0 } }, posioning: {} }
`),
    `error[unknown-key]: adapter "lora" takes no "rnk"
 --> DIR/spec.yaml:5:30
  |
5 |   - { adapter: { type: lora, rnk: 4 } }
  |                              ^^^
  = did you mean "rank"?

error[missing-key]: "base.data.train.source" is missing
 --> DIR/spec.yaml:6:15
  |
6 |   - { data: { train: { limit: 0 } }, posioning: {} }
  |               ^^^^^
  = \`file:PATH\` (relative to this spec), \`npm:PACKAGE[@VERSION]\`, \`pypi:PACKAGE[==VERSION]\` or \`hf:OWNER/NAME[@REVISION]\`; a file inside a package follows after \`#\`

error[out-of-range]: "base.data.train.limit" must be a whole number of at least 1, not 0
 --> DIR/spec.yaml:6:31
  |
6 |   - { data: { train: { limit: 0 } }, posioning: {} }
  |                               ^

error[unknown-key]: unknown key "posioning" in "base"
 --> DIR/spec.yaml:6:38
  |
6 |   - { data: { train: { limit: 0 } }, posioning: {} }
  |                                      ^^^^^^^^^
  = did you mean "poisoning"?

4 errors
`,
  );
  const many = `[${'{}, '.repeat(16)}{}]`;
  assert.match(
    await rig.faults(`${minimal}base: ${many}\n`),
    /"base" has 17 entries, at most 16\n --> DIR\/spec\.yaml:4:7/,
  );
  assert.match(
    await rig.faults(`${minimal}base: [{}, {}]\ntrain: { learning_rate: [0.1, 0.2] }\n`),
    /as base\.0\.train\.learning_rate/,
  );
});

test.run();
