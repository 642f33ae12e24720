/** What recorded operations return, carried out one by one and compiled. */
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../src/base/random.ts';
import {
  compiled,
  compiledStatistics,
  prepareCompiling,
} from '../../src/tensor/compiled/compiled.ts';
import {
  fusedActivation,
  fusedActivationGradient,
  fusedAdamw,
  fusedAddBias,
  fusedAttention,
  fusedAttentionGradient,
  fusedCrossEntropy,
  fusedGated,
  fusedGatedGradient,
  fusedNorm,
  fusedNormGradient,
  fusedRotary,
  type NormKind,
} from '../../src/tensor/fused.ts';
import { callOperation } from '../../src/tensor/operation.ts';
import { matmul } from '../../src/tensor/products.ts';
import { scatterRows, takeRows } from '../../src/tensor/rows.ts';
import { backends, useBackend } from '../science/backend.ts';

const stream = randomStream(1, 'compiled');
const normals = (...shape: number[]): tf.Tensor =>
  tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => stream.normal()),
    shape,
  );

/** Those of layer norms, RMS norms and Gemma's. */
const KINDS: readonly NormKind[] = [
  { centred: true, offset: false },
  { centred: false, offset: false },
  { centred: false, offset: true },
];

type Made = tf.Tensor | tf.Tensor[];

/** The bits of tensors, with their shapes and types. */
const bits = (made: Made): string[] =>
  (Array.isArray(made) ? made : [made]).map((tensor, i) =>
    [
      i,
      tensor.dtype,
      tensor.shape.join('×'),
      createHash('sha256').update(tensor.dataSync().slice()).digest('hex').slice(0, 12),
    ].join(' '),
  );

