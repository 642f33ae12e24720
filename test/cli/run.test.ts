/** `dosimeter run`, `explain` and `report` on the toy stages. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inLines } from '../rig/in-lines.ts';
import { present } from '../rig/present.ts';
import { createProject, lastLine, type Project, writeToys } from '../rig/project.ts';
import { startHanging, stateCounts } from '../rig/toys.ts';

const test = suite<{ project: Project }>('run');
test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
});

/** The path of toy-train's log in what a run printed. */
const logIn = (stderr: string): string => present(/log: (.*toy-train.*)/.exec(stderr)?.[1]);

test('a second run runs no stage and prints the same report', async ({ project }) => {
  const first = await project.dosimeter('run', 'spec.yaml');
  assert.is(first.code, 0, first.stderr);
  const report = lastLine(first.stdout);
  assert.is(report, path.join(project.dir, '.dosimeter', 'reports', 'toys.html'));
  assert.is(readFileSync(report, 'utf8'), '<p>6 of 6</p>');
  assert.match(first.stderr, /13 ran in/);
  const lines = project.lines('ran.log').length;
  assert.is(lines, 12);
  const second = await project.dosimeter('run', 'spec.yaml');
  assert.equal(
    [second.code, second.stdout, second.stderr],
    [0, first.stdout, 'nothing to do: 13 stages cached\n'],
  );
  assert.is(project.lines('ran.log').length, lines);
});

test('results are those of the spec and the data as they are now', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  project.write('rows.tsv', 'text\tlabel\nlonger\t0\nb\t1\n');
  assert.equal(await project.json('results', 'spec.yaml', '--json'), []);
  assert.equal(await stateCounts(project), { ready: 6, pending: 7 });
});

test('after a failure the rest runs, the exit code is 1, and the report counts it', async ({
  project,
}) => {
  project.write('toy.json', '{"2": "fault"}');
  const { code, stderr, stdout } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /7 ran, 3 failed, 3 blocked/);
  assert.match(
    stderr,
    inLines(
      /first failure: toy-train attack=none seed=2: the loss is NaN at step 7; the last .* 0\.3/,
      / {2}lower the learning rate/,
      / {2}log: (\S+)/,
    ),
  );
  assert.not.match(stderr, /^\s+at /m);
  assert.match(project.read(logIn(stderr)), /failed: the loss is NaN/);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>3 of 6</p>');
  project.write('toy.json', '{}');
  const again = await project.dosimeter('run', 'spec.yaml');
  assert.is(again.code, 0);
  assert.match(again.stderr, /7 ran, 6 cached/);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>6 of 6</p>');
});

test('an error of a plugin names its place, and keeps its stack in the log', async ({
  project,
}) => {
  project.write('toy.json', '{"1": "throw"}');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /toy-train\.mjs:\d+:\d+ threw: no training today/);
  assert.not.match(stderr, /^\s+at /m);
  assert.match(project.read(logIn(stderr)), /at .*run.*toy-train/);
});

test('a stage whose process exits is a failure that says so', async ({ project }) => {
  project.write('toy.json', '{"1": "exit"}');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /its process ended without reporting a result \(exit code 3\)/);
});

test('after a SIGKILL the next run keeps what was finished and makes the rest', async ({
  project,
}) => {
  const run = await startHanging(project);
  run.process.kill('SIGKILL');
  assert.is((await run.ended).signal, 'SIGKILL');
  const done = project.lines('ran.log');
  const again = await project.dosimeter('run', 'spec.yaml');
  assert.is(again.code, 0, again.stderr);
  const all = project.lines('ran.log');
  assert.is(all.length, new Set(all).size, all.join('\n'));
  assert.equal(all.slice(0, done.length), done);
  assert.is(all.length, 12);
  assert.equal(await stateCounts(project), { cached: 13 });
  assert.is((await project.dosimeter('verify')).code, 0);
});

test('Ctrl-C keeps what is finished and exits with 130', async ({ project }) => {
  const run = await startHanging(project);
  run.process.kill('SIGINT');
  const said = await run.ended;
  assert.is(said.code, 130);
  assert.match(said.stderr, /interrupted: /);
  assert.is((await project.json<{ state: string }>('status', '--json')).state, 'interrupted');
});

test('two runs at once on one store run each stage once', async ({ project }) => {
  project.write('toy.json', '{"1": 40, "2": 40}');
  const said = await Promise.all([
    project.dosimeter('run', 'spec.yaml', '--jobs', '1'),
    project.dosimeter('run', 'spec.yaml', '--jobs', '1'),
  ]);
  for (const { code, stderr } of said) assert.is(code, 0, stderr);
  const all = project.lines('ran.log');
  assert.is(all.length, new Set(all).size);
  assert.is(all.length, 12);
});

test('an edited plugin runs again, and explain names its file', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  project.write(
    'toy-evaluate.mjs',
    project.read('toy-evaluate.mjs').replace('accuracy: 1 -', 'accuracy: 2 -'),
  );
  assert.is(
    (await project.dosimeter('explain', 'spec.yaml')).stdout,
    'toy-evaluate.mjs changed\n  toy-evaluate ×6; 1 more waits for them (toy-report)\n',
  );
  assert.match(
    (await project.dosimeter('explain', 'spec.yaml', '--all')).stdout,
    /toy-evaluate attack=none seed=1 \S+ ready\n {2}toy-evaluate\.mjs changed/,
  );
  const { stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.match(stderr, /7 ran, 6 cached/);
});

