import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, writeToys } from '../rig/project.ts';

interface Diff {
  readonly fields: readonly unknown[];
  readonly rows: readonly {
    readonly cell: { readonly [path: string]: unknown };
    readonly seed: number;
    readonly stage: string;
    readonly metric: string;
    readonly a: number | null;
    readonly b: number | null;
    readonly difference: number | null;
  }[];
}

const test = suite('diff and drawn plans');

test('diff sets two specs side by side, and plan draws Mermaid and DOT', async () => {
  const project = createProject();
  writeToys(project, { poisoning: '[{ attack: none }]' });
  project.write(
    'b.yaml',
    project
      .read('spec.yaml')
      .replace('{ attack: none }', '{ attack: none }, { attack: label-flip, rate: 0.3 }')
      .replace('name: toys', 'name: more'),
  );
  const ready = await project.dosimeter('plan', 'spec.yaml', '--mermaid');
  assert.is(ready.code, 0, ready.stderr);
  assert.match(ready.stdout, /^flowchart LR\n {2}s0\["toy-train seed=1 #183; ready"\]:::ready\n/);
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  assert.match(
    (await project.dosimeter('plan', 'spec.yaml', '--dot')).stdout,
    /^digraph "toys" \{\n[^]*\[label="toy-report \(cached\)"[^]*\}\n$/,
  );

  const early = await project.dosimeter('diff', 'spec.yaml', 'b.yaml');
  assert.match(early.stderr, /^b\.yaml: \d+ goal stages? not run yet: dosimeter run b\.yaml\n$/);
  assert.is((await project.dosimeter('run', 'b.yaml')).code, 0);
  const { fields, rows } = await project.json<Diff>('diff', 'spec.yaml', 'b.yaml', '--json');
  assert.equal(fields[0], { path: 'name', a: 'toys', b: 'more' });
  // There are two seeds, each with train's steps and evaluate's accuracy. Half of B's numbers
  // have no match in A.
  assert.equal(
    rows
      .filter(({ difference }) => difference !== null)
      .map(({ a, difference }) => [a, difference]),
    [
      [7, 0],
      [0.99, 0],
      [7, 0],
      [0.98, 0],
    ],
  );
  assert.equal(
    rows
      .filter(({ a, metric }) => a === null && metric === 'accuracy')
      .map(({ cell, seed, b }) => [cell['poisoning.rate'], seed, b]),
    [
      [0.3, 1, 0.69],
      [0.3, 2, 0.6799999999999999],
    ],
  );
  const said = await project.dosimeter('diff', 'spec.yaml', 'b.yaml');
  assert.match(said.stdout, /^none +toy-evaluate +accuracy +0\.985 +0\.985 +0 +all equal +2$/m);
  assert.match(
    said.stdout,
    /^label-flip +toy-evaluate +accuracy +– +0\.685 +– +0 \(2 of one side only\)$/m,
  );
  const one = await project.succeeds('diff', 'spec.yaml', 'b.yaml', '--metric', '*accuracy');
  assert.equal(
    one.stdout.split('\n').flatMap((line) => / (accuracy|steps) /.exec(line)?.[1] ?? []),
    ['accuracy', 'accuracy'],
  );
  const wrong = await project.dosimeter('diff', 'spec.yaml', 'b.yaml', '--metric', 'acuracy');
  assert.is(wrong.code, 2);
  assert.match(
    wrong.stderr,
    /no finished stage has a metric "acuracy"\n {2}did you mean accuracy\?/,
  );

  project.write('c.yaml', project.read('b.yaml').replace('[{ attack: none }, ', '['));
  project.write('d.yaml', project.read('c.yaml').replace('rate: 0.3', 'rate: 0.4'));
  assert.is((await project.dosimeter('run', 'd.yaml')).code, 0);
  const apart = await project.succeeds('diff', 'c.yaml', 'd.yaml');
  assert.match(apart.stdout, /^poisoning\.0\.rate {2}0\.3 → 0\.4$/m);
  assert.match(apart.stderr, /: those that are most alike differ in\s+poisoning\.rate\. A spec/);
  assert.not.match(said.stderr, 'no cells are compared');

  const other = project.read('d.yaml').replace('label-flip, ', 'badnets, target: 1, ');
  project.write('e.yaml', other);
  assert.is((await project.dosimeter('run', 'e.yaml')).code, 0);
  const further = await project.succeeds('diff', 'c.yaml', 'e.yaml');
  assert.match(further.stderr, /differ in\s+poisoning\.attack\s+and\s+poisoning\.rate\. A/);

  const both = await project.dosimeter('plan', 'spec.yaml', '--dot', '--json');
  assert.equal([both.code, both.stdout], [2, '']);
  assert.is((await project.dosimeter('diff', 'spec.yaml')).code, 2);
});

test.run();
