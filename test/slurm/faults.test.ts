/**
 * Faults of nodes, memory, disks and priorities on a real Slurm. After each, everything finishes,
 * each result exists once, and no stage was performed by two processes at the same time.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import path from 'node:path';
import * as assert from 'uvu/assert';
import type { Project } from '../rig/project.ts';
import { fakes } from './cluster.ts';
import { QUICK } from './grid.ts';
import { outgrowsItsMemory } from './memory.ts';
import {
  began,
  grid,
  known,
  ranOnce,
  slurmSuite,
  start,
  submissions,
  succeeds,
  until,
} from './rig.ts';

const test = slurmSuite('slurm/faults');

const spoolOf = (project: Project): string =>
  path.join(project.dir, '.dosimeter/store/spool/slurm');
const submissionsDir = (project: Project): string => path.join(spoolOf(project), 'submissions');

/** What all jobs of a project have printed. */
function printed(project: Project): string {
  const dir = submissionsDir(project);
  if (!existsSync(dir)) return '';
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.out'))
    .map((name) => readFileSync(path.join(dir, name), 'utf8'))
    .join('');
}

test('a job out of memory is told as such, and gets more only if the profile says so', async ({
  cluster,
}) => {
  await outgrowsItsMemory(cluster);
});

test('a preempted job saves its state, is requeued, and goes on from there', async ({
  cluster,
}) => {
  const project = grid({ seeds: [1] });
  project.write('does.json', '{"1":"save"}');
  const before = await known(cluster);
  const run = start(project, cluster);
  await until('the training began', began(project, 1));
  await cluster.slurm(
    ...(['sbatch', '--partition=urgent', '--nodes=2', '--exclusive', '--mem=0'] as const),
    ...['--output=/dev/null', '--job-name=urgent', '--wrap=sleep 2'],
  );
  const said = await run.ended;
  assert.is(said.code, 0, said.stderr);
  assert.equal(project.lines('saved.log'), ['1-0.1']);
  assert.is(project.lines('began.log').length, 2);
  ranOnce(project, 2);
  assert.is((await submissions(cluster, before)).length, 1, 'Slurm itself has requeued it');
});

/** Returns the id of the parent of a process; null if it has none. */
function parentOf(pid: number): number | null {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  return parent > 1 ? parent : null;
}

/** Returns the process and those above it, up to the slurmstepd of its job. */
function upToStepd(pid: number): readonly number[] {
  const chain: number[] = [];
  for (let at: number | null = pid; at !== null; at = parentOf(at)) {
    chain.push(at);
    if (readlinkSync(`/proc/${at}/exe`).includes('/slurmstepd')) return chain;
  }
  throw new Error(`no slurmstepd above the process ${pid}`);
}

const performerOf = (project: Project, name: string): number =>
  Number(project.read(`lock-${name}`));

test('slurmd and slurmstepd killed: orphans and their requeues take turns', async ({ cluster }) => {
  const project = grid();
  project.write('does.json', '{"1":"hold","2":"hold"}');
  const [first, second] = cluster.nodes;
  const nodes = (...change: readonly string[]): Promise<string> =>
    cluster.slurm('scontrol', 'update', ...change);
  await nodes(`nodename=${second}`, 'state=drain', 'reason=test');
  const run = start(project, cluster);
  await until('both trainings began', began(project, 2));
  await nodes(`nodename=${second}`, 'state=resume');
  const chains = ['1-0.1', '2-0.1'].map((name) => upToStepd(performerOf(project, name)));
  process.kill(
    Number(readFileSync(path.join(cluster.dir, `pid/slurmd-${first}`), 'utf8')),
    'SIGKILL',
  );
  for (const chain of chains) process.kill(chain.at(-1) ?? 0, 'SIGKILL');
  await until(
    'both requeues wait for the orphans',
    () => printed(project).split('another task is performing it; waiting').length === 3,
  );
  assert.is(project.lines('began.log').length, 2);
  // One orphan dies at last, and its requeue takes over; the other one finishes.
  for (const pid of chains[0]?.slice(0, -1).reverse() ?? []) process.kill(pid, 'SIGKILL');
  await until('the requeue took over', began(project, 3));
  project.write('go', '');
  const said = await run.ended;
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 4);
  assert.equal(project.lines('began.log').sort(), ['1-0.1', '1-0.1', '2-0.1']);
  cluster.start();
});

