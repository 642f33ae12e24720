import { lstatSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Ajv from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import type { ActionKey } from '../../src/plan/types.ts';
import { parseManifest } from '../../src/store/manifest.ts';
import { openManifestIndex } from '../../src/store/manifest-index.ts';
import { seal, unseal } from '../../src/store/sealed.ts';
import type { Manifest } from '../../src/store/types.ts';
import { later } from '../rig/later.ts';
import type { Project } from '../rig/project.ts';
import { createProject, writeToys } from '../rig/project.ts';

interface PlanJson {
  readonly stages: readonly {
    readonly id: string;
    readonly kind: string;
    readonly cell: { readonly [path: string]: unknown };
    readonly key: string | null;
    readonly state: string;
    readonly reason: string;
    readonly outputs: string | null;
  }[];
}
interface ResultRow {
  readonly cell: { readonly [path: string]: unknown };
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  readonly value: number;
}

const test = suite<{ project: Project }>('command line');
test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
});
test.after.each(({ project }) => project.clean());

const state = async (project: Project): Promise<{ [state: string]: number }> => {
  const { stages } = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  return stages.reduce<{ [state: string]: number }>(
    (tally, stage) => ({ ...tally, [stage.state]: (tally[stage.state] ?? 0) + 1 }),
    {},
  );
};

test('run, then run again: the second runs no stage and prints the same report', async ({
  project,
}) => {
  const first = await project.dosimeter('run', 'spec.yaml');
  assert.is(first.code, 0, first.stderr);
  const report = first.stdout.trimEnd().split('\n').at(-1)!;
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

test('plan --json and results --json keep their shapes', async ({ project }) => {
  const before = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  assert.equal(
    [
      ...new Set(
        before.stages.map(
          (stage) =>
            `${stage.kind} ${stage.state} ${stage.key === null ? 'null' : 'key'} ${stage.outputs ?? 'null'}`,
        ),
      ),
    ].sort(),
    ['toy-evaluate pending null null', 'toy-report pending null null', 'toy-train ready key null'],
  );
  assert.equal(await project.json('results', 'spec.yaml', '--json'), []);
  await project.dosimeter('run', 'spec.yaml');
  const { stages } = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  for (const stage of stages) {
    assert.is(stage.state, 'cached');
    assert.match(stage.key!, /^[0-9a-f]{64}$/);
    assert.ok(path.isAbsolute(stage.outputs!));
    assert.type(stage.reason, 'string');
    assert.ok(
      project.exists(path.relative(project.dir, path.join(stage.outputs!, 'manifest.json'))),
    );
  }
  assert.equal(
    stages.map(({ id, kind }) => [id, kind]),
    before.stages.map(({ id, kind }) => [id, kind]),
  );
  const rows = await project.json<ResultRow[]>('results', 'spec.yaml', '--json');
  assert.is(rows.length, 3 * 2 * 2);
  assert.equal(
    rows.find(
      ({ cell, seed, stage }) =>
        cell['poisoning.rate'] === 0.3 && seed === 2 && stage === 'toy-evaluate',
    ),
    {
      cell: { 'poisoning.attack': 'label-flip', 'poisoning.rate': 0.3, 'adapter.type': 'full' },
      seed: 2,
      stage: 'toy-evaluate',
      metric: 'accuracy',
      value: 0.6799999999999999,
    },
  );
  const csv = await project.dosimeter('results', 'spec.yaml', '--csv');
  assert.is(csv.stdout.split('\r\n').length, 13);
});

test('logs: a stage that fails has one, a stage that says nothing makes none and is known all the same', async ({
  project,
}) => {
  project.write('toy.json', JSON.stringify({ 2: 'throw' }));
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 1);
  const { log, stages } = await project.json<{
    log: string;
    stages: readonly { stage: string; file: string }[];
  }>('logs', '--json');
  assert.equal(
    stages.map(({ stage }) => stage.replace(/-[0-9a-f]+$/, '')),
    Array<string>(3).fill('toy-train'),
  );
  const failed = await project.dosimeter('logs', stages[0]!.stage);
  assert.match(
    failed.stdout,
    /toy-train-[0-9a-f]+ key [0-9a-f]{64}\n.*failed: internal error: no training today\n.*\| Error: no training today\n/,
  );
  const silent = await project.dosimeter('logs', 'toy-report');
  assert.equal(
    [silent.code, silent.stdout, silent.stderr],
    [0, '', `said nothing; ${log} has when\n`],
  );
  assert.match(
    readFileSync(log, 'utf8'),
    /stage-started stage=toy-report-[^]*stage-ended stage=toy-report-[0-9a-f]+ state=ran key=/,
  );
  const none = await project.dosimeter('logs', 'toy-nothing');
  assert.is(none.code, 2);
  assert.match(none.stderr, /no stage "toy-nothing" ran in [^]*those that ran: toy-evaluate-/);
});

test('what plan --json and results --json print is what their schemas say', async ({ project }) => {
  const holds = (schema: string) =>
    new Ajv({ strict: true, strictTypes: false }).compile(
      JSON.parse(
        readFileSync(new URL(`../../schemas/${schema}.schema.json`, import.meta.url), 'utf8'),
      ),
    );
  const plan = holds('plan'),
    results = holds('results');
  const check = async (): Promise<void> => {
    const planned = await project.json('plan', 'spec.yaml', '--json'),
      rows = await project.json('results', 'spec.yaml', '--json');
    assert.ok(plan(planned), JSON.stringify(plan.errors));
    assert.ok(results(rows), JSON.stringify(results.errors));
  };
  await check();
  await project.dosimeter('run', 'spec.yaml');
  await check();
  const { stages } = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  for (const wrong of [
    { state: 'done' },
    { key: 'abc' },
    { outputs: 1 },
    { more: 1 },
    { seed: -1 },
  ])
    assert.not.ok(plan({ stages: [{ ...stages[0]!, ...wrong }] }), JSON.stringify(wrong));
});

test('results are those of the spec as it stands, never of another', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  project.write('rows.tsv', 'text\tlabel\nlonger\t0\nb\t1\n');
  assert.equal(await project.json('results', 'spec.yaml', '--json'), []);
  assert.equal(await state(project), { ready: 6, pending: 7 });
});

