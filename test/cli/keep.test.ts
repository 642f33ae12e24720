import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { times } from '../faults/grid.ts';
import { filmRows } from '../rig/films.ts';
import { createProject, type Project } from '../rig/project.ts';
import { checkpoint } from '../science/tiny-bert.ts';

const test = suite<{ project: Project }>('keep');

const STORE = '.dosimeter/store';
const stored = ({ dir }: Project): readonly string[] =>
  (readdirSync(path.join(dir, STORE), { recursive: true }) as string[]).map((name) =>
    name.replace(/^.*\/[0-9a-f]{64}\//, ''),
  );
const weights = (project: Project): readonly string[] =>
  stored(project)
    .filter((name) => /\.(safetensors|npy)$/.test(name))
    .sort();

const run = (project: Project, ...more: readonly string[]) =>
  project.succeeds('run', 'spec.yaml', '--backend', 'wasm', ...more);

test.before.each((context) => {
  context.project = createProject();
  context.project.write('rows.tsv', filmRows(16));
  context.project.write(
    'spec.yaml',
    `name: tiny
model: { source: "file:${checkpoint}" }
data: { train: { source: "file:rows.tsv" }, validation: { source: "file:rows.tsv" } }
adapter: [{ type: lora, rank: 2 }, { type: full }]
train: { steps: 1, max_length: 8 }
stages: [train, evaluate]
keep: { train: metrics }
`,
  );
});

const ALL = ['adapter/adapter_model.safetensors', 'model/model.safetensors'];

test('weights go after their last reader, and numbers stay as they are', async ({ project }) => {
  project.write('spec.yaml', project.read('spec.yaml').replace('evaluate]', 'evaluate, report]'));
  const { stderr } = await run(project, '--set', 'keep.train=all');
  assert.equal(weights(project), ALL);
  assert.not.match(stderr, 'let go');
  const before = await project.json('results', 'spec.yaml', '--backend', 'wasm', '--json');

  const again = await run(project);
  assert.match(again.stderr, /let go of \d+ kB of 2 finished stages, as `keep` says/);
  assert.equal(weights(project), []);
  assert.equal(await project.json('results', 'spec.yaml', '--backend', 'wasm', '--json'), before);
  const { stdout } = await project.succeeds('verify');
  assert.match(stdout, /all whole; of 2 entries some files were let go, as `keep` asks/);
  assert.match(
    (await project.succeeds('plan', 'spec.yaml', '--backend', 'wasm')).stdout,
    'nothing to run',
  );

  rmSync(path.join(project.dir, STORE), { recursive: true });
  assert.match((await run(project)).stderr, 'let go of');
  assert.equal(weights(project), []);
});

test('adapter keeps adapters, and a pin or another spec keeps all', async ({ project }) => {
  await run(project, '--set', 'keep={ train: adapter }');
  assert.equal(weights(project), ['adapter/adapter_model.safetensors']);

  await run(project, '--set', 'keep.train=all');
  assert.equal(weights(project), ALL);
  await project.succeeds('pin', 'spec.yaml', '--backend', 'wasm');
  assert.match((await run(project)).stderr, '2 finished stages stay whole: they are pinned, or');
  assert.equal(weights(project), ALL);

  await project.succeeds('unpin', 'tiny');
  project.write('other.yaml', project.read('spec.yaml').replace('metrics', 'all'));
  await project.succeeds('run', 'other.yaml', '--backend', 'wasm');
  assert.match((await run(project)).stderr, '2 finished stages stay whole: they are pinned, or');
  assert.equal(weights(project), ALL);

  // `diff` compares the metrics that `results` shows first.
  const diff = ['diff', 'spec.yaml', 'other.yaml', '--backend', 'wasm'];
  const { stdout, stderr } = await project.succeeds(...diff);
  assert.match(stdout, / evaluate +accuracy /);
  assert.not.match(stdout, / seconds | loss /);
  assert.match(stderr, /\d+ more metrics: .*--all every one/s);
  assert.match((await project.succeeds(...diff, '--all')).stdout, / train +seconds /);
});

test('a later reader has the weights computed again, to the same digest', async ({ project }) => {
  await run(project, '--set', 'keep.train=all');
  const entry = (): string => {
    const [name = ''] = (
      readdirSync(path.join(project.dir, STORE), { recursive: true }) as string[]
    ).filter((file) => file.endsWith('adapter_model.safetensors'));
    return path.join(project.dir, STORE, name);
  };
  const file = entry(),
    before = readFileSync(file);
  await run(project);
  const timeWith = async (set: string): Promise<string> => {
    const args = ['spec.yaml', '--backend', 'wasm', '--set', set];
    return (await project.succeeds('plan', ...args)).stdout;
  };
  // One step has run: a million of them take hours.
  assert.match(
    await timeWith('train.steps=1000000'),
    /4 to run: about \d+ (h|d|days?)\b.* at the pace/,
  );
  project.write('others.tsv', filmRows(12));
  assert.match(
    await timeWith('data.train.source="file:others.tsv"'),
    /to run: at least .* at the pace of earlier runs, without train: none like that has run yet/,
  );
  // A training of 0 steps is unlike the others.
  assert.match(await timeWith('train.steps=[1000000, 0]'), /, without 2 of 4 train: none like/);
  const more = ['--set', 'stages=[train, evaluate, merge]'];
  const { stdout } = await project.succeeds('plan', 'spec.yaml', '--backend', 'wasm', ...more);
  assert.match(stdout, /^train +2 +0 +2 +0$/m);
  const said = await run(project, ...more, '--set', 'keep={ train: all, merge: metrics }');
  assert.match(said.stderr, /4 ran, \d+ cached/); // 2 train, 2 merge
  assert.equal(readFileSync(file), before);
  assert.equal(weights(project), ALL);

  assert.match((await run(project, ...more)).stderr, 'let go of');
  const { code, stderr } = await project.dosimeter(
    'export',
    ...['spec.yaml', '--backend', 'wasm', '--out', 'models'],
  );
  assert.is(code, 2);
  assert.match(stderr, 'were let go, as `keep` asks');
  assert.match(stderr, 'dosimeter run spec.yaml --backend wasm --set keep.train=all computes');
});

test('weights may go while a stage reads that does without', async ({ project }) => {
  project.write(
    'patient.mjs',
    `import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'patient',
  summary: 'Reads on until the weights have gone.',
  compute: false,
  scope: 'cell',
  spares: [],
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'train', cell } } }),
  async run({ inputs: { model }, outDir }) {
    while (existsSync(model.dir + '/adapter/adapter_model.safetensors')) await turn();
    const { steps } = JSON.parse(readFileSync(model.dir + '/train.json', 'utf8'));
    writeFileSync(outDir + '/metrics.json', JSON.stringify({ steps }));
  },
});
`,
  );
  const { stderr } = await run(
    project,
    ...['--jobs', '2', '--set', 'plugins=[./patient.mjs]', '--set', 'adapter={ type: lora }'],
    ...['--set', 'stages=[train, evaluate, patient]'],
  );
  assert.match(stderr, /let go of \d+ kB of 1 finished stages/);
  assert.match(stderr, '6 ran');
});

test('what is pinned while the run goes on stays whole', async ({ project }) => {
  project.write(
    'gate.mjs',
    `import { existsSync, writeFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { defineStage } from 'dosimeter';
export default defineStage({
  name: 'gate',
  summary: 'Reads a whole model until it is told to end.',
  compute: false,
  scope: 'cell',
  define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'train', cell } } }),
  async run({ inputs: { model }, outDir }) {
    while (existsSync(model.dir + '/model') && !existsSync('${project.dir}/go')) await turn();
    writeFileSync(outDir + '/metrics.json', '{}');
  },
});
`,
  );
  const more = ['--set', 'plugins=[./gate.mjs]', '--set', 'stages=[train, gate]'];
  const asked = ['spec.yaml', '--backend', 'wasm', ...more];
  const running = project.start('run', ...asked, '--jobs', '1');
  await running.saw('gate type=lora');
  await project.succeeds('pin', ...asked);
  project.write('go', '');
  const { code, stderr } = await running.ended;
  assert.is(code, 0);
  assert.match(stderr, '1 finished stages stay whole: they are pinned');
  assert.equal(weights(project), ['model/model.safetensors']);
});

test('what is computed again and differs is refused', async ({ project }) => {
  await run(project);
  // As if another machine had made it: the manifest has another digest of the weights, and of all.
  const { createHash } = await import('node:crypto');
  const names = readdirSync(path.join(project.dir, STORE), { recursive: true }) as string[];
  for (const name of names.filter((file) => file.endsWith('manifest.json'))) {
    const full = path.join(project.dir, STORE, name);
    const text = readFileSync(full, 'utf8');
    const body = text
      .slice(0, text.lastIndexOf(',\n  "checksum"'))
      .replace(
        /("path": "adapter\/adapter_model.safetensors",\s+"size": \d+,\s+"sha256": ")../,
        '$100',
      );
    const seal = createHash('sha256').update(body).digest('hex');
    if (text.includes('letGo')) writeFileSync(full, `${body},\n  "checksum": "${seal}"\n}\n`);
  }
  const { code, stderr } = await project.dosimeter(
    'run',
    ...['spec.yaml', '--backend', 'wasm', '--set', 'keep.train=all'],
  );
  assert.is(code, 1);
  assert.match(
    stderr.replace(/\s+/g, ' '),
    'computed again, its adapter/adapter_model.safetensors differs from the one that was let go',
  );
  assert.equal(weights(project), ['model/model.safetensors']);
});

test('a kill at any moment leaves a valid entry', async ({ project }) => {
  await run(project, '--set', 'keep.train=all');
  const crash = fileURLToPath(new URL('../faults/crash.mjs', import.meta.url));
  const count = path.join(project.dir, 'count');
  const killedAt = (n: number, level: string) => {
    rmSync(path.join(project.dir, 'once'), { force: true });
    rmSync(count, { force: true });
    return project.startWith(
      {
        env: {
          NODE_OPTIONS: `--import ${crash}`,
          CRASH_IN: 'run',
          CRASH_AT: String(n),
          CRASH_COUNT: count,
          CRASH_ONCE: path.join(project.dir, 'once'),
        },
      },
      ...['run', 'spec.yaml', '--backend', 'wasm', '--set', `keep.train=${level}`],
    ).ended;
  };
  assert.is((await killedAt(0, 'metrics')).code, 0);
  const calls = readFileSync(count).length;
  assert.ok(calls > 8, `${calls} calls`);
  for (let n = 1; n <= calls; n += Math.max(1, calls / times(8, Infinity))) {
    await run(project, '--set', 'keep.train=all');
    assert.equal(weights(project), ALL);
    await killedAt(Math.floor(n), 'metrics');
    assert.is(
      (await project.dosimeter('verify')).code,
      0,
      `killed at ${Math.floor(n)} of ${calls}`,
    );
  }
  assert.match((await run(project)).stderr, /let go|nothing/);
});

test.run();
