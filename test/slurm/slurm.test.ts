/** Runs on a real Slurm: the results of `local`, and what is left after each fault. */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as assert from 'uvu/assert';
import { contentsOf } from '../faults/grid.ts';
import { present } from '../rig/present.ts';
import { lastLine } from '../rig/project.ts';
import { fakes } from './cluster.ts';
import { QUICK } from './grid.ts';
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

const test = slurmSuite('slurm');

test('keys and results are those of local, alone and in packs', async ({ cluster }) => {
  const project = grid({ seeds: [1, 2, 3], rates: [0.1, 0.2] });
  await project.succeeds('run', 'spec.yaml');
  const expected = contentsOf(project);
  assert.is(project.entries().length, 12);
  for (const [pack, jobs] of [
    ['1', 6],
    ['4', 2],
  ] as const) {
    rmSync(path.join(project.dir, '.dosimeter'), { recursive: true });
    rmSync(path.join(project.dir, 'ran.log'));
    const before = await known(cluster);
    const said = await start(project, cluster, ['--pack', pack]).ended;
    assert.is(said.code, 0, said.stderr);
    assert.equal(contentsOf(project), expected);
    ranOnce(project, 12);
    const submitted = await submissions(cluster, before);
    assert.is(submitted.length, jobs, submitted.join());
    assert.is(new Set(submitted.map((name) => name.split('/')[0])).size, 1, 'one array');
  }
  const [stage] = await project.stages('spec.yaml');
  const { facts } = JSON.parse(
    readFileSync(path.join(present(present(stage).outputs), 'manifest.json'), 'utf8'),
  ) as { facts: { executor: string } };
  assert.is(facts.executor, 'slurm');
  const spool = path.join(project.dir, '.dosimeter/store/spool/slurm');
  assert.not(existsSync(path.join(spool, 'stages', 'x')));
});

test('a submitter killed before sbatch is called submits once when it is run again', async ({
  cluster,
}) => {
  const project = grid();
  const { path: PATH, clean } = fakes({
    sbatch: '[ "$1" = --version ] && exec $REAL "$@"\nkill -KILL $PPID',
  });
  const killed = await start(project, cluster, [], { PATH }).ended;
  clean();
  assert.is(killed.signal, 'SIGKILL');
  const before = await known(cluster);
  await succeeds(project, cluster);
  ranOnce(project, 4);
  assert.is((await submissions(cluster, before)).length, 2);
});

test('jobs of a submitter killed after sbatch are adopted, not submitted again', async ({
  cluster,
}) => {
  const project = grid();
  project.write('does.json', '{"1":"hold"}');
  const before = await known(cluster);
  const { path: PATH, clean } = fakes({
    sbatch: '[ "$1" = --version ] && exec $REAL "$@"\n$REAL "$@"\nkill -KILL $PPID',
  });
  assert.is((await start(project, cluster, [], { PATH }).ended).signal, 'SIGKILL');
  clean();
  const run = start(project, cluster);
  await until('both trainings began', began(project, 2));
  project.write('go', '');
  const said = await run.ended;
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 4);
  assert.is((await submissions(cluster, before)).length, 2);
});

test('a detached run goes on with attach after its coordinator was killed', async ({ cluster }) => {
  const project = grid();
  project.write('does.json', '{"2":"hold"}');
  const before = await known(cluster);
  const detached = await start(project, cluster, ['--detach']).ended;
  assert.is(detached.code, 0, detached.stderr);
  const run = lastLine(detached.stdout);
  await until('both trainings began', began(project, 2));
  const status = await project.json<{ state: string }>('status', run, '--json');
  assert.is(status.state, 'running');
  const [created] = project.lines(`.dosimeter/runs/${run}/journal.jsonl`);
  const { pid } = JSON.parse(present(created)) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await until(
    'the coordinator is gone',
    async () => (await project.json<{ state: string }>('status', run, '--json')).state === 'killed',
  );
  const attached = project.startWith({ env: cluster.env }, 'attach', run);
  await attached.saw('going on with dosimeter run spec.yaml');
  project.write('go', '');
  const said = await attached.ended;
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 4);
  assert.is((await submissions(cluster, before)).length, 2);
  const again = await project.dosimeter('attach');
  assert.is(again.code, 0, again.stderr);
  assert.match(again.stdout, /done {2}spec\.yaml/);
});

