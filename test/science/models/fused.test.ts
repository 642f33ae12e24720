/**
 * Activations, norms, rotary positions, attention and AdamW as fused operations and as the
 * operations that they replace: both against PyTorch in double precision, and against each other on
 * other sizes and on numbers that are not finite.
 */
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import {
  type Angles,
  attention,
  attentionOfRows,
  rotate,
} from '../../../src/science/models/attention.ts';
import {
  activations,
  gated,
  gelu,
  geluTanh,
  silu,
} from '../../../src/science/models/elementwise.ts';
import { attentionMask, layOut, rowsOf } from '../../../src/science/models/layout.ts';
import { biased, biasedSum } from '../../../src/science/models/linear.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import { addNorm, layerNorm } from '../../../src/science/models/norms.ts';
import { adamw, adamwUpdate } from '../../../src/science/training/optimizers.ts';
import {
  type AdamwParts,
  fusedAdamw,
  type Gated,
  hasFused,
  type NormKind,
  withoutFused,
} from '../../../src/tensor/fused.ts';
import { FLOAT32_SETS, withInstructions } from '../../tensor/instructions.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { type Case, type Flat, tensorOf } from './operation-golden.ts';

interface AttentionCase extends Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly keys: readonly number[];
  readonly places: readonly (readonly number[])[];
  readonly causal: boolean;
  readonly window: number | null;
}

interface AdamwCase {
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  readonly start: Flat;
  readonly gradients: readonly Flat[];
  readonly after: readonly Flat[];
}

const golden = JSON.parse(
  readFileSync(new URL('../../golden/fused.json', import.meta.url), 'utf8'),
) as {
  readonly gelu: Case;
  readonly geluTanh: Case;
  readonly silu: Case;
  /** By the activation's name. */
  readonly gated: Readonly<Record<string, Case>>;
  readonly halves: Readonly<Record<string, Case>>;
  readonly norm: Case;
  readonly addNorm: Case;
  readonly scaleNorm: readonly Case[];
  readonly rmsNorm: readonly Case[];
  readonly offsetRmsNorm: readonly Case[];
  readonly rotary: readonly (Case & {
    readonly heads: number;
    readonly cos: Flat;
    readonly sin: Flat;
  })[];
  readonly attention: readonly AttentionCase[];
  readonly adamw: AdamwCase;
  readonly crossEntropy: readonly (Case & {
    readonly labels: readonly number[];
    readonly weights: readonly number[] | null;
  })[];
};

/**
 * The largest difference, relative to the largest entry of what was expected, or to `least` where
 * that is larger.
 */
function farthest(found: Tensor, expected: Flat, least = 1): number {
  assert.equal(found.shape, expected.shape);
  const values = found.dataSync();
  const gaps = expected.values.map((value, i) => Math.abs(at(values, i) - value));
  return Math.max(...gaps) / Math.max(least, ...expected.values.map(Math.abs));
}

/** The value and the gradients for a given dy. */
function derived(
  of: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  dy: Tensor,
): readonly Tensor[] {
  const value = of(...inputs);
  const gradients = tf.grads((...args: Tensor[]) => of(...args))([...inputs], dy);
  return [value, ...gradients];
}

function holds(name: string, expected: Case, of: (...inputs: Tensor[]) => Tensor): void {
  const found = derived(of, expected.inputs.map(tensorOf), tensorOf(expected.dy));
  [expected.value, ...expected.gradients].forEach((one, i) => {
    const gap = farthest(at(found, i), one);
    assert.ok(gap < tolerance.rounding, `${name}, ${i === 0 ? 'value' : `gradient ${i}`}: ${gap}`);
  });
}

/** A batch of rows of these lengths, of whose tokens those at `places` have a query. */
function layoutOf(keys: readonly number[], places: readonly (readonly number[])[]) {
  const rows = keys.map((n) => ({ ids: new Int32Array(n), typeIds: new Int32Array(n) }));
  return layOut(rows, {
    example: Int32Array.from(places.flatMap((own, b) => own.map(() => b))),
    place: Int32Array.from(places.flat()),
  });
}

/** The attention of a model with such rows: by one operation if it is there. */
function attend(
  [q, k, v]: readonly [Tensor2D, Tensor2D, Tensor2D],
  { heads, kvHeads, keys, places, causal, window }: Omit<AttentionCase, keyof Case | 'width'>,
): Tensor2D {
  const layout = layoutOf(keys, places),
    scale = Math.sqrt(heads / q.shape[1]),
    sight = { causal, window: window ?? Infinity };
  if (hasFused())
    return attentionOfRows(q, k, v, rowsOf(layout, layout.read), {
      heads,
      kvHeads,
      scale,
      ...sight,
    });
  return attention(q, k, v, {
    batch: keys.length,
    heads,
    kvHeads,
    scale,
    queries: layout.read.padding,
    keys: layout.all.padding,
    mask: attentionMask(layout, layout.read, sight, heads / kvHeads),
  });
}

