/**
 * A real Slurm on this machine, for the tests of this folder. It needs root; Debian's packages are
 * installed.
 */
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from '../rig/ports.ts';

const call = promisify(execFile);
const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** A variable of start.sh, where a value is given. */
const given = (name: string, value: number | undefined): Readonly<Record<string, string>> =>
  value === undefined ? {} : { [name]: String(value) };

export interface Cluster {
  readonly dir: string;
  readonly nodes: readonly [string, string];
  /** The environment of Slurm's commands. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs one of Slurm's commands; returns what it prints. */
  slurm(program: string, ...args: readonly string[]): Promise<string>;
  /** The states of all jobs whose name begins with `dosimeter-KIND-`, by name and index. */
  jobs(kind: string): Promise<ReadonlyMap<string, string>>;
  stop(): void;
  /** Starts what is not running. */
  start(): void;
}

export interface ClusterOptions {
  /** Whether memory may be limited by cgroups, where the machine has them. Default: it may. */
  readonly cgroups?: false;
  /** Slurm's MaxJobCount and MaxArraySize. */
  readonly maxJobs?: number;
  readonly maxArray?: number;
  /** For how many seconds Slurm knows a job after its end. */
  readonly jobAge?: number;
  /** Starts slurmdbd, with an association that may have so many jobs submitted. */
  readonly submitLimit?: number;
}

/**
 * Two nodes with 16 declared cores each, and a partition `urgent` whose jobs preempt those of the
 * usual one. Without accounting, unless there is a `submitLimit`.
 */
export function startCluster(options: ClusterOptions = {}): Cluster {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'slurm-'));
  chmodSync(dir, 0o755);
  const port = freePorts(),
    node = `p${port}n`;
  const env = {
    SLURM_CI_DIR: dir,
    SLURM_CI_NODE: node,
    SLURM_CI_NODES: '2',
    SLURM_CI_CPUS: '16',
    SLURM_CI_ACCT: options.submitLimit === undefined ? 'filetxt' : 'dbd',
    SLURM_CI_PORT: String(port),
    ...(options.cgroups === false ? { SLURM_CI_CGROUPS: 'no' } : {}),
    ...given('SLURM_CI_MAX_JOBS', options.maxJobs),
    ...given('SLURM_CI_MAX_ARRAY', options.maxArray),
    ...given('SLURM_CI_JOB_AGE', options.jobAge),
    ...given('SLURM_CI_SUBMIT_LIMIT', options.submitLimit),
  };
  const run = (name: string, more: Readonly<Record<string, string>> = {}): void => {
    execFileSync('bash', [script(name)], {
      env: { ...process.env, ...env, ...more },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  };
  const stop = (): void => run('stop.sh', { SLURM_CI_WIPE: '1' });
  try {
    run('start.sh');
  } catch (error) {
    stop(); // the part that has started
    throw error;
  }
  const ours = { SLURM_CONF: path.join(dir, 'slurm.conf') };
  const slurm = async (program: string, ...args: readonly string[]): Promise<string> => {
    const { stdout } = await call(program, args, { env: { ...process.env, ...ours } });
    return stdout;
  };
  return {
    dir,
    nodes: [`${node}1`, `${node}2`],
    env: ours,
    slurm,
    async jobs(kind) {
      const lines = (await slurm('squeue', '-h', '-r', '-t', 'all', '-o', '%j/%K %T')).split('\n');
      return new Map(
        lines
          .filter((line) => line.startsWith(`dosimeter-${kind}-`))
          .map((line) => {
            const [name = '', state = ''] = line.split(' ');
            return [name, state];
          }),
      );
    },
    stop,
    start: () => run('start.sh'),
  };
}

/**
 * Makes a folder with programs that stand in for Slurm's, to be put before the PATH. `$REAL` is the
 * real program, `$HERE` the folder.
 */
export function fakes(programs: Readonly<Record<string, string>>): {
  readonly dir: string;
  readonly path: string;
  readonly clean: () => void;
} {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'fakes-'));
  mkdirSync(dir, { recursive: true });
  for (const [name, body] of Object.entries(programs)) {
    const real = execFileSync('bash', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim();
    const file = path.join(dir, name);
    writeFileSync(file, `#!/bin/bash\nREAL=${real}\nHERE=${dir}\n${body}\n`);
    chmodSync(file, 0o755);
  }
  return {
    dir,
    path: `${dir}:${process.env['PATH'] ?? ''}`,
    clean: () => rmSync(dir, { recursive: true, force: true }),
  };
}
