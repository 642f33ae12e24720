/** The composed schema: with the built-in plugins, and as editors use it. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { SEEDS_NEEDED } from '../../src/report/verdict.ts';
import { specRegistry } from '../../src/run/prepare.ts';
import { loadOutsidePlugins } from '../../src/run/registry/outside.ts';
import { loadRegistry } from '../../src/run/registry/registry.ts';
import { composeSchema } from '../../src/spec/editor.ts';
import { loadExperiment } from '../../src/spec/load.ts';
import { printDiagnostics } from '../../src/spec/print.ts';
import type { Experiment, SpecRegistry } from '../../src/spec/types.ts';
import { createRig, first, last, minimal, registry } from './rig.ts';

const test = suite('schema');

/** Makes compiling the composed schema several times faster. */
const QUICK = { inlineRefs: false, code: { optimize: false } };

const loaded = await loadRegistry(),
  builtIn: SpecRegistry = specRegistry(loaded);

test('the schema is a strict JSON Schema of draft 7', () => {
  for (const plugged of [registry, builtIn]) {
    const ajv = new Ajv({
      strict: true,
      allowUnionTypes: true,
      strictTypes: false,
      strictRequired: false,
      strictTuples: false,
      validateFormats: false,
      ...QUICK,
    });
    ajv.addVocabulary(['axis', 'plugin', 'unless', 'doNotSuggest']);
    assert.ok(ajv.validateSchema(composeSchema(plugged)), ajv.errorsText());
    ajv.compile(composeSchema(plugged));
  }
});

test('an editor accepts what the command line accepts', () => {
  const ajv = new Ajv({ strict: false, validateFormats: false, ...QUICK });
  const check = ajv.compile(composeSchema(registry));
  const spec = (more: object) => ({
    name: 'x',
    model: { source: 'pypi:m' },
    data: { train: { source: 'npm:r' }, validation: { source: 'npm:r' } },
    ...more,
  });
  const withData = (more: object) => ({
    data: { train: { source: 'npm:r' }, validation: { source: 'npm:r' }, ...more },
  });
  for (const good of [
    {},
    { adapter: { type: 'lora', rank: { linspace: [1, 4, 2] } } },
    { adapter: [{ type: 'full', train: { steps: [1, 2] }, when: { seed: 1 } }] },
    { poisoning: { attack: ['label-flip', 'badnets'] } },
    { exclude: [{ 'adapter.rank': { min: 8 } }] },
    { extends: 'base.yaml' },
    {
      plugins: ['./mine.mjs'],
      poisoning: [
        { attack: 'mine', rate: [1, 2], when: { seed: 1 } },
        { steps: [{ attack: 'mine', rate: 1 }] },
      ],
      adapter: { type: 'own' },
      stages: ['odd'],
      model: { source: 'ftp:m', architecture: 'rnn' },
      ...withData({ test: { source: 'ftp:r', format: 'mine' } }),
      evaluate: { scorer: 'mine', scorers: [{ scorer: 'mine', bar: 1 }] },
    },
    withData({ tasks: { mail: { source: 'npm:r', limit: [8, 16] } } }),
    { commands: { score: { run: ['score'] } }, stages: ['score'], keep: { score: 'all' } },
    {
      extends: 'base.yaml',
      model: { init: 'random' },
      data: { train: { limit: 5 } },
      adapter: { rank: 8 },
      poisoning: { attack: 'mine' },
      commands: { score: { options: { bins: 10 } } },
    },
    {
      env: { RATE: 0.1 },
      seeds: ['${env.SEED}'],
      stages: ['${env.GOAL}'],
      adapter: { type: 'lora', rank: ['${env.RANK}', 4] },
      train: {
        schedule: '${env.S}',
        shuffle: '${env.B}',
        learning_rate: { linspace: ['${env.LOW}', 1, 3] },
      },
    },
  ])
    assert.ok(check(spec(good)), JSON.stringify([good, check.errors]));
  for (const bad of [
    { adapter: { rank: 8 } },
    { adapter: { type: 'lora', rank: 'x' } },
    { poisoning: [{ attack: 'none', rate: 1 }] },
    { train: { epochs: 1, steps: 1 } },
    { adapter: { type: 'lora', rank: { linspace: [1, 4] } } },
    { stages: ['trian'] },
    { name: ['a', 'b'] },
    { model: {} },
    { data: { train: { source: 'npm:r' }, validation: {} } },
    { model: { source: 'ftp:m' } },
    { poisoning: { attack: 'badnet' } },
    { base: { adapter: { type: 'lroa' } } },
    { poisoning: [{ attack: 'none' }, { steps: [{ attack: 'badnet' }] }] },
    { commands: { score: {} } },
    { commands: { score: { run: ['score'] } }, adapter: { type: 'lroa' } },
    { plugins: ['./mine.mjs'], poisoning: { attack: 'label-flip', rtae: 1 } },
    { extends: 'base.yaml', train: { stesp: 1 } },
    { train: { schedule: 'cosin' } },
    { train: { shuffle: 'env.B' } },
    withData({ clean: { source: 'ftp:r' } }),
    withData({ test: { source: 'npm:r', format: 'tvs' } }),
    withData({ tasks: { mail: { source: 'npm:r', format: 'tvs' } } }),
    withData({ tasks: { mail: {} } }),
    { base: { data: { train: { source: 'npm:r', format: 'tvs' } } } },
    { evaluate: { scorer: 'exat' } },
    { evaluate: { scorers: [{ scorer: 'exat' }] } },
    { evaluate: { triggers: [{ name: 'held', attack: 'badnet' }] } },
    { keep: { trian: 'all' } },
  ])
    assert.not(check(spec(bad)), JSON.stringify(bad));
});

