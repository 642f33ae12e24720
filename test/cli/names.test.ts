/** One condition that a spec writes in two ways: one training, one row, both names. By the command line. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Project } from '../rig/project.ts';
import { createProject } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('names of a condition');
test.before((context) => {
  const project = (context.project = createProject());
  project.write(
    'rows.tsv',
    [
      'text\tlabel',
      ...Array.from(
        { length: 12 },
        (_, i) => `the film was ${['good', 'bad'][i % 2]!} ${'very '.repeat(i % 3)}\t${i % 2}`,
      ),
    ].join('\n'),
  );
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
test.after(({ project }) => project.clean());

interface Row {
  readonly cell: { readonly [axis: string]: unknown };
  readonly also?: readonly { readonly [axis: string]: unknown }[];
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
}
const cpu = ['--backend', 'cpu'];

test('it is trained, counted and reported once, and both names are told', async ({ project }) => {
  const { stages } = await project.json<{
    readonly stages: readonly { readonly kind: string; readonly key: string | null }[];
  }>('plan', 'spec.yaml', ...cpu, '--json');
  const count = (kind: string): number => stages.filter((stage) => stage.kind === kind).length;
  // (r = 2: α = 2 and 3; r = 3: α = 3) × two poisonings × two seeds; the clean cells' evaluations are the twins' too.
  assert.equal([count('train'), count('evaluate')], [12, 12]);

  const { code, stderr, stdout } = await project.dosimeter('run', 'spec.yaml', ...cpu);
  assert.is(code, 0, stderr);
  assert.match(
    stderr,
    /rank=3 alpha=r is also attack=none rank=3 alpha=3: one condition, trained and counted once\n/,
  );
  const rows = await project.json<readonly Row[]>('results', 'spec.yaml', ...cpu, '--json');
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
  const people = await project.dosimeter('results', 'spec.yaml', ...cpu);
  assert.match(people.stdout, /label-flip +3 +r = 3 +2 +[01]\./);
  const latex = async (...args: readonly string[]): Promise<string> =>
    (await project.dosimeter('results', 'spec.yaml', ...cpu, '--latex', ...args)).stdout;
  assert.match(await latex(), / & \$3\$ & r = \$3\$ & \$[01]\./);
  const across = await latex('--metric', 'accuracy', '--columns', 'alpha');
  assert.match(
    across,
    /label-flip & \$2\$ & (\$[^&]*) & (\$[^&]*) \\\\\n +& \$3\$ & (\$[^&]*) & \3 \\\\\n/,
  );
  const csv = await project.dosimeter('results', 'spec.yaml', ...cpu, '--csv');
  assert.is(csv.stdout.match(/,r = 3,.*,evaluate,accuracy,/g)!.length, 4);

  const report = readFileSync(
    path.resolve(project.dir, stdout.trimEnd().split('\n').at(-1)!),
    'utf8',
  );
  assert.match(report, /LoRA r = 3, α = r = 3/);
});

test('a spec with one of the names finds the same trainings, and diff matches them', async ({
  project,
}) => {
  const { stages } = await project.json<{
    readonly stages: readonly { readonly kind: string; readonly state: string }[];
  }>('plan', 'number.yaml', ...cpu, '--json');
  assert.ok(
    stages.filter(({ kind }) => kind === 'train').every(({ state }) => state === 'cached'),
    JSON.stringify(stages),
  );
  const { rows } = await project.json<{
    readonly rows: readonly {
      readonly cell: Row['cell'];
      readonly metric: string;
      readonly difference: unknown;
    }[];
  }>('diff', 'spec.yaml', 'number.yaml', ...cpu, '--json');
  assert.is(rows.filter(({ metric }) => metric === 'accuracy').length, 12); // a cell's second name is no second line
  const same = rows.filter(
    ({ cell, metric }) => metric === 'accuracy' && cell['adapter.alpha'] === 3,
  );
  assert.is(same.length, 8, JSON.stringify(rows.slice(0, 3)));
  assert.ok(same.every(({ difference }) => difference === 0));
});

test.run();
