import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Scalar, Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import {
  differentiable,
  differentiate,
  markConstant,
  unrecorded,
  withEagerDisposal,
} from '../../src/tensor/differentiable.ts';
import { backends, useBackend } from '../science/backend.ts';

const values = (tensor: Tensor | null): number[] | null => tensor && [...tensor.dataSync()];

/** x², as an operation of our own. */
const squared = (x: Tensor): Tensor =>
  differentiable([x], {
    forward: () => ({ value: tf.mul(x, x), saved: [x] }),
    backward: (dy, [saved]) => [tf.mul(dy, tf.mul(saved, 2))],
  });

/** The gradients of tfjs's own walk over the tape. */
const ofTfjs = (f: () => Tensor, xs: Tensor[], dy?: Tensor): (number[] | null)[] =>
  tf
    .engine()
    .gradients(f, xs, dy, true)
    .grads.map((gradient: Tensor | undefined) => values(gradient ?? null));

test('values and gradients are those of tfjs, whose operations and ours mix', async () => {
  for (const backend of backends) {
    await useBackend(backend);
    const x = tf.tensor1d([1, -2, 3, 0.5]),
      y = tf.tensor1d([2, 1]),
      unused = tf.scalar(1),
      constant = markConstant(tf.tensor1d([3, 5]));
    const f = (): Scalar => {
      // One of two outputs leads to the loss; x is read twice; one branch leads nowhere.
      const [first] = tf.split(squared(x), 2);
      squared(tf.mul(x, 2));
      const product = tf.mul(tf.mul(first!, y), tf.add(constant, tf.slice(x, 2, 2)));
      return tf.sum(squared(product));
    };
    const { value, grads } = differentiate(f, [x, y, unused]);
    assert.equal(values(value), values(tf.tidy(f)), backend);
    assert.equal(grads.map(values), ofTfjs(f, [x, y, unused]), backend);
    assert.is(grads[2], null);
    assert.is(grads.filter((gradient) => gradient !== null).length, 2);
  }
});

test('the gradient of a value of many entries is weighed by dy', async () => {
  await useBackend('cpu');
  const x = tf.tensor1d([1, 2, 3]),
    dy = tf.tensor1d([1, 10, 100]);
  const { grads } = differentiate(() => squared(x), [x], dy);
  assert.equal(grads.map(values), [[2, 40, 600]]);
});

test('what is unrecorded has no gradient, and may be differentiated by itself', async () => {
  await useBackend('cpu');
  const x = tf.tensor1d([1, 2, 3]);
  let inner: (number[] | null)[] = [];
  const { grads } = differentiate(() => {
    const y = squared(x),
      sum = tf.sum(y);
    unrecorded(() => {
      squared(y);
      // The tape of the outer call serves the inner one, and stays for the outer one.
      inner = differentiate(() => sum, [y]).grads.map(values);
    });
    return sum;
  }, [x]);
  assert.equal(inner, [[1, 1, 1]]);
  assert.equal(grads.map(values), [[2, 4, 6]]);
});

test('an operation of our own is differentiated once: its gradients may be used, but not differentiated', async () => {
  await useBackend('cpu');
  const x = tf.tensor1d([1, 2, 3]),
    cubes = (y: Tensor): Scalar => tf.sum(tf.mul(squared(y), y));
  const ways: readonly ((y: Tensor) => Tensor)[] = [
    (y) => tf.grad(cubes)(y),
    (y) => differentiate(() => cubes(y), [y]).grads[0]!,
  ];
  for (const gradient of ways) {
    const steepness = (y: Tensor): Scalar => tf.sum(tf.square(gradient(y)));
    const refused = /^an operation's gradients can't be differentiated in turn$/;
    assert.throws(() => differentiate(() => steepness(x), [x]), refused);
    assert.throws(() => tf.grad(steepness)(x), refused);
    const { grads } = differentiate(() => {
      assert.equal(values(gradient(x)), [3, 12, 27]);
      return tf.sum(squared(x));
    }, [x]);
    assert.equal(grads.map(values), [[2, 4, 6]]);
  }
});

test('nothing is left of a pass but its value and its gradients', async () => {
  await useBackend('cpu');
  const x = tf.tensor1d([1, 2, 3]);
  for (const run of [<T>(f: () => T): T => f(), withEagerDisposal]) {
    const before = tf.memory().numTensors;
    const { value, grads } = run(() =>
      differentiate(() => tf.sum(squared(tf.add(squared(x), tf.mul(x, x)))), [x]),
    );
    assert.is(tf.memory().numTensors, before + 2);
    tf.dispose([value, ...grads.flatMap((gradient) => gradient ?? [])]);
    assert.is(tf.memory().numTensors, before);
  }
  assert.equal(values(x), [1, 2, 3]);
});

test('a fault in a pass ends the recording', async () => {
  await useBackend('cpu');
  const x: Tensor1D = tf.tensor1d([1, 2]);
  assert.throws(
    () =>
      differentiate(() => {
        squared(x);
        throw new Error('stop');
      }, [x]),
    /^stop$/,
  );
  const { grads } = differentiate(() => squared(x), [x]);
  assert.equal(grads.map(values), [[2, 4]]);
  assert.throws(
    () =>
      differentiate(
        () =>
          differentiable([x], {
            forward: () => ({ value: tf.sum(x), saved: [] }),
            backward: (dy) => [dy],
          }),
        [x],
      ),
    /gradient of input 0 .* has float32 \[\], not float32 \[2\]/,
  );
});

test.run();
