/** What a server costs that many look at while nothing happens, and a detached run in a browser. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, lastLine, writeToys } from '../rig/project.ts';
import { openBrowser } from './chromium.ts';
import { createRuns, planned, started } from './runs.ts';

const test = suite('serve, without polling storms');

/** What the system counts of a process: its processor time in seconds, its memory in MB. */
function usageOf(pid: number): { readonly seconds: number; readonly megabytes: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    seconds: (Number(fields[11]) + Number(fields[12])) / 100,
    megabytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024,
  };
}

test('sixty who look at a run of 10,000 stages while nothing happens cost little', async () => {
  const project = createProject();
  const end = new AbortController();
  try {
    const stages = Array.from({ length: 10_000 }, (_, i) => planned('train', String(i)));
    const runs = createRuns(path.join(project.dir, '.dosimeter'));
    const run = runs.run('20260101-120000-1', stages);
    run.record(...stages.slice(0, 50).map(({ id }) => started(id)));
    run.progress({ 'train-0': [1, 2, 'steps'] });
    const command = project.start('serve');
    let stdout = '';
    command.process.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    while (!stdout.includes('\n')) await once(present(command.process.stdout), 'data');
    const [base = '', token = ''] = stdout.trim().split('/#token=');
    const open = async (target: string): Promise<void> => {
      const { status, body } = await fetch(`${base}/api/runs/${run.id}${target}`, {
        headers: { authorization: `Bearer ${token}` },
        signal: end.signal,
      });
      assert.is(status, 200);
      void body?.pipeTo(new WritableStream()).catch(() => undefined); // until the test ends
    };
    const pid = present(command.process.pid);
    await open('/stream');
    await sleep(2_000);
    const alone = usageOf(pid);
    for (let i = 0; i < 40; i++) await open('/stream');
    for (let i = 0; i < 19; i++) await open(`/stages/train-${i}`);
    await sleep(2_000);
    const before = usageOf(pid);
    await sleep(6_000);
    const after = usageOf(pid);
    const used = after.seconds - before.seconds;
    assert.ok(used <= 0.3, `${used.toFixed(2)} s of processor time in 6 s`);
    const grown = after.megabytes - alone.megabytes;
    assert.ok(grown < 100, `${grown.toFixed(0)} MB more for 59 who look`);
    end.abort();
    command.process.kill('SIGINT');
    assert.is((await command.ended).code, 0);
  } finally {
    end.abort();
  }
});

test('a detached run is followed in a browser until its end', async () => {
  const project = createProject();
  writeToys(project, { seeds: [1], poisoning: '[{ attack: none }]' });
  project.write('toy.json', '{"1": "wait"}');
  const detached = await project.succeeds('run', 'spec.yaml', '--detach');
  const id = lastLine(detached.stdout);
  const opened = await openBrowser();
  const looking = await opened.serve(path.join(project.dir, '.dosimeter/runs'));
  try {
    const { page } = looking;
    await page.getByRole('link', { name: 'toys' }).click();
    await page.getByText(id).first().waitFor();
    await page.locator('#running').getByRole('button', { name: 'toy-train' }).waitFor();
    project.write('go', '');
    await page.getByText(/, the run is done$/).waitFor({ state: 'attached', timeout: 60_000 });
    assert.match(await page.title(), /^3\/3 · toys · dosimeter$/);
    assert.equal(looking.told, []);
  } finally {
    await looking.close();
  }
});

test.run();
