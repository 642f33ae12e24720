/** What runs leave behind: logs, journals, entries and pins, whole or damaged. */
import { lstatSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../../src/api.ts';
import type { ActionKey } from '../../src/plan/types.ts';
import { type Manifest, parseManifest } from '../../src/store/manifest.ts';
import { openManifestIndex } from '../../src/store/manifest-index.ts';
import { seal, unseal } from '../../src/store/sealed.ts';
import { inLines } from '../rig/in-lines.ts';
import { later } from '../rig/later.ts';
import { present } from '../rig/present.ts';
import { createProject, type Project, writeToys } from '../rig/project.ts';
import { startHanging, stateCounts } from '../rig/toys.ts';

const test = suite<{ project: Project }>('records');
test.before.each((context) => {
  context.project = createProject();
  writeToys(context.project);
});

test('a failed stage has a log, and `logs` says so of a stage that printed nothing', async ({
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
  const failed = await project.dosimeter('logs', present(stages[0]).stage);
  assert.match(
    failed.stdout,
    inLines(
      /toy-train-[0-9a-f]+ key [0-9a-f]{64}/,
      /.*failed: .*toy-train\.mjs:\d+:\d+ threw: no training today/,
      /.*this is a fault of the plugin's code, not of the spec; .*/,
      /.*\| Error: no training today/,
    ),
  );
  const silent = await project.dosimeter('logs', 'toy-report');
  assert.equal(
    [silent.code, silent.stdout, silent.stderr],
    [0, '', `printed nothing; ${log} says when it ran\n`],
  );
  assert.match(
    readFileSync(log, 'utf8'),
    /stage-started stage=toy-report-[^]*stage-ended stage=toy-report-[0-9a-f]+ state=ran key=/,
  );
  const none = await project.dosimeter('logs', 'toy-nothing');
  assert.is(none.code, 2);
  assert.match(none.stderr, /no stage "toy-nothing" ran in [^]*those that ran: toy-evaluate-/);
});

test('status knows a run by its process, and not by a process id that may be reused', async ({
  project,
}) => {
  const run = await startHanging(project);
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
    const [first = '', ...rest] = project.read(journal).split('\n');
    const event = present(unseal<{ owner: string }>(first, 8));
    project.write(
      `.dosimeter/runs/${id}-x/journal.jsonl`,
      [seal({ ...event, ...change(event) }, 8), ...rest].join('\n'),
    );
    return (await project.json<{ state: string }>('status', `${id}-x`, '--json')).state;
  };
  // The id of this test's process, which started at another time.
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
    'silent',
  );
  // Its heartbeat, as another machine writes it.
  const beat = (count: number): void =>
    project.write(`.dosimeter/runs/${id}-x/beat.json`, JSON.stringify({ count }));
  let count = 0;
  beat(++count);
  const beating = setInterval(() => beat(++count), 20);
  const living = await project.json<{ state: string; host: string; heard: string }>(
    ...['status', `${id}-x`, '--json'],
  );
  clearInterval(beating);
  assert.equal([living.state, living.host], ['running', 'another']);
  assert.match(living.heard, /^\d{4}-\d\d-\d\dT/);
  const longAgo = new Date(Date.now() - 2 * 3600_000);
  utimesSync(path.join(project.dir, `.dosimeter/runs/${id}-x/beat.json`), longAgo, longAgo);
  const silent = await project.succeeds('status', `${id}-x`);
  assert.match(silent.stdout, /^\S+ silent {2}/);
  assert.match(
    silent.stderr,
    /its process on another gives no sign of life \(last event: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)/,
  );
});

test('verify finds a damaged file, and the next run makes it again', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const stages = await project.stages('spec.yaml');
  const { outputs } = present(stages.find(({ kind }) => kind === 'toy-train'));
  const model = path.join(present(outputs), 'model.json');
  writeFileSync(model, 'x'.repeat(readFileSync(model).length));
  const found = await project.dosimeter('verify');
  assert.is(found.code, 1);
  assert.match(
    found.stdout,
    /damaged [0-9a-f]{64}: (model\.json was changed|a file was changed after it was stored)/,
  );
  assert.match((await project.dosimeter('run', 'spec.yaml')).stderr, /1 ran, 12 cached/);
  assert.is((await project.dosimeter('verify')).code, 0);
});

