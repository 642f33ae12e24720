/**
 * J₀v against PyTorch's forward mode (test/golden/theory.py), and the scores of a linear
 * prediction.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../../plugins/adapters/lora/lora.ts';
import { displacement, linearFit, linearise } from '../../../../plugins/stages/regime/run.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { folder, openAdapter } from '../../adapters-golden.ts';
import { backends, useBackend } from '../../backend.ts';
import { openChanged, theoryGolden, wave } from '../../theory-golden.ts';
import { openTiny, rows } from '../../tiny-bert.ts';
import { relative } from './fixture/compare.ts';

const test = suite('linearised prediction');
const near = (a: number | null, b: number, within = 1e-12): void =>
  assert.ok(a !== null && Math.abs(a - b) <= within, `${a} is not ${b}`);

for (const backend of backends) {
  for (const kind of ['lora', 'full'] as const) {
    test(`${backend}, ${kind}: J₀v of all trained parameters equals PyTorch's`, async () => {
      await useBackend(backend);
      const golden = theoryGolden.linear[kind];
      const network = await openTiny(kind, true);
      assert.equal([...network.initial.keys()].sort(), golden.parameters);
      const v = new Map(
        [...network.initial].map(([name, { shape }]) => [
          name,
          tf.tensor(wave(name, shape, 0.02).data, shape.slice()),
        ]),
      );
      const before = tf.memory().numTensors;
      const { start, change } = await linearise(network, v, rows.slice(0, golden.start.length));
      assert.is(tf.memory().numTensors, before, 'tensors');
      v.forEach((tensor) => tensor.dispose());
      network.dispose();
      assert.ok(relative(start, golden.start.flat()) < tolerance.kernel);
      assert.ok(
        relative(change, golden.change.flat()) < tolerance.kernel,
        String(relative(change, golden.change.flat())),
      );
    });
  }
}

test('the linear prediction is the limit of small steps, not of large ones', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const errorAt = async (size: number): Promise<number> => {
    const moved = await openChanged((name, { shape, data }) => ({
      shape,
      data: Float32Array.from(wave(name, shape, size).data, (step, i) => present(data[i]) + step),
    }));
    const v = displacement(network, moved);
    const some = rows.slice(0, 4);
    const { start, change } = await linearise(network, v, some);
    const end = tf.tidy(() => moved.forward(some).dataSync());
    v.forEach((tensor) => tensor.dispose());
    moved.dispose();
    return present(linearFit(start, change, end, network.classes).relative_error);
  };
  const [small, large] = [await errorAt(0.002), await errorAt(0.02)];
  // The first term that a linear prediction lacks is quadratic, so a step ten times as long has ten
  // times the relative error.
  assert.ok(small < 0.05 && large / small > 5 && large / small < 20, `${small}, ${large}`);
  network.dispose();
});

test('scores of a linear prediction, computed by hand', () => {
  // Two rows, two classes: moves of (3, 4) and nothing, predicted as (3, 0) and (0, 0).
  const fit = linearFit([0, 1, 5, 0], [3, 0, 0, 0], [3, 5, 5, 0], 2);
  near(fit.relative_error, 4 / 5);
  near(fit.cosine, 9 / 15);
  assert.equal(
    [fit.agreement, fit.agreement_start],
    [0.5, 1],
    'the first row is predicted as class 0 and ends as class 1',
  );
  const still = linearFit([1, 0], [0, 0], [1, 0], 2);
  assert.equal([still.relative_error, still.cosine, still.agreement], [null, null, 1]);
});

test('two networks that train different parameters have no displacement', async () => {
  await useBackend('cpu');
  const lora = await openTiny('lora', true),
    full = await openTiny('full', true);
  const before = tf.memory().numTensors;
  assert.throws(
    () => displacement(lora, full),
    /is trained at the start but has no like at the end/,
  );
  assert.is(tf.memory().numTensors, before);
  lora.dispose();
  full.dispose();
});

test('a network under DoRA is refused by name, since its gradient is not its derivative', async () => {
  await useBackend('cpu');
  const network = await openAdapter(lora, { folder: folder('dora', 'start') }, true);
  let message = '';
  try {
    await linearise(network, new Map(), rows);
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /not defined for DoRA/);
  network.dispose();
});

test.run();
