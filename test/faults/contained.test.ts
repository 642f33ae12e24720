/**
 * A stage that floods its log, forks, hangs or crashes fails alone: the rest of the run succeeds.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../rig/present.ts';
import { createProject, type Project } from '../rig/project.ts';
import { times } from './grid.ts';

const test = suite<{ project: Project }>('faults/contained');
test.before.each((context) => {
  context.project = createProject({ warm: false });
});

/** A spec with one stage for each of three seeds, of which the stage of seed 2 runs `body`. */
function write(project: Project, body: string): void {
  project.write('rows.tsv', 'text\tlabel\na\t0\nb\t1\n');
  project.write('model/config.json', '{}');
  project.write(
    'spec.yaml',
    `name: odd
seeds: [1, 2, 3]
model: { source: "file:model" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
plugins: [./odd.mjs]
stages: [odd]
`,
  );
  project.write(
    'odd.mjs',
    `import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'odd', summary: 'Odd.', compute: false, scope: 'cell',
  define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
  async run({ params, outDir, signal, log }) {
    const home = ${JSON.stringify(project.dir)};
    if (params.seed === 2) { ${body} }
    writeFileSync(outDir + '/done', String(params.seed));
  },
});
`,
  );
}

const preload = new URL('./preload.mjs', import.meta.url).href;
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}`) && !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
const pidsOf = (project: Project): number[] => project.lines('pids').map(Number);

const BYTES = times(200e6, 1e9);

for (const [where, stream] of [
  ['stdout', 1],
  ['stderr', 2],
] as const) {
  test(`the log of a stage that floods ${where} is limited in size`, async ({ project }) => {
    write(
      project,
      `const line = Buffer.alloc(1 << 16, 'x'.repeat(127) + '\\n');
      for (let left = ${BYTES}; left > 0;)
        try {
          left -= writeSync(${stream}, line);
        } catch (error) {
          if (error.code !== 'EAGAIN') throw error;
          await new Promise(setImmediate);
        }`,
    );
    const { code, stderr } = await project.startWith(
      { env: { NODE_OPTIONS: `--import ${preload}`, PEAK: path.join(project.dir, 'peak') } },
      'run',
      'spec.yaml',
    ).ended;
    assert.is(code, 0, stderr);
    const runs = path.join(project.dir, '.dosimeter/runs'),
      logs = path.join(runs, present(readdirSync(runs)[0]), 'logs');
    const sizes = readdirSync(logs).map((name) => statSync(path.join(logs, name)).size);
    assert.ok(Math.max(...sizes) < 16e6, sizes.join(' '));
    assert.ok(Number(project.read('peak')) < 400_000, `${project.read('peak')} kB at most`);
    assert.ok(stderr.length < 10_000);
  });
}

test('the log of a stage that floods `log` is limited but has its error', async ({ project }) => {
  write(
    project,
    `const line = 'x'.repeat(1 << 16);
    for (let left = ${BYTES}; left > 0; left -= line.length) {
      log(line);
      if (left % 64 === 0) await new Promise(setImmediate);
    }
    throw new Error('at its end');`,
  );
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
  assert.is(code, 1, stderr);
  const text = project.read(present(/log: (\S+odd\S+)/.exec(stderr)![1]));
  assert.ok(text.length < 16e6, String(text.length));
  assert.match(
    text,
    /… what it prints beyond 10 MB is not kept\n[^ ]+ failed: \S+\.mjs:\d+:\d+ threw: at its end\n/,
  );
});

for (const [what, options] of [
  ['in its group', ''],
  ['in a group of their own', ', detached: true'],
] as const) {
  test(`processes that a stage leaves ${what} end with the run`, async ({ project }) => {
    write(
      project,
      `for (let n = 0; n < 3; n++) {
        const child = spawn('sleep', ['1000'], { stdio: 'ignore'${options} });
        child.unref();
        appendFileSync(home + '/pids', child.pid + '\\n');
      }`,
    );
    const { code, stderr } = await project.dosimeter('run', 'spec.yaml');
    assert.is(code, 0, stderr);
    assert.is(pidsOf(project).length, 3);
    assert.equal(pidsOf(project).filter(isAlive), []);
  });
}

test('a process that a stage leaves cannot change what was stored', async ({ project }) => {
  write(
    project,
    `const log = openSync(outDir + '/late', 'a');
    const endless = ['-c', 'while echo more; do :; done'];
    const child = spawn('sh', endless, { stdio: ['ignore', log, 'ignore'] });
    child.unref();
    appendFileSync(home + '/pids', child.pid + '\\n');`,
  );
  const { code, stderr } = await project.dosimeter('run', 'spec.yaml', '--jobs', '1');
  assert.is(code, 0, stderr);
  assert.equal(pidsOf(project).filter(isAlive), []);
  const verified = await project.dosimeter('verify');
  assert.is(verified.code, 0, verified.stdout);
});

for (const [what, body, said] of [
  ['exits', 'process.exit(0);', /its process ended without reporting a result \(exit code 0\)/],
  [
    'exits in the middle of a file',
    'writeFileSync(outDir + "/half", "ha"); process.exit(0);',
    /its process ended without reporting a result \(exit code 0\)/,
  ],
  [
    'is killed',
    'process.kill(process.pid, "SIGKILL"); await new Promise(() => {});',
    /its process ended without reporting a result \(ended by SIGKILL\)/,
  ],
  [
    'aborts',
    'process.abort();',
    /its process ended without reporting a result \(ended by SIGABRT\)/,
  ],
  [
    'breaks off its connection',
    'process.disconnect(); await new Promise(() => {});',
    /its process ended without reporting a result/,
  ],
  ['never ends', 'for (;;);', /it ran for more than 2 s and was ended/],
  [
    'does not listen when it is asked to stop',
    'process.on("SIGTERM", () => {}); await new Promise(() => { setInterval(() => {}, 1000); });',
    /it ran for more than 2 s and was ended/,
  ],
  [
    'runs out of memory',
    'const all = []; for (;;) all.push(new Array(1e6).fill(all.length));',
    /its process ended without reporting a result \((ended by SIGABRT|exit code 134)\)/,
  ],
  [
    'floods the heap with one message',
    'throw new Error("x".repeat(3e8));',
    /internal error: x{1000}…/,
  ],
] as const) {
  test(`a stage that ${what} fails alone, with exit code 1`, async ({ project }) => {
    write(project, body);
    const options =
      what === 'runs out of memory' ? { env: { NODE_OPTIONS: '--max-old-space-size=120' } } : {};
    const { code, stderr } = await project.startWith(
      options,
      'run',
      'spec.yaml',
      ...(said.source.includes('more than') ? ['--timeout', '2s'] : []),
    ).ended;
    assert.is(code, 1, stderr);
    assert.match(stderr, said);
    assert.match(stderr, /2 ran, 1 failed/);
    write(project, '');
    const again = await project.dosimeter('run', 'spec.yaml');
    assert.is(again.code, 0, again.stderr);
    assert.is((await project.dosimeter('verify')).code, 0);
  });
}

test.run();
