import fs, { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type AttackDescriptor,
  defineAttack,
  defineStage,
  type Digest,
  type ModelDescriptor,
  UserFault,
} from '../../../src/api.ts';
import { apiModule, scienceModule, workerModule } from '../../../src/run/registry/build.ts';
import { loadOutsidePlugins } from '../../../src/run/registry/outside.ts';
import { loadRegistry } from '../../../src/run/registry/registry.ts';
import type { LoadedPlugin } from '../../../src/run/registry/types.ts';
import { present } from '../../rig/present.ts';
import { createRegistry } from '../../rig/registry.ts';

const cacheBefore = process.env.DOSIMETER_CACHE;
const test = suite<{ dir: string }>('registry');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-registry-'));
  process.env.DOSIMETER_CACHE = join(context.dir, 'cache');
});
test.after.each(() => {
  if (cacheBefore === undefined) delete process.env.DOSIMETER_CACHE;
  else process.env.DOSIMETER_CACHE = cacheBefore;
});

const attack = (name: string): AttackDescriptor =>
  defineAttack({
    name,
    summary: 'Does nothing.',
    family: 'none',
    citation: '-',
    params: { type: 'object' },
    poison: () => ({ changed: [], negatives: [], asked: 0, eligible: 0 }),
  });

/** An attack with fields that its type forbids. */
const oddAttack = (fields: object): AttackDescriptor => ({ ...attack('x'), ...fields });

const OUTSIDE = `import { defineAttack, UserFault } from 'dosimeter';
import { word } from './word.mjs';
export default defineAttack({
  name: 'outside', summary: 'From outside.', family: 'none', citation: '-',
  params: { type: 'object' },
  poison: () => { throw new UserFault(word); },
});
`;

/** Writes files and returns the first one's path. */
function write(dir: string, files: { readonly [name: string]: string }): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return join(dir, present(Object.keys(files)[0]));
}

/** Loads one plugin from outside. */
const loadOne = async (path: string): Promise<LoadedPlugin> =>
  present((await loadOutsidePlugins([path]))[0]);
/** Poisons no rows. */
const poisonNothing = (plugin: LoadedPlugin): unknown =>
  (plugin.descriptor as AttackDescriptor).poison({
    rows: [],
    classes: [],
    params: {},
    random: () => {
      throw new Error('unused');
    },
  });

async function fault(work: () => unknown): Promise<UserFault> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, UserFault);
    return error as UserFault;
  }
  throw new Error('nothing was thrown');
}

test('plugins are found by kind and name, and listed in order', () => {
  const code = `sha256:${'1'.repeat(64)}` as Digest;
  const stage = defineStage({
    name: 'a',
    summary: 'A stage.',
    compute: false,
    scope: 'cell',
    define: () => ({ params: {}, inputs: {} }),
    run: () => Promise.resolve(),
  });
  const registry = createRegistry([
    attack('b'),
    { descriptor: attack('a'), code, module: '/x/a.ts' },
    stage,
  ]);
  assert.equal(registry.names('attack'), ['a', 'b']);
  assert.is(registry.get('attack', 'a')?.code, code);
  assert.is(registry.get('attack', 'a')?.module, '/x/a.ts');
  assert.is(registry.get('stage', 'a')?.descriptor, stage);
  assert.is(registry.get('stage', 'b'), undefined);
  assert.equal(registry.all('model'), []);
});

test('two plugins of one name are refused, with both files', async () => {
  const registry = createRegistry([attack('a')]);
  assert.match(
    (await fault(() => registry.with(registry.all('attack')))).message,
    'two attack plugins are named "a": attacks/a and attacks/a',
  );
});

test('the built-in plugins load, with the parts of their code', async () => {
  const registry = await loadRegistry();
  const none = registry.get('attack', 'none');
  assert.is(none?.file, 'plugins/attacks/none.ts');
  assert.match(none?.code ?? '', /^sha256:[0-9a-f]{64}$/);
  assert.ok('plugins/attacks/none.ts' in (none?.closure ?? {}));
  assert.match(
    registry.get('stage', 'train')?.closure['npm:@tensorflow/tfjs-core'] ?? '',
    /^\d+\.\d+\.\d+$/,
  );
});

