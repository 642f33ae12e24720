/**
 * LoRA's linear layer with dropout, compared with the plain formula and the same mask,
 * differentiated by tfjs.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { at } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import { dropoutMask } from '../../../src/science/models/elementwise.ts';
import { linear, loraLinear } from '../../../src/science/models/linear.ts';
import { backends, useBackend } from '../backend.ts';
import { farthest, shape } from '../tiny-bert.ts';

const draw = (name: string, ...dims: number[]): Tensor => {
  const stream = randomStream(3, 'linear', name);
  return tf.tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => stream.normal()),
    dims,
  );
};

for (const backend of backends) {
  test(`value and gradients with a mask are those of the formula (${backend})`, async () => {
    await useBackend(backend);
    const inputs = [
      draw('x', 13, 7),
      draw('W', 11, 7),
      draw('b', 11),
      draw('A', 3, 7),
      draw('B', 11, 3),
    ];
    const mask = dropoutMask<tf.Rank.R2>([13, 7], {
      rate: 0.4,
      random: randomStream(3, 'mask'),
    });
    assert.equal([...new Set(mask.dataSync())].sort(), [0, Math.fround(1 / 0.6)]);
    const weight = draw('dy', 13, 11);
    const ours = tf.valueAndGrads((x, W, b, A, B) =>
      tf.sum(
        tf.mul(
          weight,
          loraLinear(
            x as Tensor2D,
            W as Tensor2D,
            b as Tensor1D,
            A as Tensor2D,
            B as Tensor2D,
            1.5,
            mask,
          ),
        ),
      ),
    )(inputs);
    const plain = tf.valueAndGrads((x, W, b, A, B) => {
      const low = tf.matMul(
        tf.matMul(tf.mul<Tensor2D>(x, mask), A as Tensor2D, false, true),
        B,
        false,
        true,
      );
      return tf.sum(
        tf.mul(
          weight,
          tf.add(tf.add(tf.matMul(x as Tensor2D, W as Tensor2D, false, true), b), tf.mul(low, 1.5)),
        ),
      );
    })(inputs);
    assert.ok(farthest(ours.value.dataSync(), plain.value.dataSync()) < 1e-3);
    ours.grads.forEach((gradient, i) =>
      assert.ok(farthest(gradient.dataSync(), at(plain.grads, i).dataSync()) < 1e-4, `input ${i}`),
    );
  });
}

test('dropout affects only the input of A in training, by a stream for each layer', async () => {
  await useBackend('cpu');
  const adapter = await lora.create({ rank: 2, dropout: 0.5 }, shape);
  const x = draw('x', 5, 22) as Tensor2D,
    W = draw('W', 22, 22) as Tensor2D,
    b = draw('b', 22) as Tensor1D;
  const asked: string[] = [];
  const output = (B: Tensor, training: boolean): Float32Array => {
    const parameter = (name: string): Tensor => (name.endsWith('lora_A') ? draw('A', 2, 22) : B);
    const random = (name: string) => {
      asked.push(name);
      return randomStream(1, 'lora_dropout', name);
    };
    return adapter
      .linear('pooler.dense', x, W, b, { parameter, ...(training ? { random } : {}) })
      .dataSync<'float32'>();
  };
  const zero = tf.zeros([22, 2]),
    B = draw('B', 22, 2);
  assert.is(farthest(output(zero, true), output(zero, false)), 0, 'W0 sees the whole input');
  assert.ok(farthest(output(B, true), output(B, false)) > 0.1);
  assert.equal(asked, ['pooler.dense', 'pooler.dense']);
});

type Shapes = readonly (readonly [rows: number, columns: number])[];
const FACTORS: Shapes = [
  [3, 7],
  [11, 3],
];
/** Each layer with the shapes of what it is differentiated by, and the rows of its bias. */
const LAYERS: Readonly<
  Record<
    string,
    readonly [
      inputs: Shapes,
      rows: number,
      layer: (b: Tensor1D | null, x: Tensor2D, ...inputs: Tensor2D[]) => Tensor2D,
    ]
  >
> = {
  linear: [[[11, 7]], 11, (b, x, W) => linear(x, W, b)],
  loraLinear: [[[11, 7], ...FACTORS], 11, (b, x, W, A, B) => loraLinear(x, W, b, A, B, 1.5)],
};
for (const [name, [inputs, rows, layer]] of Object.entries(LAYERS)) {
  test(`${name} without a bias has the value and gradients of a zero bias`, async () => {
    await useBackend('cpu');
    const [without, zero] = [null, tf.zeros<tf.Rank.R1>([rows])].map((b) =>
      tf.valueAndGrads((x, ...rest) =>
        tf.sum(tf.mul(draw('dy', 13, 11), layer(b, x as Tensor2D, ...(rest as Tensor2D[])))),
      )([draw('x', 13, 7), ...inputs.map(([m, n], i) => draw(`input ${i}`, m, n))]),
    );
    if (without === undefined || zero === undefined) throw new Error('two results');
    assert.is(without.value.dataSync()[0], zero.value.dataSync()[0]);
    without.grads.forEach((gradient, i) => {
      assert.is(farthest(gradient.dataSync(), at(zero.grads, i).dataSync()), 0, `input ${i}`);
    });
  });
}

test.run();
