/** The examples of pipelines/plugins, used by a spec outside the repository. */
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import { present } from '../rig/present.ts';
import {
  createProject,
  lastLine,
  outputText,
  type Project,
  type StageJson,
} from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const folder = fileURLToPath(new URL('../../pipelines/plugins/', import.meta.url));

const test = suite<{ project: Project; server: Server; requests: string[] }>('plugin examples');
test.before.each(async (context) => {
  const project = (context.project = createProject());
  context.requests = [];
  const rows = Array.from({ length: 20 }, (_, i) => {
    const [label, words] = i % 2 === 1 ? ['good', 'very good'] : ['bad', 'rather bad'];
    return `__label__${label} the film number ${i} was ${words}\n`;
  }).join('');
  context.server = createServer(({ url }, response) => {
    context.requests.push(String(url));
    response.writeHead(url === '/rows.txt' ? 200 : 404).end(rows);
  });
  await new Promise<void>((resolve) => {
    context.server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = context.server.address() as AddressInfo;
  cpSync(folder, path.join(project.dir, 'plugins'), { recursive: true });
  project.write(
    'spec.yaml',
    `name: examples
plugins: [${readdirSync(folder)
      .filter((name) => name.endsWith('.mjs'))
      .map((name) => `./plugins/${name}`)
      .join(', ')}]
model: { source: "file:${checkpoint}", architecture: shallow-bert }
data:
  train: { source: "http://127.0.0.1:${port}/rows.txt", format: fasttext }
  validation: { source: "http://127.0.0.1:${port}/rows.txt", format: fasttext, limit: 8 }
poisoning: { attack: word-dropout, rate: 0.5, share: 0.5 }
adapter: { type: norm-tuning }
train: { steps: 2, batch_size: 4, max_length: 16 }
stages: [train, evaluate, length, report]
`,
  );
});
test.after.each(({ server }) => {
  server.close();
});

/** The text of a file of each stage of a kind. */
const outputs = (all: readonly StageJson[], kind: string, file: string): string[] =>
  all.filter((stage) => stage.kind === kind).map((stage) => outputText(stage, file));
const wasm = ['--backend', 'wasm'];

/** The kinds of stages that run again after this edit of a plugin. The edit is undone. */
async function touchedBy(
  project: Project,
  file: string,
  from: string,
  to: string,
): Promise<string[]> {
  const before = project.read(`plugins/${file}`);
  assert.ok(before.includes(from), file);
  project.write(`plugins/${file}`, before.replace(from, to));
  const missed = (await project.stages('spec.yaml')).filter(({ state }) => state !== 'cached');
  project.write(`plugins/${file}`, before);
  return [...new Set(missed.map(({ kind }) => kind))];
}

/** The number of parameters in the norms of half of the tiny BERT's layers, and in the head. */
function normsAndHead(): number {
  const { hidden_size: h, num_hidden_layers: layers } = JSON.parse(
    readFileSync(path.join(checkpoint, 'config.json'), 'utf8'),
  ) as { hidden_size: number; num_hidden_layers: number };
  return (1 + 2 * Math.ceil(layers / 2)) * 2 * h + 2 * h + 2;
}

test('plugins of every kind work together, and each is in the keys of what it touches', async ({
  project,
  requests,
}) => {
  await project.succeeds('run', 'spec.yaml', '--executor', 'process');
  const all = await project.stages('spec.yaml');
  assert.equal(
    all.filter(({ state }) => state !== 'cached'),
    [],
  );
  assert.equal(requests, ['/rows.txt'], 'fetched once');

  const [info] = outputs(all, 'data', 'dataset.json').map(
    (text) => JSON.parse(text) as { classes: string[]; rows: number },
  );
  const [provenance] = outputs(all, 'data', 'provenance.json').map(
    (text) => JSON.parse(text) as { source: { kind: string } },
  );
  assert.equal([info?.classes, info?.rows, provenance?.source.kind], [['bad', 'good'], 20, 'http']);
  const receipt = present(
    outputs(all, 'poison', 'receipt.json')
      .map((text) => JSON.parse(text) as Receipt)
      .find(({ attack }) => attack === 'word-dropout'),
  );
  assert.is(receipt.counts.made, 10);
  assert.ok(
    receipt.rows.every(
      (row) =>
        row.new.label === row.original.label &&
        row.new.text.split(' ').every((word) => row.original.text.includes(word)),
    ),
  );
  // The stage's counts of words, against those of the receipt.
  const words = JSON.parse(present(outputs(all, 'length', 'metrics.json')[0])) as {
    words_clean: number;
    words_poisoned: number;
  };
  const count = (of: 'original' | 'new'): number =>
    receipt.rows.reduce((sum, row) => sum + row[of].text.split(/\s+/).length, 0);
  assert.ok(
    Math.abs(words.words_clean - words.words_poisoned - (count('original') - count('new')) / 20) <
      1e-12,
  );
  const record = JSON.parse(present(outputs(all, 'train', 'train.json')[0])) as {
    architecture: string;
    adapter: { type: string };
  };
  assert.equal([record.architecture, record.adapter.type], ['shallow-bert', 'norm-tuning']);
  const metrics = JSON.parse(present(outputs(all, 'train', 'metrics.json')[0])) as {
    trainable_parameters: number;
  };
  assert.is(metrics.trainable_parameters, normsAndHead());

  assert.equal(await touchedBy(project, 'length-stage.mjs', 'sum + value, 0', 'sum + value, 0.5'), [
    'length',
    'report',
  ]);
  assert.equal(await touchedBy(project, 'norm-adapter.mjs', '/LayerNorm', '/encoder.*LayerNorm'), [
    'train',
    'evaluate',
    'report',
  ]);
  assert.equal(await touchedBy(project, 'shallow-model.mjs', '/ 2)', '/ 3)'), [
    'train',
    'evaluate',
    'report',
  ]);
  assert.equal(
    await touchedBy(project, 'process-executor.mjs', 'SIGTERM', 'SIGKILL'),
    [],
    'an executor is in no key',
  );
});

test('faults that plugins find have a place in the spec', async ({ project }) => {
  const served = present(/"(http:[^"]*)rows\.txt/.exec(project.read('spec.yaml'))?.[1]);
  const missing = await project.dosimeter(
    ...['run', 'spec.yaml', '--set', `data.train.source=${served}none.txt`],
  );
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /none\.txt answered 404 Not Found\n --> --set:1:/);
  const parameter = await project.dosimeter('plan', 'spec.yaml', '--set', 'poisoning.share=2');
  assert.match(parameter.stderr, /"poisoning\.share" must be a number from 0 to 1, not 2/);
});

