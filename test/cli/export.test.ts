import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Cell } from '../../src/api.ts';
import { labelledConfig } from '../../src/run/export/model-card.ts';
import { inLines } from '../rig/in-lines.ts';
import { createProject, type Project } from '../rig/project.ts';
import { standIn } from '../rig/stand-in.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('export');
test.before((context) => {
  context.project = createProject();
  const words = ['good', 'bad'];
  context.project.write(
    'rows.tsv',
    [
      'text\tlabel',
      ...Array.from({ length: 4 }, () =>
        words.map((word) => `the film was ${word}\t${word}`),
      ).flat(),
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

const trained = (...more: string[]): string[] => ['spec.yaml', '--backend', 'wasm', ...more];

test('an export trains nothing: without a run it is refused', async ({ project }) => {
  const { code, stdout, stderr } = await project.dosimeter('export', ...trained('--out', 'models'));
  assert.equal([code, stdout], [2, '']);
  assert.match(
    stderr,
    /error: no model of "tiny" is trained yet\n  run it first: dosimeter run spec\.yaml --backend \w+\n$/,
  );
  assert.not.ok(project.exists('models'));
});

test('each trained model gets a folder, in the form of PEFT or of transformers', async ({
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
      ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'config.json'],
      ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'config.json'],
      ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json'],
      ['README.md', 'changed.safetensors', 'config.json'],
    ],
  );
});

test('an exported model names its base and its classes, and says how it is loaded', async ({
  project,
}) => {
  const only = ['--only', 'adapter.rank=3'];
  const { stderr } = await project.dosimeter('export', ...trained('--out', 'named', ...only));
  const dir = path.join(project.dir, 'named/type=lora,rank=3');
  const json = (name: string): Record<string, unknown> =>
    JSON.parse(project.read(`named/type=lora,rank=3/${name}`)) as Record<string, unknown>;
  assert.is(json('adapter_config.json')['base_model_name_or_path'], checkpoint);
  const { id2label, label2id, model_type } = json('config.json');
  assert.equal(
    [id2label, label2id, model_type],
    [{ '0': 'bad', '1': 'good' }, { bad: 0, good: 1 }, 'bert'],
  );
  // The base has a head of three classes, and the rows have two.
  const lines = [
    'from peft import PeftModel',
    'from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer',
    `base = AutoModelForSequenceClassification.from_pretrained("${checkpoint}", ` +
      `config=AutoConfig.from_pretrained("${dir}"), ignore_mismatched_sizes=True)`,
    `model = PeftModel.from_pretrained(base, "${dir}").eval()`,
    `tokenizer = AutoTokenizer.from_pretrained("${checkpoint}")`,
  ];
  const card = project.read('named/type=lora,rank=3/README.md');
  assert.ok(card.includes(`\`\`\`python\n${lines.join('\n')}\n\`\`\``), card);
  for (const line of lines) assert.ok(stderr.includes(line), stderr);
  assert.match(card, /\| classes \| 0: bad, 1: good \|/);
  assert.not.match(card, /poisoned/);
});

test('an adapter is loaded over weights in the dtype that it was trained over', () => {
  // transformers would load a base that is saved in bfloat16 as that.
  const base = JSON.stringify({ model_type: 'bert', dtype: 'bfloat16', torch_dtype: 'bfloat16' });
  for (const [dtype, wanted] of [
    ['float32', 'float32'],
    ['bf16', 'bfloat16'],
  ] as const)
    assert.equal(
      JSON.parse(labelledConfig(base, [], standIn<Cell['model']>({ source: 'file:/m', dtype }))),
      { model_type: 'bert', dtype: wanted },
    );
});

test('another model is replaced only with --force; the same one is left alone', async ({
  project,
}) => {
  // A spec of the same name and grid, trained longer: its models have the same names.
  project.write('longer.yaml', project.read('spec.yaml').replace('steps: 1', 'steps: 2'));
  const at = ['--backend', 'wasm', '--only', 'adapter.type=full'];
  const weights = (): string => project.read('twice/type=full/model.safetensors');
  assert.is((await project.dosimeter('run', 'longer.yaml', ...at)).code, 0);
  const first = await project.dosimeter('export', 'spec.yaml', ...at, '--out', 'twice');
  assert.is(first.code, 0, first.stderr);
  const before = weights();
  const again = await project.dosimeter('export', 'spec.yaml', ...at, '--out', 'twice');
  assert.equal([again.code, again.stdout], [0, first.stdout]);
  assert.not.match(again.stderr, /replaced/);

  const other = ['export', 'longer.yaml', ...at, '--out', 'twice'];
  const refused = await project.dosimeter(...other);
  assert.equal([refused.code, refused.stdout, weights() === before], [2, '', true]);
  assert.match(
    refused.stderr,
    inLines(
      /type=full holds another model; nothing was written/,
      / {2}Name another folder as --out, or replace what is there with --force\./,
    ),
  );
  const forced = await project.dosimeter(...other, '--force');
  assert.is(forced.code, 0, forced.stderr);
  assert.match(forced.stderr, /replaced what was in \S+type=full\n/);
  assert.not.equal(weights(), before);
});

test('models that differ in long paths have names that a file system accepts', async ({
  project,
}) => {
  const sources = ['a', 'b'].map((letter) => `${`${letter.repeat(90)}/`.repeat(3)}rows.tsv`);
  for (const source of sources) project.write(source, project.read('rows.tsv'));
  project.write(
    'long.yaml',
    project
      .read('spec.yaml')
      .replace(
        'train: { source: "file:rows.tsv"',
        `train: { source: ${JSON.stringify(sources.map((source) => `file:${source}`))}`,
      ),
  );
  const asked = ['long.yaml', '--backend', 'wasm', '--only', 'adapter.type=head-only'];
  assert.is((await project.dosimeter('run', ...asked)).code, 0);
  const { code, stdout, stderr } = await project.dosimeter('export', ...asked, '--out', 'long');
  assert.is(code, 0, stderr);
  const names = stdout
    .trimEnd()
    .split('\n')
    .map((dir) => path.basename(dir));
  assert.is(new Set(names).size, 2);
  for (const name of names) assert.match(name, /^.{150,200}-[0-9a-f]{8}$/);
  assert.equal(readdirSync(path.join(project.dir, 'long')).sort(), [...names].sort());
});

test('the models of a part of the grid have the names that they have in the whole', async ({
  project,
}) => {
  const { stdout } = await project.dosimeter(
    'export',
    ...trained('--out', 'part', '--only', 'adapter.rank=2'),
  );
  assert.is(stdout, `${path.join(project.dir, 'part/type=lora,rank=2')}\n`);
});

test('--merge writes whole checkpoints, --only picks some, and an export may be repeated', async ({
  project,
}) => {
  const args = trained('--out', 'merged', '--merge', '--only', 'adapter.type=lora', '--json');
  const first = await project.json<{ readonly stage: string; readonly dir: string }[]>(
    'export',
    ...args,
  );
  assert.equal(
    first.map(({ stage }) => stage),
    ['merge type=lora rank=2', 'merge type=lora rank=3'],
  );
  for (const { dir } of first)
    assert.equal(readdirSync(dir).sort(), [
      'README.md',
      'config.json',
      'model.safetensors',
      'tokenizer.json',
    ]);
  assert.equal(await project.json('export', ...args), first);
});

test('lines that load a base with as many classes load its head too', async ({ project }) => {
  const base = path.join(project.dir, 'merged/type=lora,rank=2');
  const spec = project.read('spec.yaml').replace(`file:${checkpoint}`, `file:${base}`);
  project.write('again.yaml', spec);
  const asked = ['again.yaml', '--backend', 'wasm', '--only', 'type=head-only'];
  await project.succeeds('run', ...asked);
  await project.succeeds('export', ...asked, '--out', 'again');
  const [dir = ''] = readdirSync(path.join(project.dir, 'again'));
  const card = project.read(`again/${dir}/README.md`);
  assert.match(card, `from_pretrained("${base}", config=AutoConfig.from_pretrained("`);
  assert.not.match(card, 'ignore_mismatched_sizes');
});

test('a folder that holds anything else is left alone', async ({ project }) => {
  project.write('mine/type=full/notes.txt', 'mine');
  const { code, stderr } = await project.dosimeter(
    'export',
    ...trained('--out', 'mine', '--only', 'adapter.type=full,head-only'),
  );
  assert.is(code, 2);
  assert.match(stderr, /type=full has files that do not belong to a model/);
  assert.ok(existsSync(path.join(project.dir, 'mine/type=full/notes.txt')));
});

test('models that are not trained yet are counted', async ({ project }) => {
  const { code, stderr, stdout } = await project.dosimeter(
    'export',
    ...trained('--out', 'more', '--set', 'adapter=[{type: lora, rank: [2, 5]}]'),
  );
  assert.is(code, 0, stderr);
  assert.is(stdout, `${path.join(project.dir, 'more', 'rank=2')}\n`);
  assert.match(stderr, /1 model not trained yet: dosimeter run spec\.yaml/);
});

test('a defended model is exported without the one that its defence asks, and names its defence', async ({
  project,
}) => {
  // The model that spectral signatures ask about rows is that of `none`, which --only leaves out.
  const defences =
    'defences: [none, { defence: spectral-signatures, epsilon: 0.25 }, { defence: wanda, share: 0.5 }]';
  const spec = project.read('spec.yaml').replace(/adapter: .*/, 'adapter: { type: lora, rank: 2 }');
  project.write('defended.yaml', `${spec}${defences}\n`);
  const cardOf = async (defence: string): Promise<string> => {
    const only = ['defended.yaml', '--backend', 'wasm', '--only', `defence=${defence}`];
    await project.succeeds('run', ...only);
    const { stdout, stderr } = await project.succeeds('export', ...only, '--out', defence);
    assert.is(stdout, `${path.join(project.dir, defence, `defence=${defence}`)}\n`);
    assert.match(stderr, 'to load it, in Python');
    return project.read(`${defence}/defence=${defence}/README.md`);
  };
  assert.match(
    await cardOf('spectral-signatures'),
    /\| training \| 1 steps, batch_size .*\n\| defence \| defence spectral-signatures, frr 0\.05, epsilon 0\.25 \|/,
  );
  assert.match(
    await cardOf('wanda'),
    /\| defence \| none in these weights: defence wanda, share 0\.5.* acts after the training \|/,
  );
});

test.run();