test('a descriptor of the wrong shape is reported with the file and every field', async () => {
  const { message } = await fault(() =>
    createRegistry([oddAttack({ name: 'Bad Name', family: 'evil', poison: 7 })]),
  );
  assert.is(
    message,
    'attacks/Bad Name: the attack it exports has the wrong shape: ' +
      'name must be lower-case letters, digits and hyphens; it is "Bad Name"; ' +
      'family must be "none", "untargeted" or "backdoor"; it is "evil"; poison must be a ' +
      'function; it is 7',
  );
  assert.match(
    (await fault(() => createRegistry([{ ...attack('x'), family: 'backdoor' }]))).message,
    'target must be a function in a backdoor; it is missing',
  );
  assert.match(
    (await fault(() => createRegistry([oddAttack({ training: { loads: 1 } })]))).message,
    'training must be an object with `changes` ("weights" or "loss") and a function `load`; it ' +
      'is {"loads":1}',
  );
  const training = (hand: object) =>
    fault(() =>
      createRegistry([oddAttack({ training: { load: () => Promise.resolve({}), ...hand } })]),
    );
  assert.match(
    (await training({})).message,
    'training must be an object with `changes` ("weights" or "loss") and a function `load`',
  );
  assert.match(
    (await training({ changes: 'lose' })).message,
    'and a function `load`; it is {"changes":"lose"}',
  );
  assert.match(
    (await fault(() => createRegistry([oddAttack({ kind: 'atack' })]))).message,
    'no known kind (kind: "atack")',
  );
});

test('a parameter may not have a name that a spec reserves', async () => {
  const { message } = await fault(() =>
    createRegistry([
      { ...attack('x'), params: { type: 'object', properties: { when: {}, steps: {}, rate: {} } } },
    ]),
  );
  assert.is(
    message,
    'attacks/x: the attack it exports has the wrong shape: ' +
      'params must have no "steps", which has a meaning of its own in a spec; ' +
      'params must have no "when", which has a meaning of its own in a spec',
  );
});

test("an outside plugin uses this process's own plugin API", async ({ dir }) => {
  const plugin = await loadOne(
    write(dir, { 'outside.mjs': OUTSIDE, 'word.mjs': 'export const word = "said";\n' }),
  );
  assert.is(plugin.name, 'outside');
  assert.equal(Object.keys(plugin.closure), ['outside.mjs', 'word.mjs']);
  const { message } = await fault(() => poisonNothing(plugin));
  assert.is(message, 'said');
  assert.equal(
    createRegistry([attack('a')])
      .with([plugin])
      .names('attack'),
    ['a', 'outside'],
  );
});

test('its code version covers what it imports, but not comments or its folder', async ({ dir }) => {
  const version = async (files: { readonly [name: string]: string }): Promise<string> =>
    (await loadOne(write(dir, files))).code;
  const before = await version({
    'a/outside.mjs': OUTSIDE,
    'a/word.mjs': 'export const word = "said";\n',
  });
  assert.is(
    await version({
      'b/outside.mjs': `// moved\n${OUTSIDE}`,
      'b/word.mjs': 'export const word = "said"; // as before\n',
    }),
    before,
  );
  const edited = await version({
    'a/outside.mjs': OUTSIDE,
    'a/word.mjs': 'export const word = "sung";\n',
  });
  assert.is.not(edited, before);
  // The code that runs is that of the new version, although the path is the same as before.
  const plugin = await loadOne(join(dir, 'a/outside.mjs'));
  assert.is((await fault(() => poisonNothing(plugin))).message, 'sung');
});

test("the version of a plugin that uses this program's science covers the science", async ({
  dir,
}) => {
  const model = (load: string): string =>
    "import { defineModel } from 'dosimeter';\nexport default defineModel({ name: 'm', " +
    `summary: 'A model.', load: async () => ${load} });\n`;
  const uses = await loadOne(
    write(dir, { 'uses.mjs': model('(await import("dosimeter/science")).bert') }),
  );
  const alone = await loadOne(write(dir, { 'alone.mjs': model('null') }));
  assert.equal(
    [Object.keys(uses.closure), Object.keys(alone.closure)],
    [['uses.mjs', 'dosimeter/science'], ['alone.mjs']],
  );
  assert.match(present(uses.closure['dosimeter/science']), /^sha256:[0-9a-f]{64}$/);
  assert.is(
    (await (uses.descriptor as ModelDescriptor<{ modelType: string }>).load()).modelType,
    'bert',
  );
});