/** The inputs of a gated activation, of which there are one or two. */
const gateOf = ([gate, up]: readonly Tensor[]): Gated =>
  up === undefined ? [gate as Tensor2D] : [gate as Tensor2D, up as Tensor2D];

const LAYER: NormKind = { centred: true, offset: false },
  RMS: NormKind = { centred: false, offset: false },
  OFFSET_RMS: NormKind = { centred: false, offset: true };

/**
 * The norm of x, or of x + residual, without a shift. inputs: x, residual where there is one, γ.
 */
function withoutShift(inputs: readonly Tensor[], kind: NormKind, epsilon: number): Tensor {
  const [x, ...others] = inputs as [Tensor2D, ...Tensor[]],
    residual = others.length === 2 ? (others[0] as Tensor2D) : null;
  return addNorm(x, residual, others.at(-1) as Tensor1D, null, kind, epsilon);
}

function againstGolden(): void {
  for (const [name, act] of Object.entries({ gelu, geluTanh, silu }))
    holds(name, golden[name as 'gelu'], (u) => act(u as Tensor2D));
  for (const of of ['gated', 'halves'] as const)
    for (const [name, one] of Object.entries(golden[of]))
      holds(`${of}, ${name}`, one, (...parts) => gated(named(activations, name), gateOf(parts)));
  holds('norm', golden.norm, (x, g, b) =>
    layerNorm(x as Tensor2D, g as Tensor1D, b as Tensor1D, 1e-12),
  );
  holds('addNorm', golden.addNorm, (x, r, g, b) =>
    addNorm(x as Tensor2D, r as Tensor2D, g as Tensor1D, b as Tensor1D, LAYER, 1e-5),
  );
  for (const [name, kind, epsilon] of [
    ['scaleNorm', LAYER, 1e-5],
    ['rmsNorm', RMS, 1e-6],
    ['offsetRmsNorm', OFFSET_RMS, 1e-6],
  ] as const)
    golden[name].forEach((one, i) => {
      holds(`${name} ${i}`, one, (...inputs) => withoutShift(inputs, kind, epsilon));
    });
  golden.rotary.forEach((one, i) => {
    const [cos, sin] = [one.cos, one.sin].map(tensorOf) as [Tensor3D, Tensor3D];
    holds(`rotary ${i}`, one, (x) => rotate(x as Tensor2D, one.heads, { cos, sin }));
  });
  golden.attention.forEach((one, i) => {
    holds(`attention ${i}`, one, (q, k, v) =>
      attend([q as Tensor2D, k as Tensor2D, v as Tensor2D], one),
    );
  });
  golden.crossEntropy.forEach((one, i) => {
    const of = (logits: Tensor): Tensor =>
      crossEntropy(logits as Tensor2D, one.labels, one.weights ?? undefined);
    holds(`cross-entropy ${i}`, one, of);
  });
  const { lr, betas, eps, weight_decay: weightDecay, start, gradients, after } = golden.adamw;
  const optimizer = adamw({ weightDecay, beta1: betas[0], beta2: betas[1], epsilon: eps });
  let parameters = new Map([['p', tensorOf(start)]]),
    state = optimizer.init(parameters);
  gradients.forEach((gradient, step) => {
    ({ parameters, state } = optimizer.update(
      parameters,
      new Map([['p', tensorOf(gradient)]]),
      state,
      lr,
    ));
    const gap = farthest(parameters.get('p')!, at(after, step));
    assert.ok(gap < tolerance.rounding, `adamw, step ${step + 1}: ${gap}`);
  });
}

for (const backend of backends) {
  test(`values and gradients are PyTorch's (${backend})`, async () => {
    await useBackend(backend);
    assert.is(hasFused(), backend === 'tensorflow');
    tf.tidy(againstGolden);
    if (hasFused()) withoutFused(() => tf.tidy(againstGolden));
  });
}

/** A test of the fused operations, with every instruction set of the processor. */
const fusedTest = (name: string, run: () => void): void => {
  if (!backends.includes('tensorflow')) return;
  for (const set of FLOAT32_SETS)
    test(`${name} (${set})`, () =>
      withInstructions(set, () => {
        tf.tidy(run);
      }));
};

fusedTest("values and gradients are PyTorch's", againstGolden);

const stream = randomStream(5, 'fused');
const draw = (scale: number, ...shape: number[]): Tensor =>
  tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, () => scale * stream.normal()),
    shape,
  );

/**
 * Holds the fused operation of `of` against those that it replaces.
 * @param least as in `farthest`
 */
