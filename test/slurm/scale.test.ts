/** Many stages on a real Slurm, and what they cost the coordinator; its page in a browser. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { contentsOf } from '../faults/grid.ts';
import { present } from '../rig/present.ts';
import { lastLine, type Project } from '../rig/project.ts';
import { openBrowser } from '../serve/chromium.ts';
import { fakes } from './cluster.ts';
import { QUICK } from './grid.ts';
import { began, grid, known, ranOnce, slurmSuite, start, until } from './rig.ts';

const test = slurmSuite('slurm/scale');

test('a grid of 300 stages has the keys and results of local', async ({ cluster }) => {
  const project = grid({
    seeds: Array.from({ length: 15 }, (_, i) => i + 1),
    rates: [0.1, 0.2, 0.3, 0.4, 0.5],
    commands: true,
    profile: [...QUICK, 'local: [again]'],
  });
  await project.succeeds('run', 'spec.yaml');
  const expected = contentsOf(project);
  const numbers = await project.results('spec.yaml');
  assert.is(project.entries().length, 300);
  for (const name of ['.dosimeter', 'ran.log'])
    rmSync(path.join(project.dir, name), { recursive: true });
  const said = await start(project, cluster, ['--pack', '8']).ended;
  assert.is(said.code, 0, said.stderr);
  assert.equal(contentsOf(project), expected);
  assert.equal(await project.results('spec.yaml'), numbers);
  ranOnce(project, 150); // the programs write no line
});

/** The processor time of a process and of those that it has waited for, in seconds. */
function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

const runIds = (project: Project): readonly string[] => {
  const runs = path.join(project.dir, '.dosimeter/runs');
  return existsSync(runs) ? readdirSync(runs) : [];
};

const journalOf = (project: Project, id: string): readonly string[] =>
  project.lines(`.dosimeter/runs/${id}/journal.jsonl`);

test('1,000 jobs take one query a poll, and at most 5% of a core', async ({ cluster }) => {
  const project = grid({
    seeds: Array.from({ length: 1000 }, (_, i) => i + 1),
    profile: ['memory_mb: 512', 'max_jobs: 1000', 'poll: 5s', 'options: ["--begin=now+1hour"]'],
  });
  const {
    dir,
    path: PATH,
    clean,
  } = fakes({
    squeue: 'echo $* >>$HERE/calls\nexec $REAL "$@"',
    scancel: 'echo $1 $2 >>$HERE/cancels\nexec $REAL "$@"',
  });
  const calls = (): number =>
    existsSync(`${dir}/calls`) ? readFileSync(`${dir}/calls`, 'utf8').trim().split('\n').length : 0;
  const before = await known(cluster);
  const run = start(project, cluster, [], { PATH });
  await until('two queries were made', () => calls() >= 2);
  const id = present(runIds(project)[0]);
  const { pid } = JSON.parse(present(journalOf(project, id)[0])) as { pid: number };
  const submitted = project
    .lines(`.dosimeter/runs/${id}/slurm.jsonl`)
    .reduce((sum, line) => sum + (JSON.parse(line) as { tasks: number }).tasks, 0);
  assert.is(submitted, 1000);
  const [asked, used, from] = [calls(), processorSeconds(pid), performance.now()];
  await sleep(15_000);
  const seconds = (performance.now() - from) / 1000;
  const share = (processorSeconds(pid) - used) / seconds;
  console.log(`1,000 jobs: ${(100 * share).toFixed(1)}% of a core, ${calls() - asked} queries`);
  assert.ok(calls() - asked <= Math.ceil(seconds / 5), `${calls() - asked} queries`);
  assert.ok(share <= 0.05, `${(100 * share).toFixed(1)}% of a core`);
  run.process.kill('SIGINT');
  assert.is((await run.ended).code, 130);
  await until('no job is left', async () =>
    [...(await cluster.jobs('s-train'))].every(
      ([name, state]) => before.has(name) || state === 'CANCELLED',
    ),
  );
  assert.is(readFileSync(`${dir}/cancels`, 'utf8').trim().split('\n').length, 1);
  clean();
});

test('the page of a detached run shows the queue and the nodes', async ({ cluster }) => {
  const opened = await openBrowser();
  const [first, second] = cluster.nodes;
  // A job takes a whole node, and only one node may be used: the other one waits.
  const project = grid({ profile: [...QUICK, 'cpus: 16', `exclude: [${second}]`] });
  project.write('does.json', '{"1":"hold","2":"hold"}');
  const detached = await start(project, cluster, ['--detach']).ended;
  assert.is(detached.code, 0, detached.stderr);
  const id = lastLine(detached.stdout);
  await until('a training began', began(project, 1));
  const looking = await opened.serve(path.join(project.dir, '.dosimeter/runs'));
  const { page } = looking;
  try {
    await page.getByRole('link', { name: 'slurm' }).click();
    const running = page.locator('#running');
    await running.getByText(new RegExp(`^Slurm job \\d+_\\d on ${first}$`)).waitFor();
    await running.getByText(/^Slurm job \d+_\d queued: (Resources|Priority)$/).waitFor();
    await page.locator('dl.facts').getByText('slurm', { exact: true }).first().waitFor();
    // Either training may have been submitted first.
    await running
      .getByRole('row')
      .filter({ hasText: `on ${first}` })
      .getByRole('button')
      .click();
    const drawer = page.getByRole('dialog');
    await drawer.getByText(new RegExp(`^Slurm job \\d+_\\d on ${first}$`)).waitFor();
    await drawer.getByText('this is 1-0.1').or(drawer.getByText('this is 2-0.1')).first().waitFor();
    project.write('go', '');
    await page.getByText(/, the run is done$/).waitFor({ state: 'attached', timeout: 90_000 });
    assert.is(await page.getByText(/^Slurm job/).count(), 0, 'nothing runs any more');
    assert.equal(looking.told, []);
  } finally {
    await looking.close();
  }
  const status = await project.json<{ state: string }>('status', id, '--json');
  assert.is(status.state, 'done');
  ranOnce(project, 4);
});

test.run();
