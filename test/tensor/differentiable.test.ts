import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  add,
  differentiable,
  isConstant,
  markConstant,
  withEagerDisposal,
} from '../../src/tensor/differentiable.ts';
import { matmul } from '../../src/tensor/products.ts';
import { gatherRows, scatterRows, takeRows } from '../../src/tensor/rows.ts';
import { backends, useBackend } from '../science/backend.ts';

/** x · y. Each backward pass adds to `asked` which gradients it was asked for. */
function product(x: Tensor, y: Tensor, asked: boolean[][]): Tensor {
  return differentiable([x, y], {
    forward: () => ({ value: tf.mul(x, y), saved: [x, y] }),
    backward: (dy, [a, b], needs) => {
      asked.push([...needs]);
      return [needs[0] ? tf.mul(dy, b) : null, needs[1] ? tf.mul(dy, a) : null];
    },
  });
}
const values = (tensor: Tensor): number[] => [...tensor.dataSync()];

test('repeated rows are not added by an atomic scatter, whose order varies on GPUs', async () => {
  for (const backend of backends) {
    await useBackend(backend);
    const sums: Tensor2D[] = [];
    const { kernelNames } = await tf.profile(() => {
      const sum = scatterRows(
        tf.tensor2d([1, 2, 10, 20, 100, 200, 1000, 2000], [4, 2]),
        tf.tensor1d([3, 1, 3, 3], 'int32'),
        5,
      );
      sums.push(sum);
      return sum;
    });
    assert.equal(sums.map(values), [[0, 0, 10, 20, 0, 0, 1101, 2202, 0, 0]], backend);
    if (backend === 'tensorflow') assert.not.ok(kernelNames.includes('ScatterNd'));
  }
});

test('only variable inputs are differentiated; a value of constants is constant', async () => {
  await useBackend('cpu');
  const x = tf.tensor1d([2, 3]),
    c = markConstant(tf.tensor1d([5, 7])),
    asked: boolean[][] = [];
  const gradient = tf.grad((v: Tensor) => {
    const fixed = product(c, c, asked);
    assert.ok(isConstant(fixed) && isConstant(add(fixed, c)) && !isConstant(add(fixed, v)));
    return tf.sum(product(v, fixed, asked));
  })(x);
  assert.equal(values(gradient), [25, 49]);
  assert.equal(asked, [[true, false]]);
});

test('an operation is differentiated in both inputs, also where one tensor is both', async () => {
  await useBackend('cpu');
  const gradients = tf.grads((a: Tensor, b: Tensor) => tf.sum(product(a, b, [])))([
    tf.tensor1d([2, 3]),
    tf.tensor1d([5, 7]),
  ]);
  assert.equal(gradients.map(values), [
    [5, 7],
    [2, 3],
  ]);
  assert.equal(
    values(tf.grad((a: Tensor) => tf.sum(product(a, a, [])))(tf.tensor1d([2, 3]))),
    [4, 6],
  );
});

test('an operation that leaves out a needed gradient throws', async () => {
  await useBackend('cpu');
  const broken = (x: Tensor): Tensor =>
    tf.sum(
      differentiable([x], {
        forward: () => ({ value: tf.square(x), saved: [] }),
        backward: () => [null],
      }),
    );
  assert.throws(() => tf.grad(broken)(tf.tensor1d([1])), /returned no gradient/);
});

test('a gradient is the same with eager disposal, holds fewer tensors, and leaves none', async () => {
  await useBackend('cpu');
  const run = (wrap: <T>(f: () => T) => T): { gradient: number[]; most: number } => {
    let most = 0;
    const x = tf.tensor1d([1, 2]),
      before = tf.memory().numTensors;
    const step = (v: Tensor): Tensor =>
      differentiable([v], {
        forward: () => ({ value: tf.square(v), saved: [v] }),
        backward: (dy, [a]) => {
          most = Math.max(most, tf.memory().numTensors - before);
          return [tf.mul(dy, tf.mul(a, 2))];
        },
      });
    const result = wrap(() => tf.grad((v: Tensor) => tf.sum(step(step(step(step(v))))))(x));
    const gradient = values(result);
    result.dispose();
    assert.is(tf.memory().numTensors, before);
    x.dispose();
    return { gradient, most };
  };
  const plain = run((f) => f()),
    eager = run(withEagerDisposal);
  assert.equal(plain.gradient, [16, 16 * 2 ** 15]);
  assert.equal(eager.gradient, plain.gradient);
  assert.ok(eager.most < plain.most, `${eager.most} against ${plain.most}`);
});

for (const backend of backends) {
  test(`a row that is gathered twice gets both gradients (${backend})`, async () => {
    await useBackend(backend);
    const x = tf.tensor2d([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      index = tf.tensor1d([2, 0, 2], 'int32');
    assert.equal(values(takeRows(x, index)), [5, 6, 1, 2, 5, 6]);
    assert.equal(values(scatterRows(takeRows(x, index), index, 4)), [1, 2, 0, 0, 10, 12, 0, 0]);
    const weight = tf.tensor2d([
      [1, 1],
      [10, 10],
      [100, 1000],
    ]);
    const gradient = tf.grad((v: Tensor) =>
      tf.sum(tf.mul(gatherRows(v as Tensor2D, index), weight)),
    )(x);
    assert.equal(values(gradient), [10, 10, 0, 0, 101, 1001]);
  });

  test(`a product is the same with either side given transposed (${backend})`, async () => {
    await useBackend(backend);
    const a = tf.tensor2d([
        [1, 2, 3],
        [4, 5, 6],
      ]),
      b = tf.tensor2d([
        [1, 0],
        [0, 1],
        [1, 1],
      ]);
    const expected = [4, 5, 10, 11];
    assert.equal(values(matmul(a, b)), expected);
    assert.equal(values(matmul(tf.transpose(a), b, true, false)), expected);
    assert.equal(values(matmul(a, tf.transpose(b), false, true)), expected);
    assert.equal(values(matmul(tf.transpose(a), tf.transpose(b), true, true)), expected);
  });
}

test.run();