/** At least one call of each operation that can be part of a function, for inputs of size n. */
function calls(n: number): Record<string, () => Made> {
  const x = normals(n, 4, 6),
    y = normals(n, 4, 6),
    positive = tf.abs(x),
    matrix = normals(n, 6) as tf.Tensor2D,
    other = normals(6, 3) as tf.Tensor2D,
    index = tf.tensor1d(
      Array.from({ length: 2 * n }, (_, i) => (i * 3) % n),
      'int32',
    );
  const float = { type: 'dtype', value: 'float32' } as const;
  return {
    unary: () => [
      ...[tf.erf, tf.exp, tf.expm1, tf.floor, tf.ceil, tf.round, tf.neg, tf.abs, tf.sign].map(
        (of) => of(x),
      ),
      ...[tf.relu, tf.elu, tf.sigmoid, tf.tanh, tf.sin, tf.cos, tf.square, tf.softplus].map((of) =>
        of(x),
      ),
      ...[tf.log, tf.log1p, tf.sqrt, tf.rsqrt].map((of) => of(positive)),
      tf.zerosLike(x),
    ],
    softmax: () => [tf.softmax(x), tf.logSoftmax(x)],
    binary: () => [
      ...[tf.add, tf.sub, tf.mul, tf.div, tf.maximum, tf.minimum, tf.squaredDifference].flatMap(
        (of) => [of(x, y), of(x, y.sum(1, true)), of(x, 0.5), of(matrix, x.sum([0, 1]))],
      ),
      tf.pow(positive, y),
      tf.floorDiv(index, tf.scalar(2, 'int32')),
      tf.mod(positive, 0.3),
    ],
    comparisons: () => {
      const [above, below] = [tf.greater(x, 0), tf.lessEqual(x, y)];
      return [
        above,
        below,
        tf.equal(x, x),
        tf.notEqual(x, y),
        tf.less(x, y),
        tf.greaterEqual(x, 0.1),
        tf.logicalAnd(above, below),
        tf.logicalOr(above, below),
        tf.logicalNot(above),
        tf.all(above, 1),
        tf.any(above, [0, 2]),
        tf.cast(above, 'float32'),
      ];
    },
    reductions: () => [
      tf.sum(x),
      tf.sum(x, [0, 2]),
      tf.mean(x, -1, true),
      tf.max(x, 1),
      tf.min(x, [1, 2], true),
      tf.prod(x, 2),
      tf.addN([x, y, x]),
    ],
    products: () => [
      tf.matMul(matrix, other),
      tf.matMul(x, y, false, true),
      tf.matMul(x, y, true, false),
      matmul(matrix, other),
      matmul(matrix, matrix, true, false),
      matmul(other, matrix, true, true),
    ],
    shapes: () => [
      tf.reshape(x, [-1, 12]),
      tf.transpose(x, [2, 0, 1]),
      tf.concat([x, y, x], 1),
      tf.stack([x, y], 1),
      ...tf.split(x, [1, 2, 3], 2),
      ...tf.split(x, 2, 1),
      tf.slice(x, [0, 1, 2], [n, -1, 3]),
      tf.pad(x, [
        [0, 0],
        [1, 2],
        [0, 1],
      ]),
      tf.tile(matrix, [2, 3]),
      tf.fill([n, 3], 2.5),
      tf.oneHot(index, n),
      tf.expandDims(x, 1),
      tf.squeeze(x.sum(0, true), [0]),
    ],
    rows: () => [
      tf.gather(x, index),
      tf.gather(x, tf.tensor1d([3, 0], 'int32'), 1),
      takeRows(matrix, index),
      scatterRows(takeRows(matrix, index), index, n),
    ],
    fused: () => {
      const vector = tf.sum<tf.Tensor1D>(matrix, 0),
        rotation = tf.slice(matrix, [0, 0], [n, 1]),
        starts = tf.tensor1d([0, 1, n], 'int32'),
        places = tf.tensor1d([0, ...Array.from({ length: n - 1 }, (_, i) => i)], 'int32');
      const rows = { queries: starts, keys: starts, places },
        shape = { heads: 2, kvHeads: 2, scale: 0.5, causal: true, window: Infinity };
      const labels = tf.tensor1d(
        Array.from({ length: n }, (_, i) => i % 6),
        'int32',
      );
      const qkv = [matrix, tf.neg(matrix), tf.square(matrix)] as const;
      return [
        ...(['gelu', 'geluTanh', 'silu'] as const).flatMap((kind) => [
          fusedActivation(x, kind),
          fusedActivationGradient(x, y, kind),
          fusedGated([matrix], kind),
          ...fusedGatedGradient(tf.slice(matrix, [0, 0], [n, 3]), [matrix], kind),
          fusedGated([matrix, tf.neg(matrix)], kind),
          ...fusedGatedGradient(tf.square(matrix), [matrix, tf.neg(matrix)], kind),
        ]),
        ...KINDS.flatMap((kind) =>
          [null, vector].flatMap((beta) => [
            ...fusedNorm(matrix, null, vector, beta, kind, 1e-5),
            ...fusedNorm(matrix, tf.square(matrix), vector, beta, kind, 1e-5),
          ]),
        ),
        ...KINDS.map((kind) =>
          fusedNormGradient(matrix, [tf.neg(matrix), tf.sum(matrix, 1, true), vector], kind),
        ),
        ...[false, true].map((back) =>
          fusedRotary(matrix, tf.sigmoid(rotation), tf.tanh(rotation), 2, back),
        ),
        fusedAddBias(matrix, vector),
        fusedAddBias(matrix, vector, tf.neg(matrix)),
        ...fusedAdamw(
          [
            [matrix, tf.neg(matrix), matrix, tf.square(matrix)],
            [vector, tf.neg(vector), vector, tf.square(vector)],
          ],
          tf.tensor2d([0.9, 1].map((decay) => [0.9, 0.1, 0.99, 0.01, 0.5, 1e-8, decay, 2])),
        ).flat(),
        ...fusedCrossEntropy(matrix, labels, tf.ones([n])),
        fusedAttention(qkv, rows, shape),
        ...fusedAttentionGradient(matrix, qkv, rows, shape),
      ];
    },
    // An operation without a rule is carried out at once, on what was recorded so far.
    others: () => {
      const sum = tf.add(x, y);
      return [tf.cumsum(sum, 1), tf.topk(tf.mul(sum, 2), 2).values, tf.argMax(sum, 2), tf.neg(sum)];
    },
    attributes: () => callOperation('Softmax', [tf.add(matrix, 1)], { T: float }, 1),
  };
}

