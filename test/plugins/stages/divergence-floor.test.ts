/** The noise floor of M, and paired runs that end at different steps. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import divergence from '../../../plugins/stages/divergence/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import { type Cell, UserFault } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { cell, type Found, json, near, runs, twinOf, weightsIn } from './divergence-rig.ts';
import { type Chain, file, openChain } from './kernel-chain.ts';
import { type Ran, tinyCell } from './rig.ts';

const test = suite('noise floor of the divergence');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const floored = (change: { [section in keyof Cell]?: unknown } = {}): Cell =>
  ({
    ...cell,
    theory: { ...cell.theory, noise_floor: true },
    ...change,
  }) as Cell;

test('the noise floor is the clean run against itself with its rows reversed', async () => {
  // It adds in float32, as TensorFlow and GPUs do. Plain JavaScript adds in double precision,
  // where the order of a sum hardly ever shows.
  await useBackend('wasm');
  const of = floored();
  const { inputs, params } = divergence.define([of], { with: {}, goals: [] });
  assert.equal(inputs['again'], {
    kind: 'train',
    cell: twinOf(of),
    with: { batch_rows: 'reversed' },
  });
  assert.not.ok('no_floor' in params);
  const given = await runs(chain, of);
  const ran = await chain.run(divergence, of, given);
  const { points, mean, noise_floor: floor } = await json<Found>(file(ran, 'divergence.json'));
  if (!floor.measured) throw new Error(floor.reason);
  assert.match(floor.method, /rows of each batch in reverse order/);
  // The floor at the last point is computed by hand.
  const [clean, again] = await Promise.all([
    weightsIn(given.clean),
    weightsIn(present(given['again'])),
  ]);
  const flat = ({ layers }: { readonly layers: Map<string, number[]> }): number[] =>
    [...layers.values()].flat();
  near(present(points[2]!.floor!.total), flat(clean), flat(again), 'the floor');
  assert.ok(present(floor.mean.total).l2 > 0 && present(floor.mean.head).l2 > 0);
  assert.ok(
    present(floor.mean.total).l2 < 1e-3 * present(mean.total).l2,
    `${present(floor.mean.total).l2} is no rounding`,
  );
  const metrics = await json<Record<string, number>>(file(ran, 'metrics.json'));
  assert.is(metrics['floor.total.l2'], present(floor.mean.total).l2);
  const sum = (get: (point: Found['points'][number]) => number): number =>
    points.reduce((all, point) => all + get(point), 0);
  assert.ok(
    Math.abs(
      present(metrics['total.over_floor']) -
        sum(({ total }) => present(total).l2) / sum((point) => present(point.floor!.total).l2),
    ) <
      1e-9 * present(metrics['total.over_floor']),
  );
  assert.match(ran.log.join('\n'), /noise floor: the clean run, trained once more/);
  await useBackend('cpu');
});

test('M of a run and itself is zero, and its floor is rounding', async () => {
  const of = floored({ adapter: { type: 'full' }, train: tinyCell().train });
  const given = await runs(chain, of);
  const { mean, noise_floor: floor } = await json<Found>(
    file(await chain.run(divergence, of, { ...given, model: given.clean }), 'divergence.json'),
  );
  if (!floor.measured) throw new Error(floor.reason);
  assert.is(present(mean.trained).l2, 0);
  assert.ok(present(floor.mean.trained).l2 > 0 && present(floor.mean.kinds.norms).l2 > 0);
});

test('where reversing rows is more than rounding, the result says why', async () => {
  const train = cell.train;
  for (const [change, reason] of [
    [{ theory: { ...cell.theory, noise_floor: false } }, /theory\.noise_floor is off/],
    [{ train: { ...train, batch_size: 1 } }, /the only row of a batch has no other order/],
    [{ train: { ...train, batch_size: 2, devices: 3 } }, /two rows of a batch are on two devices/],
    [{ train: { ...train, dropout: 0.1 } }, /dropout draws a mask for each place/],
    [{ adapter: { ...cell.adapter, dropout: 0.1 } }, /dropout draws a mask for each place/],
    // Train takes the folder's dropout where the spec has none.
    [
      { adapter: { type: 'lora', init_from: '/adapter' } },
      /init_from names may set a dropout[^]*write adapter\.dropout: 0/,
    ],
  ] as const) {
    const { inputs, params } = divergence.define([floored(change)], { with: {}, goals: [] });
    assert.not.ok('again' in inputs);
    assert.match(JSON.stringify(params['no_floor']), reason);
  }
  const warned = async (of: Cell): Promise<string> =>
    (await chain.run(divergence, of, await runs(chain, of))).warned.join('\n');
  assert.match(
    await warned({ ...cell, train: { ...train, dropout: 0.1 } }),
    /with dropout, M \(like accuracy_drop and asr_minus_clean\) also contains the effect of/,
  );
  assert.not.match(await warned(cell), /with dropout/);
  const without = floored({ adapter: { type: 'lora', init_from: '/adapter', dropout: 0 } });
  assert.ok('again' in divergence.define([without], { with: {}, goals: [] }).inputs);
  const ran = await chain.run(divergence, cell, await runs(chain, cell));
  const { noise_floor: floor, points } = await json<Found>(file(ran, 'divergence.json'));
  assert.equal([floor.measured, present(points[0]).floor], [false, null]);
  assert.match(ran.log.join('\n'), /noise floor not measured: theory\.noise_floor is off/);
  const metrics = await json<object>(file(ran, 'metrics.json'));
  assert.not.ok(Object.keys(metrics).some((name) => name.includes('floor')));
});

test('a training of reversed batches says what it is', async () => {
  const { params } = train.define([twinOf(cell)], {
    with: { batch_rows: 'reversed' },
    goals: [],
  });
  assert.is(params['batch_rows'], 'reversed');
  assert.throws(
    () => train.define([cell], { with: { batch_rows: 'shuffled' }, goals: [] }),
    /batch_rows is reversed or left out/,
  );
  const ran = await chain.train(twinOf(cell), { batch_rows: 'reversed' });
  assert.is((await json<{ batch_rows: string }>(file(ran, 'train.json'))).batch_rows, 'reversed');
});

test('runs that end at different steps are compared at steps of both, or not at all', async () => {
  const inputs = await runs(chain, cell);
  // The record is as an early stop leaves it: the run's last model is of step 4, or of step 3.
  const record = await json<object>(join(inputs.clean, 'train.json'));
  const endAt = (step: number): Promise<void> =>
    writeFile(join(inputs.clean, 'train.json'), JSON.stringify({ ...record, kept_step: step }));
  const run = (): Promise<Ran> => chain.run(divergence, cell, inputs);
  await endAt(3);
  const ran = await run();
  assert.equal(
    (await json<Found>(file(ran, 'divergence.json'))).points.map(({ step }) => step),
    [2, 4],
  );
  assert.match(
    ran.warned.join('\n'),
    'the poisoned run ends at step 6, its clean twin at step 3: ' +
      'M compares them at the steps that both kept (2, 4)',
  );

  const bare = { ...cell, train: { ...cell.train, checkpoints: [] } } as Cell;
  const others = await runs(chain, bare);
  await writeFile(
    join(others.clean, 'train.json'),
    JSON.stringify({ ...(await json<object>(join(others.clean, 'train.json'))), steps: 5 }),
  );
  let fault: unknown = null;
  try {
    await chain.run(divergence, bare, others);
  } catch (error) {
    fault = error;
  }
  assert.instance(fault, UserFault);
  assert.match(
    (fault as Error).message,
    /the poisoned run ends at step 6 and its clean twin at step 5, and they kept no step in common/,
  );
});

test.run();