function same(
  name: string,
  inputs: readonly Tensor[],
  of: (...inputs: Tensor[]) => Tensor,
  least = 1,
): void {
  const dy = draw(1, ...of(...inputs).shape);
  const fused = derived(of, inputs, dy),
    plain = withoutFused(() => derived(of, inputs, dy));
  fused.forEach((tensor, i) => {
    const expected = at(plain, i);
    const values = [...expected.dataSync()];
    const gap = farthest(tensor, { shape: expected.shape, values }, least);
    assert.ok(gap < tolerance.rounding, `${name}, ${i === 0 ? 'value' : `gradient ${i}`}: ${gap}`);
  });
}

fusedTest('sizes around those of vectors, zeros and large numbers', () => {
  for (const width of [1, 2, 15, 16, 17, 31, 33, 64, 100]) {
    for (const scale of [0, 1e-3, 1, 100]) {
      const x = draw(scale, 3, width);
      for (const [name, act] of Object.entries({ gelu, geluTanh, silu })) {
        const what = `${name}, width ${width}, scale ${scale}`;
        same(what, [x], (u) => act(u as Tensor2D));
        const parts = [[x, draw(1, 3, width)], [draw(scale, 3, 2 * width)]];
        for (const of of parts)
          same(`${what}, gate, ${of.length} parts`, of, (...own) => gated(act, gateOf(own)));
      }
    }
    // Of one number the norm is zero. Its derivative, also zero, is the difference of two numbers
    // as large as 1/√ε, whose rounding errors are left.
    const vectors = [draw(1, width), draw(1, width)],
      epsilon = 1e-5;
    same(
      `norm, width ${width}`,
      [draw(3, 5, width), ...vectors],
      (x, g, b) => layerNorm(x as Tensor2D, g as Tensor1D, b as Tensor1D, epsilon),
      width === 1 ? 1 / Math.sqrt(epsilon) : 1,
    );
    for (const [name, kind] of Object.entries({ LAYER, RMS, OFFSET_RMS }))
      for (const residual of [[], [draw(3, 5, width)]])
        same(
          `norm without a shift, ${name}, ${residual.length} residuals, width ${width}`,
          [draw(3, 5, width), ...residual, draw(1, width)],
          (...inputs) => withoutShift(inputs, kind, epsilon),
          width === 1 ? 1 / Math.sqrt(epsilon) : 1,
        );
    for (const rest of [0, 3]) {
      const [cos, sin] = [draw(1, 4, 1, width), draw(1, 4, 1, width)] as [Tensor3D, Tensor3D];
      same(`rotary, ${width} pairs and ${rest}`, [draw(1, 4, 3 * (2 * width + rest))], (x) =>
        rotate(x as Tensor2D, 3, { cos, sin }),
      );
    }
    const [a, b, bias] = [draw(1, 4, width), draw(1, 4, width), draw(1, width)];
    for (const sum of [
      () => biased(a as Tensor2D, bias as Tensor1D),
      () => biasedSum(a as Tensor2D, bias as Tensor1D, b as Tensor2D),
    ])
      assert.equal([...sum().dataSync()], [...withoutFused(sum).dataSync()]);
  }
  for (const [lengths, heads, width] of [
    [[1], 1, 1],
    [[15, 16, 17], 2, 16],
    [[33, 4], 3, 31],
    [[40, 40], 2, 64],
  ] as const) {
    const S = lengths.reduce((sum, n) => sum + n, 0);
    const inputs = [0, 1, 2].map(() => draw(2, S, heads * width));
    for (const causal of [false, true])
      same(`attention, ${lengths.join()} × ${width}, causal ${causal}`, inputs, (q, k, v) =>
        attend([q as Tensor2D, k as Tensor2D, v as Tensor2D], {
          heads,
          kvHeads: heads,
          keys: lengths,
          places: lengths.map((n) => Array.from({ length: n }, (_, i) => i)),
          causal,
          window: null,
        }),
      );
  }
});

fusedTest('several parameters in one update of AdamW', () => {
  const shapes = [[5, 19], [3], [40, 2]];
  const drawn = shapes.map((shape): AdamwParts => [
    draw(1, ...shape),
    draw(2, ...shape),
    draw(1, ...shape),
    tf.square(draw(1, ...shape)),
  ]);
  const constants = (size: number): number[] => [0.9, 0.1, 0.999, 0.001, 0.3, 1e-8, 0.5, size];
  const together = fusedAdamw(drawn, tf.tensor2d(shapes.map((_, k) => constants(k + 1))));
  for (const [k, parts] of drawn.entries()) {
    const [own] = fusedAdamw([parts], tf.tensor2d([constants(k + 1)]));
    const step = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, rootCorrection: 0.3 };
    const plain = adamwUpdate(parts, 0.5, k + 1, step);
    at(together, k).forEach((tensor, i) => {
      assert.equal(tensor.dataSync(), at(own!, i).dataSync());
      const { shape } = tensor;
      const gap = farthest(tensor, { shape, values: [...at(plain, i).dataSync()] });
      assert.ok(gap < tolerance.rounding, `${k}, ${i}: ${gap}`);
    });
  }
  const [[p, g, m]] = drawn as [AdamwParts];
  assert.throws(
    () => fusedAdamw([[p, g, m, tf.ones([3])]], tf.tensor2d([constants(1)])),
    /FusedAdamW: its inputs do not have the size/,
  );
});