if (backends.includes('tensorflow')) {
  test('every operation returns the same bits recorded and compiled as by itself', async () => {
    await useBackend('tensorflow');
    // The second time is with another size, and with the function of the first.
    for (const n of [5, 5, 7]) {
      for (const [name, call] of Object.entries(calls(n))) {
        prepareCompiling(Infinity);
        const expected = bits(tf.tidy(call));
        for (const sightings of [1, 0]) {
          prepareCompiling(sightings);
          const found = tf.tidy(() => bits(compiled(() => tf.tidy(call))));
          assert.equal(found, expected, `${name}, n = ${n}, after ${sightings}`);
        }
      }
    }
    assert.equal(compiledStatistics()?.refused, []);
    tf.disposeVariables();
  });

  /** Runs `of` with each argument, compiled from the first one on. */
  const compiledFrom = async <A, T>(args: readonly A[], of: (a: A) => T): Promise<T[]> => {
    await useBackend('tensorflow');
    prepareCompiling(0);
    return args.map((a) => compiled(() => of(a)));
  };

  test('a number that stays the same for a while and then changes is not kept', async () => {
    const x = normals(3, 3);
    const found = await compiledFrom([2, 2, 2, 3, 2, 5], (by) => tf.tidy(() => tf.mul(x, by)));
    prepareCompiling(Infinity);
    const expected = [2, 2, 2, 3, 2, 5].map((by) => tf.mul(x, by));
    assert.equal(bits(found), bits(expected));
  });

  test('a shape that stays the same for a while and then changes is not kept', async () => {
    const found = await compiledFrom([4, 4, 4, 6, 4], (rows) =>
      tf.tidy(() => tf.reshape(tf.add(tf.ones([rows, 2]), 1), [rows * 2])),
    );
    assert.equal(
      found.map(({ shape }) => shape),
      [[8], [8], [8], [12], [8]],
    );
    assert.equal(found.at(3)?.dataSync(), new Float32Array(12).fill(2));
  });

  test('which tensors are still needed is part of what is recorded', async () => {
    const x = normals(3, 3);
    const found = await compiledFrom([0, 1, 2, 0, 1], (kept) =>
      tf.tidy(() => [tf.mul(x, 2), tf.add(x, 2), tf.sub(x, 2)][kept]!),
    );
    const again = [tf.mul(x, 2), tf.add(x, 2), tf.sub(x, 2)];
    assert.equal(bits(found), bits([0, 1, 2, 0, 1].map((kept) => again[kept]!)));
  });

  test('a region may read entries, and dispose of tensors that it has used', async () => {
    const run = (by: number): number[] => {
      const before = tf.mul(normals(4), 0);
      return compiled(() => {
        const sum = tf.add(before, by);
        before.dispose();
        const [read] = sum.dataSync(); // in the middle
        const next = tf.mul(sum, read!);
        sum.dispose();
        const values = [...next.dataSync()];
        next.dispose();
        return values;
      });
    };
    await useBackend('tensorflow');
    prepareCompiling(0);
    const { numTensors, numBytes } = tf.memory(),
      ids = tf.backend().numDataIds();
    for (const by of [2, 3, 3])
      assert.equal(
        tf.tidy(() => run(by)),
        new Array(4).fill(by * by),
      );
    assert.equal([tf.memory().numTensors, tf.memory().numBytes], [numTensors, numBytes]);
    assert.is(tf.backend().numDataIds(), ids);
  });

  test('a region that throws leaves what it made usable', async () => {
    await useBackend('tensorflow');
    prepareCompiling(0);
    let made: tf.Tensor | undefined;
    assert.throws(
      () =>
        compiled(() => {
          made = tf.add(tf.ones([2]), 1);
          throw new Error('on purpose');
        }),
      /on purpose/,
    );
    assert.equal([...made!.dataSync()], [2, 2]);
    made!.dispose();
  });

  test('what a region makes in JavaScript and returns can be changed by nobody else', async () => {
    const found = await compiledFrom([1, 2], (value) => tf.tensor1d([value, value]));
    assert.equal(bits(tf.stack(found)), bits(tf.tensor2d([1, 1, 2, 2], [2, 2])));
  });
}

test('without TensorFlow a region runs as it stands', async () => {
  const name = backends.find((backend) => backend !== 'tensorflow');
  if (name === undefined) return;
  await useBackend(name);
  assert.equal([...compiled(() => tf.add(tf.ones([2]), 1)).dataSync()], [2, 2]);
});

test.after(() => prepareCompilingAsLoaded());

/** Other files of the same process find compiling as the backend was loaded with it. */
function prepareCompilingAsLoaded(): void {
  if (backends.includes('tensorflow')) prepareCompiling();
}

test.run();
