import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { foreseePacks, packSize } from '../../../src/run/execute/packer.ts';
import type { Rig, RunRig } from '../../rig/rig.ts';
import { cell, createRig, experiment } from '../../rig/rig.ts';
import { fileOf } from './chain.ts';
import type { Body, StageOfTest } from './stages.ts';
import { addStage, failed, logOf, notesOf, outputOf } from './stages.ts';

const test = suite<{ rig: Rig }>('pack');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const limits = { most: 8, memoryMB: 1000 };
/** One worker, so that all stages that are ready go into one pack. */
const oneWorker: RunRig = { jobs: 1, packing: limits };

const write: Body = ({ put, seed }) => put('model.txt', `m${seed}`);

/**
 * Adds first → train. Trainings with the same adapter type may share a job, unless it is `full`.
 */
async function addPackable(
  rig: Rig,
  run: Body = write,
  more: Pick<NonNullable<StageOfTest['pack']>, 'memoryMB' | 'shares'> = {},
): Promise<void> {
  await addStage(rig, 'first', { params: [], run: ({ put }) => put('a', 'a') });
  await addStage(rig, 'train', {
    params: ['seed', 'adapter'],
    inputs: { first: 'first' },
    given: { evaluated: fileOf(rig, 'evaluated'), order: fileOf(rig, 'order.log') },
    run,
    pack: {
      key: ({ adapter }) => ((adapter as { type: string }).type === 'full' ? null : 'base'),
      jobs: fileOf(rig, 'jobs.log'),
      ...more,
    },
  });
}

const lora = (seed: number) => cell(seed, { attack: 'none' }, { type: 'lora' });
const trainings = (...seeds: readonly number[]) => experiment(['train'], seeds.map(lora));
/** The seeds of each job. */
const jobs = (rig: Rig): string[] => rig.read('jobs.log').trim().split('\n');

test('stages that are ready together run as one job, each with an entry of its own', async ({
  rig,
}) => {
  await addPackable(rig);
  const { ran, outcomes } = await rig.run(trainings(1, 2, 3), oneWorker);
  assert.equal(ran, { first: 1, train: 3 });
  assert.equal(jobs(rig), ['1 2 3']);
  assert.is(outputOf(outcomes['train/2'], 'model.txt'), 'm2');
  const { facts } = JSON.parse(outputOf(outcomes['train/2'], 'manifest.json')) as {
    facts: { packed: number };
  };
  assert.is(facts.packed, 3);
  assert.equal((await rig.run(trainings(1, 2, 3), oneWorker)).ran, {});
});

test('packing is in no key: what ran packed is there for a run without it', async ({ rig }) => {
  await addPackable(rig);
  await rig.run(trainings(1, 2), oneWorker);
  assert.equal((await rig.run(trainings(1, 2), { jobs: 1 })).ran, {});
});

test('stages are split evenly over the workers', async ({ rig }) => {
  await addPackable(rig);
  await rig.run(trainings(1, 2, 3, 4, 5, 6), { jobs: 2, packing: limits });
  assert.equal(jobs(rig).sort(), ['1 2 3', '4 5 6']);
});

test('many stages at once are not a leak: Node has nothing to warn of', async ({ rig }) => {
  await addPackable(rig);
  const warned: string[] = [];
  const listen = ({ name }: Error): void => {
    warned.push(name);
  };
  process.on('warning', listen);
  try {
    const seeds = Array.from({ length: 16 }, (_, i) => i + 1);
    await rig.run(trainings(...seeds), { jobs: 2, packing: limits });
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  } finally {
    process.off('warning', listen);
  }
  assert.equal(warned, []);
  assert.is(jobs(rig).length, 2);
});

test('without packing, or with packs of one, each stage runs alone', async ({ rig }) => {
  await addPackable(rig);
  await rig.run(trainings(1, 2), { jobs: 1 });
  await rig.run(trainings(3, 4), { jobs: 1, packing: { ...limits, most: 1 } });
  assert.equal(jobs(rig), ['1', '2', '3', '4']);
});

test('stages that share no work here run alone, and in parallel', async ({ rig }) => {
  await addPackable(rig, write, { shares: false });
  const { outcomes } = await rig.run(trainings(1, 2, 3), { jobs: 2, packing: limits });
  assert.equal(jobs(rig).sort(), ['1', '2', '3']);
  assert.not.match(outputOf(outcomes['train/2'], 'manifest.json'), '"packed"');
});

