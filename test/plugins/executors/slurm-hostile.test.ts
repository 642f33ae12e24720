/**
 * Properties: no string of a spec, a path or a profile is read by a shell on its way to a job, and
 * each arrives as it is. A stand-in for sbatch does what Slurm does with its arguments: it runs the
 * script with those that follow it.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createClient } from '../../../plugins/executors/slurm/client.ts';
import { parseProfile, type Profile } from '../../../plugins/executors/slurm/profile.ts';
import { Spool } from '../../../plugins/executors/slurm/spool.ts';
import {
  batchByRequest,
  submitBatch,
  submitCoordinator,
} from '../../../plugins/executors/slurm/submit.ts';
import { newWork } from '../../../plugins/executors/slurm/work.ts';
import type { Job, PackedJob, ScheduledTask } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { times } from '../../rig/times.ts';

interface Scene {
  root: string;
  /** The environment with the stand-ins for Slurm's commands. */
  env: Readonly<Record<string, string>>;
}

const test = suite<Scene>('hostile strings');

/** Writes its arguments to `args`, then runs the script with those that follow it. */
const SBATCH = `#!/bin/bash
[ "$1" = --version ] && exit
printf '%s\\0' "$@" >"$ROOT/args"
while [ "\${1#--}" != "$1" ]; do shift; done
SLURMD_NODENAME="$NODE" SLURM_JOB_ID=7 bash "$@" >"$ROOT/said" 2>&1 || exit
echo 7
`;
/** Stands in for Node and the program: prints its arguments, and the task or log named last. */
const PROGRAM = `#!/bin/bash
[ "$1" = --version ] && exit
printf '%s\\0' "$@" >"$ROOT/run"
`;

test.before.each((scene) => {
  scene.root = mkdtempSync(path.join(os.tmpdir(), 'slurm-hostile-'));
  for (const [name, text] of [
    ['sbatch', SBATCH],
    ['program', PROGRAM],
    ['nvidia-smi', '#!/bin/bash\necho GPU 0\n'],
  ] as const) {
    writeFileSync(path.join(scene.root, name), text);
    chmodSync(path.join(scene.root, name), 0o755);
  }
  scene.env = { PATH: `${scene.root}:${process.env['PATH'] ?? ''}`, ROOT: scene.root };
});

/** Pieces that do harm where a shell, or one of Slurm's patterns, reads them. */
const PIECES = [
  ...['$(touch pwned)', '`touch pwned`', "'; touch pwned; '", '"; touch pwned; "', '\n', '\r\n'],
  ...['\ntouch pwned\n', ' ', '\t', '%j', '%%', '\\', '\\\n', '*', '~', '${HOME}', '$0', '&', '|'],
  ...['<', '>', '(', ')', '#', '!', '-', '--wrap=touch pwned', '{a,b}', '[a]', 'é', '😀', '\u202e'],
];
/** Any text: of the harmful pieces, and of any characters. */
const hostile = fc
  .array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: 'binary', maxLength: 8 })), {
    minLength: 1,
    maxLength: 6,
  })
  .map((pieces) => Buffer.from(pieces.join('')).toString()); // well-formed, as files hold it
/** A text that an argument list of the system and a file's name can hold. */
const inName = hostile
  .map((text) => Buffer.from(text.replaceAll(/[\0/]/g, '').slice(0, 40)).toString())
  .filter((text) => !['', '.', '..'].includes(text));

/** The texts that a program wrote, each ended by a zero. */
const texts = (file: string): readonly string[] =>
  readFileSync(file, 'utf8').split('\0').slice(0, -1);

function nothingDone(root: string): void {
  for (const [dir, depth] of [
    [root, 6],
    [process.cwd(), 1],
  ] as const) {
    const wanted = ['-maxdepth', String(depth), '-name', 'pwned*'];
    assert.is(execFileSync('find', [dir, ...wanted], { encoding: 'utf8' }), '');
  }
}

const RUNS = { numRuns: times(15, 200) };

/** Profiles that are accepted: whatever a setting takes of what is tried. */
const accepted = (text: string): Profile | null => {
  try {
    return parseProfile(text, 'slurm.yaml');
  } catch (error) {
    if ((error as Error).name !== 'UserFault') throw error;
    return null;
  }
};
const NAMES = ['partition', 'account', 'qos', 'reservation', 'constraint', 'gres'] as const;

const packed = (job: Job): PackedJob => ({
  job,
  hooks: { onOutput: () => undefined, onLog: () => undefined, onProgress: () => undefined },
  signal: new AbortController().signal,
});

