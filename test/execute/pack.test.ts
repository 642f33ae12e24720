import { readFileSync } from 'node:fs';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { foreseePacks, packSize } from '../../src/execute/packer.ts';
import type { Failed, Finished, Outcome, RunEvent } from '../../src/execute/types.ts';
import type { Rig, RunRig } from '../rig/rig.ts';
import { cell, createRig, experiment } from '../rig/rig.ts';

const test = suite<{ rig: Rig }>('pack');
test.before.each((context) => {
  context.rig = createRig();
});
test.after.each(({ rig }) => rig.clean());

const limits = { most: 8, memoryMB: 1000 };
const alone: RunRig = { jobs: 1, packing: limits };

/**
 * A stage `train` that packs with its like, `first` before it. Each job adds its seeds to `jobs.log`. `member` is what a
 * member does in a pack or alone (`one` is its context, `packed` the number of members), and may be async.
 */
async function packable(rig: Rig, member: string, more = ''): Promise<void> {
  await rig.plugin(
    'stage',
    'first',
    '{ compute: false, scope: "cell", define: () => ({ params: {}, inputs: {} }), run: async (ctx) => { (await import("node:fs")).writeFileSync(ctx.outDir + "/a", "a"); } }',
  );
  const all = `((contexts) => contexts.map(async (one) => {
      const fs = await import('node:fs');
      const packed = contexts.length;
      if (one === contexts[0]) fs.appendFileSync(${JSON.stringify(path.join(rig.dir, 'jobs.log'))}, contexts.map(({ params }) => params.seed).join(' ') + '\\n');
      const { seed } = one.params, put = (name, text) => fs.writeFileSync(one.outDir + '/' + name, text);
      ${member}
      put('model.txt', 'm' + seed);
    }))`;
  await rig.plugin(
    'stage',
    'train',
    `{
    compute: false, scope: 'cell', volatile: ['metrics.json'],
    define: ([cell]) => ({ params: { seed: cell.seed, type: cell.adapter.type }, inputs: { first: { kind: 'first', cell } } }),
    run: (context) => ${all}([context])[0],
    pack: { key: ({ params }) => (params.type === 'full' ? null : 'base'), run: ${all}, ${more} },
  }`,
  );
}

const seeds = (...of: number[]) =>
  experiment(
    ['train'],
    of.map((seed) => cell(seed, { attack: 'none' }, { type: 'lora' })),
  );
const jobs = (rig: Rig): string[] => rig.read('jobs.log').trim().split('\n');
const error = (outcome: Outcome | undefined): string => (outcome as Failed).error;
const logOf = (events: readonly RunEvent[], seed: number): string => {
  const started = events.findLast(
    (event) =>
      event.type === 'stage-started' && event.stage.kind === 'train' && event.stage.seed === seed,
  ) as { log: string };
  return readFileSync(started.log, 'utf8');
};

test('stages that are ready together run as one job; each has its own entry', async ({ rig }) => {
  await packable(rig, '');
  const { ran, outcomes } = await rig.run(seeds(1, 2, 3), alone);
  assert.equal(ran, { first: 1, train: 3 });
  assert.equal(jobs(rig), ['1 2 3']);
  assert.is(
    readFileSync(path.join((outcomes['train/2'] as Finished).dir, 'model.txt'), 'utf8'),
    'm2',
  );
  assert.is(
    (
      JSON.parse(
        readFileSync(path.join((outcomes['train/2'] as Finished).dir, 'manifest.json'), 'utf8'),
      ) as { facts: { packed: number } }
    ).facts.packed,
    3,
  );
  assert.equal((await rig.run(seeds(1, 2, 3), alone)).ran, {});
});

test('packing is in no key: what ran packed is there for a run without it', async ({ rig }) => {
  await packable(rig, '');
  await rig.run(seeds(1, 2), alone);
  assert.equal((await rig.run(seeds(1, 2), { jobs: 1 })).ran, {});
});

test('they are split evenly over the workers', async ({ rig }) => {
  await packable(rig, '');
  await rig.run(seeds(1, 2, 3, 4, 5, 6), { jobs: 2, packing: limits });
  assert.equal(jobs(rig).sort(), ['1 2 3', '4 5 6']);
});

