/** A condition that a spec states in two ways has one training, one row, and both names. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { filmRows } from '../rig/films.ts';
import { createProject, lastLine, type Project, type ResultJson } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('names of a condition');
test.before((context) => {
  const project = (context.project = createProject());
  project.write('rows.tsv', filmRows(12));
  const spec = (alpha: string): string => `name: names
seeds: [1, 2]
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning: [{ attack: none }, { attack: label-flip, rate: 0.2 }]
adapter: { type: lora, rank: [2, 3], alpha: ${alpha} }
train: { steps: 2, max_length: 8 }
stages: [train, evaluate, report]
`;
  project.write('spec.yaml', spec('[r, 3]'));
  project.write('number.yaml', spec('3'));
});

const wasm = ['--backend', 'wasm'];

test('a cell with two names is trained, counted and reported once, under both names', async ({
  project,
}) => {
  const stages = await project.stages('spec.yaml', ...wasm);
  const count = (kind: string): number => stages.filter((stage) => stage.kind === kind).length;
  // (r = 2: α = 2 and 3; r = 3: α = 3) × two poisonings × two seeds. The clean cells are the twins.
  assert.equal([count('train'), count('evaluate')], [12, 12]);

  const { stderr, stdout } = await project.succeeds('run', 'spec.yaml', ...wasm);
  assert.match(
    stderr,
    /rank=3 alpha=r is also attack=none rank=3 alpha=3: one condition, trained and counted once\n/,
  );
  const rows = await project.results('spec.yaml', ...wasm);
  const accuracies = rows.filter(
    ({ stage, metric }) => stage === 'evaluate' && metric === 'accuracy',
  );
  assert.is(accuracies.length, 12);
  assert.equal(
    accuracies.flatMap(({ cell, also = [], seed }) =>
      also.map((other) => [
        cell['poisoning.attack'],
        cell['adapter.rank'],
        cell['adapter.alpha'],
        other['adapter.alpha'],
        seed,
      ]),
    ),
    [
      ['none', 3, 'r', 3, 1],
      ['none', 3, 'r', 3, 2],
      ['label-flip', 3, 'r', 3, 1],
      ['label-flip', 3, 'r', 3, 2],
    ],
  );
  const people = await project.dosimeter('results', 'spec.yaml', ...wasm);
  assert.match(people.stdout, /label-flip +3 +r = 3 +2 +[01]\./);
  const latex = async (...args: readonly string[]): Promise<string> =>
    (await project.dosimeter('results', 'spec.yaml', ...wasm, '--latex', ...args)).stdout;
  assert.match(await latex(), / & \$3\$ & r = \$3\$ & \$[01]\./);
  const across = await latex('--metric', 'accuracy', '--columns', 'alpha');
  assert.match(
    across,
    /label-flip & \$2\$ & (\$[^&]*) & (\$[^&]*) \\\\\n +& \$3\$ & (\$[^&]*) & \3 \\\\\n/,
  );
  const csv = await project.dosimeter('results', 'spec.yaml', ...wasm, '--csv');
  assert.is(csv.stdout.match(/,r = 3,.*,evaluate,accuracy,/g)?.length, 4);

  const report = readFileSync(path.resolve(project.dir, lastLine(stdout)), 'utf8');
  assert.match(report, /LoRA r = 3, α = r = 3/);
});

test('a spec with one of the names finds the same trainings, and diff matches them', async ({
  project,
}) => {
  const stages = await project.stages('number.yaml', ...wasm);
  assert.ok(
    stages.filter(({ kind }) => kind === 'train').every(({ state }) => state === 'cached'),
    JSON.stringify(stages),
  );
  const { rows } = await project.json<{
    readonly rows: readonly {
      readonly cell: ResultJson['cell'];
      readonly metric: string;
      readonly difference: unknown;
    }[];
  }>('diff', 'spec.yaml', 'number.yaml', ...wasm, '--json');
  // A cell's second name does not add a line.
  assert.is(rows.filter(({ metric }) => metric === 'accuracy').length, 12);
  const same = rows.filter(
    ({ cell, metric }) => metric === 'accuracy' && cell['adapter.alpha'] === 3,
  );
  assert.is(same.length, 8, JSON.stringify(rows.slice(0, 3)));
  assert.ok(same.every(({ difference }) => difference === 0));
});

test.run();
