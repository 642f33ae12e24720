/** Arguments that are wrong, and commands that need no spec. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project, writeToys } from '../rig/project.ts';

const test = suite<{ project: Project }>('arguments');
test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
});

for (const [what, args, message] of [
  ['an unknown command', ['rnu', 'spec.yaml'], /unknown command 'rnu'\n\(Did you mean run\?\)/],
  [
    'an unknown option',
    ['run', 'spec.yaml', '--job', '2'],
    /unknown option '--job'\n\(Did you mean --jobs\?\)/,
  ],
  ['a missing spec', ['run', 'spek.yaml'], /spek\.yaml/],
  ['no spec', ['run'], /missing required argument 'spec'/],
  [
    'an unknown backend',
    ['run', 'spec.yaml', '--backend', 'cuda'],
    /Allowed choices are tensorflow, wasm, cpu, torch/,
  ],
  [
    'jobs that are not a number',
    ['run', 'spec.yaml', '--jobs', 'all'],
    /--jobs takes a whole number/,
  ],
  ['an unknown field', ['run', 'spec.yaml', '--set', 'train.step=3'], /step/],
  ['an unknown stage', ['plan', 'spec.yaml', '--set', 'stages=[toy-trian]'], /toy-train/],
] as const) {
  test(`${what}: exit code 2, no stack, nothing run`, async ({ project }) => {
    const said = await project.dosimeter(...args);
    assert.is(said.code, 2, said.stderr);
    assert.match(said.stderr, message);
    assert.not.match(said.stderr, /^\s+at /m);
    assert.is(said.stdout, '');
    assert.not.ok(project.exists('.dosimeter'));
  });
}

test('a missing file is reported before anything runs', async ({ project }) => {
  project.write(
    'spec.yaml',
    project.read('spec.yaml').replaceAll('file:rows.tsv', 'file:rowz.tsv'),
  );
  const said = await project.dosimeter('run', 'spec.yaml');
  assert.is(said.code, 2, said.stderr);
  assert.match(said.stderr, /spec\.yaml:\d+:\d+/);
  assert.match(said.stderr, /rowz\.tsv/);
  assert.is(project.lines('ran.log').length, 0);
});

test('every command that --help lists is found by its name', async ({ project }) => {
  const { stdout } = await project.dosimeter('--help');
  const listed = stdout.slice(stdout.indexOf('Commands:')).matchAll(/^ {2}([a-z-]+)/gm);
  const names = [...listed].map(([, name = '']) => name).filter((name) => name !== 'help');
  assert.ok(names.length > 20);
  for (const name of names) {
    const help = await project.dosimeter(name, '--help');
    assert.is(help.code, 0);
    assert.match(help.stdout, new RegExp(`^Usage: dosimeter ${name}\\b`));
  }
});

test('version and help exit with 0', async ({ project }) => {
  assert.match((await project.dosimeter('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
  const help = await project.dosimeter('--help');
  assert.is(help.code, 0);
  assert.match(help.stdout, /run \[options\] <spec>/);
});

test('doctor --json names the backend', async ({ project }) => {
  const facts = await project.json<{
    backend: string;
    backends: { name: string; available: boolean }[];
  }>('doctor', '--json');
  assert.equal(
    facts.backends.map(({ name }) => name),
    ['tensorflow', 'wasm', 'cpu', 'torch'],
  );
  assert.is(facts.backend, facts.backends.find(({ available }) => available)?.name);
});

test.run();
