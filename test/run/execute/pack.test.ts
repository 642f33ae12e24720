import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { foreseeJobs, packSize } from '../../../src/run/execute/packs.ts';
import {
  cell,
  createRig,
  experiment,
  type Rig,
  type RigResult,
  type RunRig,
} from '../../rig/rig.ts';
import { fileOf } from './chain.ts';
import { addStage, type Body, failed, logOf, outputOf, type StageOfTest } from './stages.ts';

interface Context {
  readonly rig: Rig;
  /** The seeds of the trainings of each job. */
  readonly jobs: string[];
  /** Runs trainings with these seeds, all of which may share a job. */
  readonly train: (seeds: readonly number[], options?: RunRig) => Promise<RigResult>;
}
const test = suite<Context>('pack');
test.before.each((context) => {
  const rig = createRig(),
    jobs: string[] = [];
  Object.assign(context, {
    rig,
    jobs,
    train: (seeds: readonly number[], options: RunRig = {}) =>
      rig.run(trainings(...seeds), {
        jobs: 1,
        pack: 8,
        onJob: (stages) => {
          const [first] = stages;
          if (first?.stage.name === 'train')
            jobs.push(stages.map(({ params }) => Number(params['seed'])).join(' '));
        },
        ...options,
      }),
  });
});
test.after.each(({ rig }) => rig.clean());

const write: Body = ({ put, seed }) => put('model.txt', `m${seed}`);

/** Adds first → train. Trainings with the same resources may share a job. */
async function addPackable(
  rig: Rig,
  run: Body = write,
  more: NonNullable<StageOfTest['pack']> & Pick<StageOfTest, 'resources'> = {},
): Promise<void> {
  const { resources, ...pack } = more;
  await addStage(rig, 'first', { params: [], run: ({ put }) => put('a', 'a') });
  await addStage(rig, 'train', {
    params: ['seed'],
    inputs: { first: 'first' },
    given: { marker: fileOf(rig, 'marker'), order: fileOf(rig, 'order.log') },
    run,
    pack,
    ...(resources === undefined ? {} : { resources }),
  });
}

const cellOf = (seed: number) => cell(seed, { attack: 'none' }, { type: 'lora' });
const trainings = (...seeds: readonly number[]) => experiment(['train'], seeds.map(cellOf));

test('stages that are ready together run as one job, each with an entry of its own', async ({
  rig,
  jobs,
  train,
}) => {
  await addPackable(rig);
  const { ran, outcomes } = await train([1, 2, 3]);
  assert.equal(ran, { first: 1, train: 3 });
  assert.equal(jobs, ['1 2 3']);
  assert.is(outputOf(outcomes['train/2'], 'model.txt'), 'm2');
  const { facts } = JSON.parse(outputOf(outcomes['train/2'], 'manifest.json')) as {
    facts: { packed: number };
  };
  assert.is(facts.packed, 3);
  assert.equal((await train([1, 2, 3])).ran, {});
});

test('packing is in no key: what ran packed is there for a run without it', async ({
  rig,
  train,
}) => {
  await addPackable(rig);
  await train([1, 2]);
  assert.equal((await rig.run(trainings(1, 2), { jobs: 1 })).ran, {});
});

test('many stages at once are not a leak: Node has nothing to warn of', async ({
  rig,
  jobs,
  train,
}) => {
  await addPackable(rig);
  const warned: string[] = [];
  const listen = ({ name }: Error): void => {
    warned.push(name);
  };
  process.on('warning', listen);
  try {
    await train(
      Array.from({ length: 16 }, (_, i) => i + 1),
      { jobs: 2 },
    );
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  } finally {
    process.off('warning', listen);
  }
  assert.equal(warned, []);
  assert.is(jobs.length, 2);
});

test('with packs of one, each stage runs alone', async ({ rig, jobs, train }) => {
  await addPackable(rig);
  await train([3, 4], { pack: 1 });
  assert.equal(jobs, ['3', '4']);
});

test('on a machine of its own a run packs nothing', async ({ rig }) => {
  await addPackable(rig);
  const { outcomes } = await rig.run(trainings(1, 2, 3), { jobs: 2 });
  assert.not.match(outputOf(outcomes['train/2'], 'manifest.json'), '"packed"');
});

test('a job performs its stages one after another', async ({ rig, jobs, train }) => {
  await addPackable(rig, async ({ fs, given, put, seed, sleep }) => {
    const note = (word: string): void =>
      fs.appendFileSync(given['order'] ?? '', `${word} ${seed}\n`);
    note('begins');
    await sleep(20);
    if (seed === 2) throw new Error('no');
    put('model.txt', `m${seed}`);
    note('ends');
  });
  const { outcomes } = await train([1, 2, 3]);
  assert.equal(rig.read('order.log').trim().split('\n'), [
    ...['begins 1', 'ends 1', 'begins 2', 'begins 3', 'ends 3'],
  ]);
  assert.is(failed(outcomes['train/2']).error, 'internal error: no');
  assert.is(outputOf(outcomes['train/3'], 'model.txt'), 'm3');
  assert.equal(jobs, ['1 2 3']);
});

test('stages with other resources are not in the job', async ({ rig, jobs, train }) => {
  await addPackable(rig, write, {
    resources: ({ seed }) => ({ cpu: Number(seed) % 2 === 1 ? 1 : 2 }),
  });
  await train([1, 2, 3, 4]);
  assert.equal(jobs.sort(), ['1 3', '2 4']);
});

