/** The language of specs: other files, overrides, references, patterns and locations. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type JsonObject, UserFault } from '../../src/api.ts';
import { loadExperiment } from '../../src/spec/load.ts';
import { printDiagnostics } from '../../src/spec/print.ts';
import { createRig, first, last, minimal, registry, type Rig } from './rig.ts';

const test = suite<{ rig: Rig }>('language');
test.before.each(async (context) => {
  context.rig = await createRig();
});

test('extends merges mappings, replaces lists, and null removes a field', async ({ rig }) => {
  await rig.write({
    'shared/base.yaml': `extends: deeper.yaml
train: { batch_size: 16, steps: 5 }
seeds: [1, 2, 3]
head: { init_from: head }
`,
    'shared/deeper.yaml': 'train: { batch_size: 2, warmup: 3, weight_decay: 0.5 }\n',
    'shared/head/adapter_config.json': '{}',
  });
  const { cells, seeds } = await rig.expand(
    `${minimal}extends: [shared/base.yaml]\nseeds: [7]\ntrain: { epochs: 2, weight_decay: null }\n`,
  );
  assert.equal(seeds, [7]);
  const { train, head } = first(cells).config;
  assert.equal(
    [train.batch_size, train.warmup, train.epochs, train.steps, train.weight_decay],
    [16, 3, 2, undefined, 0.01],
  );
  assert.is(head.init_from, join(rig.dir, 'shared/head'), 'relative to the file that writes it');
});

test('a section that names another plugin replaces that of the base', async ({ rig }) => {
  await rig.write({
    'base.yaml': 'adapter: { type: lora, rank: 4 }\npoisoning: { attack: badnets, rate: 0.2 }\n',
  });
  const { cells } = await rig.expand(
    `${minimal}extends: base.yaml\nadapter: { type: full }\npoisoning: { target: 0 }\n`,
  );
  const { adapter, poisoning } = first(cells).config;
  assert.equal(adapter, { type: 'full' });
  assert.equal(poisoning, {
    attack: 'badnets',
    rate: 0.2,
    target: 0,
    triggers: ['cf', 'mn'],
  });
});

test('a section that names the same plugin again is merged', async ({ rig }) => {
  await rig.write({
    'base.yaml': `adapter: { type: lora, rank: 2, train: { steps: 60, learning_rate: 2.0e-3 } }
poisoning: { attack: badnets, rate: 0.3, target: 0, when: { seed: 1 } }
base: { adapter: { train: { steps: 60, learning_rate: 2.0e-3 } } }
profiles: { small: { adapter: { alpha: 4 } } }
`,
  });
  const text = `${minimal}extends: base.yaml
adapter: { type: lora, train: { steps: 600 } }
base: { adapter: { type: full, train: { steps: 600 } } }
poisoning: { attack: badnets, target: 1 }
profiles: { small: { adapter: { type: lora, init: { variance: 2 } } } }
`;
  const config = first((await rig.expand(text, { profile: 'small' })).cells).config;
  assert.equal(
    [config.adapter['rank'], config.adapter['alpha'], config.train.steps],
    [2, 4, 600],
    'a part of a profile without a name is of the plugin that a later part names',
  );
  assert.is(config.train.learning_rate, 2e-3);
  const { base } = config as unknown as { readonly base: { readonly train: JsonObject } };
  assert.equal([base.train['steps'], base.train['learning_rate']], [600, 2e-3], 'full, by default');
  const { rate, target } = config.poisoning as JsonObject;
  assert.equal([rate, target], [0.3, 1]);

  const set = async (...sets: readonly string[]) => {
    const { cells } = await rig.expand(text, { sets });
    return cells.map(({ config: { adapter } }) => [adapter.type, adapter['rank'] ?? null]);
  };
  assert.equal(await set('adapter.type=lora'), [['lora', 2]]);
  assert.equal(await set('adapter.type=full', 'adapter.type=lora'), [['lora', 8]], 'in order');
  assert.equal(await set('adapter={ type: lora }'), [['lora', 2]]);
  assert.equal(await set('adapter={ type: full }'), [['full', null]]);
});

test('a list of plugins is merged over the same ones, and with one of them', async ({ rig }) => {
  const text = `${minimal}poisoning: { attack: [label-flip, badnets], rate: 0.4 }\n`;
  const set = async (value: string) =>
    (await rig.expand(text, { sets: [`poisoning.attack=${value}`] })).cells.map(
      ({ config: { poisoning } }) => [poisoning.attack, (poisoning as JsonObject)['rate']],
    );
  assert.equal(await set('badnets'), [['badnets', 0.4]]);
  assert.equal((await set('[badnets, label-flip]')).length, 2);
  assert.equal(await set('none'), [['none', undefined]]);
});

test('of two rivals in two files, null takes one out', async ({ rig }) => {
  await rig.write({ 'base.yaml': 'poisoning: { attack: label-flip, rate: 0.3 }\n' });
  const text = (more: string): string =>
    `${minimal}extends: base.yaml\npoisoning: { attack: label-flip, count: 2${more} }\n`;
  assert.match(await rig.faults(text('')), 'keep one of the two: null takes out one');
  const { cells } = await rig.expand(text(', rate: null'));
  assert.equal(first(cells).config.poisoning, { attack: 'label-flip', count: 2 });
});

test('--set that names another plugin after one of its fields is refused', async ({ rig }) => {
  const text = `${minimal}adapter: { type: full }\n`;
  const sets = ['adapter.type=lora', 'adapter.rank=2'];
  assert.is(first((await rig.expand(text, { sets })).cells).config.adapter['rank'], 2);
  assert.match(
    await rig.faults(text, { sets: sets.reverse() }),
    /another "adapter\.type" takes out "adapter\.rank", which an earlier --set gives[^]*before it/,
  );
});

const profiled = `${minimal}seeds: [1, 2]
train: { epochs: 3, warmup: 2, batch_size: 4 }
adapter: [{ type: full }, { type: lora }]
profiles:
  small: { seeds: [7], train: { steps: 5, warmup: null }, adapter: { type: lora, rank: 2 } }
  plain: {}
`;

test('a profile is merged over the spec as a spec over those it extends', async ({ rig }) => {
  const { cells, seeds, resolved } = await rig.expand(profiled, { profile: 'small' });
  const { train, adapter } = first(cells).config;
  assert.equal([seeds, cells.length, adapter.type, adapter['rank']], [[7], 1, 'lora', 2]);
  assert.equal(
    [train.steps, train.epochs, train.warmup, train.batch_size],
    [5, undefined, 0, 4],
    'steps take the place of epochs, and null takes a field out',
  );
  assert.is((resolved as JsonObject)['profiles'], undefined);
  const plain = await rig.expand(profiled);
  assert.equal((await rig.expand(profiled, { profile: 'plain' })).resolved, plain.resolved);
  assert.is(plain.cells.length, 4);
});

test('--set goes over a profile, and notes say which was chosen', async ({ rig }) => {
  const { cells, notes } = await rig.expand(`${profiled}notes: A trial.\n`, {
    profile: 'small',
    sets: ['train.steps=9'],
  });
  assert.is(first(cells).config.train.steps, 9);
  assert.is(notes, 'Profile small.\nA trial.');
});

test('profiles of one name are merged along extends, and may hold env and paths', async ({
  rig,
}) => {
  await rig.write({
    'shared/base.yaml': `profiles:
  tiny: { env: { STEPS: 4 }, train: { batch_size: 2 }, head: { init_from: head } }
`,
    'shared/head/adapter_config.json': '{}',
  });
  const { cells } = await rig.expand(
    `${minimal}extends: shared/base.yaml
env: { STEPS: 100 }
train: { steps: "\${env.STEPS}" }
profiles: { tiny: { train: { max_length: 16 } } }
`,
    { profile: 'tiny' },
  );
  const { train, head } = first(cells).config;
  assert.equal([train.steps, train.batch_size, train.max_length], [4, 2, 16]);
  assert.is(head.init_from, join(rig.dir, 'shared/head'), 'relative to the file that writes it');
});

test('--set sets a value, an axis or an entry of a list, or removes a field', async ({ rig }) => {
  const text = `${minimal}train: { epochs: 3, warmup: 2 }
adapter: [{ type: full }, { type: lora }]
`;
  const { cells } = await rig.expand(text, {
    sets: [
      'train.steps=0',
      'adapter.1.rank=[2, 4]',
      'train.warmup=',
      'seeds=[5]',
      'model.source=npm:other',
    ],
  });
  assert.equal(
    cells.map(({ config: { adapter, train, seed, model } }) => [
      adapter.rank,
      train.steps,
      train.epochs,
      train.warmup,
      seed,
      model.source,
    ]),
    [
      [undefined, 0, undefined, 0, 5, 'npm:other'],
      [2, 0, undefined, 0, 5, 'npm:other'],
      [4, 0, undefined, 0, 5, 'npm:other'],
    ],
  );
});

test('--set: the position of an entry may stand in brackets', async ({ rig }) => {
  const text = `${minimal}adapter: [{ type: full }, { type: lora, rank: 8 }]\n`;
  for (const path of ['adapter[1].rank', 'adapter.1.rank']) {
    const { cells } = await rig.expand(text, { sets: [`${path}=[2, 4]`] });
    assert.equal(
      cells.map(({ config: { adapter } }) => adapter.rank),
      [undefined, 2, 4],
      path,
    );
  }
});

test('a reference takes the type of a field, its default, or part of a text', async ({ rig }) => {
  const text = `name: n-\${train.batch_size}
model: { source: "pypi:$\${name}" }
data:
  train: { source: "npm:rows", limit: "\${ntk.rows}" }
  validation: { source: "npm:rows", limit: "\${data.train.limit}" }
train: { batch_size: 16 }
evaluate: { batch_size: "\${train.batch_size}" }
adapter: [{ type: full }, { type: lora, rank: 4, alpha: "\${adapter.rank}" }]
`;
  const { name, cells } = await rig.expand(text);
  assert.is(name, 'n-16');
  const { model, data, evaluate, adapter } = last(cells).config;
  assert.equal(
    [model.source, data.train.limit, data.validation.limit, evaluate.batch_size, adapter.alpha],
    ['pypi:${name}', 64, 64, 16, 4],
  );
});

test('a reference to a field that a variant leaves out takes the default of its attack', async ({
  rig,
}) => {
  const epsilon = async (poisoning: string): Promise<number> => {
    const train = 'train: { epsilon: "${poisoning.rate}" }';
    const { cells } = await rig.expand(`${minimal}poisoning: ${poisoning}\n${train}\n`);
    return first(cells).config.train.epsilon;
  };
  assert.equal(
    [await epsilon('{ attack: label-flip }'), await epsilon('{ attack: badnets }')],
    [0.3, 0.1],
  );
  const { cells } = await rig.expand(`${minimal}poisoning:
  steps: [{ attack: label-flip }, { attack: badnets, rate: "\${poisoning.steps.label-flip.rate}" }]
`);
  assert.is(first(cells).axes['poisoning.steps.badnets.rate'], 0.3);
});

test('a declared environment variable is read as YAML, or has its default', async ({ rig }) => {
  await rig.write({ 'corpus/train.tsv': '' });
  const text = `name: x
env: { STEPS: 3, ROOT: null }
model: { source: "pypi:model" }
data: { train: { source: "file:\${env.ROOT}/train.tsv" }, validation: { source: "npm:rows" } }
train: { steps: "\${env.STEPS}" }
`;
  const config = async (env: Record<string, string>) =>
    first((await rig.expand(text, { env })).cells).config;
  assert.is((await config({ ROOT: 'corpus' })).train.steps, 3);
  assert.is((await config({ ROOT: 'corpus', STEPS: '7' })).train.steps, 7);
  assert.is(
    (await config({ ROOT: 'corpus' })).data.train.source,
    `file:${join(rig.dir, 'corpus/train.tsv')}`,
  );
});

const grid = `${minimal}seeds: [1, 2]
poisoning: [{ attack: none }, { attack: badnets, rate: [0.1, 0.2] }]
adapter: [{ type: full }, { type: lora, rank: [4, 8] }]
tags: { quick: { adapter.rank: 4, seed: 1 } }
`;
const labels = async (rig: Rig, text: string, only?: readonly string[]) =>
  (await rig.expand(text, only ? { only } : {})).cells.map(({ label }) => label);

test('include and exclude match values, lists of values and bounds', async ({ rig }) => {
  assert.equal(
    await labels(
      rig,
      `${grid}include:
  - { poisoning.attack: none, adapter.rank: [8, 16] }
  - { poisoning.rate: { min: 0.2 }, adapter.type: full }
exclude: [{ seed: 2 }]
`,
    ),
    ['attack=none type=lora rank=8 seed=1', 'attack=badnets rate=0.2 type=full seed=1'],
  );
});

test('include, exclude, tags and when accept the short names of --only', async ({ rig }) => {
  const kept = ['attack=none type=lora rank=8 seed=1', 'attack=none type=lora rank=8 seed=2'];
  assert.equal(await labels(rig, `${grid}include: [{ rank: 8, attack: none }]\n`), kept);
  assert.equal(
    await labels(
      rig,
      `${grid}exclude: [{ rank: 4 }, { attack: badnets }, { adapter: full }, { seed: 2 }]\n`,
    ),
    kept.slice(0, 1),
  );
  const tagged = grid.replace('adapter.rank: 4, seed: 1', 'rank: 8, attack: none');
  assert.equal(await labels(rig, tagged, ['quick']), kept);
  const when = grid.replace('rank: [4, 8]', 'rank: [4, 8], when: { rate: 0.1 }');
  assert.equal(
    (await labels(rig, when)).filter((label) => label.includes('lora') && label.includes('seed=1')),
    [
      'attack=badnets rate=0.1 type=lora rank=4 seed=1',
      'attack=badnets rate=0.1 type=lora rank=8 seed=1',
    ],
  );
});

test('when restricts the cells of its variant alone', async ({ rig }) => {
  const text = grid.replace('rank: [4, 8]', 'rank: [4, 8], when: { poisoning.attack: none }');
  assert.equal(
    (await labels(rig, text)).filter((label) => label.includes('lora')),
    [
      'attack=none type=lora rank=4 seed=1',
      'attack=none type=lora rank=4 seed=2',
      'attack=none type=lora rank=8 seed=1',
      'attack=none type=lora rank=8 seed=2',
    ],
  );
});

test('--only takes a tag or a path with values, and all --only must match', async ({ rig }) => {
  assert.equal(await labels(rig, grid, ['quick']), [
    'attack=none type=lora rank=4 seed=1',
    'attack=badnets rate=0.1 type=lora rank=4 seed=1',
    'attack=badnets rate=0.2 type=lora rank=4 seed=1',
  ]);
  assert.equal(
    await labels(rig, grid, ['adapter.rank=4,8', 'attack=badnets', 'rate=0.1', 'seed=2']),
    [
      'attack=badnets rate=0.1 type=lora rank=4 seed=2',
      'attack=badnets rate=0.1 type=lora rank=8 seed=2',
    ],
  );
  assert.equal((await rig.expand(grid, { only: ['seed=2'] })).seeds, [2]);
});

test('a field of a cell is located in the variant that it came from', async ({ rig }) => {
  await rig.write({ 'base.yaml': 'ntk:\n  rows: 8\n' });
  const text = `${minimal}extends: base.yaml
seeds: [1, 2]
adapter:
  - { type: full, train: { learning_rate: 0.1 } }
  - type: lora
    rank: [4, 8]
    init: { variance: 2 }
train: { warmup: 3, learning_rate: 0.2 }
stages: [train, evaluate]
`;
  const { cells } = await rig.expand(text, { sets: ['train.dropout=0.5'] });
  const full = first(cells),
    lora = last(cells);
  const place = (cell: typeof full, path: readonly (string | number)[]): string => {
    const { file, line, column, endColumn, text: shown } = cell.locate(path);
    return `${file.replace(`${rig.dir}/`, '')}:${line} ${shown.slice(column - 1, endColumn - 1)}`;
  };
  assert.is(place(lora, ['adapter', 'rank']), 'spec.yaml:9 8');
  assert.is(place(lora, ['adapter', 'init', 'variance']), 'spec.yaml:10 2');
  assert.is(
    place(lora, ['adapter', 'init', 'distribution']),
    'spec.yaml:10 init',
    'a default: the field around it',
  );
  assert.is(
    place(lora, ['adapter', 'alpha']),
    'spec.yaml:8 type: lora',
    'a default of a listed variant',
  );
  assert.is(place(full, ['adapter', 'type']), 'spec.yaml:7 full');
  assert.is(place(full, ['train', 'learning_rate']), 'spec.yaml:7 0.1');
  assert.is(place(lora, ['train', 'learning_rate']), 'spec.yaml:11 0.2');
  assert.is(place(full, ['train', 'warmup']), 'spec.yaml:11 3');
  assert.is(place(lora, ['train', 'dropout']), '--set:1 0.5');
  assert.is(place(lora, ['train', 'beta1']), 'spec.yaml:11 train');
  assert.is(place(lora, ['ntk', 'rows']), 'base.yaml:2 8');
  assert.is(place(lora, ['data', 'train', 'source']), 'spec.yaml:3 "npm:rows"');
  assert.is(place(lora, ['seed']), 'spec.yaml:5 2');
  assert.is(place(lora, ['stages', 1]), 'spec.yaml:12 evaluate');
  assert.is(place(lora, ['fisher', 'tolerance']), 'spec.yaml:1 name', 'nothing of it is written');
});

test('plugins: the absolute paths of the modules are handed to the registry', async ({ rig }) => {
  await rig.write({ 'mine/attack.mjs': '' });
  let asked: readonly string[] = [];
  const text = `${minimal}plugins: [mine/attack.mjs]\npoisoning: { attack: mine }\n`;
  const { cells } = await rig.expand(text, {
    registry: (modules) => {
      asked = modules;
      const mine = { name: 'mine', params: { type: 'object', properties: {} } };
      return Promise.resolve({ ...registry, attacks: [...registry.attacks, mine] });
    },
  });
  assert.equal(asked, [join(rig.dir, 'mine/attack.mjs')]);
  assert.is(first(cells).config.poisoning.attack, 'mine');
});

test('plugins: a fault of a module is reported where the spec names it', async ({ rig }) => {
  await rig.write({ 'mine/model.mjs': '', 'mine/attack.mjs': '' });
  const spec = `${minimal}plugins: [mine/model.mjs, mine/attack.mjs]\n`;
  assert.is(
    await rig.faults(spec, {
      registry: ([, attack = '']) =>
        Promise.reject(new UserFault(`${attack} exports nothing`, 'export a descriptor')),
    }),
    `error[bad-plugin]: DIR/mine/attack.mjs exports nothing
 --> DIR/spec.yaml:4:27
  |
4 | plugins: [mine/model.mjs, mine/attack.mjs]
  |                           ^^^^^^^^^^^^^^^
  = export a descriptor

1 error
`,
  );
  assert.match(
    await rig.faults(spec, {
      registry: () => Promise.reject(new UserFault("plugins can't be built here")),
    }),
    '--> DIR/spec.yaml:4:1\n',
  );
});

test('scorers are warned of where no cell writes answers for them', async ({ rig }) => {
  const scorers = 'evaluate: { scorer: exact, scorers: [{ scorer: exact, name: b }] }\n';
  const { warnings } = await rig.expand(minimal + scorers);
  assert.equal(
    warnings.map(({ message, range }) => [message, range?.line]),
    ['scorer', 'scorers'].map((field) => [
      `no cell of the grid writes answers, so "evaluate.${field}" judges nothing`,
      4,
    ]),
  );
  const answers = `${minimal}${scorers}head: { type: [classifier, causal-lm] }\n`;
  assert.equal((await rig.expand(answers)).warnings, []);
});

test('all faults are reported at once, in the order of the file', async ({ rig }) => {
  const printed = await rig.faults(`${minimal}train: { batch_size: x }
poisoning: { attack: bad }
seeds: [1, 1]
ntk: { rows: 0, at: [middle] }
head: { init_from: nowhere }
train: { steps: 1 }
`);
  assert.equal(printed.match(/error\[.*?\]|:\d+:\d+$/gm), [
    ...'error[wrong-type] :4:22 error[unknown-plugin] :5:22 error[duplicate-value]'.split(' '),
    ...':6:12 error[out-of-range] :7:14 error[unknown-value] :7:22'.split(' '),
    ...'error[missing-file] :8:20 error[duplicate-key] :9:1'.split(' '),
  ]);
  assert.ok(printed.endsWith('\n\n7 errors\n'));
});

test("a spec file that can't be read is reported with the reason", async ({ rig }) => {
  const shown = async (name: string) => {
    const result = await loadExperiment(join(rig.dir, name), { registry, env: {} });
    return result.ok
      ? ''
      : printDiagnostics(result.diagnostics, { color: false }).replaceAll(rig.dir, 'DIR');
  };
  await rig.write({ 'quickstart.yaml': minimal });
  await mkdir(join(rig.dir, 'folder'));
  await writeFile(join(rig.dir, 'binary.yaml'), Buffer.from([0x6e, 0xff, 0xfe]));
  assert.is(
    await shown('quikstart.yaml'),
    `error[missing-file]: there is no file DIR/quikstart.yaml
  = did you mean "DIR/quickstart.yaml"?

1 error
`,
  );
  assert.is(
    await shown('folder'),
    'error[missing-file]: DIR/folder is a folder, not a spec file\n\n1 error\n',
  );
  assert.is(
    await shown('binary.yaml'),
    'error[not-text]: DIR/binary.yaml is not UTF-8 text\n\n1 error\n',
  );
});

test('aliases of aliases are limited in number', async ({ rig }) => {
  const bomb = Array.from(
    { length: 30 },
    (_, i) => `  - &a${i + 1} [${`*a${i}, `.repeat(9)}*a${i}]`,
  ).join('\n');
  assert.match(
    await rig.faults(`${minimal}targets:\n  - &a0 [x]\n${bomb}\n`),
    /error\[too-many-aliases\]: the document holds more than 1000 aliases/,
  );
});

test.run();
