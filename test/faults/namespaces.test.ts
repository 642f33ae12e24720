/**
 * Two hosts, or two containers on one, share a store: a run notices that another took over its
 * leases while it was stopped.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';

const test = suite<{ project: Project }>('faults/namespaces');
test.before.each((context) => {
  context.project = createProject({ warm: false });
});

const OPTIONS = ['--pid', '--fork', '--kill-child', '--mount-proc', '--'],
  UNSHARE = ['unshare', ...OPTIONS];
const canUnshare = spawnSync('unshare', [...OPTIONS, 'true']).status === 0;

/** A process and its descendants. */
function family(pid: number): number[] {
  const children = `/proc/${pid}/task/${pid}/children`;
  return existsSync(children)
    ? [
        pid,
        ...readFileSync(children, 'utf8').split(' ').filter(Boolean).map(Number).flatMap(family),
      ]
    : [];
}

/** A spec of one stage, which writes to `ran.log` when it begins and waits for the file `go`. */
function writeWaiting(project: Project): void {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: waiting
model: { source: "file:model" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
plugins: [./waiting.mjs]
stages: [waiting]
`,
  );
  project.write(
    'waiting.mjs',
    `import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
import { defineStage } from 'dosimeter';
const home = ${JSON.stringify(project.dir)};
export default defineStage({
  name: 'waiting', summary: 'Waits.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
  async run({ outDir }) {
    appendFileSync(home + '/ran.log', 'ran\\n');
    while (!existsSync(home + '/go')) await new Promise((resolve) => setTimeout(resolve, 10));
    writeFileSync(outDir + '/done', 'done');
  },
});
`,
  );
}

interface Host {
  readonly env: Readonly<Record<string, string>>;
  readonly under?: readonly string[];
}
const silence = { DOSIMETER_LEASE_SECONDS: '2' };
const hosts: readonly Host[] = ['one', 'two'].map((DOSIMETER_HOST) => ({
  env: { ...silence, DOSIMETER_HOST },
}));
const containers: readonly Host[] = [1, 2].map(() => ({ env: silence, under: UNSHARE }));

for (const [where, [mine, theirs]] of [
  ['host', hosts],
  ['container', containers],
] as const) {
  test(`a run that was stopped uses what another ${where} made meanwhile`, async ({ project }) => {
    if (mine?.under !== undefined)
      assert.ok(canUnshare, 'this test makes namespaces of process ids, which needs root');
    writeWaiting(project);
    const leases = path.join(project.dir, '.dosimeter/store/leases');
    const first = project.startWith(present(mine), 'run', 'spec.yaml', '--jobs', '1');
    while (project.lines('ran.log').length === 0 && first.process.exitCode === null)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const stopped = family(first.process.pid ?? 0);
    for (const pid of stopped) process.kill(pid, 'SIGSTOP');
    const second = project.startWith(present(theirs), 'run', 'spec.yaml', '--jobs', '1');
    await second.saw('another run is making it; waiting');
    project.write('go', '');
    const { code: ended, stderr: told } = await second.ended;
    assert.is(ended, 0, told);
    assert.match(told, '1 ran');
    for (const pid of stopped) process.kill(pid, 'SIGCONT');
    const { code, stderr } = await first.ended;
    assert.is(code, 0, stderr);
    assert.match(stderr, /another run took over its lease while this one was suspended/);
    assert.match(stderr, '1 cached');
    assert.is(project.lines('ran.log').length, 2);
    assert.is(project.entries().length, 1);
    assert.equal(readdirSync(leases), []);
  });
}

test.run();
