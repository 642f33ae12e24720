import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { adamw } from '../../../src/science/optim/adamw.ts';
import { scheduleFactor } from '../../../src/science/optim/schedule.ts';
import { sgd } from '../../../src/science/optim/sgd.ts';
import { backends, useBackend } from '../backend.ts';

const near = (a: number, b: number, tolerance = 1e-6): void =>
  assert.ok(Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

/** AdamW of one number in double precision, as torch.optim.AdamW's single-tensor path reads. */
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
  test(`AdamW: three steps, parameter by parameter (${backend})`, async () => {
    await useBackend(backend);
    const settings = { weightDecay: 0.1, beta1: 0.8, beta2: 0.95, epsilon: 1e-3 };
    const optimizer = adamw(settings);
    // Two tensors, so that nothing may leak from one into the other; one gradient is 0 throughout, where only decay acts.
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
        Object.entries(gradients).map(([name, values]) => [name, tf.tensor(values[step]!)]),
      );
      const before = [...parameters.values(), ...optimizer.tensors(state), ...g.values()];
      const count = tf.memory().numTensors;
      ({ parameters, state } = optimizer.update(parameters, g, state, 0.05));
      assert.ok(
        before.every((tensor) => tensor.isDisposed),
        'what is replaced is gone',
      );
      assert.is(
        tf.memory().numTensors,
        count - before.length + parameters.size + optimizer.tensors(state).length,
        'an update makes its results and nothing else',
      );
    }
    for (const name of ['a', 'b'] as const) {
      const got = parameters.get(name)!.dataSync();
      start[name].forEach((p, i) =>
        near(
          got[i]!,
          reference(
            p,
            gradients[name].map((step) => step[i]!),
            0.05,
            0.1,
            0.8,
            0.95,
            1e-3,
          ),
        ),
      );
    }
    near(parameters.get('a')!.dataSync()[1]!, -2 * (1 - 0.05 * 0.1) ** 3);
    for (const tensor of [...parameters.values(), ...optimizer.tensors(state)]) tensor.dispose();
  });
}

test('SGD: decay and gradient, p(1 − lr·wd) − lr·g', async () => {
  await useBackend('cpu');
  const p = new Map([['a', tf.tensor([2, -1])]]),
    g = new Map([['a', tf.tensor([0.5, 4])]]);
  const { parameters } = sgd({ weightDecay: 0.5 }).update(p, g, null, 0.1);
  const got = parameters.get('a')!.dataSync();
  near(got[0]!, 2 * 0.95 - 0.05);
  near(got[1]!, -0.95 - 0.4);
});

test('schedules: warm-up from zero, then level, down a line or a half cosine, to zero after the last step', () => {
  const at = (kind: 'constant' | 'linear' | 'cosine', warmup: number): number[] =>
    [0, 1, 2, 5, 8].map((step) => scheduleFactor({ kind, warmup, steps: 8 }, step));
  assert.equal(at('constant', 0), [1, 1, 1, 1, 1]);
  assert.equal(at('constant', 2), [0, 0.5, 1, 1, 1]);
  assert.equal(at('linear', 2), [0, 0.5, 1, 0.5, 0]);
  const cosine = at('cosine', 2);
  assert.equal(cosine.slice(0, 3), [0, 0.5, 1]);
  near(cosine[3]!, 0.5);
  near(cosine[4]!, 0);
  assert.is(
    scheduleFactor({ kind: 'linear', warmup: 5, steps: 3 }, 2),
    0.4,
    'a warm-up longer than the training never ends',
  );
});

test.run();