test('a failure: the rest goes on, exit code 1, the first cause with its log, and the report counts', async ({
  project,
}) => {
  project.write('toy.json', '{"2": "fault"}');
  const { code, stderr, stdout } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /7 ran, 3 failed, 3 blocked/);
  assert.match(
    stderr,
    /first failure: toy-train attack=none seed=2: the loss is NaN at step 7; the last finite one was 0\.3\n {2}lower the learning rate\n {2}log: (\S+)/,
  );
  assert.not.match(stderr, /^\s+at /m);
  const log = /log: (.*toy-train.*)/.exec(stderr)![1]!;
  assert.match(project.read(log), /failed: the loss is NaN/);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>3 of 6</p>');
  project.write('toy.json', '{}');
  const again = await project.dosimeter('run', 'spec.yaml');
  assert.is(again.code, 0);
  assert.match(again.stderr, /7 ran, 6 cached/);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>6 of 6</p>');
});

test('an internal error keeps its stack in the log', async ({ project }) => {
  project.write('toy.json', '{"1": "throw"}');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /internal error: no training today/);
  assert.not.match(stderr, /^\s+at /m);
  assert.match(project.read(/log: (.*toy-train.*)/.exec(stderr)![1]!), /at .*run.*toy-train/);
});

test('a process that exits without a word is a failure that says so', async ({ project }) => {
  project.write('toy.json', '{"1": "exit"}');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1);
  assert.match(stderr, /its process ended without reporting a result \(exit code 3\)/);
});

test('SIGKILL in the middle, then again: what was finished is kept, nothing needs a hand', async ({
  project,
}) => {
  // By the environment: a worker that has not read it yet outlives its run for a moment.
  const run = project.startWith(
    { env: { TOY: '{"2/0.3": "hang"}' } },
    'run',
    'spec.yaml',
    '--jobs',
    '1',
  );
  await run.saw('[5/13]');
  run.process.kill('SIGKILL');
  assert.is((await run.ended).signal, 'SIGKILL');
  const done = project.lines('ran.log');
  const again = await project.dosimeter('run', 'spec.yaml');
  assert.is(again.code, 0, again.stderr);
  const all = project.lines('ran.log');
  assert.is(all.length, new Set(all).size, all.join('\n'));
  assert.equal(all.slice(0, done.length), done);
  assert.is(all.length, 12);
  assert.equal(await state(project), { cached: 13 });
  assert.is((await project.dosimeter('verify')).code, 0);
});