test('a log-out leaves the jobs in flight, and cancel stops a run from elsewhere', async ({
  cluster,
}) => {
  const project = grid();
  project.write('does.json', '{"1":"hold","2":"hold"}');
  const run = start(project, cluster);
  await until('both trainings began', began(project, 2));
  const before = await known(cluster);
  run.process.kill('SIGHUP');
  const left = await run.ended;
  assert.is(left.code, 130, left.stderr);
  assert.match(left.stderr, /leaving the jobs in flight/);
  const detached = await start(project, cluster, ['--detach']).ended;
  assert.is(detached.code, 0, detached.stderr);
  assert.equal(await submissions(cluster, before), [], 'adopted');
  const cancelled = await project.startWith({ env: cluster.env }, 'cancel').ended;
  assert.is(cancelled.code, 0, cancelled.stderr);
  assert.match(cancelled.stdout, /interrupted\n$/);
  await until('no job is left', async () =>
    [...(await cluster.jobs('s-train')).values()].every(
      (state) => state !== 'RUNNING' && state !== 'PENDING',
    ),
  );
  project.write('go', '');
  await succeeds(project, cluster);
  ranOnce(project, 4);
});

test('scancel fails its stage alone, and a rerun submits that one anew', async ({ cluster }) => {
  const project = grid();
  project.write('does.json', '{"1":"hold"}');
  const run = start(project, cluster);
  await until('both trainings began', began(project, 2));
  await run.saw('s-evaluate');
  await cluster.slurm('scancel', '--me', '--state=RUNNING');
  const said = await run.ended;
  assert.is(said.code, 1, said.stderr);
  assert.match(said.stderr, /Slurm job \d+(_\d+)? was cancelled/);
  assert.equal([...new Set(project.lines('ran.log'))].sort(), ['evaluate 2-0.1', 'train 2-0.1']);
  project.write('does.json', '{}');
  await succeeds(project, cluster);
  ranOnce(project, 4);
});

test('before its time limit a job saves its state, and goes on from there', async ({ cluster }) => {
  const project = grid({
    seeds: [1],
    profile: ['poll: 1s', 'memory_mb: 512', 'time: 1m', 'min_time: 1m', 'signal: 50s'],
  });
  project.write('does.json', '{"1":"save"}');
  await succeeds(project, cluster);
  assert.equal(project.lines('saved.log'), ['1-0.1']);
  ranOnce(project, 2);
});

test('a node where no job begins is left out, which is said', async ({ cluster }) => {
  const [first, second] = cluster.nodes;
  const project = grid({
    profile: [...QUICK, `setup: ['[ "$SLURMD_NODENAME" = ${second} ] || exit 7']`],
  });
  const said = await succeeds(project, cluster);
  assert.match(said.stderr, `node ${first} gets no more jobs of this run`);
  ranOnce(project, 4);
});

test('what sbatch refuses fails with its words, and strands nothing', async ({ cluster }) => {
  const project = grid({
    profile: [...QUICK, 'kinds: { s-evaluate: { partition: nowhere } }'],
  });
  const said = await start(project, cluster).ended;
  assert.is(said.code, 1);
  assert.match(said.stderr, /sbatch refused the job: .*invalid partition specified: nowhere/i);
  ranOnce(project, 2);
  project.write('slurm.yaml', QUICK.join('\n'));
  await succeeds(project, cluster);
  ranOnce(project, 4);
});

test('an sbatch that times out and yet submits, and a limit on submitted jobs', async ({
  cluster,
}) => {
  const project = grid({ seeds: [1, 2, 3, 4], profile: [...QUICK, 'call_timeout: 3s'] });
  const { path: PATH, clean } = fakes({
    // At most two jobs in an array; the first call never returns, though it submits.
    sbatch: `[ "$1" = --version ] && exec $REAL "$@"
case " $* " in
  *--array=0-[2-9]*) echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2
     echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2
     exit 1;;
esac
[ -e $HERE/hung ] && exec $REAL "$@"
touch $HERE/hung
$REAL "$@" >/dev/null
sleep 1000`,
  });
  const before = await known(cluster);
  const said = await start(project, cluster, [], { PATH }).ended;
  clean();
  assert.is(said.code, 0, said.stderr);
  assert.match(said.stderr, /no answer within 3 s; looking whether/);
  ranOnce(project, 8);
  assert.is((await submissions(cluster, before)).length, 4, 'each once');
});

