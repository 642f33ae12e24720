/**
 * Executors are in no key, so the example executor makes what the local one makes. Also tests
 * `dosimeter exec`.
 */
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inLines } from '../rig/in-lines.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project, writeToys } from '../rig/project.ts';

const test = suite<{ project: Project }>('executors and exec');
const example = fileURLToPath(
  new URL('../../pipelines/plugins/process-executor.mjs', import.meta.url),
);

test.before.each((context) => {
  const project = (context.project = createProject());
  writeToys(project, {
    seeds: [1],
    poisoning: '[{ attack: none }, { attack: label-flip, rate: 0.3 }]',
  });
  copyFileSync(example, path.join(project.dir, 'process-executor.mjs'));
  project.write(
    'spec.yaml',
    project
      .read('spec.yaml')
      .replace('[./toy-train.mjs', '[./process-executor.mjs, ./toy-train.mjs'),
  );
});

interface Manifest {
  readonly content: string;
  readonly facts: { readonly executor: string };
}
/** The content of each key, and the names of the executors that made them. */
function stored(
  project: Project,
  store: string,
): {
  readonly contents: { readonly [key: string]: string };
  readonly executors: ReadonlySet<string>;
} {
  const contents: { [key: string]: string } = {},
    executors = new Set<string>();
  const root = path.join(project.dir, store);
  for (const shard of readdirSync(root).filter((name) => /^[0-9a-f]{2}$/.test(name))) {
    for (const key of readdirSync(path.join(root, shard))) {
      const { content, facts } = JSON.parse(
        readFileSync(path.join(root, shard, key, 'manifest.json'), 'utf8'),
      ) as Manifest;
      contents[key] = content;
      executors.add(facts.executor);
    }
  }
  return { contents, executors };
}

test('an outside executor makes the same entries under the same keys', async ({ project }) => {
  const here = await project.dosimeter('run', 'spec.yaml', '--store', 'here');
  assert.is(here.code, 0, here.stderr);
  const there = await project.dosimeter(
    ...['run', 'spec.yaml', '--store', 'there', '--executor', 'process'],
  );
  assert.is(there.code, 0, there.stderr);
  const [a, b] = [stored(project, 'here'), stored(project, 'there')];
  assert.is(Object.keys(a.contents).length, 5);
  assert.equal(b.contents, a.contents);
  assert.equal([[...a.executors], [...b.executors]], [['local'], ['process']]);
  assert.match(
    (await project.dosimeter('run', 'spec.yaml', '--store', 'here', '--executor', 'process'))
      .stderr,
    /^nothing to do: 5 stages cached/,
  );
});

test('a run that its executor refuses leaves no run behind', async ({ project }) => {
  const nowhere = { PATH: path.join(project.dir, 'nowhere') };
  const command = ['spec.yaml', '--executor', 'slurm'] as const;
  const refused = await project.dosimeterWith(nowhere, 'run', ...command);
  assert.is(refused.code, 2);
  assert.match(refused.stderr, 'there is no sbatch on this machine');
  assert.equal(readdirSync(path.join(project.dir, '.dosimeter/runs')), []);
  assert.match((await project.dosimeter('status')).stderr, 'nothing has run here yet');
  const planned = await project.succeeds('plan', ...command);
  assert.match(planned.stdout, /^toy-report +1 +1 +30 min /m);
  assert.match(planned.stdout, '`time` in slurm.yaml sets their time limit');
});

test('a job that fails elsewhere is reported like one that fails here', async ({ project }) => {
  project.write('toy.json', JSON.stringify({ 1: 'fault' }));
  const said = await project.dosimeter('run', 'spec.yaml', '--executor', 'process');
  assert.is(said.code, 1);
  assert.match(
    said.stderr,
    inLines(
      /first failure: toy-train .*: the loss is NaN at step 7; the last finite one was 0\.3/,
      / {2}lower the learning rate/,
    ),
  );
  project.write('toy.json', JSON.stringify({ 1: 'exit' }));
  assert.match(
    (await project.dosimeter('run', 'spec.yaml', '--executor', 'process')).stderr,
    /its process ended without reporting a result \(exit code 3\)/,
  );
  const unknown = await project.dosimeter('run', 'spec.yaml', '--executor', 'proces');
  assert.is(unknown.code, 2);
  assert.is(unknown.stderr, 'error: there is no executor "proces"\n  did you mean "process"?\n');
});

test('exec runs one stage in its own folder, and compares its files with the store', async ({
  project,
}) => {
  assert.match(
    (await project.dosimeter('exec', 'spec.yaml', 'toy-report')).stderr,
    /toy-report.* done in /,
  );
  const early = await project.dosimeter('exec', 'spec.yaml', 'toy-evaluate');
  assert.is(early.code, 2);
  assert.match(
    early.stderr,
    inLines(
      /^error: "toy-evaluate" matches 2 stages of this plan/,
      / {2}which one\? toy-evaluate-\w+ \(toy-evaluate attack=none\), toy-evaluate-\w+ \(/,
    ),
  );
  const stages = await project.stages('spec.yaml');
  const { id } = present(
    stages.find(({ kind, cell }) => kind === 'toy-evaluate' && cell['poisoning.attack'] === 'none'),
  );
  assert.match(
    (await project.dosimeter('exec', 'spec.yaml', id)).stderr,
    /^error: its input "model" \(toy-train-\w+\) is not in the store\n {2}dosimeter run makes it\n$/,
  );

  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
  const entries = project.entries().length;
  const again = await project.dosimeter('exec', 'spec.yaml', id);
  assert.is(again.code, 0, again.stderr);
  assert.match(again.stderr, /the same files as in the store/);
  assert.is(again.stdout, `${path.join(project.dir, '.dosimeter', 'exec', id)}\n`);
  assert.equal(readdirSync(again.stdout.trim()), ['metrics.json']);
  const facts = await project.json<{
    stage: string;
    state: string;
    outputs: string;
    files: { path: string }[];
    stored: { same: boolean; differs: string[] };
  }>('exec', 'spec.yaml', id, '--out', 'mine', '--json');
  assert.equal(
    [
      facts.stage,
      facts.state,
      facts.outputs,
      facts.files.map((file) => file.path),
      facts.stored.same,
    ],
    [id, 'done', path.join(project.dir, 'mine'), ['metrics.json'], true],
  );
  assert.is(
    (await project.dosimeter('exec', 'spec.yaml', id, '--out', 'mine')).code,
    2,
    'a folder with files in it is not touched',
  );
  assert.is(project.entries().length, entries, 'the store is only read');
});

test('exec shows the stack of a plugin that throws', async ({ project }) => {
  project.write('toy.json', JSON.stringify({ 1: 'throw' }));
  const stages = await project.stages('spec.yaml');
  const { id } = present(stages.find(({ kind }) => kind === 'toy-train'));
  const said = await project.dosimeter('exec', 'spec.yaml', id);
  assert.is(said.code, 1);
  assert.match(said.stderr, /failed: Error: no training today\n\s+at .*toy-train/);
});

test.run();
