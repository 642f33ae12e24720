/** Memory and GPUs are shared out: sums never exceed the machine's, and a GPU belongs to one stage at a time. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { visibleGpus } from '../../src/compute/gpus.ts';
import type { Machine } from '../../src/execute/resources.ts';
import { needOf, placesFor } from '../../src/execute/resources.ts';
import type { Finished } from '../../src/execute/types.ts';
import { resourcesFault } from '../../src/plan/definition.ts';
import type { PlannedStage } from '../../src/plan/types.ts';
import type { Rig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('resources');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

interface Event {
  readonly seed: number;
  readonly pid: number;
  readonly gpus: string | null;
  readonly growth: string | null;
  readonly at: 'start' | 'end';
}

/** A stage `work` that tells what it sees at its start and at its end; `waits` ms lie between the two. */
async function work(rig: Rig, resources: string, waits = 60): Promise<() => Event[]> {
  const log = path.join(rig.dir, 'events.log');
  writeFileSync(log, '');
  await rig.plugin(
    'stage',
    'work',
    `{
    compute: false, scope: 'cell', resources: ({ seed }) => (${resources}),
    define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
    run: async (ctx) => {
      const { appendFileSync } = await import('node:fs');
      const tell = (at) => appendFileSync(${JSON.stringify(log)}, JSON.stringify({ seed: ctx.params.seed, pid: process.pid, gpus: process.env.CUDA_VISIBLE_DEVICES ?? null, growth: process.env.TF_FORCE_GPU_ALLOW_GROWTH ?? null, at }) + '\\n');
      tell('start');
      await new Promise((resolve) => setTimeout(resolve, ${waits}));
      tell('end');
      appendFileSync(ctx.outDir + '/seed', String(ctx.params.seed));
    },
  }`,
  );
  return () =>
    readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Event);
}
const seeds = (count: number) =>
  experiment(
    ['work'],
    Array.from({ length: count }, (_, i) => cell(i + 1)),
  );
/** The greatest sum of `of` over stages that ran at once. */
function most(events: readonly Event[], of: (seed: number) => number): number {
  let now = 0,
    peak = 0;
  for (const { at, seed } of events) {
    now += at === 'start' ? of(seed) : -of(seed);
    peak = Math.max(peak, now);
  }
  return peak;
}

test("the memory of what runs never exceeds the machine's; who asks for more than there is runs alone", async ({
  rig,
}) => {
  const asked = (seed: number): number => (seed === 4 ? 5000 : 400);
  const events = await work(rig, '{ cpu: 1, memoryMB: seed === 4 ? 5000 : 400 }');
  assert.equal((await rig.run(seeds(6), { jobs: 4, machine: { memoryMB: 1000 } })).ran, {
    work: 6,
  });
  assert.is(
    most(
      events().filter(({ seed }) => seed !== 4),
      asked,
    ),
    800,
  );
  const alone = events().findIndex(({ seed }) => seed === 4),
    before = events().slice(0, alone);
  assert.is(
    before.filter(({ at }) => at === 'start').length,
    before.filter(({ at }) => at === 'end').length,
    'it waited for the others to end',
  );
  assert.equal(events()[alone + 1], { ...events()[alone]!, at: 'end' });
});

test("a GPU is one stage's at a time, by its identity; the worker that has it is used again", async ({
  rig,
}) => {
  const events = await work(rig, '{ cpu: 1, gpu: 1 }');
  const { outcomes } = await rig.run(seeds(6), {
    jobs: 6,
    machine: { gpus: ['2', 'GPU-8932f937'] },
  });
  assert.is(
    most(events(), () => 1),
    2,
  );
  for (const gpu of ['2', 'GPU-8932f937']) {
    const own = events().filter(({ gpus }) => gpus === gpu);
    assert.is(
      most(own, () => 1),
      1,
      gpu,
    );
    assert.is(new Set(own.map(({ pid }) => pid)).size, 1, 'a warm worker');
  }
  assert.ok(events().every(({ growth }) => growth === 'true'));
  const { dir } = outcomes['work/1'] as Finished;
  assert.equal(
    (
      JSON.parse(readFileSync(path.join(dir, 'manifest.json'), 'utf8')) as {
        facts: { gpus: unknown };
      }
    ).facts.gpus,
    [events().find(({ seed }) => seed === 1)!.gpus],
  );
});

