/** What the Slurm executor concludes from what Slurm says, by a scripted Slurm and clock. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Row, SlurmClient } from '../../../plugins/executors/slurm/client.ts';
import { parseProfile } from '../../../plugins/executors/slurm/profile.ts';
import { Spool } from '../../../plugins/executors/slurm/spool.ts';
import { Tracker } from '../../../plugins/executors/slurm/tracker.ts';
import { newTask, newWork, type Work } from '../../../plugins/executors/slurm/work.ts';
import type { Job, JobResult, Place, ScheduledTask } from '../../../src/api.ts';
import { execTask } from '../../../src/run/exec-task.ts';
import { idleJob } from '../../rig/job.ts';
import { present } from '../../rig/present.ts';

const NAME = 'dosimeter-train-0123456789ab';
const KEY = 'b'.repeat(64);

const job: Job = { ...idleJob, key: KEY };

interface Scene {
  root: string;
  spool: Spool;
  /** What squeue says next; null for a failure. */
  queue: readonly Row[] | null;
  accounts: readonly Row[] | null;
  queries: number;
  now: number;
  notes: string[];
  again: Work[];
  results: JobResult[];
  cancelled: (readonly [string, readonly string[]])[];
  excluded: Set<string>;
  /** Where the stage was told that its job is. */
  places: (Place | string)[];
  tracker: Tracker;
  work: Work;
}

const test = suite<Scene>('what Slurm says');

const row = (state: string, more: Partial<Row> = {}): Row => ({
  id: '7',
  name: NAME,
  index: 0,
  state,
  reason: 'None',
  nodes: 'n1',
  ...more,
});

test.before.each((scene) => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'tracker-'));
  const spool = new Spool(root);
  spool.writeSubmission(NAME, '', [
    { members: [{ job, dir: spool.stageDir(KEY) }], graceSeconds: 1 },
  ]);
  const claim = { submission: NAME, task: 0 };
  spool.setClaim(KEY, claim);
  Object.assign(scene, {
    root,
    spool,
    queue: [],
    accounts: null,
    queries: 0,
    now: 0,
    notes: [],
    again: [],
    results: [],
    cancelled: [],
    excluded: new Set(),
    places: [],
  });
  const client: SlurmClient = {
    submit: () => Promise.reject(new Error('not here')),
    queue: () => {
      scene.queries++;
      return Promise.resolve(scene.queue);
    },
    accounts: () => Promise.resolve(scene.accounts),
    cancel: (name, ids) => {
      scene.cancelled.push([name, ids ?? []]);
      return Promise.resolve(true);
    },
    arraySize: () => Promise.resolve(null),
  };
  scene.tracker = new Tracker({
    spool,
    client,
    profile: parseProfile(
      'poll: 1s\nmax_requeues: 2\nkinds: { eats: { memory_retries: 1 } }',
      'slurm.yaml',
    ),
    excluded: scene.excluded,
    note: (message) => scene.notes.push(message),
    again: (work) => scene.again.push(work),
    stray: () => undefined,
    settled: (_, result) => scene.results.push(result),
    now: () => scene.now,
  });
  const hooks = {
    onOutput: () => undefined,
    onLog: () => undefined,
    onProgress: () => undefined,
    onPlace: (place: Place) => scene.places.push(place),
  };
  scene.work = newWork('train', [
    { job, key: KEY, hooks, signal: new AbortController().signal, settle: () => undefined },
  ]);
  scene.work.task = newTask(spool, claim, '7', [KEY]);
  scene.tracker.add(scene.work);
});

/** Polls some times, a second apart. */
async function poll(scene: Scene, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await scene.tracker.poll();
    scene.now += 1000;
  }
}

const begin = ({ root }: Scene): void =>
  writeFileSync(path.join(root, 'submissions', NAME, '0.events'), '{"begun":true}\n');

function finish({ spool }: Scene): void {
  const dir = spool.stageDir(KEY);
  mkdirSync(path.join(dir, 'files-1'), { recursive: true });
  const result = { type: 'done', files: [], seconds: 1, peakMemoryMB: 1, folder: 'files-1' };
  writeFileSync(path.join(dir, 'result.json'), JSON.stringify(result));
}

test('the result file counts, whatever Slurm says', async (scene) => {
  scene.queue = [row('FAILED')];
  await poll(scene, 1);
  finish(scene);
  await poll(scene, 1);
  assert.equal(
    scene.results.map(({ type }) => type),
    ['done'],
  );
  assert.is(scene.tracker.size, 0);
  await poll(scene, 3);
  assert.is(scene.queries, 1, 'nothing is asked when nothing is in flight');
});