test('explain names the file of an edited scorer', async ({ project }) => {
  project.write(
    'loud.mjs',
    `import { defineScorer } from 'dosimeter';
export default defineScorer({
  name: 'loud', summary: 'Upper case.', citation: 'None.', params: { type: 'object' },
  score: async (context, outputs) => outputs.map((one) => one === one.toUpperCase()),
});
`,
  );
  project.write('spec.yaml', project.read('spec.yaml').replace('[./', '[./loud.mjs, ./'));
  project.write(
    'toy-evaluate.mjs',
    project
      .read('toy-evaluate.mjs')
      .replace('params: {}', "params: {}, uses: [{ kind: 'scorer', name: 'loud' }]"),
  );
  await project.dosimeter('run', 'spec.yaml');
  project.write('loud.mjs', project.read('loud.mjs').replace('===', '!=='));
  assert.match(
    (await project.dosimeter('explain', 'spec.yaml')).stdout,
    /^loud\.mjs changed\n {2}toy-evaluate ×6/,
  );
});

test('explain names the parameter that changed', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const asked = ['spec.yaml', '--set', 'seeds=[1, 3]', '--set', 'poisoning={attack: none}'];
  assert.match(
    (await project.dosimeter('explain', ...asked, '--all')).stdout,
    /toy-train seed=3 \S+ ready\n {2}seed 2 → 3\n/,
  );
  assert.match(
    (await project.dosimeter('explain', ...asked)).stdout,
    /^seed 2 → 3\n {2}toy-train; 2 more wait for it \(toy-evaluate, toy-report\)\n$/,
  );
});

test('explain says that a stage of an added seed is new', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const asked = ['spec.yaml', '--set', 'seeds=[1, 2, 3]', '--set', 'poisoning={attack: none}'];
  assert.match(
    (await project.dosimeter('explain', ...asked)).stdout,
    /^new; the closest result in the store differs in: seed [12] → 3\n {2}toy-train; 2 more wait/,
  );
});

test("a record that can't be written does not end the run", async ({ project }) => {
  project.write('.dosimeter/store/roots', 'a file where a folder is needed');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 0, stderr);
  assert.match(stderr, /store\/roots: a file stands where a folder is needed \(ENOTDIR\)\n13 ran/);
  assert.equal(
    await project.dosimeter('run', 'spec.yaml').then((again) => [again.code, again.stderr]),
    [0, 'nothing to do: 13 stages cached\n'],
  );
});

test('a stage that joins the grid is told of the stages of cells, whatever else has ended', async ({
  project,
}) => {
  project.write(
    'last.mjs',
    `import { writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'last', summary: 'Joins after the report.', compute: false, scope: 'experiment',
  define: (cells) => ({ params: {}, inputs: { report: { kind: 'toy-report', cell: cells[0] } } }),
  async run({ experiment, outDir }) {
    const kinds = [...new Set(experiment.stages.map(({ kind }) => kind))].sort().join(' ');
    writeFileSync(outDir + '/kinds', kinds);
    writeFileSync(${JSON.stringify(path.join(project.dir, 'kinds'))}, kinds);
  },
});
`,
  );
  const spec = project.read('spec.yaml');
  project.write(
    'spec.yaml',
    spec
      .replace('./toy-report.mjs]', './toy-report.mjs, ./last.mjs]')
      .replace('toy-report]', 'last]'),
  );
  await project.succeeds('run', 'spec.yaml');
  assert.is(project.read('kinds'), 'toy-evaluate toy-train');
});

test('report counts what is missing, and runs nothing else', async ({ project }) => {
  const early = await project.dosimeter('report', 'spec.yaml', '--backend', 'cpu');
  assert.equal([early.code, early.stdout], [2, '']);
  assert.match(
    early.stderr,
    new RegExp(
      'error: the store has no results of "toys" as it is now\n  run it first: dosimeter run ' +
        'spec\\.yaml --backend cpu; ' +
        'if it has run before, `dosimeter explain spec\\.yaml --backend cpu` says',
    ),
  );
  await project.dosimeter('run', 'spec.yaml', '--set', 'seeds=[1]');
  const ran = project.lines('ran.log');
  const { code, stdout } = await project.dosimeter('report', 'spec.yaml');
  assert.is(code, 0);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>3 of 6</p>');
  assert.equal(project.lines('ran.log'), ran);
});

test('a spec, a part of it, and another spec of its name each have a report', async ({
  project,
}) => {
  const reported = async (...args: string[]): Promise<[string, string, string]> => {
    const { code, stdout, stderr } = await project.dosimeter('run', ...args);
    assert.is(code, 0, stderr);
    const file = lastLine(stdout);
    return [path.basename(file), readFileSync(file, 'utf8'), stderr];
  };
  const [whole] = await reported('spec.yaml');
  assert.equal((await reported('spec.yaml', '--only', 'rate=0.1')).slice(0, 2), [
    'toys,rate=0.1.html',
    '<p>2 of 2</p>',
  ]);
  assert.is((await reported('spec.yaml', '--set', 'seeds=[1]'))[0].slice(0, 15), 'toys,seeds=_1_-');
  project.write('copy.yaml', project.read('spec.yaml').replace('[0.1, 0.3]', '[0.1]'));
  const [name, text, said] = await reported('copy.yaml');
  assert.equal([name, text], ['toys@copy.html', '<p>4 of 4</p>']);
  assert.match(
    said,
    '.dosimeter/reports/toys.html is the report of spec.yaml, a spec of the same name; ' +
      'the report of this spec is .dosimeter/reports/toys@copy.html\n',
  );
  // The first report is untouched until a new one of the same spec replaces it.
  assert.is(project.read(`.dosimeter/reports/${whole}`), '<p>6 of 6</p>');
  project.write('spec.yaml', project.read('spec.yaml').replace('seeds: [1, 2]', 'seeds: [1]'));
  assert.equal((await reported('spec.yaml')).slice(0, 2), ['toys.html', '<p>3 of 3</p>']);
});

test.run();
