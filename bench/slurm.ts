/**
 * What following 1,000 jobs of a Slurm cluster costs. A stand-in for squeue shows 1,000 tasks that
 * run, in Slurm's own form; each task's log grows by a line between two polls. There is no peer:
 * the limits are one query a poll, and 5% of a core at the usual ten seconds between two polls.
 */
import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createClient } from '../plugins/executors/slurm/client.ts';
import { parseProfile } from '../plugins/executors/slurm/profile.ts';
import { Spool } from '../plugins/executors/slurm/spool.ts';
import { Tracker } from '../plugins/executors/slurm/tracker.ts';
import { newTask, newWork } from '../plugins/executors/slurm/work.ts';
import { idleJob } from '../test/rig/job.ts';
import { type Claim, makeClaim, median } from './claims.ts';

const TASKS = 1000;
const NAME = 'dosimeter-train-0123456789ab';

interface Followed {
  readonly tracker: Tracker;
  readonly pollSeconds: number;
  /** The folder with the tasks' logs. */
  readonly logs: string;
}

/** Writes a stand-in for squeue, which counts its calls in `queries`. */
function writeQueue(root: string): void {
  const rows = Array.from(
    { length: TASKS },
    (_, i) => `7_${i}|7|${i}|RUNNING|${NAME}|node${i % 50}|None\n`,
  );
  writeFileSync(path.join(root, 'rows'), rows.join(''));
  const program = `#!/bin/sh\necho x >>${root}/queries\nexec cat ${root}/rows\n`;
  writeFileSync(path.join(root, 'squeue'), program);
  chmodSync(path.join(root, 'squeue'), 0o755);
  writeFileSync(path.join(root, 'queries'), '');
}

function follow(root: string): Followed {
  writeQueue(root);
  const spool = new Spool(path.join(root, 'spool'));
  const keys = Array.from({ length: TASKS }, (_, i) => i.toString(16).padStart(64, '0'));
  const hooks = { onOutput: () => undefined, onLog: () => undefined, onProgress: () => undefined };
  const profile = parseProfile('', 'slurm.yaml');
  const say = (message: string): void => void process.stderr.write(`${message}\n`);
  const tracker = new Tracker({
    spool,
    client: createClient({
      env: { PATH: `${root}:${process.env['PATH'] ?? ''}` },
      callSeconds: profile.callSeconds,
      log: say,
    }),
    profile,
    excluded: new Set(),
    note: say,
    again: () => undefined,
    stray: () => undefined,
    settled: () => undefined,
  });
  const jobs = keys.map((key) => ({ ...idleJob, key }));
  spool.writeSubmission(
    NAME,
    '',
    jobs.map((job, i) => ({
      members: [{ job, dir: spool.stageDir(keys[i] ?? '') }],
      graceSeconds: 1,
    })),
  );
  for (const [task, key] of keys.entries()) {
    const claim = { submission: NAME, task };
    spool.setClaim(key, claim);
    const { signal } = new AbortController();
    const job = { ...idleJob, key };
    const work = newWork('train', [{ job, key, hooks, signal, settle: () => undefined }]);
    work.task = newTask(spool, claim, '7', [key]);
    tracker.add(work);
  }
  return { tracker, pollSeconds: profile.pollSeconds, logs: spool.submissionDir(NAME) };
}

export async function* bench({
  rounds = 10,
  quick = false,
}: {
  readonly rounds?: number;
  readonly quick?: boolean;
}): AsyncGenerator<Claim> {
  const root = mkdtempSync(path.join(os.tmpdir(), 'bench-slurm-'));
  try {
    const { tracker, pollSeconds, logs } = follow(root);
    const polls = quick ? 3 : rounds;
    const used: number[] = [];
    // The first poll is not counted: it reads code that later ones have at hand.
    for (let poll = 0; poll <= polls; poll++) {
      for (let task = 0; task < TASKS; task++)
        appendFileSync(path.join(logs, `${task}.out`), 'step 1 of 9: loss 0.7\n');
      const before = process.cpuUsage();
      await tracker.poll();
      const { user, system } = process.cpuUsage(before);
      if (poll > 0) used.push((user + system) / 1e6);
    }
    const queries = readFileSync(path.join(root, 'queries'), 'utf8').trim().split('\n').length;
    yield makeClaim('slurm', {
      claim: `following ${TASKS} jobs, a poll every ${pollSeconds} s`,
      unit: '% of a core',
      value: (100 * median(used)) / pollSeconds,
      peer: 'the limit',
      peerValue: 5,
      sense: 'cost',
      goal: 1,
    });
    yield makeClaim('slurm', {
      claim: `queries of ${TASKS} jobs`,
      unit: 'a poll',
      value: queries / (polls + 1),
      peer: 'the limit',
      peerValue: 1,
      sense: 'cost',
      goal: 1,
    });
  } finally {
    rmSync(root, { recursive: true });
  }
}