test('a row of another name is another job, even with our id', async (scene) => {
  scene.queue = [row('COMPLETED', { name: 'another' })];
  await poll(scene, 30);
  assert.is(scene.again.length, 1);
  assert.match(scene.notes.join(), /Slurm job 7 is not known to Slurm any more/);
  assert.equal(scene.cancelled, []);
});

test('an empty queue is no failure until it has lasted', async (scene) => {
  await poll(scene, 10);
  assert.is(scene.again.length, 0);
  scene.queue = [row('RUNNING')];
  await poll(scene, 1);
  scene.queue = [];
  await poll(scene, 10);
  assert.is(scene.again.length, 0, 'the time begins anew');
});

test('failing queries conclude nothing, and become rarer', async (scene) => {
  scene.queue = null;
  await poll(scene, 600);
  assert.is(scene.again.length + scene.results.length, 0);
  assert.ok(scene.queries < 45, `${scene.queries} queries in 600 s`);
  assert.is(scene.notes.length, 1);
});

test('accounting tells why a job has left the queue', async (scene) => {
  scene.accounts = [row('CANCELLED')];
  await poll(scene, 20);
  const [result] = scene.results;
  assert.is(result?.type === 'fault' && result.message, 'Slurm job 7 was cancelled');
});

test('a state that is not known keeps the job', async (scene) => {
  scene.queue = [row('BRAND_NEW')];
  await poll(scene, 100);
  assert.is(scene.again.length + scene.results.length, 0);
});

test('what ended from outside is submitted again, but not for ever', async (scene) => {
  scene.queue = [row('NODE_FAIL')];
  for (let i = 1; i <= 3; i++) {
    await poll(scene, 2);
    if (i === 3) break;
    assert.is(scene.again.length, i);
    assert.is(scene.spool.claim(KEY), null);
    scene.work.task = newTask(scene.spool, { submission: NAME, task: 0 }, '7', [KEY]);
    scene.tracker.add(scene.work);
  }
  const [result] = scene.results;
  assert.match(result?.type === 'fault' ? result.message : '', /submitted 3 times.*NODE_FAIL/);
});

test('a time limit asks for more time, a lack of memory fails', async (scene) => {
  scene.queue = [row('TIMEOUT')];
  await poll(scene, 2);
  assert.is(scene.again[0]?.longer, 1);
  scene.work.task = newTask(scene.spool, { submission: NAME, task: 0 }, '7', [KEY]);
  scene.tracker.add(scene.work);
  scene.queue = [row('OUT_OF_MEMORY')];
  await poll(scene, 2);
  const [result] = scene.results;
  assert.match(result?.type === 'fault' ? (result.hint ?? '') : '', /memory_mb/);
});

test('what Slurm has killed for its memory may have more, as often as the profile says', async (scene) => {
  const { spool } = scene;
  const killed = { type: 'exit', code: null, signal: 'SIGKILL' };
  const member = [...scene.work.members];
  scene.tracker.remove(scene.work);
  const eats = newWork('eats', member);
  for (const more of [1, 1]) {
    eats.task = newTask(spool, { submission: NAME, task: 0 }, '7', [KEY]);
    scene.tracker.add(eats);
    // The task outlived its worker for a moment, and wrote how that ended.
    mkdirSync(spool.stageDir(KEY), { recursive: true });
    writeFileSync(path.join(spool.stageDir(KEY), 'result.json'), JSON.stringify(killed));
    scene.queue = [row('OUT_OF_MEMORY')];
    await poll(scene, 2);
    assert.is(eats.more, more);
  }
  assert.is(scene.again.length, 1);
  assert.match(scene.notes[0] ?? '', /^Slurm job 7 ran out of memory and gets twice as much; its/);
  const [result] = scene.results;
  assert.is(result?.type === 'fault' && result.message, 'Slurm job 7 ran out of memory');
  assert.is(scene.results.length, 1);
});

test('without cgroups, the words of slurmstepd tell that memory ran out', async (scene) => {
  scene.queue = [row('FAILED', { reason: 'RaisedSignal:9(Killed)' })];
  begin(scene);
  writeFileSync(
    path.join(scene.spool.saidDir, `${NAME}.0`),
    'slurmstepd-n1: error: StepId=7.batch exceeded memory limit (7 > 3), being killed\n',
  );
  await poll(scene, 2);
  const [result] = scene.results;
  assert.is(result?.type, 'fault');
  assert.match(result?.type === 'fault' ? result.message : '', /ran out of memory/);
});

test('a process killed when Slurm cut its job off is not to blame', async (scene) => {
  const result = path.join(scene.spool.stageDir(KEY), 'result.json');
  writeFileSync(result, JSON.stringify({ type: 'exit', code: null, signal: 'SIGKILL' }));
  scene.queue = [row('TIMEOUT')];
  await poll(scene, 2);
  assert.equal(scene.results, []);
  assert.is(scene.again.length, 1);
  assert.not(existsSync(result), 'the next job would take it for its own');
});