test('a stage reaches its job as it is, whatever its strings, its kind and its paths', async ({
  root,
  env,
}) => {
  await fc.assert(
    fc.asyncProperty(
      inName,
      hostile,
      hostile,
      inName,
      inName,
      async (dir, kind, value, arg, node) => {
        const store = path.join(root, `store ${dir}`);
        const spool = new Spool(path.join(store, 'spool'));
        const key = 'c'.repeat(64);
        const job: Job = {
          id: `train-${value}`,
          stage: { kind: 'stage', name: kind, module: `/plugins/${value}.mjs` },
          uses: [],
          params: { [value]: value, nested: { list: [value] } },
          inputs: { [value]: { dir: value, kind: value } as never },
          assets: {},
          outDir: '',
          backend: 'cpu',
          compute: false,
          cpu: 1,
          key,
        };
        const profile = parseProfile('', 'slurm.yaml');
        const work = newWork(kind, [{ ...packed(job), key, settle: () => undefined }]);
        const [batch] = batchByRequest([work], profile, 10);
        mkdirSync(store, { recursive: true });
        symlinkSync(path.join(root, 'program'), path.join(store, `program ${arg}`));
        const taskCommand = [path.join(store, `program ${arg}`), arg, 'exec', '--task'];
        const outcome = await submitBatch(present(batch), {
          spool,
          client: createClient({
            env: { ...env, NODE: node },
            callSeconds: 30,
            log: () => undefined,
          }),
          profile,
          taskCommand,
          excluded: new Set(),
        });
        const { name } = outcome;
        assert.is(outcome.type, 'submitted', JSON.stringify(outcome));
        assert.match(name, /^dosimeter-[a-z0-9-]{1,100}$/);
        const args = texts(path.join(root, 'args'));
        const script = args.indexOf(`${spool.submissionDir(name)}/script.sh`);
        assert.ok(args.slice(0, script).every((option) => /^--[a-z]/.test(option)));
        assert.ok(args.includes(`--job-name=${name}`));
        const run = texts(path.join(root, 'run'));
        const file = path.join(spool.submissionDir(name), '0.json');
        assert.equal(run, [arg, 'exec', '--task', file]);
        const task = JSON.parse(readFileSync(file, 'utf8')) as ScheduledTask;
        assert.equal(task.members[0]?.job, JSON.parse(JSON.stringify(job)));
        const text = readFileSync(path.join(spool.submissionDir(name), 'script.sh'), 'utf8');
        for (const one of [value, kind, dir, arg])
          assert.ok(
            one.length < 8 || !text.includes(one),
            'the script holds no string of the user',
          );
        rmSync(store, { recursive: true });
      },
    ),
    RUNS,
  );
  nothingDone(root);
});

test('a value of the profile is one argument of sbatch, or is refused', async ({ root, env }) => {
  const client = createClient({ env, callSeconds: 30, log: () => undefined });
  const profiles = times(40, 400);
  let taken = 0;
  const sound = fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.,:@+-]{0,20}$/);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...NAMES),
      fc.oneof(hostile, sound),
      fc.oneof(hostile, sound),
      async (setting, value, option) => {
        const profile = accepted(
          JSON.stringify({ [setting]: value, gpus: 1, options: [`--nice=${option}`] }),
        );
        if (profile === null || option.includes('\0')) return;
        taken++;
        const spool = new Spool(path.join(root, 'spool'));
        const key = 'd'.repeat(64);
        const job = { id: 'x', cpu: 1 } as Job;
        const work = newWork('train', [{ ...packed(job), key, settle: () => undefined }]);
        const [batch] = batchByRequest([work], profile, 10);
        const { type } = await submitBatch(present(batch), {
          spool,
          client,
          profile,
          taskCommand: [path.join(root, 'program')],
          excluded: new Set(),
        });
        assert.is(type, 'submitted');
        const args = texts(path.join(root, 'args'));
        const flag = setting === 'gres' ? `--gres=${value}:1` : `--${setting}=${value}`;
        assert.is(args.filter((one) => one === flag).length, 1, args.join('\n'));
        assert.is(args.filter((one) => one === `--nice=${option}`).length, 1);
      },
    ),
    { numRuns: profiles },
  );
  assert.ok(taken > profiles / 10, `${taken} of ${profiles} profiles were sound`);
  nothingDone(root);
});

test("a coordinator's command reaches its job as it is", async ({ root, env }) => {
  await fc.assert(
    fc.asyncProperty(inName, inName, inName, async (dir, spec, value) => {
      const folder = path.join(root, `project ${dir}`);
      mkdirSync(folder, { recursive: true });
      const command = [path.join(root, 'program'), 'run', `${spec}.yaml`, '--set', `name=${value}`];
      const { name, file } = await submitCoordinator({
        spec: path.join(folder, `${spec}.yaml`),
        env: { ...env, HOME: root, XDG_CONFIG_HOME: root },
        command,
        dir: folder,
        log: () => undefined,
      });
      assert.match(name, /^dosimeter-coordinator-[0-9a-f]{12}$/);
      assert.is(path.dirname(file), folder);
      assert.equal(texts(path.join(root, 'run')), command.slice(1));
      rmSync(folder, { recursive: true });
    }),
    RUNS,
  );
  nothingDone(root);
});

test.run();