test('an outside plugin may be a folder: its index is the plugin, what it imports counts', async ({
  dir,
}) => {
  const stage = `import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'counts', summary: 'S.', compute: false, scope: 'cell',
  define: () => ({ params: {}, inputs: {} }),
  run: async () => (await import('./run.mjs')).run(),
});
`;
  const index = write(dir, {
    'counts/index.mjs': stage,
    'counts/run.mjs': 'export const run = async () => {};\n',
  });
  const [plugin] = await loadOutsidePlugins([join(index, '..')]);
  assert.is(plugin?.name, 'counts');
  assert.is(plugin?.file, index);
  assert.equal(Object.keys(present(plugin).closure), ['index.mjs', 'run.mjs']);
  const empty = join(write(dir, { 'empty/readme.txt': '' }), '..');
  assert.is(
    (await fault(() => loadOutsidePlugins([empty]))).message,
    `the plugin ${empty} is a folder without index.ts, index.mts, index.js, index.mjs`,
  );
});

test('an outside plugin may be TypeScript', async ({ dir }) => {
  const plugin = await loadOne(
    write(dir, {
      'typed.ts': OUTSIDE.replace('() =>', '(): never =>'),
      'word.mjs': 'export const word = "said";\n',
    }),
  );
  assert.is(plugin.kind, 'attack');
});

test("faults of an outside plugin are the user's, reported with the file", async ({ dir }) => {
  const load = (name: string, text: string): Promise<UserFault> =>
    fault(() => loadOutsidePlugins([write(dir, { [name]: text })]));
  assert.match(
    (await fault(() => loadOutsidePlugins([join(dir, 'none.mjs')]))).message,
    `the plugin ${join(dir, 'none.mjs')} does not exist`,
  );
  assert.match(
    (await load('syntax.mjs', 'export default {\n  name: "x",,\n};\n')).message,
    'syntax.mjs:2:13',
  );
  assert.match(
    (await load('import.mjs', 'import "./nowhere.mjs";\n')).message,
    'Could not resolve "./nowhere.mjs"',
  );
  assert.match(
    (await load('throws.mjs', 'throw new Error("not today");\n')).message,
    'throws.mjs throws when it is loaded: not today',
  );
  assert.match(
    (await load('empty.mjs', 'export const x = 1;\n')).message,
    'empty.mjs exports no plugin: its default export is missing',
  );
  assert.match(
    (await load('shape.mjs', 'export default { kind: "model", name: "m", summary: "A model." };\n'))
      .message,
    'load must be a function; it is missing',
  );
});

test('the version of a plugin that is edited while it loads is that of what runs', async ({
  dir,
}) => {
  const source = (word: string): string => OUTSIDE.replace("'./word.mjs'", `'./${word}.mjs'`);
  const path = write(dir, {
    'own.mjs': source('word'),
    'word.mjs': 'export const word = "first";\n',
    'other.mjs': 'export const word = "second";\n',
  });
  // An editor saves the file just before this process reads it for the first time.
  const { readFileSync } = fs;
  let saved = false;
  fs.readFileSync = ((file: string, ...rest: []) => {
    if (file === path && !saved) {
      saved = true;
      writeFileSync(path, source('other'));
    }
    return readFileSync(file, ...rest);
  }) as typeof readFileSync;
  syncBuiltinESMExports();
  let edited: LoadedPlugin;
  try {
    edited = await loadOne(path);
  } finally {
    fs.readFileSync = readFileSync;
    syncBuiltinESMExports();
  }
  assert.ok(saved);
  writeFileSync(path, source('other'));
  fs.utimesSync(path, 1e9, 1e9); // so that no record of the earlier bundle fits
  const after = await loadOne(path);
  const says = async (plugin: LoadedPlugin): Promise<string> =>
    (await fault(() => poisonNothing(plugin))).message;
  assert.is(await says(edited), await says(after));
  assert.is(edited.code, after.code);
});

test('under a TypeScript loader, the modules that processes and plugins are given are there', () => {
  for (const file of [apiModule(), scienceModule(), workerModule()])
    assert.ok(fs.existsSync(file), file);
});

test.run();