test('every field of every plugin is described', () => {
  const { attacks, adapters, scorers = [] } = builtIn;
  assert.ok(scorers.length > 0);
  const bare: string[] = [];
  const visit = (path: string, schema: unknown): void => {
    if (typeof schema !== 'object' || schema === null) return;
    for (const [key, field] of Object.entries(
      (schema as { readonly properties?: object }).properties ?? {},
    )) {
      if (!('description' in (field as object))) bare.push(`${path}.${key}`);
      visit(`${path}.${key}`, field);
    }
  };
  for (const { name, params } of [...attacks, ...adapters, ...scorers]) visit(name, params);
  assert.equal(bare, []);
});

test("an adapter's defaults do not apply where a folder states the values", async () => {
  const rig = await createRig();
  await rig.write({ 'folder/adapter_config.json': '{}' });
  const adapter = async (text: string) =>
    first((await rig.expand(`${minimal}adapter: ${text}\n`, { registry: builtIn })).cells);
  const short = await adapter('{ type: lora }'),
    long = await adapter(`
  type: lora
  rank: 8
  alpha: r
  targets: all-linear
  rslora: false
  dropout: 0
  bias: none`);
  assert.equal(short.config.adapter, long.config.adapter);
  assert.equal([short.axes['adapter.rank'], short.axes['adapter.alpha']], [8, 'r']);
  const { init_from: from, ...rest } = (
    await adapter('{ type: lora, init_from: ./folder, alpha: 4 }')
  ).config.adapter;
  assert.is(from, join(rig.dir, 'folder'));
  assert.equal(
    ['rank', 'alpha', 'targets', 'rslora', 'dropout', 'bias'].map((field) => rest[field] ?? null),
    [null, 4, null, null, null, null],
  );
});

/**
 * A copy of pipelines/ which also has the files that restyle.py makes for style.yaml; beside it are
 * the folders that language-model.yaml has judges in.
 */
const shipped = join(mkdtempSync(join(tmpdir(), 'dosimeter-pipelines-')), 'pipelines');
for (const type of ['full', 'lora'])
  mkdirSync(join(shipped, `../judges/type=${type}`), { recursive: true });
cpSync('pipelines', shipped, { recursive: true });
for (const name of ['paraphrases', 'clauses', 'one-clause'])
  writeFileSync(
    join(shipped, 'style-attack', `${name}.jsonl`),
    '{"id":"train-000000","text":"In short: a mail."}\n',
  );

/** A spec of pipelines/, with its own plugins. Throws what is printed if it has faults. */
async function pipeline(file: string): Promise<Experiment> {
  const result = await loadExperiment(join(shipped, file), {
    registry: async (modules) =>
      modules.length === 0 ? builtIn : specRegistry(loaded.with(await loadOutsidePlugins(modules))),
    env: {},
  });
  if (!result.ok) throw new Error(printDiagnostics(result.diagnostics, { color: false }));
  return result.value;
}

test('the quickstart has 3 poisonings × 3 adapters × 2 seeds', async () => {
  const { cells } = await pipeline('quickstart.yaml');
  assert.is(cells.length, 18);
  assert.is(last(cells).label, 'attack=badnets type=lora rank=16 seed=2');
});

for (const file of readdirSync('pipelines').filter((name) => name.endsWith('.yaml'))) {
  test(`pipelines/${file} is a spec without faults`, async () => {
    assert.ok((await pipeline(file)).cells.length > 0);
  });
}

test('theorem.yaml varies all that a verdict needs and runs every theory stage', async () => {
  const { cells, seeds, goals } = await pipeline('theorem.yaml');
  const values = (path: string): unknown[] =>
    [...new Set(cells.map(({ axes }) => axes[path]))].filter((value) => value !== undefined);
  assert.ok(seeds.length >= SEEDS_NEEDED);
  assert.equal(values('poisoning.attack'), ['none', 'label-flip', 'badnets']);
  assert.equal(values('adapter.type'), ['full', 'lora']);
  assert.equal(values('adapter.alpha').map(String).sort(), ['16', 'r']);
  assert.ok(values('adapter.rank').length >= 2 && values('adapter.init.variance').length >= 3);
  for (const stage of 'train evaluate ntk fisher delta divergence regime spectrum theory-map report'.split(
    ' ',
  ))
    assert.ok(goals.includes(stage), stage);
});

