/** The examples of pipelines/plugins at work from a spec outside the repository. */
import { cpSync, readdirSync, readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import type { Project } from '../rig/project.ts';
import { createProject } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const folder = fileURLToPath(new URL('../../pipelines/plugins/', import.meta.url));
interface Stage {
  readonly kind: string;
  readonly state: string;
  readonly outputs: string | null;
  readonly cell: { readonly [axis: string]: unknown };
}

const test = suite<{ project: Project; server: Server; requests: string[] }>('plugin examples');
test.before.each(async (context) => {
  const project = (context.project = createProject());
  context.requests = [];
  const rows = Array.from(
    { length: 20 },
    (_, i) =>
      `__label__${i % 2 === 1 ? 'good' : 'bad'} the film number ${i} was ${i % 2 === 1 ? 'very good' : 'rather bad'}\n`,
  ).join('');
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
test.after.each(({ project, server }) => {
  server.close();
  project.clean();
});

const stages = async (
  project: Project,
  spec = 'spec.yaml',
  ...more: readonly string[]
): Promise<readonly Stage[]> =>
  (await project.json<{ stages: Stage[] }>('plan', spec, '--json', ...more)).stages;
const outputs = (all: readonly Stage[], kind: string, file: string): string[] =>
  all
    .filter((stage) => stage.kind === kind)
    .map((stage) => readFileSync(path.join(stage.outputs!, file), 'utf8'));

test('source, data format, attack, model, adapter, stage and executor work together; each is in the key of what it touches', async ({
  project,
  requests,
}) => {
  const run = await project.dosimeter('run', 'spec.yaml', '--executor', 'process');
  assert.is(run.code, 0, run.stderr);
  const all = await stages(project);
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
  assert.equal([info!.classes, info!.rows, provenance!.source.kind], [['bad', 'good'], 20, 'http']);
  const receipt = outputs(all, 'poison', 'receipt.json')
    .map((text) => JSON.parse(text) as Receipt)
    .find(({ attack }) => attack === 'word-dropout')!;
  assert.is(receipt.counts.made, 10);
  assert.ok(
    receipt.rows.every(
      (row) =>
        row.new.label === row.original.label &&
        row.new.text.split(' ').every((word) => row.original.text.includes(word)),
    ),
  );
  // 14 words a row, half of them dropped in half of the rows; and by hand from the rows themselves.
  const [words] = outputs(all, 'length', 'metrics.json').map(
    (text) => JSON.parse(text) as { words_clean: number; words_poisoned: number },
  );
  const count = (of: 'original' | 'new'): number =>
    receipt.rows.reduce((sum, row) => sum + row[of].text.split(/\s+/).length, 0);
  assert.ok(
    Math.abs(words!.words_clean - words!.words_poisoned - (count('original') - count('new')) / 20) <
      1e-12,
  );
  // Half of the tiny BERT's layers; of its parameters the norms and the head.
  const record = JSON.parse(outputs(all, 'train', 'train.json')[0]!) as {
    architecture: string;
    adapter: { type: string };
  };
  assert.equal([record.architecture, record.adapter.type], ['shallow-bert', 'norm-tuning']);
  const config = JSON.parse(readFileSync(path.join(checkpoint, 'config.json'), 'utf8')) as {
    hidden_size: number;
    num_hidden_layers: number;
  };
  const { hidden_size: h, num_hidden_layers: layers } = config;
  const norms = (1 + 2 * Math.ceil(layers / 2)) * 2 * h,
    head = 2 * h + 2;
  assert.is(
    (JSON.parse(outputs(all, 'train', 'metrics.json')[0]!) as { trainable_parameters: number })
      .trainable_parameters,
    norms + head,
  );

  const touched = async (file: string, from: string, to: string): Promise<string[]> => {
    const before = project.read(`plugins/${file}`);
    assert.ok(before.includes(from), file);
    project.write(`plugins/${file}`, before.replace(from, to));
    const kinds = [
      ...new Set(
        (await stages(project)).filter(({ state }) => state !== 'cached').map(({ kind }) => kind),
      ),
    ];
    project.write(`plugins/${file}`, before);
    return kinds;
  };
  assert.equal(await touched('length-stage.mjs', 'sum + value, 0', 'sum + value, 0.5'), [
    'length',
    'report',
  ]);
  assert.equal(await touched('norm-adapter.mjs', '/LayerNorm', '/encoder.*LayerNorm'), [
    'train',
    'evaluate',
    'report',
  ]);
  assert.equal(await touched('shallow-model.mjs', '/ 2)', '/ 3)'), ['train', 'evaluate', 'report']);
  assert.equal(
    await touched('process-executor.mjs', 'SIGTERM', 'SIGKILL'),
    [],
    'an executor is in no key',
  );
});

test('their faults have a place in the spec', async ({ project }) => {
  const missing = await project.dosimeter(
    'run',
    'spec.yaml',
    '--set',
    `data.train.source=${/"(http:[^"]*)rows\.txt/.exec(project.read('spec.yaml'))![1]!}none.txt`,
  );
  assert.is(missing.code, 2);
  assert.match(missing.stderr, /none\.txt answered 404 Not Found\n --> --set:1:/);
  const parameter = await project.dosimeter('plan', 'spec.yaml', '--set', 'poisoning.share=2');
  assert.match(parameter.stderr, /"poisoning\.share" must be a number from 0 to 1, not 2/);
});

test("an attack that changes the loss: the share of its rows is what it says, and its code is in the training's key", async ({
  project,
}) => {
  // The same rows under the ordinary loss: at this rate each draws all that there are.
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
        'poisoning: [{ attack: blended-loss, rate: 0.5, share: [0, 0.5, 1] }, { attack: ordinary, rate: 0.5 }]',
      )
      .replace(/^adapter: .*$/m, 'adapter: { type: lora, rank: 2 }')
      .replace('steps: 2, batch_size: 4', 'steps: 2, batch_size: 20')
      .replace('[train, evaluate, length, report]', '[train, report]'),
  );
  const run = await project.dosimeter('run', 'loss.yaml', '--backend', 'cpu');
  assert.is(run.code, 0, run.stderr);
  const losses = new Map(
    (await stages(project, 'loss.yaml', '--backend', 'cpu'))
      .filter(({ kind }) => kind === 'train')
      .map(({ cell, outputs: dir }) => [
        cell['poisoning.attack'] === 'ordinary' ? 'ordinary' : cell['poisoning.share'],
        (
          JSON.parse(readFileSync(path.join(dir!, 'history.jsonl'), 'utf8').split('\n')[0]!) as {
            loss: number;
          }
        ).loss,
      ]),
  ); // of the first step
  const [others, both, made, ordinary] = [0, 0.5, 1, 'ordinary'].map((share) =>
    losses.get(share)!,
  ) as [number, number, number, number];
  assert.ok(Math.abs(others - made) > 1e-3, `${others} ${made}`);
  assert.ok(
    Math.abs(both - (others + made) / 2) < 1e-6 && Math.abs(both - ordinary) < 1e-6,
    [others, both, made, ordinary].join(' '),
  );
  assert.match(
    readFileSync(run.stdout.trim().split('\n').at(-1)!, 'utf8'),
    'training loss (the attack’s own)',
  );
  project.write(
    'plugins/blended-loss-attack.mjs',
    project
      .read('plugins/blended-loss-attack.mjs')
      .replace('sum + (poisoned[b]', 'sum + 2 * (poisoned[b]'),
  );
  const again = await project.dosimeter(
    'run',
    'loss.yaml',
    '--backend',
    'cpu',
    '--set',
    'stages=[train]',
  );
  assert.is(
    again.stderr.match(/\] train attack=blended-loss share=[\d.]+ +[\d.]+ s/g)?.length,
    3,
    again.stderr,
  );
  assert.not.match(again.stderr, /train attack=ordinary/); // its rows came out the same
});

test("an attack that changes which weights train: the words' embeddings, and the spec is where their faults are", async ({
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
        'base: { adapter: { type: full } }\npoisoning: { attack: word-embeddings, rate: 0.5, words: [cf, mn] }',
      )
      .replace(/^adapter: .*$/m, 'adapter: { type: full }')
      .replace('[train, evaluate, length, report]', '[train]'),
  );
  const run = await project.dosimeter('run', 'weights.yaml', '--backend', 'cpu');
  assert.is(run.code, 0, run.stderr);
  const trained = outputs(
    await stages(project, 'weights.yaml', '--backend', 'cpu'),
    'train',
    'train.json',
  ).map((text) => JSON.parse(text) as { token_rows?: object });
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
    'run',
    'weights.yaml',
    '--backend',
    'cpu',
    '--set',
    'poisoning={attack: word-embeddings, words: [cf, filmed]}',
  );
  assert.is(wrong.code, 2);
  assert.match(
    wrong.stderr,
    /"filmed" is no single token of the model's vocabulary\n --> --set:1:/,
  );
});

test.run();
