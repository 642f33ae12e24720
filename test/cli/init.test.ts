import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('init');
test.before.each((context) => {
  context.project = createProject();
});

test('the plan, the tests and the run of the starter folder work, on a tiny model', async ({
  project,
}) => {
  const said = await project.dosimeter('init', '.');
  assert.is(said.code, 0, said.stderr);
  assert.match(
    said.stdout,
    / {2}\.gitignore\n[^]* {2}experiment\.yaml\n[^]*next: npx dosimeter plan experiment\.yaml\n$/,
  );

  const stages = await project.stages('experiment.yaml');
  // Three attacks, two adapters, two seeds.
  assert.is(
    stages.filter(({ kind, cell }) => kind === 'train' && cell['poisoning.attack'] !== undefined)
      .length,
    12,
  );

  const { NODE_TEST_CONTEXT: _inherited, ...env } = process.env;
  const tests = spawnSync(process.execPath, ['--test', '--test-reporter=tap'], {
    cwd: project.dir,
    encoding: 'utf8',
    env,
  });
  assert.is(tests.status, 0, tests.stdout + tests.stderr);
  assert.match(tests.stdout, /# pass 3/);

  const part = [
    'experiment.yaml',
    ...['--set', `model.source=file:${checkpoint}`],
    ...['--set', 'train.steps=2', '--set', 'seeds=[1]'],
    ...['--only', 'poisoning.rate=0.1', '--only', 'adapter.type=lora'],
  ];
  await project.succeeds('run', ...part);
  const rows = await project.results(...part);
  assert.ok(
    rows.some(({ metric }) => metric === 'asr'),
    JSON.stringify(rows.map(({ metric }) => metric)),
  );
});

test('an existing file is not overwritten, and then nothing is written', async ({ project }) => {
  project.write('new/README.md', 'mine');
  const said = await project.dosimeter('init', 'new');
  assert.is(said.code, 2);
  assert.match(
    said.stderr,
    /^error: .*new has README\.md already; nothing was written\n {2}name another folder/,
  );
  assert.equal(
    [project.read('new/README.md'), project.exists('new/experiment.yaml')],
    ['mine', false],
  );
  const other = await project.json<{ dir: string; files: string[] }>(
    'init',
    'other/folder',
    '--json',
  );
  assert.is(other.dir, path.join(project.dir, 'other/folder'));
  for (const file of other.files) assert.ok(project.exists(`other/folder/${file}`), file);
});

test('npx finds this program in the folder, and an existing package.json is completed', async ({
  project,
}) => {
  project.write('own/package.json', '{ "name": "mine", "dependencies": {} }');
  project.write('other/package.json', '{ "scripts": { "test": "make check" } }');
  const said = await project.dosimeter('init', 'own');
  assert.is(said.code, 0, said.stderr);
  assert.match(said.stdout, /  package\.json, which was there: now with a test script\nnext: /);
  assert.equal(JSON.parse(project.read('own/package.json')), {
    name: 'mine',
    dependencies: {},
    scripts: { test: 'node --test' },
  });
  const version = spawnSync('npx', ['--no', 'dosimeter', '--version'], {
    cwd: path.join(project.dir, 'own'),
    encoding: 'utf8',
  });
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/, version.stderr);

  assert.not.match((await project.dosimeter('init', 'other')).stdout, 'package.json');
  assert.is(project.read('other/package.json'), '{ "scripts": { "test": "make check" } }');
});

test.run();
