/**
 * Memory and GPUs are shared out: their sums never exceed the machine's, and a GPU belongs to one
 * stage at a time.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { resourcesFault } from '../../../src/plan/graph.ts';
import { type Machine, needOf, placesFor } from '../../../src/run/execute/resources.ts';
import { visibleGpus } from '../../../src/tensor/backend.ts';
import { cell, createRig, experiment, type Rig } from '../../rig/rig.ts';
import { fileOf } from './chain.ts';
import { addStage, outputOf, type StageOfTest } from './stages.ts';

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

/**
 * Adds a stage `work` that records what it sees at its start and at its end, 60 ms later.
 * @param together how many of them must have started before one ends; after 15 s it ends anyway,
 *   and the log shows that they did not run at once
 */
async function addWork(
  rig: Rig,
  resources: NonNullable<StageOfTest['resources']>,
  together = 1,
): Promise<() => readonly Event[]> {
  rig.write('events.log', '');
  await addStage(rig, 'work', {
    resources,
    given: { log: fileOf(rig, 'events.log'), together: String(together) },
    async run({ fs, given, put, seed, sleep }) {
      const { CUDA_VISIBLE_DEVICES: gpus = null, TF_FORCE_GPU_ALLOW_GROWTH: growth = null } =
        process.env;
      const tell = (at: string): void => {
        const event = { seed, pid: process.pid, gpus, growth, at };
        fs.appendFileSync(given['log'] ?? '', `${JSON.stringify(event)}\n`);
      };
      tell('start');
      const starts = (): number =>
        fs.readFileSync(given['log'] ?? '', 'utf8').split('"at":"start"').length - 1;
      for (let turn = 0; turn < 1500 && starts() < Number(given['together']); turn++)
        await sleep(10);
      await sleep(60);
      tell('end');
      put('seed', String(seed));
    },
  });
  return () =>
    rig
      .read('events.log')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Event);
}

const seeds = (count: number) =>
  experiment(
    ['work'],
    Array.from({ length: count }, (_, i) => cell(i + 1)),
  );

/** Returns the greatest sum of `of` over stages that ran at once. */
function most(events: readonly Event[], of: (seed: number) => number): number {
  let now = 0,
    peak = 0;
  for (const { at, seed } of events) {
    now += at === 'start' ? of(seed) : -of(seed);
    peak = Math.max(peak, now);
  }
  return peak;
}

test("the memory in use never exceeds the machine's, but for a stage alone", async ({ rig }) => {
  const eventsOf = await addWork(
    rig,
    ({ seed }) => ({
      cpu: 1,
      memoryMB: seed === 4 ? 5000 : 400,
    }),
    2,
  );
  const { ran } = await rig.run(seeds(6), { jobs: 4, machine: { memoryMB: 1000 } });
  assert.equal(ran, { work: 6 });
  const events = eventsOf(),
    others = events.filter(({ seed }) => seed !== 4);
  assert.is(
    most(others, () => 400),
    800,
  );
  const start = events.findIndex(({ seed }) => seed === 4),
    count = (at: Event['at']): number =>
      events.slice(0, start).filter((event) => event.at === at).length;
  assert.is(count('start'), count('end'), 'it waited for the others to end');
  const [started, next] = events.slice(start);
  assert.equal(next, { ...started, at: 'end' });
});

test('a GPU is given to one stage at a time, and its warm worker is used again', async ({
  rig,
}) => {
  const eventsOf = await addWork(rig, () => ({ cpu: 1, gpu: 1 }), 2);
  const gpus = ['2', 'GPU-8932f937'];
  const { outcomes } = await rig.run(seeds(6), { jobs: 6, machine: { gpus } });
  const events = eventsOf();
  const atOnce = (of: readonly Event[]): number => most(of, () => 1);
  assert.is(atOnce(events), 2);
  for (const gpu of gpus) {
    const own = events.filter((event) => event.gpus === gpu);
    assert.is(atOnce(own), 1, gpu);
    assert.is(new Set(own.map(({ pid }) => pid)).size, 1, 'a warm worker');
  }
  assert.ok(events.every(({ growth }) => growth === 'true'));
  const manifest = JSON.parse(outputOf(outcomes['work/1'], 'manifest.json')) as {
    facts: { gpus: unknown };
  };
  assert.equal(manifest.facts.gpus, [events.find(({ seed }) => seed === 1)?.gpus]);
});

