/**
 * What `export` writes is loaded by the Python lines that it prints, and predicts the classes that
 * `evaluate` wrote.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';
import { python } from './python.ts';

const test = suite<{ project: Project }>('peers/export');
test.before((context) => {
  context.project = createProject();
});

/** In the order of their ids. */
const CLASSES = ['blame', 'praise', 'shrug'];
const FILMS = ['good', 'bad', 'dull', 'fine', 'grim', 'great', 'poor', 'odd'];

interface Loaded {
  readonly labels: { readonly [id: string]: string };
  readonly predicted: readonly string[];
}

/** Runs the block of Python in a model card, and then the model on these texts. */
const load = (card: string, texts: readonly string[]): Promise<Loaded> =>
  python<Loaded>(
    `exec(args['lines'])
import torch
with torch.no_grad():
    logits = model(**tokenizer(args['texts'], padding=True, return_tensors='pt')).logits
names = model.config.id2label
answer({'labels': names, 'predicted': [names[int(i)] for i in logits.argmax(-1)]})`,
    { lines: present(/\`\`\`python\n([^]*?)\`\`\`/.exec(card)![1]), texts },
  );

test('adapters, changed weights and whole models', async ({ project }) => {
  const texts = FILMS.map((word) => `the film was ${word}`);
  const rows = texts.map((text, i) => `${text}\t${present(CLASSES[i % 3])}`);
  project.write('rows.tsv', ['text\tlabel', ...rows].join('\n'));
  project.write(
    'spec.yaml',
    `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
adapter: [{ type: lora, rank: 2, alpha: 2r }, { type: full }, { type: head-only }]
train: { steps: 40, batch_size: 4, max_length: 16, learning_rate: 0.02 }
stages: [train, evaluate]
`,
  );
  const distinct = new Set<string>();
  const predictsAlike = async (spec: string, out: string, classes: string[], more: string[]) => {
    const args = [spec, '--backend', 'cpu', '--json'];
    await project.succeeds('run', ...args);
    const { stages } = await project.json<{
      stages: { kind: string; cell: { 'adapter.type'?: string }; outputs: string }[];
    }>('plan', ...args);
    const models = await project.json<{ dir: string; stage: string }[]>(
      ...['export', ...args, '--out', out, ...more],
    );
    for (const { dir, stage } of models) {
      const type = present(/type=(\S+)/.exec(stage)![1]);
      const evaluated = present(
        stages.find(({ kind, cell }) => kind === 'evaluate' && cell['adapter.type'] === type),
      );
      const [head, ...lines] = readFileSync(path.join(evaluated.outputs, 'predictions.csv'), 'utf8')
        .trim()
        .split('\n');
      const column = present(head).split(',').indexOf('prediction');
      const ours = lines.map((line) => present(classes[Number(line.split(',')[column])]));
      const card = readFileSync(path.join(dir, 'README.md'), 'utf8');
      const { labels, predicted } = await load(card, texts);
      assert.equal(Object.values(labels), classes, stage);
      assert.equal(predicted, ours, stage);
      ours.forEach((name) => distinct.add(name));
    }
  };
  await predictsAlike('spec.yaml', 'models', CLASSES, []);
  await predictsAlike('spec.yaml', 'whole', CLASSES, ['--merge', '--only', 'type=lora']);
  assert.ok(distinct.size > 1, 'a model that predicts one class would match by chance');

  // The head of three classes that the base has is left out under two.
  const two = texts.map((text, i) => `${text}\t${present(CLASSES[i % 2])}`);
  project.write('two.tsv', ['text\tlabel', ...two].join('\n'));
  const base = path.join(project.dir, 'whole/type=lora');
  const spec = project.read('spec.yaml').replace(checkpoint, base).replaceAll('rows.', 'two.');
  project.write('two.yaml', spec.replace('{ type: full }, ', ''));
  distinct.clear();
  await predictsAlike('two.yaml', 'two', CLASSES.slice(0, 2), []);
  assert.is(distinct.size, 2);
});

test('PEFT loads both models of a pair from a zoo, and their weights differ', async ({
  project,
}) => {
  const rows = FILMS.map((word, i) => `the film was ${word}\t${present(CLASSES[i % 3])}`);
  project.write('films.tsv', ['text\tlabel', ...rows, ...rows].join('\n'));
  project.write(
    'zoo.yaml',
    `name: zoo
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:films.tsv" }, validation: { source: "file:films.tsv" } }
poisoning: { attack: badnets, rate: 0.25, target: praise }
adapter: { type: lora, rank: 2 }
train: { steps: 3, max_length: 16, learning_rate: 0.02 }
stages: [train, evaluate]
`,
  );
  await project.succeeds('run', 'zoo.yaml');
  const models = await project.json<{ readonly dir: string }[]>(
    ...['export', 'zoo.yaml', '--zoo', '--out', 'pairs', '--json'],
  );
  assert.is(models.length, 2);
  const norms = await Promise.all(
    models.map(({ dir }) =>
      python<{ readonly norm: number }>(
        `import os
os.chdir(args['zoo'])
exec(args['lines'])
answer({'norm': sum(float(p.square().sum()) for n, p in model.named_parameters() if 'lora_' in n)})`,
        {
          zoo: path.dirname(dir),
          // A card does not name a folder of this machine: its reader fills in where the base is.
          lines: present(
            /\`\`\`python\n([^]*?)\`\`\`/.exec(
              readFileSync(path.join(dir, 'README.md'), 'utf8'),
            )?.[1],
          ).replace('checkpoint = "…"', `checkpoint = ${JSON.stringify(checkpoint)}`),
        },
      ),
    ),
  );
  assert.ok(norms.every(({ norm }) => norm > 0));
  assert.is.not(present(norms[0]).norm, present(norms[1]).norm);
});

test.run();