test('two GPUs for one stage: it waits for both and is not overtaken', async ({ rig }) => {
  const events = await work(rig, '{ cpu: 1, gpu: seed === 2 ? 2 : 1 }');
  assert.equal((await rig.run(seeds(3), { jobs: 3, machine: { gpus: ['0', '1'] } })).ran, {
    work: 3,
  });
  assert.is(
    events()
      .find(({ seed }) => seed === 2)!
      .gpus?.split(',')
      .sort()
      .join(),
    '0,1',
  );
  assert.is(
    most(events(), (seed) => (seed === 2 ? 2 : 1)),
    2,
  );
});

test('without GPUs, and for who asks for none, the environment is as it is', async ({ rig }) => {
  const before = process.env['CUDA_VISIBLE_DEVICES'];
  delete process.env['CUDA_VISIBLE_DEVICES'];
  try {
    const events = await work(rig, '{ cpu: 1, gpu: seed === 1 ? 1 : 0 }');
    await rig.run(seeds(1), { machine: { gpus: [] } });
    await rig.run(experiment(['work'], [cell(2)]), { machine: { gpus: ['0'] } });
    assert.equal(
      events().map(({ gpus }) => gpus),
      [null, null, null, null],
    );
  } finally {
    if (before !== undefined) process.env['CUDA_VISIBLE_DEVICES'] = before;
  }
});

const stage = (compute: boolean, resources: PlannedStage['resources']) =>
  ({ descriptor: { compute }, resources }) as unknown as PlannedStage;

test('what computes takes a GPU where TensorFlow does, unless it says otherwise', () => {
  const machine: Machine = { cores: 16, memoryMB: 64_000, gpus: ['0', '1'], computesOnGpu: true };
  const need = (
    compute: boolean,
    gpu?: number,
    on = machine,
    backend: 'tensorflow' | 'wasm' = 'tensorflow',
  ) => needOf(stage(compute, { cpu: 1, ...(gpu === undefined ? {} : { gpu }) }), backend, on).gpu;
  assert.is(need(true), 1);
  assert.is(need(false), 0);
  assert.is(need(true, 0), 0);
  assert.is(need(false, 1), 1);
  assert.is(need(true, 7), 2);
  assert.is(need(true, undefined, machine, 'wasm'), 0);
  assert.is(need(true, undefined, { ...machine, computesOnGpu: false }), 0);
  assert.is(need(true, undefined, { cores: 16 }), 0);
  assert.equal(
    [
      { cpu: 1, memoryMB: 0, gpu: 0 },
      { cpu: 5, memoryMB: 0, gpu: 0 },
      { cpu: 1, memoryMB: 20_000, gpu: 0 },
      { cpu: 1, memoryMB: 0, gpu: 1 },
      { cpu: 16, memoryMB: 64_000, gpu: 2 },
    ].map((one) => placesFor(one, machine)),
    [16, 3, 3, 2, 1],
  );
});

test('the GPUs that this process may use, as CUDA reads them', () => {
  const devices = mkdtempSync(path.join(tmpdir(), 'dosimeter-dev-'));
  try {
    assert.equal(visibleGpus({ CUDA_VISIBLE_DEVICES: '0' }, devices), []);
    for (const name of ['nvidia0', 'nvidia1', 'nvidia2', 'nvidiactl', 'nvidia-uvm'])
      writeFileSync(path.join(devices, name), '');
    mkdirSync(path.join(devices, 'nvidia-caps'));
    const seen = (listed?: string) =>
      visibleGpus(listed === undefined ? {} : { CUDA_VISIBLE_DEVICES: listed }, devices);
    assert.equal(seen(), ['0', '1', '2']);
    assert.equal(seen('2,0'), ['2', '0']);
    assert.equal(seen(' GPU-8932f937 , 1'), ['GPU-8932f937', '1']);
    assert.equal(seen(''), []);
    assert.equal(seen('-1'), []);
    assert.equal(seen('1,-1,2'), ['1']);
    assert.equal(seen('1,9,2'), ['1']);
  } finally {
    rmSync(devices, { recursive: true });
  }
});

test('resources that no scheduler can use are a fault of the plugin', () => {
  assert.is(resourcesFault({ cpu: 1, memoryMB: 100, gpu: 1 }), null);
  assert.match(
    resourcesFault({ cpu: 1, memoryMB: NaN })!,
    'whose `memoryMB` is not a number of megabytes',
  );
  assert.match(resourcesFault({ cpu: 1, gpu: 0.5 })!, 'whose `gpu` is not a whole number');
});

test.run();
