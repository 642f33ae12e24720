/** Which jobs are cancelled when stages are stopped, by stand-ins for Slurm's commands. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openSlurm } from '../../../plugins/executors/slurm/executor.ts';
import { type Executor, type Job, type JobResult, LEAVE } from '../../../src/api.ts';
import { idleJob } from '../../rig/job.ts';
import { present } from '../../rig/present.ts';

interface Scene {
  root: string;
  executor: Executor;
  notes: string[];
  /** Hands over a job with one stage; `stop` stops the stage. */
  start: (letter: string) => { stop(reason?: unknown): void; result: Promise<JobResult> };
}

const test = suite<Scene>('stages stopped under slurm');

/** Each waits while a file with its name and `.waits` is there, and says what is in `.says`. */
const COMMAND = `#!/bin/bash
name=$ROOT/\${0##*/}
echo "$@" >>"$name.calls"
[ "$1" = --version ] && exit
[ "$1" = show ] && exit
while [ -e "$name.waits" ]; do sleep 0.02; done
cat "$name.says" && exit
exit 1
`;

test.before.each(async (scene) => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'slurm-stop-'));
  for (const name of ['sbatch', 'squeue', 'scancel', 'scontrol', 'sacct']) {
    writeFileSync(path.join(root, name), COMMAND);
    chmodSync(path.join(root, name), 0o755);
    writeFileSync(path.join(root, `${name}.says`), '');
  }
  writeFileSync(path.join(root, 'sbatch.says'), '7\n');
  writeFileSync(path.join(root, 'slurm.yaml'), 'poll: 1s\n');
  mkdirSync(path.join(root, 'run'));
  const notes: string[] = [];
  const executor = await openSlurm({
    cores: 1,
    dir: path.join(root, 'run'),
    env: { ...process.env, PATH: `${root}:${process.env['PATH'] ?? ''}`, ROOT: root },
    log: () => undefined,
    note: (message) => notes.push(message),
    spec: path.join(root, 'spec.yaml'),
    spool: path.join(root, 'spool'),
    workers: () => ({}) as Executor,
    command: () => [],
    taskCommand: ['true'],
  });
  const start: Scene['start'] = (letter) => {
    const stop = new AbortController();
    const job: Job = { ...idleJob, id: `train-${letter}`, key: letter.repeat(64) };
    const hooks = {
      onOutput: () => undefined,
      onLog: () => undefined,
      onProgress: () => undefined,
    };
    return {
      stop: (reason) => stop.abort(reason),
      result: executor.run(job, hooks, stop.signal),
    };
  };
  Object.assign(scene, { root, notes, executor, start });
});

/** Returns how a command was called, each time. */
function calls({ root }: Scene, command: string): readonly string[] {
  const file = path.join(root, `${command}.calls`);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  return lines.filter((line) => line !== '--version');
}

async function called(scene: Scene, command: string): Promise<string> {
  for (;;) {
    const [call] = calls(scene, command);
    if (call !== undefined) return call;
    await sleep(20);
  }
}

const say = ({ root }: Scene, command: string, text: string): void =>
  writeFileSync(path.join(root, `${command}.says`), text);
const hold = ({ root }: Scene): void => writeFileSync(path.join(root, 'sbatch.waits'), '');
const release = ({ root }: Scene): void => rmSync(path.join(root, 'sbatch.waits'));
/** Lets squeue show both jobs of an array. */
const show = (scene: Scene, name: string): void =>
  say(scene, 'squeue', [0, 1].map((i) => `7_${i}|7|${i}|PENDING|${name}||None\n`).join(''));
const nameIn = (call: string): string => present(/--job-name=(\S+)/.exec(call)?.[1]);

test('a stage stopped while sbatch runs ends at once, and its job alone is cancelled', async (scene) => {
  hold(scene);
  const [stopped, other] = [scene.start('a'), scene.start('b')];
  const name = nameIn(await called(scene, 'sbatch'));
  stopped.stop();
  assert.is((await stopped.result).type, 'exit');
  assert.equal(calls(scene, 'scancel'), [], 'there may be no job yet');
  show(scene, name);
  release(scene);
  assert.is(await called(scene, 'scancel'), `--me --name=${name} 7_0`);
  other.stop();
  await other.result;
  await scene.executor.close();
  assert.equal(calls(scene, 'scancel').slice(1), [`--me --name=${name} 7_1`]);
});

test('a stage that another run has taken over keeps its job; the others lose theirs', async (scene) => {
  hold(scene);
  const [left, stopped] = [scene.start('a'), scene.start('b')];
  const name = nameIn(await called(scene, 'sbatch'));
  left.stop(LEAVE);
  stopped.stop();
  await Promise.all([left.result, stopped.result]);
  show(scene, name);
  release(scene);
  await scene.executor.close();
  assert.equal(calls(scene, 'scancel'), [`--me --name=${name} 7_1`]);
});

test('before the id of an array is known, no other of its jobs is cancelled', async (scene) => {
  say(scene, 'sbatch', '');
  const [stopped, other] = [scene.start('a'), scene.start('b')];
  const name = nameIn(await called(scene, 'sbatch'));
  while (!scene.notes.some((note) => note.includes(`looking whether ${name}`))) await sleep(20);
  stopped.stop();
  await stopped.result;
  show(scene, name);
  assert.is(await called(scene, 'scancel'), `--me --name=${name} 7_0`);
  other.stop();
  await other.result;
  await scene.executor.close();
  assert.equal(calls(scene, 'scancel').slice(1), [`--me --name=${name} 7_1`]);
});

test('a run that ends before Slurm shows a job says how to cancel it', async (scene) => {
  say(scene, 'sbatch', '');
  const stopped = scene.start('a');
  const name = nameIn(await called(scene, 'sbatch'));
  stopped.stop();
  await stopped.result;
  await scene.executor.close();
  assert.equal(calls(scene, 'scancel'), []);
  assert.match(present(scene.notes.at(-1)), `squeue --name=${name} says`);
});

test.run();