test('a job of stages that share no work performs them one after another', async ({ rig }) => {
  await addPackable(
    rig,
    async ({ fs, given, put, seed, sleep }) => {
      const note = (word: string): void =>
        fs.appendFileSync(given['order'] ?? '', `${word} ${seed}\n`);
      note('begins');
      await sleep(20);
      if (seed === 2) throw new Error('no');
      put('model.txt', `m${seed}`);
      note('ends');
    },
    { shares: false },
  );
  const scheduled = { ...oneWorker, machine: { gatherMs: 0 } };
  const { outcomes } = await rig.run(trainings(1, 2, 3), scheduled);
  assert.equal(rig.read('order.log').trim().split('\n'), [
    ...['begins 1', 'ends 1', 'begins 2', 'begins 3', 'ends 3'],
  ]);
  assert.is(failed(outcomes['train/2']).error, 'internal error: no');
  assert.is(outputOf(outcomes['train/3'], 'model.txt'), 'm3');
  assert.equal(jobs(rig), ['1', '2', '3'], 'each by itself');
});

test('stages with another pack key, or none, are not in the job', async ({ rig }) => {
  await addPackable(rig);
  const full = (seed: number) => cell(seed, {}, { type: 'full' });
  await rig.run(experiment(['train'], [lora(1), full(2), lora(3), full(4)]), oneWorker);
  assert.equal(jobs(rig).sort(), ['1 3', '2', '4']);
});

test('the estimated memory bounds a pack', async ({ rig }) => {
  await addPackable(rig, write, { memoryMB: ({ seed }) => Number(seed) * 100 });
  await rig.run(trainings(1, 2, 3, 4), { jobs: 1, packing: { most: 8, memoryMB: 650 } });
  assert.equal(jobs(rig), ['1 2 3', '4']);
});

test('a stage whose estimate throws fails alone', async ({ rig }) => {
  await addPackable(rig, write, {
    memoryMB: ({ seed }) => {
      if (seed === 2) throw new Error('no estimate');
      return 1;
    },
  });
  const { outcomes } = await rig.run(trainings(1, 2, 3), oneWorker);
  assert.is(failed(outcomes['train/2']).error, 'internal error: no estimate');
  assert.equal(jobs(rig), ['1 3']);
});

test('a member that fails fails alone, with its own words', async ({ rig }) => {
  await addPackable(rig, ({ ctx, fault, put, seed }) => {
    if (seed === 2) fault('the loss is NaN at step 7', 'lower the rate');
    ctx.log(`all is well with ${seed}`);
    put('model.txt', `m${seed}`);
  });
  const result = await rig.run(trainings(1, 2, 3), oneWorker);
  const { error, hint, internal } = failed(result.outcomes['train/2']);
  assert.equal([error, hint, internal], ['the loss is NaN at step 7', 'lower the rate', false]);
  assert.equal(result.ran, { first: 1, train: 2 });
  assert.equal(jobs(rig), ['1 2 3']);
  assert.match(logOf(result, 'train', 3), /all is well with 3/);
  assert.not.match(logOf(result, 'train', 3), /all is well with 1|NaN/);
});

test('a member is done when it is done: what needs it does not wait for the others', async ({
  rig,
}) => {
  await addPackable(rig, async ({ fs, given, put, seed, sleep }) => {
    const isEvaluated = (): boolean => fs.existsSync(given['evaluated'] ?? '');
    for (let i = 0; seed === 2 && i < 1000 && !isEvaluated(); i++) await sleep(10);
    if (seed === 2 && !isEvaluated()) throw new Error('1 was not evaluated meanwhile');
    put('model.txt', `m${seed}`);
  });
  await addStage(rig, 'evaluate', {
    params: [],
    inputs: { model: 'train' },
    given: { evaluated: fileOf(rig, 'evaluated') },
    run({ fs, get, given, put }) {
      fs.writeFileSync(given['evaluated'] ?? '', '');
      put('a', get('model', 'model.txt'));
    },
  });
  const { ran } = await rig.run(experiment(['evaluate'], [1, 2, 3].map(lora)), {
    jobs: 2,
    packing: { ...limits, most: 3 },
  });
  assert.equal(ran, { first: 1, train: 3, evaluate: 3 });
});