test('a stage whose estimate throws fails alone', async ({ rig, jobs, train }) => {
  await addPackable(rig, write, {
    memoryMB: ({ seed }) => {
      if (seed === 2) throw new Error('no estimate');
      return 1;
    },
  });
  const { outcomes } = await train([1, 2, 3]);
  assert.is(failed(outcomes['train/2']).error, 'internal error: no estimate');
  assert.equal(jobs, ['1 3']);
});

test('a member that fails fails alone, with its own words', async ({ rig, jobs, train }) => {
  await addPackable(rig, ({ ctx, fault, put, seed }) => {
    if (seed === 2) fault('the loss is NaN at step 7', 'lower the rate');
    ctx.log(`all is well with ${seed}`);
    put('model.txt', `m${seed}`);
  });
  const result = await train([1, 2, 3]);
  const { error, hint, internal } = failed(result.outcomes['train/2']);
  assert.equal([error, hint, internal], ['the loss is NaN at step 7', 'lower the rate', false]);
  assert.equal(result.ran, { first: 1, train: 2 });
  assert.equal(jobs, ['1 2 3']);
  assert.match(logOf(result, 'train', 3), /all is well with 3/);
  assert.not.match(logOf(result, 'train', 3), /all is well with 1|NaN/);
});

test('a member is done when it is done: what needs it does not wait for the others', async ({
  rig,
}) => {
  await addPackable(rig, async ({ fs, given, put, seed, sleep }) => {
    const isEvaluated = (): boolean => fs.existsSync(given['marker'] ?? '');
    for (let i = 0; seed === 2 && i < 1000 && !isEvaluated(); i++) await sleep(10);
    if (seed === 2 && !isEvaluated()) throw new Error('1 was not evaluated meanwhile');
    put('model.txt', `m${seed}`);
  });
  await addStage(rig, 'evaluate', {
    params: [],
    inputs: { model: 'train' },
    given: { marker: fileOf(rig, 'marker') },
    run({ fs, get, given, put }) {
      fs.writeFileSync(given['marker'] ?? '', '');
      put('a', get('model', 'model.txt'));
    },
  });
  const { ran } = await rig.run(experiment(['evaluate'], [1, 2, 3].map(cellOf)), {
    jobs: 2,
    pack: 3,
  });
  assert.equal(ran, { first: 1, train: 3, evaluate: 3 });
});

test('a process that ends takes no member along but the one that ended it', async ({
  rig,
  jobs,
  train,
}) => {
  await addPackable(rig, async ({ put, seed, sleep }) => {
    if (seed === 2) {
      process.kill(process.pid, 'SIGKILL');
      await sleep(10_000);
    }
    put('model.txt', `m${seed}`);
  });
  const result = await train([1, 2, 3]);
  assert.match(
    failed(result.outcomes['train/2']).error,
    /ended without reporting a result \(ended by SIGKILL\)/,
  );
  assert.equal(result.ran, { first: 1, train: 2 });
  assert.equal(jobs, ['1 2 3']);
});

test('a fault outside of every promise is that of the member that is running', async ({
  rig,
  train,
}) => {
  await addPackable(rig, async ({ hang, put, seed }) => {
    if (seed === 2) {
      setTimeout(() => {
        throw new Error('late');
      }, 1);
      await hang();
    }
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await train([1, 2, 3]);
  assert.is(failed(outcomes['train/2']).error, 'internal error: late');
  assert.equal([outcomes['train/1']?.state, outcomes['train/3']?.state], ['ran', 'ran']);
});

test('what failed in a pack is retried alone, as often as asked', async ({ rig, jobs, train }) => {
  await addPackable(rig, ({ fs, given, put, seed }) => {
    if (seed === 2 && !fs.existsSync(given['marker'] ?? '')) {
      fs.writeFileSync(given['marker'] ?? '', '');
      throw new Error('not at once');
    }
    if (seed === 3) throw new Error('never');
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await train([1, 2, 3], { attemptLimits: { retries: 1 } });
  assert.equal([outcomes['train/1']?.state, outcomes['train/2']?.state], ['ran', 'ran']);
  assert.is(failed(outcomes['train/3']).error, 'internal error: never');
  assert.equal(jobs, ['1 2 3', '2', '3'], 'in the order in which they were told of');
});

test('each member has its own time limit', async ({ rig, train }) => {
  await addPackable(rig, async ({ ctx, put, seed }) => {
    if (seed === 2)
      await new Promise((_, reject) => {
        ctx.signal.addEventListener('abort', () => reject(new Error('stopped')));
      });
    put('model.txt', `m${seed}`);
  });
  const { outcomes } = await train([1, 2], { attemptLimits: { timeout: 5 } });
  assert.match(failed(outcomes['train/2']).error, /ran for more than 5 s and was ended/);
  assert.is(outcomes['train/1']?.state, 'ran');
});

test('a cached stage is not a member', async ({ rig, jobs, train }) => {
  await addPackable(rig);
  await train([2]);
  await train([1, 2, 3]);
  assert.equal(jobs, ['2', '1 3']);
});

test('packs are an even share, as few as possible', () => {
  assert.equal(
    [1, 4, 8, 9, 20, 100].map((ready) => packSize(ready, 8)),
    [1, 4, 8, 5, 7, 8],
  );
});

test('the jobs are foreseen', async ({ rig }) => {
  await addPackable(rig);
  const { stages } = rig.plan(trainings(1, 2, 3, 4, 5));
  const foreseen = (most: number): number[] => foreseeJobs(stages, most).map((job) => job.length);
  assert.equal(foreseen(8), [1, 5]);
  assert.equal(foreseen(4), [1, 3, 2]);
  assert.equal(foreseen(2), [1, 2, 2, 1]);
  assert.equal(foreseen(1), [1, 1, 1, 1, 1, 1]);
});

test.run();
