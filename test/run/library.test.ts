/**
 * A user's program that imports from 'dosimeter' through a link to this package, as `npm link`
 * makes one.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as entry from '../../src/index.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project, writeToys } from '../rig/project.ts';

const test = suite<{ project: Project }>('library');
const repository = fileURLToPath(new URL('../../', import.meta.url));

test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
  mkdirSync(path.join(context.project.dir, 'node_modules'));
  symlinkSync(repository, path.join(context.project.dir, 'node_modules', 'dosimeter'), 'junction');
});

/** Runs a program that must print JSON and nothing else. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- what it prints
function program<T>(project: Project, text: string): T {
  project.write('program.mjs', `import * as dosimeter from 'dosimeter';\n${text}\n`);
  const { status, stdout, stderr } = spawnSync(process.execPath, ['program.mjs'], {
    cwd: project.dir,
    encoding: 'utf8',
    env: { ...process.env, DOSIMETER_CACHE: path.join(project.dir, '.cache') },
  });
  assert.equal([status, stderr], [0, '']);
  return JSON.parse(stdout) as T;
}

test('plan, run and results return what the command line prints', async ({ project }) => {
  const planned = await project.json<{ stages: unknown[] }>('plan', 'spec.yaml', '--json');
  const said = program<{
    names: string[];
    before: { ok: boolean; value: { name: string; stages: unknown[] } };
    ran: unknown;
    events: number;
    again: unknown;
    elsewhere: unknown;
    results: { ok: boolean; value: { rows: unknown[]; missing: number } };
  }>(
    project,
    `
    let events = 0;
    const onEvent = ({ type }) => { if (type === 'stage-ended') events++; };
    const before = await dosimeter.plan('spec.yaml');
    const ran = await dosimeter.run('spec.yaml', {
      ...{ jobs: 2, onEvent, remote: 'file:remote', push: true },
    });
    ran.value.run = typeof ran.value.run;
    const again = await dosimeter.run('spec.yaml');
    const { value: elsewhere } = await dosimeter.run('spec.yaml', {
      ...{ store: 'other', remote: 'file:remote' },
    });
    const results = await dosimeter.results('spec.yaml');
    const names = Object.keys(dosimeter).sort();
    console.log(JSON.stringify({ names, before, ran, events, again, elsewhere: elsewhere?.ran, results }));
  `,
  );
  assert.equal(said.names, Object.keys(entry).sort());
  assert.equal(
    [said.before.ok, said.before.value.name, said.before.value.stages],
    [true, 'toys', planned.stages],
  );
  const report = path.join(project.dir, '.dosimeter', 'reports', 'toys.html');
  const none = {
    failed: 0,
    blocked: 0,
    abandoned: 0,
    interrupted: false,
    stopped: null,
    failures: [],
    report,
  };
  assert.equal(said.ran, { ok: true, value: { run: 'string', ran: 13, cached: 0, ...none } });
  assert.is(said.events, 13);
  assert.equal(said.again, { ok: true, value: { run: null, ran: 0, cached: 13, ...none } });
  assert.is(said.elsewhere, 0, 'every entry came from the remote');
  assert.equal([said.results.ok, said.results.value.missing], [true, 0]);
  assert.equal(said.results.value.rows, await project.json('results', 'spec.yaml', '--json'));
  // The command line's estimates learn from this run, and its list of runs has it.
  assert.match(project.read('.dosimeter/store/durations.json'), '"toy-train"');
  assert.is((await project.json<{ state: string }>('status', '--json')).state, 'done');
});

test("a user's faults come back as diagnostics; a failed stage is a result", async ({
  project,
}) => {
  await project.dosimeter('plan', 'spec.yaml');
  project.write('toy.json', '{"2": "fault"}');
  type Refused = {
    ok: false;
    diagnostics: { code: string; message: string; range: { line: number } | null }[];
  };
  const { misspelt, gone, jobs, failed } = program<{
    misspelt: Refused;
    gone: Refused;
    jobs: Refused;
    failed: {
      ok: true;
      value: {
        ran: number;
        failed: number;
        blocked: number;
        failures: { stage: string; error: string; hint: string; log: string }[];
      };
    };
  }>(
    project,
    `
    const { run, plan } = dosimeter;
    console.log(JSON.stringify({
      misspelt: await plan('spec.yaml', { set: ['train.step=3', 'stagez=[train]'] }),
      gone: await run('spek.yaml'),
      jobs: await run('spec.yaml', { jobs: 0 }),
      failed: await run('spec.yaml'),
    }));
  `,
  );
  assert.equal(
    [misspelt.ok, misspelt.diagnostics.length, gone.ok, jobs.ok],
    [false, 2, false, false],
  );
  assert.match(present(gone.diagnostics[0]).message, 'spek.yaml');
  assert.match(
    present(jobs.diagnostics[0]).message,
    '`jobs` must be a whole number of at least 1, got 0',
  );
  const {
    ran,
    failed: failures,
    blocked,
    failures: [first],
  } = failed.value;
  assert.equal([failed.ok, ran, failures, blocked], [true, 7, 3, 3]);
  assert.equal(
    [first?.error, first?.hint],
    ['the loss is NaN at step 7; the last finite one was 0.3', 'lower the learning rate'],
  );
  assert.match(present(first).log, /toy-train/);
});

test('plan returns the faults that run refuses, and notes its warnings', ({ project }) => {
  project.write('rows.tsv', 'text\tlabel\na\tham\nb\tspam\nc\tham\nd\tspam\n');
  project.write(
    'own.yaml',
    `name: own
model: { source: "file:rows.tsv" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
poisoning: { attack: badnets, rate: 0.01, target: eggs }
stages: [poison]
`,
  );
  const { planned, ran, noted } = program<{ planned: unknown; ran: unknown; noted: unknown }>(
    project,
    `
    const { plan, run } = dosimeter, notes = [];
    const planned = await plan('own.yaml'), ran = await run('own.yaml');
    const onNote = (note) => notes.push(note);
    const { ok } = await plan('own.yaml', { set: ['poisoning.target=ham'], onNote });
    console.log(JSON.stringify({ planned, ran, noted: [ok, notes] }));
  `,
  );
  const { ok, diagnostics } = planned as {
    ok: boolean;
    diagnostics: { code: string; message: string; range: { line: number; column: number } }[];
  };
  assert.equal(
    [
      ok,
      diagnostics.map(({ code, message, range: { line, column } }) => [
        code,
        message,
        line,
        column,
      ]),
    ],
    [
      false,
      [
        [
          'preflight',
          '`target`: there is no class "eggs"; the classes are 0 ("ham"), 1 ("spam").',
          4,
          51,
        ],
      ],
    ],
  );
  assert.equal(ran, planned);
  assert.equal(noted, [
    true,
    ['own.yaml:4:37: rate 0.01 of 4 training rows is less than one row: nothing is poisoned'],
  ]);
});

test('a mistake in the call itself comes back as a diagnostic too', ({ project }) => {
  const said = program<{ ok: boolean; diagnostics: { message: string; hint?: string }[] }[]>(
    project,
    `
    const { run, plan, results } = dosimeter;
    console.log(JSON.stringify([
      await run('spec.yaml', { retires: 1 }),
      await plan(),
      await results('spec.yaml', { only: 'seed=1' }),
      await plan('spec.yaml', { profile: ['small'] }),
      await plan('spec.yaml', { profile: 'small' }),
    ]));
  `,
  );
  assert.equal(
    said.map(({ ok, diagnostics }) => [
      ok,
      diagnostics.map(({ message, hint }) => [message, hint?.replace(/The options.*/, '…')]),
    ]),
    [
      [false, [['there is no option "retires"', 'did you mean "retries"? …']]],
      [false, [['a spec is named by the path of its YAML file, got undefined', undefined]]],
      [false, [['`only` is a list of texts', 'only: ["adapter.rank=8"]']]],
      [false, [['`profile` is the name of a profile', 'profile: "small"']]],
      [false, [['there is no profile "small"', 'the spec has no `profiles`']]],
    ],
  );
});

test.run();