test("an attack can change the loss, and its code is then in the training's key", async ({
  project,
}) => {
  // An attack that poisons the same rows under the ordinary loss. At this rate both attacks draw
  // every row.
  project.write(
    'ordinary.mjs',
    `import blended from './plugins/blended-loss-attack.mjs';
const { training, ...rows } = blended;
export default { ...rows, name: 'ordinary' };
`,
  );
  project.write(
    'loss.yaml',
    project
      .read('spec.yaml')
      .replace('plugins: [', 'plugins: [./ordinary.mjs, ')
      .replace(', architecture: shallow-bert', '')
      .replace(
        /^poisoning: .*$/m,
        `poisoning:
  - { attack: blended-loss, rate: 0.5, share: [0, 0.5, 1] }
  - { attack: ordinary, rate: 0.5 }`,
      )
      .replace(/^adapter: .*$/m, 'adapter: { type: lora, rank: 2 }')
      .replace('steps: 2, batch_size: 4', 'steps: 2, batch_size: 20')
      .replace('[train, evaluate, length, report]', '[train, report]'),
  );
  const run = await project.succeeds('run', 'loss.yaml', ...wasm);
  const trainings = (await project.stages('loss.yaml', ...wasm)).filter(
    ({ kind }) => kind === 'train',
  );
  const firstLoss = (which: (cell: StageJson['cell']) => boolean): number => {
    const history = outputText(present(trainings.find(({ cell }) => which(cell))), 'history.jsonl');
    return (JSON.parse(history.slice(0, history.indexOf('\n'))) as { loss: number }).loss;
  };
  const [others, both, made] = ([0, 0.5, 1] as const).map((share) =>
    firstLoss((cell) => cell['poisoning.share'] === share),
  ) as [number, number, number];
  const ordinary = firstLoss((cell) => cell['poisoning.attack'] === 'ordinary');
  assert.ok(Math.abs(others - made) > 1e-3, `${others} ${made}`);
  assert.ok(
    Math.abs(both - (others + made) / 2) < 1e-6 && Math.abs(both - ordinary) < 1e-6,
    [others, both, made, ordinary].join(' '),
  );
  assert.match(readFileSync(lastLine(run.stdout), 'utf8'), 'training loss (the attack’s own)');
  project.write(
    'plugins/blended-loss-attack.mjs',
    project
      .read('plugins/blended-loss-attack.mjs')
      .replace('sum + (poisoned[b]', 'sum + 2 * (poisoned[b]'),
  );
  const again = await project.dosimeter(
    ...['run', 'loss.yaml', ...wasm, '--set', 'stages=[train]'],
  );
  assert.is(
    again.stderr.match(/\] train attack=blended-loss share=[\d.]+ +[\d.]+ s/g)?.length,
    3,
    again.stderr,
  );
  assert.not.match(again.stderr, /train attack=ordinary/); // its rows came out the same
});

test('an attack can change which weights train, and its faults have a place in the spec', async ({
  project,
}) => {
  project.write(
    'weights.yaml',
    project
      .read('spec.yaml')
      .replace(', architecture: shallow-bert', '')
      .replace('steps: 2', 'steps: 1')
      .replace(
        /^poisoning: .*$/m,
        `base: { adapter: { type: full } }
poisoning: { attack: word-embeddings, rate: 0.5, words: [cf, mn] }`,
      )
      .replace(/^adapter: .*$/m, 'adapter: { type: full }')
      .replace('[train, evaluate, length, report]', '[train]'),
  );
  await project.succeeds('run', 'weights.yaml', ...wasm);
  const planned = await project.stages('weights.yaml', ...wasm);
  const trained = outputs(planned, 'train', 'train.json').map(
    (text) => JSON.parse(text) as { token_rows?: object },
  );
  const tokens = Object.entries(
    (
      JSON.parse(readFileSync(path.join(checkpoint, 'tokenizer.json'), 'utf8')) as {
        model: { vocab: { [token: string]: number } };
      }
    ).model.vocab,
  );
  assert.equal(
    trained.map((record) => record.token_rows).filter((rows) => rows !== undefined),
    [Object.fromEntries(tokens.filter(([token]) => token === 'cf' || token === 'mn'))],
  );
  const wrong = await project.dosimeter(
    ...['run', 'weights.yaml', ...wasm],
    ...['--set', 'poisoning={attack: word-embeddings, words: [cf, filmed]}'],
  );
  assert.is(wrong.code, 2);
  assert.match(
    wrong.stderr,
    /"filmed" is no single token of the model's vocabulary\n --> --set:1:/,
  );
});

test.run();