test('squeue failing, hanging and answering nonsense costs nothing', async ({ cluster }) => {
  const project = grid({ profile: [...QUICK, 'call_timeout: 2s'] });
  const { path: PATH, clean } = fakes({
    squeue: `case $(( $(cat $HERE/count 2>/dev/null || echo 0) % 3 )) in
  0) echo 'slurm_load_jobs error: Socket timed out' >&2; code=1;;
  1) echo 'Welcome to the cluster!'; code=0;;
  2) sleep 1000;;
esac
echo $(( $(cat $HERE/count 2>/dev/null || echo 0) + 1 )) >$HERE/count
exit $code`,
    sacct: 'echo nonsense; exit 1',
  });
  const said = await start(project, cluster, [], { PATH }).ended;
  clean();
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 4);
});

test('a controller that forgets jobs and gives their ids away', async ({ cluster }) => {
  const project = grid({ seeds: [1] });
  project.write('does.json', '{"1":"hold"}');
  const state = path.join(cluster.dir, 'state');
  await cluster.slurm('scontrol', 'reconfigure'); // writes the state
  const kill = async (): Promise<void> => {
    // While a controller starts, the file may hold no number. One that was reconfigured writes over
    // the longer pid of the last one: `322` over `32579` leaves a second line.
    const read = (): number =>
      Number.parseInt(readFileSync(path.join(cluster.dir, 'pid/slurmctld'), 'utf8'), 10);
    await until('the controller has written its pid', () => read() > 0);
    const pid = read();
    process.kill(pid, 'SIGKILL');
    // What has ended, and was not waited for, has no program.
    await until('the controller has ended', () => !existsSync(`/proc/${pid}/exe`));
  };
  await until('the state is written', () => existsSync(path.join(state, 'job_state')));
  await kill(); // it would replace the files while they are copied
  cpSync(state, `${state}.before`, { recursive: true });
  cluster.start();
  const {
    dir,
    path: PATH,
    clean,
  } = fakes({
    scancel: 'echo "$@" >>$HERE/calls\nexec $REAL "$@"',
  });
  const run = start(project, cluster, [], { PATH });
  await until('the training began', began(project, 1));
  const [own] = (await cluster.slurm('squeue', '-h', '-o', '%A', '-t', 'RUNNING')).split('\n');
  await kill();
  rmSync(state, { recursive: true });
  cpSync(`${state}.before`, state, { recursive: true });
  cluster.start();
  const wrap = ['--parsable', '--job-name=another', '--output=/dev/null', '--wrap=sleep 600'];
  const another = await cluster.slurm('sbatch', ...wrap);
  assert.is(another.trim(), own, 'the other job has got the id');
  writeFileSync(path.join(project.dir, 'go'), '');
  const said = await run.ended;
  assert.is(said.code, 0, said.stderr);
  ranOnce(project, 2);
  const calls = existsSync(`${dir}/calls`) ? readFileSync(`${dir}/calls`, 'utf8') : '';
  clean();
  const others = calls.split('\n').filter((line) => line !== '' && !/--name=dosi/.test(line));
  assert.equal(others, [], 'no job is cancelled by its id alone');
  await cluster.slurm('scancel', '--me', '--name=another');
});

test('the coordinator as a job', async ({ cluster }) => {
  const project = grid();
  const said = await start(project, cluster, ['--coordinator', 'job']).ended;
  assert.is(said.code, 0, said.stderr);
  assert.match(lastLine(said.stdout), /^dosimeter-coordinator-/);
  await until('the run has ended', () => project.lines('ran.log').length === 4);
  const attached = await project.dosimeter('attach');
  assert.is(attached.code, 0, attached.stderr);
  ranOnce(project, 4);
});

test.run();