test('stages are told where their job is, whenever that changes', async (scene) => {
  scene.queue = [row('PENDING', { reason: 'Resources', nodes: '' })];
  await poll(scene, 3);
  scene.queue = [row('RUNNING', { id: '7_0', nodes: 'n2' })];
  await poll(scene, 3);
  assert.equal(scene.places, [
    { job: 'Slurm job 7', node: null, waits: 'Resources' },
    { job: 'Slurm job 7_0', node: 'n2', waits: null },
  ]);
});

test('a job that ended without a result fails with where to look; a bad node is left out', async (scene) => {
  begin(scene);
  scene.queue = [row('FAILED')];
  await poll(scene, 2);
  const [result] = scene.results;
  assert.match(result?.type === 'fault' ? (result.hint ?? '') : '', /0\.out$/);
  assert.equal([...scene.excluded], []);

  scene.work.members.add({
    job,
    key: KEY,
    hooks: { onOutput: () => undefined, onLog: () => undefined, onProgress: () => undefined },
    signal: new AbortController().signal,
    settle: () => undefined,
  });
  scene.tracker.add(scene.work);
  writeFileSync(path.join(scene.root, 'submissions', NAME, '0.bad'), 'n2\nno GPU\n');
  await poll(scene, 2);
  assert.equal([...scene.excluded], ['n2']);
  assert.match(scene.notes[0] ?? '', /node n2 gets no more jobs of this run: no GPU/);
});

test('two tasks on one job perform it one after the other, and it has one result', async (scene) => {
  const { root, spool } = scene;
  const module = path.join(root, 'stage.mjs');
  writeFileSync(
    module,
    `import { appendFileSync, writeFileSync } from 'node:fs';
export default { kind: 'stage', name: 'train', run: async ({ outDir }) => {
  appendFileSync(${JSON.stringify(path.join(root, 'ran'))}, 'x');
  await new Promise((resolve) => setTimeout(resolve, 200));
  writeFileSync(outDir + '/a.txt', 'a');
} };`,
  );
  const task: ScheduledTask = {
    members: [{ job: { ...job, stage: { ...job.stage, module } }, dir: spool.stageDir(KEY) }],
    leases: path.join(root, 'leases'),
    events: path.join(root, 'events'),
    graceSeconds: 1,
  };
  writeFileSync(path.join(root, 'task.json'), JSON.stringify(task));
  const printed: string[] = [];
  const perform = (): Promise<string> =>
    execTask(path.join(root, 'task.json'), {
      print: (text) => printed.push(text),
      signal: new AbortController().signal,
    });
  assert.equal(await Promise.all([perform(), perform()]), ['done', 'done']);
  assert.is(readFileSync(path.join(root, 'ran'), 'utf8'), 'x');
  assert.match(printed.join(''), /another task is performing it; waiting/);
  const result = present(spool.result(KEY));
  assert.equal(result.type === 'done' && result.files.map((file) => file.path), ['a.txt']);
});

test('a SIGTERM to every process of a task lets its stage save its state', async ({
  root,
  spool,
}) => {
  const module = path.join(root, 'stage.mjs'),
    pidFile = path.join(root, 'pid');
  writeFileSync(
    module,
    `import { mkdirSync, writeFileSync } from 'node:fs';
export default { kind: 'stage', name: 'train', run: async ({ resumeDir, signal }) => {
  writeFileSync(${JSON.stringify(pidFile)}, String(process.pid));
  while (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 10));
  mkdirSync(resumeDir, { recursive: true });
  writeFileSync(resumeDir + '/state', 'half');
  throw new Error('stopped');
} };`,
  );
  const resumeDir = path.join(root, 'resume');
  const dir = spool.stageDir(KEY);
  const task: ScheduledTask = {
    members: [{ job: { ...job, resumeDir, stage: { ...job.stage, module } }, dir }],
    leases: path.join(root, 'leases'),
    events: path.join(root, 'events'),
    graceSeconds: 10,
  };
  writeFileSync(path.join(root, 'task.json'), JSON.stringify(task));
  const stop = new AbortController();
  const ended = execTask(path.join(root, 'task.json'), {
    print: () => undefined,
    signal: stop.signal,
  });
  while (!existsSync(pidFile) || readFileSync(pidFile, 'utf8') === '') await sleep(10);
  process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM'); // its worker is signalled first
  await sleep(200);
  stop.abort();
  assert.is(await ended, 'saved');
  assert.is(readFileSync(path.join(resumeDir, 'state'), 'utf8'), 'half');
  assert.not(existsSync(path.join(dir, 'result.json')), 'it has neither failed nor finished');
});

test.run();