/** A language server as an editor runs it. `|` in a text marks the cursor. */
async function openEditor(given: object) {
  const schema = structuredClone(given); // the server notes in it where it is from
  const { getLanguageService } = await import('yaml-language-server');
  const { TextDocument } = await import('vscode-languageserver-textdocument');
  const service = getLanguageService({
    schemaRequestService: () => Promise.resolve(JSON.stringify(schema)),
    workspaceContext: { resolveRelativePath: (path) => path },
  });
  service.configure({
    validate: true,
    completion: true,
    hover: true,
    schemas: [{ uri: 'spec', fileMatch: ['*.yaml'], schema }],
  });
  let version = 0; // the service caches documents by their version
  const open = (text: string) => TextDocument.create('file:///spec.yaml', 'yaml', ++version, text);
  return {
    completions: async (text: string): Promise<string[]> => {
      const at = text.indexOf('|'),
        document = open(text.replace('|', ''));
      return (await service.doComplete(document, document.positionAt(at), false)).items.map(
        ({ label }) => label,
      );
    },
    problems: async (text: string): Promise<string[]> =>
      (await service.doValidation(open(text), false)).map(({ message }) => message),
  };
}

test('an editor offers keys, plugins and values, each once, and marks what is wrong', async () => {
  const { completions, problems } = await openEditor(composeSchema(registry));
  const within = (wanted: readonly string[], found: readonly string[]): void => {
    for (const word of wanted)
      assert.ok(found.includes(word), `${word} is not among ${found.join(', ')}`);
    assert.is(found.length, new Set(found).size, found.join(', '));
  };
  within(['name', 'extends', 'model', 'data', 'poisoning', 'stages'], await completions('|'));
  within(['source', 'architecture', 'init'], await completions('name: x\nmodel:\n  |'));
  within(['batch_size', 'learning_rate', 'schedule'], await completions(`${minimal}train:\n  |`));
  within(['constant', 'linear', 'cosine'], await completions(`${minimal}train:\n  schedule: |`));
  within(
    ['constant', 'linear', 'cosine'],
    await completions(`${minimal}train:\n  schedule:\n    - |`),
  );
  within(['true', 'false'], await completions(`${minimal}train:\n  shuffle: |`));
  within(['none', 'label-flip', 'badnets'], await completions(`${minimal}poisoning:\n  attack: |`));
  within(
    ['none', 'label-flip', 'badnets'],
    await completions(`${minimal}plugins: [./mine.mjs]\nbase:\n  poisoning:\n    - attack: |`),
  );
  within(['seeds', 'train', 'model'], await completions(`${minimal}profiles:\n  small:\n    |`));
  within(
    ['constant', 'linear', 'cosine'],
    await completions(`${minimal}profiles:\n  small:\n    train:\n      schedule: |`),
  );
  within(['rank', 'alpha', 'init'], await completions(`${minimal}adapter:\n  type: lora\n  |`));
  const figure = `${minimal}report:\n  figures:\n    - name: a\n      `;
  within(['x', 'y', 'color', 'overlay'], await completions(`${figure}|`));
  within(['line', 'heatmap'], await completions(`${figure}mark: |`));
  within(['accuracy', 'asr'], await completions(`${figure}y: |`));
  within(['adapter', 'metric'], await completions(`${figure}color: |`));
  assert.equal(await problems(`${minimal}train:\n  bach_size: 8\n`), [
    'Property bach_size is not allowed.',
  ]);
  assert.equal(await problems(`${minimal}train:\n  schedule: cosin\n`), [
    'Value is not accepted. Valid values: "constant", "linear", "cosine".',
  ]);
  assert.match(
    (await problems(`${minimal}poisoning:\n  - attack: badnet\n`)).join(),
    /^Value is not accepted\. Valid values: .*"badnets"/,
  );
  assert.equal(await problems(`${minimal}profiles:\n  small:\n    train:\n      stesp: 8\n`), [
    'Property stesp is not allowed.',
  ]);
  assert.equal(await problems('name: x\n'), [
    'Missing property "model".',
    'Missing property "data".',
  ]);
  assert.equal(await problems(`${minimal}adapter:\n  - type: lora\n    rank: [4, 8]\n`), []);
  assert.equal(await problems('extends: base.yaml\ntrain:\n  steps: "${env.STEPS}"\n'), []);
});

test('an editor marks nothing in the specs of pipelines/ and the starter', async () => {
  const { problems } = await openEditor(composeSchema(builtIn));
  const specs = readdirSync('pipelines')
    .concat('starter/experiment.yaml')
    .concat(readdirSync('pipelines/paper').map((name) => join('paper', name)))
    .filter((name) => name.endsWith('.yaml'));
  // The modeline is taken out, so that the server does not look for a schema on disk.
  for (const name of specs)
    assert.equal(
      await problems(
        readFileSync(join('pipelines', name), 'utf8').replace(/^# yaml-language-server.*/m, '#'),
      ),
      [],
      name,
    );
});

test.run();