test('an entry whose manifest was silently damaged is left out of results, with a message', async ({
  project,
}) => {
  await project.dosimeter('run', 'spec.yaml');
  const stages = await project.stages('spec.yaml');
  const { outputs, key } = present(stages.find(({ kind }) => kind === 'toy-train'));
  const manifest = path.join(present(outputs), 'manifest.json');
  const parsed = parseManifest(readFileSync(manifest, 'utf8'), key as ActionKey);
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"kind": ', '"kinb": '));
  // As if the disk had flipped a bit: the index takes the file for the one that was read.
  const index = openManifestIndex(
    path.join(project.dir, '.dosimeter/store'),
    path.join(project.dir, 'spec.yaml'),
  );
  later(() =>
    index.note(key as ActionKey, lstatSync(manifest), (parsed as { manifest: Manifest }).manifest),
  );
  index.save();
  assert.equal(await stateCounts(project), { cached: 13 });
  const { stdout, stderr } = await project.dosimeter('results', 'spec.yaml', '--json');
  assert.is((JSON.parse(stdout) as readonly unknown[]).length, 3 * 2 * 2 - 1);
  assert.match(stderr, `${manifest} is not what was stored; left out (dosimeter verify)`);
  assert.is((await project.dosimeter('verify')).code, 1);
  assert.match((await project.dosimeter('run', 'spec.yaml')).stderr, /1 ran, 12 cached/);
});

test('notes on a run and on its spec are shown, and make no stage run again', async ({
  project,
}) => {
  const spec = project.read('spec.yaml');
  project.write(
    'toy-report.mjs',
    project.read('toy-report.mjs').replace('<p>', '<p class="notes"></p><p>'),
  );
  await project.succeeds('run', 'spec.yaml', '--notes', 'after the disk was full');
  const report = '.dosimeter/reports/toys.html';
  assert.match(project.read(report), /^<p>/);
  assert.match(
    (await project.succeeds('status')).stdout,
    /spec\.yaml\n {2}after the disk was full$/m,
  );

  project.write('spec.yaml', `${spec}notes: |\n  Rates of <table 2>,\n  label-flip & none\n`);
  const again = await project.succeeds('run', 'spec.yaml', '--notes', 'nothing');
  assert.match(
    again.stderr,
    /--notes are kept with a run, and there was nothing to run\nnothing to do/,
  );
  assert.match(
    project.read(report),
    /^<p class="notes">Rates of &lt;table 2>,\nlabel-flip &amp; none<\/p><p>/,
  );
  assert.match(
    (await project.succeeds('results', 'spec.yaml')).stderr,
    /^Rates of <table 2>,\nlabel-flip & none\n/,
  );
  const more = ['spec.yaml', '--set', 'seeds=1..3'];
  assert.match((await project.succeeds('run', ...more, '--notes', 'one more')).stderr, /12 cached/);
  const { run, notes } = await project.json<{ run: string; notes: string }>('status', '--json');
  assert.is(notes, 'one more\nRates of <table 2>,\nlabel-flip & none');
  assert.match(
    (await project.succeeds('status', run)).stdout,
    / {2}one more\n {2}Rates of <table 2>,\n {2}label-flip & none\n/,
  );
});

test('gc removes entries until the store has a given size', async ({ project }) => {
  await project.dosimeter('run', 'spec.yaml');
  const swept = await project.json<{ entries: string[]; kept: { entries: number } }>(
    ...['gc', '--max-size', '300', '--json'],
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
    /swept 7 entries .*; 7 left \(\S+ MB\); 7 of them pinned/,
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
    [
      2,
      'error: nothing is pinned as "paper"\n' +
        '  dosimeter pin, without an argument, lists what is pinned\n',
    ],
  );
});

test.run();
