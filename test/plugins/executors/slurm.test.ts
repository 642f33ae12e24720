/** The parts of the Slurm executor that need no Slurm: profile, requests, scripts, parsing. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  classifyRefusal,
  createClient,
  nodeName,
  parseAccounts,
  parseArraySize,
  parseQueue,
  parseSubmission,
  phaseOf,
  slurmEnvironment,
} from '../../../plugins/executors/slurm/client.ts';
import { parseProfile } from '../../../plugins/executors/slurm/profile.ts';
import { batchScript, estimateRequest } from '../../../plugins/executors/slurm/script.ts';
import { Spool } from '../../../plugins/executors/slurm/spool.ts';

const test = suite('slurm, without Slurm');

const profile = (text: string) => parseProfile(text, '/site/slurm.yaml');

const faultOf = (text: string): string => {
  try {
    profile(text);
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string };
    return `${message} | ${hint ?? ''}`;
  }
  return '';
};

test("a profile's faults name line, setting and what was expected", () => {
  assert.is(profile('').settings('train').maxTime, 24 * 3600);
  assert.match(
    faultOf('poll: 5s\npartitoin: gpu\n'),
    /^\/site\/slurm\.yaml:1: there is no setting "partitoin" in the profile \| the settings are part/,
  );
  assert.match(
    faultOf('partition: gpu\nkinds:\n  train: { time: 4 hours }\n'),
    /^\/site\/slurm\.yaml:3: `kinds\.train\.time` can't be "4 hours" \| write a time such as 90s/,
  );
  assert.match(faultOf('max_jobs: 0'), /`max_jobs` must be >= 1, and is 0/);
  assert.match(faultOf('min_time: 2h\nmax_time: 1h'), /min_time is longer than max_time/);
  assert.match(faultOf('signal: 20m'), /signal is not shorter than min_time/);
  assert.match(faultOf('account: "a; rm -rf /"'), /`account` can't be "a; rm -rf \/"/);
  assert.match(faultOf('a: [1'), /^\/site\/slurm\.yaml: /);
});

test("the guide's profile is sound, and its table has every setting", () => {
  const guide = readFileSync('docs/guides/slurm.md', 'utf8');
  const [, example = ''] = /```text\n([^]*?)```/.exec(guide) ?? [];
  assert.is(profile(example).settings('train').gres, 'gpu:a100');
  const { properties } = JSON.parse(readFileSync('schemas/slurm-profile.schema.json', 'utf8')) as {
    properties: object;
  };
  const missing = Object.keys(properties).filter((name) => !guide.includes(name));
  assert.equal(missing, []);
});

test('time is what such stages took, with a margin, rounded up and bounded', () => {
  const site = profile(
    'max_time: 12h\nmemory_mb: 1000\nkinds: { train: { gpus: 2, margin: 2, time: 1h } }',
  );
  const ask = (kind: string, seconds: readonly (number | undefined)[], longer = 0) =>
    estimateRequest(
      site,
      kind,
      seconds.map((one) => ({
        cpu: 1,
        demand: { gpu: 1, memoryMB: 100, ...(one === undefined ? {} : { seconds: one }) },
      })),
      longer,
    );
  assert.equal(ask('train', [1000]), {
    kind: 'train',
    seconds: 45 * 60, // 2 · 1000 s + 120 s = 35 min 20 s
    memoryMB: 1280,
    cpus: 1,
    gpus: 2,
  });
  assert.is(ask('train', [undefined]).seconds, 3600, 'not known yet');
  assert.is(
    ask('train', [1000, undefined]).seconds,
    2 * 3600, // 2 · 1000 s + 120 s, and 1 h
    'one that is not known yet adds what it would get alone',
  );
  assert.is(ask('train', [1000, 1000]).seconds, 90 * 60, 'a pack: the sum');
  assert.is(
    ask('train', [1000, 1000]).memoryMB,
    1280,
    'a pack: that of its largest stage, in steps of 256 MB',
  );
  assert.is(ask('train', [1000], 1).seconds, 90 * 60, 'doubled after a time-out');
  assert.is(ask('train', [1000], 9).seconds, 12 * 3600, 'never beyond max_time');
  const [asked] = [{ cpu: 1, demand: { gpu: 0 } }];
  assert.is(
    estimateRequest(site, 'train', [asked], 0, 2).memoryMB,
    4096,
    'doubled twice: 4 · 1024 MB',
  );
  const unlike = (...computes: readonly boolean[]): number =>
    estimateRequest(
      site,
      'data',
      computes.map((compute) => ({ cpu: 1, demand: { gpu: 0, compute } })),
    ).seconds;
  assert.equal([unlike(false), unlike(true), unlike(false, true)], [1800, 4 * 3600, 6 * 3600]);
  assert.is(ask('evaluate', [1]).gpus, 1);
  assert.is(ask('evaluate', [1]).seconds, 600, 'at least min_time');
});

test("Slurm's answers are read, and nonsense is left out", () => {
  assert.equal(
    parseQueue(
      '7_3|7|3|PENDING|dosimeter-x|(null)|Resources\n8|8|N/A|RUNNING|a|n1|None\nHello\n|||',
    ),
    [
      {
        id: '7_3',
        name: 'dosimeter-x',
        index: 3,
        state: 'PENDING',
        nodes: '(null)',
        reason: 'Resources',
      },
      { id: '8', name: 'a', index: 0, state: 'RUNNING', nodes: 'n1', reason: 'None' },
    ],
  );
  const accounts = parseAccounts(
    '5_1|x|NODE_FAIL|n1|0:0\n5_1|x|CANCELLED by 0|n2|0:15\n5.batch|batch|FAILED|n1|1:0\nbad\n',
  );
  assert.equal(
    accounts.map(({ id, index, state, nodes }) => [id, index, state, nodes]),
    [['5_1', 1, 'CANCELLED', 'n2']],
  );
  assert.equal(['12\n', '12;cluster\n', 'Submitted', ''].map(parseSubmission), [
    '12',
    '12',
    null,
    null,
  ]);
  assert.is(parseArraySize('Foo = 1\nMaxArraySize            = 1001\n'), 1001);
  assert.equal(['TIMEOUT', 'OUT_OF_MEMORY', 'RUNNING', 'NEW_WORD', 'toString'].map(phaseOf), [
    'cut',
    'memory',
    'active',
    'active',
    'active',
  ]);
  assert.equal(
    [
      'sbatch: error: AssocMaxSubmitJobLimit',
      'sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: ' +
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
      'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation',
      'sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)',
      'sbatch: error: invalid partition specified: x',
      'sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: ' +
        'Job violates accounting/QOS policy (job submit limit, the size or time limits)',
    ].map(classifyRefusal),
    ['full', 'full', 'uncertain', 'uncertain', 'refused', 'refused'],
  );
  assert.equal(['n1', 'a-b.c', 'n[1-2]', '$(x)', ''].map(nodeName), [
    'n1',
    'a-b.c',
    null,
    null,
    null,
  ]);
});

test('an sbatch that waits for room until its time-out has found none', async () => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'slurm-full-'));
  const sbatch = (body: string): void => {
    writeFileSync(path.join(root, 'sbatch'), `#!/bin/bash\n${body}\n`);
    chmodSync(path.join(root, 'sbatch'), 0o755);
  };
  const env = { PATH: `${root}:${process.env['PATH'] ?? ''}` };
  const client = createClient({ env, callSeconds: 1, log: () => undefined });
  const message = 'Slurm temporarily unable to accept job, sleeping and retrying';
  sbatch(`echo 'sbatch: error: ${message}' >&2\nexec sleep 1000`);
  assert.equal(await client.submit([]), { type: 'full', message, waited: true });
  sbatch('echo sbatch: error: AssocMaxSubmitJobLimit >&2; exit 1');
  const refused = await client.submit([]);
  assert.equal(refused, { type: 'full', message: 'AssocMaxSubmitJobLimit', waited: false });
  sbatch('exec sleep 1000');
  assert.is((await client.submit([])).type, 'uncertain');
});

test("variables of the coordinator's own job are not handed to sbatch", () => {
  assert.equal(
    slurmEnvironment({ PATH: '/bin', SLURM_CONF: 'c', SLURM_MEM_PER_CPU: '1', SBATCH_EXPORT: 'x' }),
    { PATH: '/bin', SLURM_CONF: 'c' },
  );
});

/**
 * Runs a batch script whose task waits for SIGTERM and then ends with 75. Returns what it asked
 * Slurm for after SIGUSR1.
 */