test('status knows a run by its process, not by a number that another process may have got', async ({
  project,
}) => {
  const run = project.startWith(
    { env: { TOY: '{"2/0.3": "hang"}' } },
    'run',
    'spec.yaml',
    '--jobs',
    '1',
  );
  await run.saw('[5/13]');
  const { state: running, run: id } = await project.json<{ state: string; run: string }>(
    'status',
    '--json',
  );
  assert.is(running, 'running');
  run.process.kill('SIGKILL');
  await run.ended;
  assert.is((await project.json<{ state: string }>('status', '--json')).state, 'killed');
  const journal = `.dosimeter/runs/${id}/journal.jsonl`;
  const becomes = async (change: (event: { owner: string }) => JsonObject): Promise<string> => {
    const [first, ...rest] = project.read(journal).split('\n'),
      event = unseal<{ owner: string }>(first!, 8)!;
    project.write(
      `.dosimeter/runs/${id}-x/journal.jsonl`,
      [seal({ ...event, ...change(event) }, 8), ...rest].join('\n'),
    );
    return (await project.json<{ state: string }>('status', `${id}-x`, '--json')).state;
  };
  // The number is this test's own process's; the start is not.
  assert.is(
    await becomes(({ owner }) => ({
      pid: process.pid,
      owner: owner.replace(/-\d+-(\d+)-(\d+)$/, `-${process.pid}-$1-$2`),
    })),
    'killed',
  );
  assert.is(
    await becomes(({ owner }) => ({
      owner: owner.replace(/^.{12}/, '0'.repeat(12)),
      boot: 'another',
    })),
    'killed',
  );
  assert.is(
    await becomes(({ owner }) => ({
      owner: owner.replace(/^.{12}/, '0'.repeat(12)),
      hostname: 'another',
      boot: 'another',
    })),
    'unknown',
  );
});

test('Ctrl-C keeps what is finished and exits with 130', async ({ project }) => {
  project.write('toy.json', '{"2/0.3": "hang"}');
  const run = project.start('run', 'spec.yaml', '--jobs', '1');
  await run.saw('[5/13]');
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

test('an edited plugin runs anew, and explain names the file', async ({ project }) => {
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

test('explain tells which parameter changed', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const asked = ['spec.yaml', '--set', 'seeds=[1, 3]', '--set', 'poisoning={attack: none}'];
  assert.match(
    (await project.dosimeter('explain', ...asked, '--all')).stdout,
    /toy-train seed=3 \S+ ready\n {2}seed [12] → 3\n/,
  );
  assert.match(
    (await project.dosimeter('explain', ...asked)).stdout,
    /^seed [12] → 3\n {2}toy-train; 2 more wait for it \(toy-evaluate, toy-report\)\n$/,
  );
});

test('a damaged file is found by verify, and healed by the next run', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const { stages } = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  const { outputs } = stages.find(({ kind }) => kind === 'toy-train')!;
  writeFileSync(
    path.join(outputs!, 'model.json'),
    'x'.repeat(readFileSync(path.join(outputs!, 'model.json')).length),
  );
  const found = await project.dosimeter('verify');
  assert.is(found.code, 1);
  assert.match(
    found.stdout,
    /damaged [0-9a-f]{64}: (model\.json was changed|a file was changed after it was stored)/,
  );
  assert.match((await project.dosimeter('run', 'spec.yaml')).stderr, /1 ran, 12 cached/);
  assert.is((await project.dosimeter('verify')).code, 0);
});

test('what a manifest that was damaged without a trace stands for is left out of results, and said', async ({
  project,
}) => {
  await project.dosimeter('run', 'spec.yaml');
  const { stages } = await project.json<PlanJson>('plan', 'spec.yaml', '--json');
  const { outputs, key } = stages.find(({ kind }) => kind === 'toy-train')!;
  const manifest = path.join(outputs!, 'manifest.json'),
    parsed = parseManifest(readFileSync(manifest, 'utf8'), key as ActionKey);
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"kind": ', '"kinb": '));
  // As where a disk has turned a bit: to the index it is the file that was read.
  const index = openManifestIndex(
    path.join(project.dir, '.dosimeter/store'),
    path.join(project.dir, 'spec.yaml'),
  );
  later(() =>
    index.note(key as ActionKey, lstatSync(manifest), (parsed as { manifest: Manifest }).manifest),
  );
  index.save();
  assert.equal(await state(project), { cached: 13 });
  const { stdout, stderr } = await project.dosimeter('results', 'spec.yaml', '--json');
  assert.is((JSON.parse(stdout) as readonly ResultRow[]).length, 3 * 2 * 2 - 1);
  assert.match(stderr, `${manifest} is not what was stored; left out (dosimeter verify)`);
  assert.is((await project.dosimeter('verify')).code, 1);
  assert.match((await project.dosimeter('run', 'spec.yaml')).stderr, /1 ran, 12 cached/);
});

test("a record that can't be written ends no run", async ({ project }) => {
  project.write('.dosimeter/store/roots', 'a file where a folder is needed');
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 0, stderr);
  assert.match(stderr, /store\/roots: a file stands where a folder is needed \(ENOTDIR\)\n13 ran/);
  assert.equal(
    await project.dosimeter('run', 'spec.yaml').then((again) => [again.code, again.stderr]),
    [0, 'nothing to do: 13 stages cached\n'],
  );
});

test('report counts what is missing, and runs nothing else', async ({ project }) => {
  const early = await project.dosimeter('report', 'spec.yaml');
  assert.equal([early.code, early.stdout], [2, '']);
  assert.match(
    early.stderr,
    /error: nothing of "toys" is in the store yet\n {2}run it first: dosimeter run spec\.yaml/,
  );
  await project.dosimeter('run', 'spec.yaml', '--set', 'seeds=[1]');
  const ran = project.lines('ran.log');
  const { code, stdout } = await project.dosimeter('report', 'spec.yaml');
  assert.is(code, 0);
  assert.is(readFileSync(stdout.trim(), 'utf8'), '<p>3 of 6</p>');
  assert.equal(project.lines('ran.log'), ran);
});

test('gc sweeps down to a size', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const swept = await project.json<{ entries: string[]; kept: { entries: number } }>(
    'gc',
    '--max-size',
    '300',
    '--json',
  );
  assert.ok(swept.entries.length > 0 && swept.kept.entries > 0);
  assert.is(project.entries().length, swept.kept.entries);
  assert.is((await project.dosimeter('run', 'spec.yaml')).code, 0);
});

