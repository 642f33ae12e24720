import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../../src/base/lookup.ts';
import { adamw, scheduleFactor, sgd } from '../../../../src/science/training/optimizers.ts';
import { present } from '../../../rig/present.ts';
import { backends, useBackend } from '../../backend.ts';

const near = (a: number, b: number, tolerance = 1e-6): void =>
  assert.ok(Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

/** AdamW for one number in double precision, after the single-tensor code of torch.optim.AdamW. */
function reference(
  p: number,
  gradients: readonly number[],
  lr: number,
  wd: number,
  b1: number,
  b2: number,
  eps: number,
): number {
  let m = 0,
    v = 0;
  gradients.forEach((g, i) => {
    p *= 1 - lr * wd;
    m += (g - m) * (1 - b1);
    v = v * b2 + g * g * (1 - b2);
    p -= ((lr / (1 - b1 ** (i + 1))) * m) / (Math.sqrt(v) / Math.sqrt(1 - b2 ** (i + 1)) + eps);
  });
  return p;
}

for (const backend of backends) {
  test(`AdamW updates each parameter as PyTorch does, over three steps (${backend})`, async () => {
    await useBackend(backend);
    const settings = { weightDecay: 0.1, beta1: 0.8, beta2: 0.95, epsilon: 1e-3 };
    const optimizer = adamw(settings);
    // Two tensors reveal a leak from one into the other. One gradient is always 0, so that only
    // decay acts there.
    const start = { a: [1, -2, 3], b: [0.5] },
      gradients = {
        a: [
          [0.1, 0, -4],
          [0.3, 0, 1],
          [-0.2, 0, 1e-4],
        ],
        b: [[1e-3], [-5], [2]],
      };
    let parameters = new Map(
      Object.entries(start).map(([name, values]) => [name, tf.tensor(values)]),
    );
    let state = optimizer.init(parameters);
    for (let step = 0; step < 3; step++) {
      const g = new Map(
        Object.entries(gradients).map(([name, values]) => [name, tf.tensor(at(values, step))]),
      );
      const before = [...parameters.values(), ...optimizer.named(state).values(), ...g.values()];
      const count = tf.memory().numTensors;
      ({ parameters, state } = optimizer.update(parameters, g, state, 0.05));
      assert.ok(
        before.every((tensor) => tensor.isDisposed),
        'what is replaced is gone',
      );
      assert.is(
        tf.memory().numTensors,
        count - before.length + parameters.size + optimizer.named(state).size,
        'an update makes its results and nothing else',
      );
    }
    for (const name of ['a', 'b'] as const) {
      const got = named(parameters, name).dataSync();
      start[name].forEach((p, i) =>
        near(
          at(got, i),
          reference(
            p,
            gradients[name].map((step) => at(step, i)),
            0.05,
            0.1,
            0.8,
            0.95,
            1e-3,
          ),
        ),
      );
    }
    near(present(named(parameters, 'a').dataSync()[1]), -2 * (1 - 0.05 * 0.1) ** 3);
    for (const tensor of [...parameters.values(), ...optimizer.named(state).values()])
      tensor.dispose();
  });
}

test('SGD applies decay and gradient, p(1 − lr·wd) − lr·g', async () => {
  await useBackend('cpu');
  const p = new Map([['a', tf.tensor([2, -1])]]),
    g = new Map([['a', tf.tensor([0.5, 4])]]);
  const { parameters } = sgd({ weightDecay: 0.5 }).update(p, g, null, 0.1);
  const got = named(parameters, 'a').dataSync();
  near(at(got, 0), 2 * 0.95 - 0.05);
  near(at(got, 1), -0.95 - 0.4);
});

test('a schedule warms up, then stays level or falls to zero, linearly or by a cosine', () => {
  const factors = (kind: 'constant' | 'linear' | 'cosine', warmup: number): number[] =>
    [0, 1, 2, 5, 8].map((step) => scheduleFactor({ kind, warmup, steps: 8 }, step));
  assert.equal(factors('constant', 0), [1, 1, 1, 1, 1]);
  assert.equal(factors('constant', 2), [0, 0.5, 1, 1, 1]);
  assert.equal(factors('linear', 2), [0, 0.5, 1, 0.5, 0]);
  const cosine = factors('cosine', 2);
  assert.equal(cosine.slice(0, 3), [0, 0.5, 1]);
  near(at(cosine, 3), 0.5);
  near(at(cosine, 4), 0);
  assert.is(
    scheduleFactor({ kind: 'linear', warmup: 5, steps: 3 }, 2),
    0.4,
    'a warm-up longer than the training never ends',
  );
});

test.run();