async function requeued(root: string, nameOfOurId: string): Promise<string> {
  const program = (name: string, body: string): string => {
    const file = path.join(root, name);
    writeFileSync(file, `#!/bin/bash\n${body}\n`);
    chmodSync(file, 0o755);
    return file;
  };
  program('squeue', `echo ${nameOfOurId}`);
  program('scontrol', `echo "$@" >>${root}/asked`);
  const script = program('script.sh', batchScript([], 0));
  const waits = `[ "$1" = --version ] && exit
trap 'exit 75' TERM
touch ${root}/waits
while :; do sleep 0.05; done`;
  const child = spawn('bash', [script, root, program('task', waits)], {
    env: {
      PATH: `${root}:${process.env['PATH'] ?? ''}`,
      SLURM_JOB_ID: '7',
      SLURM_JOB_NAME: 'ours',
    },
  });
  while (!existsSync(`${root}/waits`)) await sleep(20);
  child.kill('SIGUSR1');
  const [code] = (await once(child, 'close')) as [number];
  assert.is(code, 75);
  assert.ok(existsSync(`${root}/0.signalled`));
  return existsSync(`${root}/asked`) ? readFileSync(`${root}/asked`, 'utf8') : '';
}

test('on SIGUSR1 a job requeues itself, but no other that has got its id', async () => {
  for (const [name, asked] of [
    ['ours', 'requeue 7\n'],
    ['another', ''],
  ] as const) {
    const root = mkdtempSync(path.join(os.tmpdir(), 'slurm-requeue-'));
    assert.is(await requeued(root, name), asked);
  }
});

