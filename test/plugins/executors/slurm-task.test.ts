/** A task of several stages: one after another, and stopped in the middle. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Spool } from '../../../plugins/executors/slurm/spool.ts';
import type { Job, ScheduledTask } from '../../../src/api.ts';
import { execTask } from '../../../src/run/exec-task.ts';
import { rejects } from '../../rig/rejects.ts';

const NAMES = ['a', 'b', 'c'];

/** A stage that, the first time it runs as `b`, saves its state when it is asked to stop. */
const stageIn = (root: string): string => `import { appendFileSync, existsSync, mkdirSync,
  writeFileSync } from 'node:fs';
const root = ${JSON.stringify(root)};
const run = async ({ params: { name }, resumeDir, outDir, signal }) => {
  appendFileSync(root + '/began', name);
  if (name === 'b' && !existsSync(resumeDir)) {
    while (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 10));
    mkdirSync(resumeDir, { recursive: true });
    writeFileSync(resumeDir + '/state', 'half');
    throw new Error('stopped');
  }
  writeFileSync(outDir + '/name.txt', name);
};
export default { kind: 'stage', name: 'train', run };
`;

interface Prepared {
  readonly spool: Spool;
  readonly keys: readonly string[];
  readonly began: string;
  readonly perform: (signal: AbortSignal) => ReturnType<typeof execTask>;
}

/** Writes a task of three stages below `root`. */
function prepare(root: string): Prepared {
  const spool = new Spool(path.join(root, 'spool'));
  const module = path.join(root, 'stage.mjs'),
    began = path.join(root, 'began');
  writeFileSync(module, stageIn(root));
  const keys = NAMES.map((name) => name.repeat(64));
  const job = (name: string): Job => ({
    id: `train-${name}`,
    stage: { kind: 'stage', name: 'train', module },
    uses: [],
    params: { name },
    inputs: {},
    assets: {},
    outDir: '',
    resumeDir: path.join(root, `resume-${name}`),
    backend: 'cpu',
    compute: false,
    cpu: 1,
  });
  const members = NAMES.map((name, i) => ({ job: job(name), dir: spool.stageDir(keys[i] ?? '') }));
  spool.writeSubmission('dosimeter-train-0123456789ab', '', [{ members, graceSeconds: 5 }]);
  const task: ScheduledTask = {
    members,
    leases: path.join(root, 'leases'),
    events: path.join(root, 'events'),
    graceSeconds: 5,
  };
  mkdirSync(task.leases);
  writeFileSync(path.join(root, 'task.json'), JSON.stringify(task));
  const perform = (signal: AbortSignal): ReturnType<typeof execTask> =>
    execTask(path.join(root, 'task.json'), { print: () => undefined, signal });
  return { spool, keys, began, perform };
}

test('a stage that has not begun when its task is stopped has lost nothing', async () => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'task-'));
  const { spool, keys, began, perform } = prepare(root);
  assert.is(await perform(AbortSignal.abort()), 'saved', 'before it has a lease');
  const stop = new AbortController();
  const ended = perform(stop.signal);
  while (!existsSync(began) || readFileSync(began, 'utf8') !== 'ab') await sleep(10);
  stop.abort();
  assert.is(await ended, 'saved');
  const isDone = (key: string): boolean => spool.result(key)?.type === 'done';
  assert.equal(keys.map(isDone), [true, false, false]);
  assert.is(await perform(new AbortController().signal), 'done');
  assert.equal(keys.map(isDone), [true, true, true]);
  assert.is(readFileSync(began, 'utf8'), 'abbc');
});

test('a task removes nothing behind a link', async () => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'task-'));
  const { spool, keys, perform } = prepare(root);
  const stage = spool.stageDir(keys[0] ?? ''),
    letters = path.join(root, 'documents', 'files-1');
  mkdirSync(letters, { recursive: true });
  rmSync(stage, { recursive: true });
  symlinkSync(path.dirname(letters), stage);
  await rejects(perform(new AbortController().signal), /is a link/);
  assert.ok(existsSync(letters));
});

test.run();