for (const [what, sacct] of [
  ['hangs', 'sleep 1000'],
  ['fails', "echo 'sacct: error: Problem talking to the database' >&2; exit 1"],
  ['talks nonsense', "printf 'Welcome!\\n7|||\\n|dosimeter-s-train|COMPLETED\\n'"],
] as const)
  test(`a queue that shows nothing and a sacct that ${what}: two jobs, one result`, async ({
    cluster,
  }) => {
    const project = grid({ seeds: [1], profile: [...QUICK, 'call_timeout: 2s'] });
    project.write('does.json', '{"1":"hold"}');
    const {
      dir,
      path: PATH,
      clean,
    } = fakes({
      squeue: '[ -e $HERE/true ] && exec $REAL "$@"\nexit 0',
      sacct: `touch $HERE/asked
${sacct}`,
    });
    const before = await known(cluster);
    const run = start(project, cluster, [], { PATH });
    await until('a second job waits for the first', () =>
      printed(project).includes('another task is performing it; waiting'),
    );
    project.write('go', '');
    const said = await run.ended;
    assert.ok(existsSync(`${dir}/asked`));
    clean();
    assert.is(said.code, 0, said.stderr);
    assert.match(said.stderr, /is not known to Slurm any more; its stages are submitted again/);
    ranOnce(project, 2);
    assert.is(project.lines('began.log').length, 1);
    assert.is((await submissions(cluster, before)).length, 2);
  });

const GONE = { recursive: true, force: true } as const;

test('log folders removed, before jobs begin and while they run', async ({ cluster }) => {
  const project = grid({ profile: [...QUICK, 'options: ["--begin=now+4"]'] });
  project.write('does.json', '{"1":"hold"}');
  const removeLogs = (): void => {
    for (const name of readdirSync(submissionsDir(project)))
      rmSync(path.join(submissionsDir(project), name), { recursive: true });
    const runs = path.join(project.dir, '.dosimeter/runs');
    for (const id of readdirSync(runs)) rmSync(path.join(runs, id, 'logs'), GONE);
  };
  const hasSubmitted = (): boolean =>
    existsSync(submissionsDir(project)) &&
    readdirSync(submissionsDir(project)).some((name) =>
      existsSync(path.join(submissionsDir(project), name, 'submitted.json')),
    );
  const run = start(project, cluster);
  await until('the trainings were submitted', hasSubmitted);
  assert.is(project.lines('began.log').length, 0);
  removeLogs();
  await run.saw('ended before it began');
  await until('both trainings began', began(project, 2));
  removeLogs();
  project.write('go', '');
  const said = await run.ended;
  assert.is(said.code, 0, said.stderr);
  assert.not.match(said.stderr, /gets no more jobs/, 'no node is to blame');
  ranOnce(project, 4);
});

test('a submission is removed before sbatch reads it', async ({ cluster }) => {
  const project = grid({ seeds: [1] });
  const { path: PATH, clean } = fakes({
    sbatch: `[ "$1" = --version ] && exec $REAL "$@"
mkdir $HERE/removed 2>/dev/null && rm -r ${submissionsDir(project)}/*
exec $REAL "$@"`,
  });
  try {
    const said = await start(project, cluster, [], { PATH }).ended;
    assert.is(said.code, 0, said.stderr);
    assert.match(said.stderr, /Unable to open file .*script\.sh; its stages are submitted again/);
    ranOnce(project, 2);
  } finally {
    clean();
  }
});

/** Mounts a small file system in place of `.dosimeter`. */
function mountSmall(project: Project): string {
  const dir = path.join(project.dir, '.dosimeter');
  mkdirSync(dir);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dir]);
  assert.is(mounted.status, 0, 'this suite runs as root, and mounts a tmpfs');
  return dir;
}

test('a stage that fills the store fails plainly, and a rerun finishes', async ({ cluster }) => {
  const project = grid();
  project.write('does.json', '{"1":"fill"}');
  const dir = mountSmall(project);
  try {
    const said = await start(project, cluster).ended;
    assert.is(said.code, 1, said.stderr);
    assert.match(said.stderr, /the disk is full \(ENOSPC\)/);
    assert.match(said.stderr, /free some space/);
    assert.not.match(said.stderr, /internal error/);
    project.write('does.json', '{}');
    await succeeds(project, cluster);
    ranOnce(project, 4);
  } finally {
    spawnSync('umount', ['-l', dir]);
  }
});

test('a store that is full when jobs are submitted strands nothing', async ({ cluster }) => {
  const project = grid();
  const before = await known(cluster);
  const dir = mountSmall(project);
  const filler = path.join(dir, 'filler');
  const { path: PATH, clean } = fakes({
    // From the first submission on there is no room.
    sbatch: `[ "$1" = --version ] && exec $REAL "$@"\n$REAL "$@"\ncat /dev/zero >${filler} 2>/dev/null\ntrue`,
  });
  try {
    const said = await start(project, cluster, [], { PATH }).ended;
    assert.is(said.code, 1, said.stderr);
    assert.match(said.stderr, /ENOSPC/);
    assert.not.match(said.stderr, /internal error/);
    await until('no job is left', async () =>
      [...(await cluster.jobs('s-train'))].every(
        ([name, state]) => before.has(name) || (state !== 'RUNNING' && state !== 'PENDING'),
      ),
    );
    rmSync(filler);
    await succeeds(project, cluster);
    assert.equal([...new Set(project.lines('ran.log'))].length, 4);
    assert.equal(project.lines('twice.log'), []);
    assert.is(project.entries().length, 4);
  } finally {
    clean();
    spawnSync('umount', ['-l', dir]);
  }
});

test.run();