test('a spool keeps to its folder, and takes no result whose files are not all there', () => {
  const root = mkdtempSync(path.join(os.tmpdir(), 'slurm-spool-'));
  const spool = new Spool(root),
    key = 'a'.repeat(64);
  for (const wrong of ['../x', '', 'A'.repeat(64), `${key}/..`])
    assert.throws(() => spool.stageDir(wrong), /is not the key of a job/);
  assert.throws(() => spool.submissionDir('dosimeter-../x'), /is not the name/);
  spool.setClaim(key, { submission: 'dosimeter-train-1', task: 3 });
  assert.equal(spool.claim(key), { submission: 'dosimeter-train-1', task: 3 });
  const dir = spool.stageDir(key);
  const result = (folder: string, size: number): void =>
    writeFileSync(
      path.join(dir, 'result.json'),
      JSON.stringify({
        type: 'done',
        files: [{ path: 'a', size, sha256: '' }],
        seconds: 1,
        peakMemoryMB: 1,
        folder,
      }),
    );
  mkdirSync(path.join(dir, 'files-1'));
  writeFileSync(path.join(dir, 'files-1', 'a'), 'abc');
  result('files-1', 3);
  assert.is(spool.result(key)?.type, 'done');
  result('files-1', 4);
  assert.is(spool.result(key), null, 'a file that another host sees longer');
  result('../../x', 3);
  assert.is(spool.result(key), null, 'a folder outside');
  writeFileSync(path.join(dir, 'result.json'), '{"type":"do');
  assert.is(spool.result(key), null);
  spool.forget(key);
  assert.is(spool.claim(key), null);
});

test.run();