test("what is pinned outlives every gc: a spec's results, or a run's", async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml', '--set', 'seeds=[1]');
  const { run } = await project.json<{ run: string }>('status', '--json');
  assert.match(
    (await project.dosimeter('pin', 'spec.yaml', '--set', 'seeds=[1]', '--name', 'paper')).stderr,
    'pinned paper: 7 entries\n',
  );
  await project.dosimeter('run', 'spec.yaml');
  assert.match((await project.dosimeter('pin', run)).stderr, `pinned ${run}: 7 entries\n`);
  assert.equal(
    (await project.json<{ name: string; entries: number }[]>('pin', '--json')).map(
      ({ name, entries }) => [name, entries],
    ),
    [
      [run, 7],
      ['paper', 7],
    ],
  );
  assert.match(
    (await project.dosimeter('gc', '--max-size', '0')).stdout,
    /swept 7 entries .*; 7 left \(\S+ MB\), of them 7 pinned/,
  );
  const ran = project.lines('ran.log');
  assert.is((await project.dosimeter('run', 'spec.yaml', '--set', 'seeds=[1]')).code, 0);
  assert.equal(project.lines('ran.log'), ran);
  for (const name of ['paper', run]) assert.is((await project.dosimeter('unpin', name)).code, 0);
  assert.is(
    (await project.json<{ entries: string[] }>('gc', '--max-size', '0', '--json')).entries.length,
    7,
  );
  const nothing = await project.dosimeter('unpin', 'paper');
  assert.equal(
    [nothing.code, nothing.stderr],
    [2, 'error: nothing is pinned as "paper"\n  dosimeter pin, without a name, lists what is\n'],
  );
});

for (const [what, args, message] of [
  ['a command that is none', ['rnu', 'spec.yaml'], /unknown command 'rnu'\n\(Did you mean run\?\)/],
  [
    'an option that is none',
    ['run', 'spec.yaml', '--job', '2'],
    /unknown option '--job'\n\(Did you mean --jobs\?\)/,
  ],
  ['a spec that is not there', ['run', 'spek.yaml'], /spek\.yaml/],
  ['no spec', ['run'], /missing required argument 'spec'/],
  [
    'a backend that is none',
    ['run', 'spec.yaml', '--backend', 'cuda'],
    /Allowed choices are tensorflow, wasm, cpu/,
  ],
  [
    'a number of jobs that is none',
    ['run', 'spec.yaml', '--jobs', 'all'],
    /--jobs takes a whole number/,
  ],
  ['an unknown field', ['run', 'spec.yaml', '--set', 'train.step=3'], /step/],
  ['a stage that is none', ['plan', 'spec.yaml', '--set', 'stages=[toy-trian]'], /toy-train/],
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

test('a missing file is told before anything runs', async ({ project }) => {
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
    ['tensorflow', 'wasm', 'cpu'],
  );
  assert.is(facts.backend, facts.backends.find(({ available }) => available)!.name);
});

test('reports of a spec, of a part of it, and of another spec of its name lie side by side', async ({
  project,
}) => {
  const reported = async (...args: string[]): Promise<[string, string, string]> => {
    const { code, stdout, stderr } = await project.dosimeter('run', ...args);
    assert.is(code, 0, stderr);
    const file = stdout.trimEnd().split('\n').at(-1)!;
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
    ".dosimeter/reports/toys.html is the report of spec.yaml, a spec of the same name: this one's is .dosimeter/reports/toys@copy.html\n",
  );
  // None of them has touched the first; and a spec's own is made anew in its place.
  assert.is(project.read(`.dosimeter/reports/${whole}`), '<p>6 of 6</p>');
  project.write('spec.yaml', project.read('spec.yaml').replace('seeds: [1, 2]', 'seeds: [1]'));
  assert.equal((await reported('spec.yaml')).slice(0, 2), ['toys.html', '<p>3 of 3</p>']);
});

test.run();
