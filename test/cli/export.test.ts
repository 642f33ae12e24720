import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkpoint } from '../science/tiny-bert.ts';
import { createProject } from '../rig/project.ts';
import type { Project } from '../rig/project.ts';

const test = suite<{ project: Project }>('export');
test.before((context) => {
  context.project = createProject();
  const words = ['good', 'bad'];
  context.project.write(
    'rows.tsv',
    [
      'text\tlabel',
      ...Array.from({ length: 8 }, (_, i) => `the film was ${words[i % 2]!}\t${i % 2}`),
    ].join('\n'),
  );
  context.project.write(
    'spec.yaml',
    `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
adapter: [{ type: lora, rank: [2, 3] }, { type: full }, { type: head-only }]
train: { steps: 1, max_length: 8 }
stages: [train]
`,
  );
});
test.after(({ project }) => project.clean());

const trained = (...more: string[]): string[] => ['spec.yaml', '--backend', 'cpu', ...more];

test('nothing is trained for an export: without a run there is none', async ({ project }) => {
  const { code, stdout, stderr } = await project.dosimeter('export', ...trained('--out', 'models'));
  assert.equal([code, stdout], [2, '']);
  assert.match(
    stderr,
    /error: no model of "tiny" is trained yet\n  run it first: dosimeter run spec\.yaml\n$/,
  );
  assert.not.ok(project.exists('models'));
});

test('each trained model goes to a folder of its own: adapters as PEFT has them, checkpoints as transformers has them', async ({
  project,
}) => {
  assert.is((await project.dosimeter('run', ...trained())).code, 0);
  const { code, stdout } = await project.dosimeter('export', ...trained('--out', 'models'));
  assert.is(code, 0);
  const names = ['type=lora,rank=2', 'type=lora,rank=3', 'type=full', 'type=head-only'];
  assert.equal(
    stdout.trimEnd().split('\n'),
    names.map((name) => path.join(project.dir, 'models', name)),
  );
  assert.equal(
    names.map((name) => readdirSync(path.join(project.dir, 'models', name)).sort()),
    [
      ['adapter_config.json', 'adapter_model.safetensors'],
      ['adapter_config.json', 'adapter_model.safetensors'],
      ['config.json', 'model.safetensors', 'tokenizer.json'],
      ['changed.safetensors'],
    ],
  );
});

test('--merge makes whole checkpoints of them, --only picks some, and an export may be repeated', async ({
  project,
}) => {
  const args = trained('--out', 'merged', '--merge', '--only', 'adapter.type=lora', '--json');
  const first = await project.json<{ readonly stage: string; readonly dir: string }[]>(
    'export',
    ...args,
  );
  assert.equal(
    first.map(({ stage }) => stage),
    ['merge rank=2', 'merge rank=3'],
  );
  for (const { dir } of first)
    assert.equal(readdirSync(dir).sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
  assert.equal(await project.json('export', ...args), first);
});

test('a folder that holds anything else is left alone', async ({ project }) => {
  project.write('mine/type=full/notes.txt', 'mine');
  const { code, stderr } = await project.dosimeter(
    'export',
    ...trained('--out', 'mine', '--only', 'adapter.type=full,head-only'),
  );
  assert.is(code, 2);
  assert.match(stderr, /type=full holds other files than a model's/);
  assert.ok(existsSync(path.join(project.dir, 'mine/type=full/notes.txt')));
});

test('what is not trained is counted', async ({ project }) => {
  const { code, stderr, stdout } = await project.dosimeter(
    'export',
    ...trained('--out', 'more', '--set', 'adapter=[{type: lora, rank: [2, 5]}]'),
  );
  assert.is(code, 0, stderr);
  assert.is(stdout, `${path.join(project.dir, 'more', 'rank=2')}\n`);
  assert.match(stderr, /1 model not trained yet: dosimeter run spec\.yaml/);
});

test.run();