test('many at once are no leak: Node has nothing to warn of', async ({ rig }) => {
  await packable(rig, '');
  const warned: string[] = [];
  const listen = ({ name }: Error): void => {
    warned.push(name);
  };
  process.on('warning', listen);
  try {
    await rig.run(seeds(...Array.from({ length: 16 }, (_, i) => i + 1)), {
      jobs: 2,
      packing: limits,
    });
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  } finally {
    process.off('warning', listen);
  }
  assert.equal(warned, []);
  assert.is(jobs(rig).length, 2);
});

test('without packing, or with packs of one, each runs alone', async ({ rig }) => {
  await packable(rig, '');
  await rig.run(seeds(1, 2), { jobs: 1 });
  await rig.run(seeds(3, 4), { jobs: 1, packing: { ...limits, most: 1 } });
  assert.equal(jobs(rig), ['1', '2', '3', '4']);
});

test('another key, or none, is another job', async ({ rig }) => {
  await packable(rig, '');
  await rig.run(
    experiment(
      ['train'],
      [
        cell(1, {}, { type: 'lora' }),
        cell(2, {}, { type: 'full' }),
        cell(3, {}, { type: 'lora' }),
        cell(4, {}, { type: 'full' }),
      ],
    ),
    alone,
  );
  assert.equal(jobs(rig).sort(), ['1 3', '2', '4']);
});

test('the estimated memory bounds a pack', async ({ rig }) => {
  await packable(rig, '', 'memoryMB: async ({ params }) => params.seed * 100,');
  await rig.run(seeds(1, 2, 3, 4), { jobs: 1, packing: { most: 8, memoryMB: 650 } });
  assert.equal(jobs(rig), ['1 2 3', '4']);
});

test('a member that fails fails alone, with its own words', async ({ rig }) => {
  await packable(
    rig,
    `if (seed === 2) throw Object.assign(new Error('the loss is NaN at step 7'), { name: 'UserFault', hint: 'lower the rate' }); one.log('all is well with ' + seed);`,
  );
  const { outcomes, events } = await rig.run(seeds(1, 2, 3), alone);
  assert.equal(
    { ...outcomes['train/2'], log: null },
    {
      state: 'failed',
      error: 'the loss is NaN at step 7',
      hint: 'lower the rate',
      internal: false,
      log: null,
    },
  );
  assert.equal([outcomes['train/1']!.state, outcomes['train/3']!.state], ['ran', 'ran']);
  assert.equal(jobs(rig), ['1 2 3']);
  assert.match(logOf(events, 3), /all is well with 3/);
  assert.not.match(logOf(events, 3), /all is well with 1|NaN/);
});

test('a member is done when it is done: what needs it does not wait for the others', async ({
  rig,
}) => {
  await packable(
    rig,
    `if (seed === 2) { for (let i = 0; i < 1000 && !fs.existsSync(${JSON.stringify(path.join(rig.dir, 'evaluated'))}); i++) await new Promise((next) => setTimeout(next, 10)); if (!fs.existsSync(${JSON.stringify(path.join(rig.dir, 'evaluated'))})) throw new Error('1 was not evaluated meanwhile'); }`,
  );
  await rig.plugin(
    'stage',
    'evaluate',
    `{ compute: false, scope: 'cell', define: ([cell]) => ({ params: {}, inputs: { model: { kind: 'train', cell } } }), run: async (ctx) => {
    const fs = await import('node:fs');
    fs.writeFileSync(${JSON.stringify(path.join(rig.dir, 'evaluated'))}, '');
    fs.writeFileSync(ctx.outDir + '/a', fs.readFileSync(ctx.inputs.model.dir + '/model.txt'));
  } }`,
  );
  const { ran } = await rig.run(
    experiment(
      ['evaluate'],
      [cell(1, {}, { type: 'lora' }), cell(2, {}, { type: 'lora' }), cell(3, {}, { type: 'lora' })],
    ),
    { jobs: 2, packing: { ...limits, most: 3 }, onEvent: () => undefined },
  );
  assert.equal(ran, { first: 1, train: 3, evaluate: 3 });
});

