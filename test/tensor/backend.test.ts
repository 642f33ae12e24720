import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { type BackendName, UserFault } from '../../src/api.ts';
import { at } from '../../src/base/lookup.ts';
import { type BackendProbe, BACKENDS, chooseBackend, probe } from '../../src/tensor/backend.ts';
import { loadBackend } from '../../src/tensor/load.ts';
import { callOperation } from '../../src/tensor/operation.ts';
import { present } from '../rig/present.ts';

const test = suite('compute/backend');
const namesOf = (probes: readonly BackendProbe[]): readonly BackendName[] =>
  probes.filter(({ available, name }) => available && name !== 'torch').map(({ name }) => name);
const available = namesOf(await probe());

/**
 * A loss with kernels that a plugin may use (gather, softmax, matMul, mean), and its gradient.
 */
function lossAndGradient(): { loss: number; gradient: number[] } {
  return tf.tidy(() => {
    const table = tf.tensor2d([
      [0.5, -1],
      [0.25, 2],
      [-0.75, 1.5],
    ]); // (V=3, D=2)
    const weights = tf.tensor2d([
      [0.1, -0.2, 0.3],
      [0.4, 0.5, -0.6],
    ]); // (D=2, C=3)
    const f = (w: tf.Tensor): tf.Scalar => {
      const rows = tf.gather(table, tf.tensor1d([2, 0, 2, 1, 0], 'int32')); // (B=5, D=2)
      const attention = tf.softmax(tf.matMul(rows, rows, false, true)); // (B, B)
      const logits = tf.matMul(tf.matMul(attention, rows), w); // (B, C)
      return tf.neg(
        tf.mean(tf.gather(tf.transpose(tf.logSoftmax(logits)), tf.tensor1d([1], 'int32'))),
      ); // ()
    };
    const { value, grad } = tf.valueAndGrad(f)(weights);
    return { loss: present(value.dataSync()[0]), gradient: Array.from(grad.dataSync()) };
  });
}

test('every backend is probed, the best first, with a remedy for each missing one', async () => {
  const probes = await probe();
  assert.equal(
    probes.map((one) => one.name),
    [...BACKENDS],
  );
  for (const one of probes) assert.is(one.available, one.remedy === null);
});

test('WebAssembly and plain JavaScript are always available', () => {
  assert.ok(available.includes('wasm') && available.includes('cpu'));
});

test('a deep probe agrees with the shallow one on a machine that is set up', async () => {
  assert.equal(namesOf(await probe({ deep: true })), available);
});

test('the best backend is chosen, or the requested one', async () => {
  assert.is((await chooseBackend()).name, available[0]);
  assert.is((await chooseBackend('cpu')).name, 'cpu');
});

test('a backend that is not available is refused, with the way out', async () => {
  try {
    await chooseBackend('webgl' as BackendName);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, UserFault);
    assert.match((error as UserFault).message, 'webgl');
  }
});

test('backends agree on a loss and its gradient', async () => {
  await loadBackend('cpu');
  const tensorsBefore = tf.memory().numTensors;
  const reference = lossAndGradient();
  // The gradient of a log-softmax sums to zero over the classes, in each of the two rows of the
  // weights.
  const [g00, g01, g02] = reference.gradient;
  assert.ok(
    Math.abs(present(g00) + present(g01) + present(g02)) < 1e-6 && Math.abs(present(g01)) > 1e-3,
  );
  for (const name of available) {
    const info = await loadBackend(name, { threads: 1 });
    assert.is(tf.getBackend(), name);
    assert.is(info.name, name);
    const { loss, gradient } = lossAndGradient();
    assert.ok(
      Math.abs(loss - reference.loss) < 1e-6,
      `${name}: loss ${loss}, expected ${reference.loss}`,
    );
    gradient.forEach((value, index) =>
      assert.ok(
        Math.abs(value - at(reference.gradient, index)) < 1e-6,
        `${name}: gradient[${index}]`,
      ),
    );
  }
  assert.is(tf.memory().numTensors, tensorsBefore);
});

test('TensorFlow uses deterministic operations', async () => {
  for (const name of available)
    assert.is((await loadBackend(name, { threads: 1 })).deterministic, true, name);
  if (!available.includes('tensorflow')) return;
  await loadBackend('tensorflow', { threads: 1 });
  // It shows this by refusing a random operation without a seed, on CPUs as well as on GPUs.
  assert.throws(
    () =>
      callOperation(
        'RandomUniform',
        [tf.tensor1d([3], 'int32')],
        {
          dtype: { type: 'dtype', value: 'float32' },
          T: { type: 'dtype', value: 'int32' },
          seed: { type: 'int', value: 0 },
          seed2: { type: 'int', value: 0 },
        },
        1,
      ),
    /When determinism is enabled/,
  );
});

test('the gradient of a gather is summed over repeated rows', async () => {
  for (const name of available) {
    await loadBackend(name, { threads: 1 });
    const gradient = tf.tidy(() => {
      const ids = tf.tensor2d(
        [
          [2, 0, 2],
          [2, 4, 0],
        ],
        [2, 3],
        'int32',
      ); // (B=2, T=3)
      // (B, T, H=2)
      const scale = tf.tensor3d([1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60], [2, 3, 2]);
      return tf
        .grad((table) => tf.sum(tf.mul(tf.gather(table, ids), scale)))(tf.zeros([5, 2]))
        .arraySync();
    });
    assert.equal(
      gradient,
      [
        [8, 80],
        [0, 0],
        [8, 80],
        [0, 0],
        [5, 50],
      ],
      name,
    );
  }
});

if (available.includes('tensorflow')) {
  test('TensorFlow reports its version, and its threads cannot be changed later', async () => {
    const info = await loadBackend('tensorflow', { threads: 1 });
    assert.match(info.tensorflow ?? '', /^\d+\.\d+\.\d+/);
    // Keys contain the version that is loaded, and that of the fused operations that are used.
    const fused = info.fused === null ? '(cuda|own)' : `cpu, fused ${info.fused}`;
    assert.match(info.fused ?? '00000000', /^[0-9a-f]{8}$/);
    assert.match(
      (await chooseBackend('tensorflow')).version,
      new RegExp(`^tensorflow ${present(info.tensorflow).replaceAll('.', '\\.')} \\(${fused}\\)$`),
    );
    try {
      await loadBackend('tensorflow', { threads: 7 });
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, /7 would need another process/);
    }
  });

  test('an operation that tfjs does not wrap finds the eigenvalues of a matrix', async () => {
    await loadBackend('tensorflow', { threads: 1 });
    const [values, vectors] = callOperation(
      'SelfAdjointEigV2',
      [
        tf.tensor2d([
          [2, 1],
          [1, 2],
        ]),
      ],
      {
        compute_v: { type: 'bool', value: true },
        T: { type: 'dtype', value: 'float32' },
      },
      2,
    );
    const [low, high] = Array.from(present(values).dataSync());
    assert.ok(Math.abs(present(low) - 1) < 1e-6 && Math.abs(present(high) - 3) < 1e-6);
    assert.equal(present(vectors).shape, [2, 2]);
  });
}

test.run();