test('a process that ends takes no member along but the one that ended it', async ({ rig }) => {
  await addPackable(rig, async ({ job, put, seed, sleep }) => {
    if (seed === 2) process.kill(process.pid, 'SIGKILL');
    await sleep(job.length > 1 || seed === 2 ? 10_000 : 0);
    put('model.txt', `m${seed}`);
  });
  const result = await rig.run(trainings(1, 2, 3), oneWorker);
  assert.match(
    failed(result.outcomes['train/2']).error,
    /ended without reporting a result \(ended by SIGKILL\)/,
  );
  assert.equal(result.ran, { first: 1, train: 2 });
  const [together, ...alone] = jobs(rig);
  assert.is(together, '1 2 3');
  assert.equal(alone.sort(), ['1', '2', '3']);
  assert.is(notesOf(result).filter((note) => note.includes('runs alone')).length, 3);
});

test('a fault that no member of the pack owns up to is found by running them alone', async ({
  rig,
}) => {
  await addPackable(rig, async ({ hang, job, put, seed, sleep }) => {
    if (seed === 2) {
      setTimeout(() => {
        throw new Error('late');
      }, 1);
      await hang();
    }
    if (job.length > 1) await sleep(10_000);
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await rig.run(trainings(1, 2), oneWorker);
  assert.is(failed(outcomes['train/2']).error, 'internal error: late');
  assert.is(outcomes['train/1']?.state, 'ran');
});

test('what failed in a pack is retried alone, as often as asked', async ({ rig }) => {
  await addPackable(rig, ({ job, put, seed }) => {
    if (seed === 2 && job.length > 1) throw new Error('not in company');
    if (seed === 3) throw new Error('never');
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await rig.run(trainings(1, 2, 3), {
    ...oneWorker,
    attemptLimits: { retries: 1 },
  });
  assert.equal([outcomes['train/1']?.state, outcomes['train/2']?.state], ['ran', 'ran']);
  assert.is(failed(outcomes['train/3']).error, 'internal error: never');
  const [together, ...alone] = jobs(rig);
  assert.is(together, '1 2 3');
  assert.equal(alone.sort(), ['2', '3'], 'in the order in which they were told of');
});

test('each member has its own time limit', async ({ rig }) => {
  await addPackable(rig, async ({ ctx, put, seed }) => {
    if (seed === 2)
      await new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(new Error('stopped')));
      });
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await rig.run(trainings(1, 2), {
    ...oneWorker,
    attemptLimits: { timeout: 5 },
  });
  assert.match(failed(outcomes['train/2']).error, /ran for more than 5 s and was ended/);
  assert.is(outcomes['train/1']?.state, 'ran');
});

test('a cached stage is not a member', async ({ rig }) => {
  await addPackable(rig);
  await rig.run(trainings(2), oneWorker);
  await rig.run(trainings(1, 2, 3), oneWorker);
  assert.equal(jobs(rig), ['2', '1 3']);
});

test("a pack that does not answer for each of its stages is the plugin's fault", async ({
  rig,
}) => {
  await rig.plugin(
    'stage',
    'train',
    `{
      compute: false, scope: 'cell', run: async () => undefined,
      define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }),
      pack: { key: () => 'k', run: () => [] },
    }`,
  );
  const { outcomes } = await rig.run(trainings(1, 2), oneWorker);
  assert.match(
    failed(outcomes['train/1']).error,
    'internal error: `pack.run` of the stage "train" did not return a promise ' +
      'for each of its 2 stages',
  );
});

test('packs are an even share, in as few turns as possible', () => {
  const size = (n: number, free: number): number =>
    packSize(
      Array.from({ length: n }, () => 1),
      free,
      limits,
    );
  assert.equal(
    [size(8, 2), size(4, 1), size(7, 2), size(1, 2), size(20, 2), size(9, 1), size(100, 4)],
    [4, 4, 4, 1, 5, 5, 7],
  );
  assert.is(packSize([900, 100, 1], 1, limits), 2);
  assert.is(packSize([5000, 1], 1, limits), 1);
});

test('a plan foresees the packs', async ({ rig }) => {
  await addPackable(rig);
  const { stages } = rig.plan(trainings(1, 2, 3, 4, 5));
  const foreseen = async (cores: number, most: number): Promise<number[]> => {
    const packs = await foreseePacks(stages, 'cpu', { cores }, { ...limits, most }, new Map());
    return packs.map((pack) => pack.length);
  };
  assert.equal(await foreseen(1, 8), [5]);
  assert.equal(await foreseen(2, 8), [3, 2]);
  assert.equal(await foreseen(2, 2), [2, 2]);
  assert.equal(await foreseen(1, 1), []);
});

test.run();