test('a process that goes takes no member along but the one that ended it', async ({ rig }) => {
  await packable(
    rig,
    `if (seed === 2) process.kill(process.pid, 'SIGKILL'); await new Promise((next) => setTimeout(next, packed > 1 ? 10_000 : 0));`,
  );
  const { outcomes, events } = await rig.run(seeds(1, 2, 3), alone);
  assert.match(error(outcomes['train/2']), /went without a word \(ended by SIGKILL\)/);
  assert.equal([outcomes['train/1']!.state, outcomes['train/3']!.state], ['ran', 'ran']);
  assert.equal(jobs(rig).slice(0, 1), ['1 2 3']);
  assert.equal(jobs(rig).slice(1).sort(), ['1', '2', '3']);
  assert.is(
    events.filter((event) => event.type === 'note' && event.message.includes('runs alone')).length,
    3,
  );
});

test('a fault that nobody in the pack owns up to is found by running them alone', async ({
  rig,
}) => {
  await packable(
    rig,
    `if (seed === 2) { setTimeout(() => { throw new Error('late'); }, 1); await new Promise(() => {}); } if (packed > 1) await new Promise((next) => setTimeout(next, 10_000));`,
  );
  const { outcomes } = await rig.run(seeds(1, 2), alone);
  assert.is(error(outcomes['train/2']), 'internal error: late');
  assert.is(outcomes['train/1']!.state, 'ran');
});

test('what failed in a pack is tried again alone, as often as asked', async ({ rig }) => {
  await packable(
    rig,
    `if (seed === 2 && packed > 1) throw new Error('not in company'); if (seed === 3) throw new Error('never');`,
  );
  const { outcomes } = await rig.run(seeds(1, 2, 3), { ...alone, patience: { retries: 1 } });
  assert.equal([outcomes['train/1']!.state, outcomes['train/2']!.state], ['ran', 'ran']);
  assert.is(error(outcomes['train/3']), 'internal error: never');
  // Which of two is told of first, and so goes first again, is chance.
  assert.equal(jobs(rig).slice(0, 1), ['1 2 3']);
  assert.equal(jobs(rig).slice(1).sort(), ['2', '3']);
});

test('each member has its own time limit', async ({ rig }) => {
  await packable(
    rig,
    `if (seed === 2) await new Promise((_, reject) => { one.signal.addEventListener('abort', () => reject(new Error('stopped'))); });`,
  );
  const { outcomes } = await rig.run(seeds(1, 2), { ...alone, patience: { timeout: 5 } });
  assert.match(error(outcomes['train/2']), /ran for more than 5 s and was ended/);
  assert.is(outcomes['train/1']!.state, 'ran');
});

test('a cached stage is no member', async ({ rig }) => {
  await packable(rig, '');
  await rig.run(seeds(2), alone);
  await rig.run(seeds(1, 2, 3), alone);
  assert.equal(jobs(rig), ['2', '1 3']);
});

test('a pack that does not answer for each of its stages is a fault of the plugin', async ({
  rig,
}) => {
  await rig.plugin(
    'stage',
    'train',
    '{ compute: false, scope: "cell", define: ([cell]) => ({ params: { seed: cell.seed }, inputs: {} }), run: async () => {}, pack: { key: () => "k", run: () => [] } }',
  );
  const { outcomes } = await rig.run(experiment(['train'], [cell(1), cell(2)]), alone);
  assert.match(
    error(outcomes['train/1']),
    /internal error: `pack.run` of the stage "train" returned no promise for each of its 2 stages/,
  );
});

test('an even share, in as few turns as may be', () => {
  const size = (n: number, free: number, most = 8): number =>
    packSize(
      Array.from({ length: n }, () => 1),
      free,
      { most, memoryMB: 1000 },
    );
  assert.equal(
    [size(8, 2), size(4, 1), size(7, 2), size(1, 2), size(20, 2), size(9, 1), size(100, 4)],
    [4, 4, 4, 1, 5, 5, 7],
  );
  assert.is(packSize([900, 100, 1], 1, limits), 2);
  assert.is(packSize([5000, 1], 1, limits), 1);
});

test('a plan foresees them', async ({ rig }) => {
  await packable(rig, '');
  const { stages } = rig.plan(seeds(1, 2, 3, 4, 5));
  const foreseen = async (cores: number, most: number): Promise<number[]> =>
    (await foreseePacks(stages, 'cpu', { cores }, { most, memoryMB: 1000 }, new Map())).map(
      (pack) => pack.length,
    );
  assert.equal(await foreseen(1, 8), [5]);
  assert.equal(await foreseen(2, 8), [3, 2]);
  assert.equal(await foreseen(2, 2), [2, 2]);
  assert.equal(await foreseen(1, 1), []);
});

test.run();