test('a stage that needs two GPUs waits for both, and is not overtaken', async ({ rig }) => {
  const needs = (seed: unknown): number => (seed === 2 ? 2 : 1);
  const eventsOf = await addWork(rig, ({ seed }) => ({ cpu: 1, gpu: seed === 2 ? 2 : 1 }));
  const { ran } = await rig.run(seeds(3), { jobs: 3, machine: { gpus: ['0', '1'] } });
  assert.equal(ran, { work: 3 });
  const wide = eventsOf().find(({ seed }) => seed === 2);
  assert.equal(wide?.gpus?.split(',').sort(), ['0', '1']);
  assert.is(most(eventsOf(), needs), 2);
});

test('without GPUs, and for a stage that asks for none, the environment is as it is', async ({
  rig,
}) => {
  const before = process.env['CUDA_VISIBLE_DEVICES'];
  delete process.env['CUDA_VISIBLE_DEVICES'];
  try {
    const eventsOf = await addWork(rig, ({ seed }) => ({ cpu: 1, gpu: seed === 1 ? 1 : 0 }));
    await rig.run(seeds(1), { machine: { gpus: [] } });
    await rig.run(experiment(['work'], [cell(2)]), { machine: { gpus: ['0'] } });
    assert.equal(
      eventsOf().map(({ gpus }) => gpus),
      [null, null, null, null],
    );
  } finally {
    if (before !== undefined) process.env['CUDA_VISIBLE_DEVICES'] = before;
  }
});

test('a stage that computes takes a GPU if TensorFlow does, unless it declares otherwise', () => {
  const machine: Machine = { cores: 16, memoryMB: 64_000, gpus: ['0', '1'], computesOnGpu: true };
  const need = (
    compute: boolean,
    gpu?: number,
    on = machine,
    backend: 'tensorflow' | 'wasm' = 'tensorflow',
  ) => {
    const resources = { cpu: 1, ...(gpu === undefined ? {} : { gpu }) };
    return needOf({ descriptor: { compute }, resources }, backend, on).gpu;
  };
  assert.is(need(true), 1);
  assert.is(need(false), 0);
  assert.is(need(true, 0), 0);
  assert.is(need(false, 1), 1);
  assert.is(need(true, 7), 2);
  assert.is(need(true, undefined, machine, 'wasm'), 0);
  assert.is(need(true, undefined, { ...machine, computesOnGpu: false }), 0);
  assert.is(need(true, undefined, { cores: 16 }), 0);
  const several = { descriptor: { compute: true }, resources: { cpu: 2, devices: 2 } };
  assert.equal(needOf(several, 'torch', machine), { cpu: 2, memoryMB: 0, gpu: 2 });
  assert.is(needOf(several, 'torch', { ...machine, computesOnGpu: false }).gpu, 0);
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

test("resources that no scheduler can use are the plugin's fault", () => {
  assert.is(resourcesFault({ cpu: 1, memoryMB: 100, gpu: 1 }), null);
  assert.match(
    resourcesFault({ cpu: 1, memoryMB: NaN }) ?? '',
    'whose `memoryMB` is not a number of megabytes',
  );
  assert.match(resourcesFault({ cpu: 1, gpu: 0.5 }) ?? '', 'whose `gpu` is not a whole number');
  assert.match(resourcesFault({ cpu: 1, devices: 0 }) ?? '', 'whose `devices` is not a positive');
});

test.run();