fusedTest('the loss of labels that are no classes', () => {
  assert.throws(
    () => crossEntropy(draw(3, 3, 5) as Tensor2D, [1, 0, 5]),
    /FusedCrossEntropy: its inputs do not fit together/,
  );
});

fusedTest('what is not a number stays so, in its own row', () => {
  const isNumber = (x: Tensor): boolean[] => Array.from(x.dataSync(), (one) => !isNaN(one));
  const u = tf.tensor2d([[NaN, Infinity, 1, 0]]);
  for (const act of [gelu, geluTanh, silu]) {
    assert.equal(isNumber(act(u)), [false, true, true, true]);
    assert.equal(isNumber(gated(act, [u, tf.onesLike(u)])), [false, true, true, true]);
    assert.equal(isNumber(gated(act, [tf.tensor2d([[NaN, 1, 1, 1]])])), [false, true]);
  }
  const x = tf.tensor2d([
    [1, NaN, 3],
    [1, 2, 3],
  ]);
  const normed = layerNorm(x, tf.ones([3]), tf.zeros([3]), 1e-5);
  assert.equal(isNumber(normed), [false, false, false, true, true, true]);
  const scaled = addNorm(x, null, tf.ones([3]), null, RMS, 1e-5);
  assert.equal(isNumber(scaled), [false, false, false, true, true, true]);
  const turned = rotate(tf.tensor2d([NaN, 1, 1, 1], [2, 2]), 1, {
    cos: tf.ones([2, 1, 1]),
    sin: tf.ones([2, 1, 1]),
  });
  assert.equal(isNumber(turned), [false, false, true, true]);
  const odd = tf.tensor2d([
    [NaN, 0],
    [Infinity, 0],
    [-Infinity, 0],
  ]);
  const losses = tf.split<Tensor2D>(odd, 3).map((row) => crossEntropy(row, [1]));
  assert.equal(losses.flatMap(isNumber), [false, false, true]);
  const q = tf.tensor2d([[NaN], [1], [1]]);
  const keys = [2, 1],
    places = [[0, 1], [0]];
  const shape = { heads: 1, kvHeads: 1, keys, places, causal: false, window: null };
  assert.equal(isNumber(attend([q, tf.ones([3, 1]), tf.ones([3, 1])], shape)), [false, true, true]);
  assert.equal(isNumber(attend([tf.ones([3, 1]), q, tf.ones([3, 1])], shape)), [
    false,
    false,
    true,
  ]);
});

fusedTest('inputs that do not fit are refused', () => {
  const x = draw(1, 2, 3) as Tensor2D,
    ones = tf.ones<tf.Rank.R1>([4]);
  assert.throws(() => layerNorm(x, ones, ones, 1e-5), /FusedNorm: its inputs do not have the size/);
  for (const kind of [LAYER, RMS])
    assert.throws(() => addNorm(x, null, ones, null, kind, 1e-5), /FusedNorm: its inputs do not/);
  const fit = tf.ones<tf.Rank.R1>([3]);
  assert.throws(
    () => addNorm(x, draw(1, 3, 3) as Tensor2D, fit, null, RMS, 1e-5),
    /FusedNorm: its/,
  );
  assert.throws(
    () => gated(silu, [x, draw(1, 2, 4) as Tensor2D]),
    /FusedGated: gate and up differ/,
  );
  assert.throws(() => gated(silu, [x]), /FusedGated: its rows have no halves/);
  for (const [heads, tokens, half] of [
    [1, 3, 1],
    [1, 2, 2],
    [2, 2, 1],
  ] as const) {
    const angles = { cos: tf.ones([tokens, 1, half]), sin: tf.ones([tokens, 1, half]) } as Angles;
    assert.throws(() => rotate(x, heads, angles), /FusedRotary: its inputs do not fit together/);
  }
  assert.throws(() => biased(x, ones), /FusedAddBias: its inputs do not have the size/);
  assert.throws(
    () =>
      attend([x, x, x], {
        heads: 1,
        kvHeads: 1,
        keys: [3],
        places: [[0, 1, 2]],
        causal: false,
        window: null,
      }),
    /FusedAttention: its inputs do not fit together/,
  );
});

test.run();
