import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { drawA } from '../../../../plugins/adapters/lora/init.ts';
import {
  closedForm,
  diagonalSquares,
  drawnMoments,
  expectedSquares,
  type Shape,
  theoryMap,
} from '../../../../plugins/stages/theory-map/map.ts';
import { rankKernels } from '../../../../plugins/stages/theory-map/rank-kernels.ts';
import { fisher } from '../../../../src/science/measures/fisher.ts';
import type { AdaptedModel, LoraFactors } from '../../../../src/science/models/types.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { useBackend } from '../../backend.ts';
import { kernels } from '../../kernels.ts';
import { openTiny, rows as tinyRows } from '../../tiny-bert.ts';
import { relative } from '../ntk/fixture/compare.ts';

const test = suite('theory map');
const near = (a: number, b: number, within = 1e-12): void =>
  assert.ok(Math.abs(a - b) <= within * Math.max(1, Math.abs(b)), `${a} is not ${b}`);
test.before(async () => {
  await useBackend('cpu');
});

// Scales and ranks have six digits: 5e-6 + 5e-6 + 5e-7.
test("the paper's Figure 3 has the closed form at σ² = scale/d, to the digits that it was read with", () => {
  const [, ...rows] = readFileSync('pipelines/paper/published/visual_r.csv', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(','));
  assert.is(rows.length, 1600);
  for (const [, , series = '', , rank, , value] of rows) {
    const scale = Number(series.replace('variance_scale=', ''));
    near(
      closedForm({ shape: 'uniform', rank: Number(rank), width: 1024, variance: scale / 1024 }).h1,
      Number(value),
      1.1e-5,
    );
  }
});

test('closed forms, as published and exact, computed by hand', () => {
  // r = 1, d = 1, σ = 1: Σλ² = a⁴, whose mean is 3 (Gaussian) and 9/5 (uniform of variance 1).
  near(expectedSquares({ shape: 'normal', rank: 1, width: 1, variance: 1 }), 3);
  near(expectedSquares({ shape: 'uniform', rank: 1, width: 1, variance: 1 }), 9 / 5);
  // r = 2, d = 3, σ² = 1/2: σ⁴rd(d+r+1) = 6·6/4 and σ⁴rd(d+r−1/5) = 6·4.8/4.
  near(expectedSquares({ shape: 'normal', rank: 2, width: 3, variance: 0.5 }), 9);
  near(expectedSquares({ shape: 'uniform', rank: 2, width: 3, variance: 0.5 }), 7.2);
  // Published: log σ⁴r(r+2)d and log σ⁴(4r+5r²)/5·d.
  near(diagonalSquares({ shape: 'normal', rank: 2, width: 3, variance: 0.5 }), 0.25 * 2 * 4 * 3);
  near(
    diagonalSquares({ shape: 'uniform', rank: 2, width: 3, variance: 0.5 }),
    ((0.25 * (8 + 20)) / 5) * 3,
  );
  const {
    h1,
    h2,
    h2_published: published,
  } = closedForm({ shape: 'normal', rank: 2, width: 3, variance: 0.5 });
  near(h1, Math.log(3));
  near(h2, -Math.log(9));
  near(published, Math.log(6));
});

/**
 * Var Σλ² for a Gaussian A, σ = 1: 4rd(2d² + 2r² + 5rd + 5d + 5r + 5), as for a Wishart matrix (at
 * r = d = 1 it is Var z⁴ = 96). A uniform entry's even moments are at most a Gaussian's, and so is
 * E(Σλ²)², a sum of products of them.
 */
function deviation(shape: Shape, r: number, d: number): number {
  const gaussian = 4 * r * d * (2 * d ** 2 + 2 * r ** 2 + 5 * r * d + 5 * d + 5 * r + 5);
  return Math.sqrt(
    gaussian +
      expectedSquares({ shape: 'normal', rank: r, width: d, variance: 1 }) ** 2 -
      expectedSquares({ shape, rank: r, width: d, variance: 1 }) ** 2,
  );
}

for (const shape of ['normal', 'uniform'] as const) {
  test(`${shape}: our own draws average to E Σλ and E Σλ²`, () => {
    const ranks = [3, 7, 23],
      d = 41,
      draws = 400;
    const moments = Array.from({ length: draws }, (_, seed) => drawnMoments(shape, ranks, d, seed));
    ranks.forEach((r, k) => {
      const mean = (
        get: (one: { readonly sum: number; readonly sum_squares: number }) => number,
      ): number => moments.reduce((sum, one) => sum + get(present(one[k])), 0) / draws;
      // Six standard errors of the mean; Var Σλ = (κ − 1)rd.
      near(
        mean(({ sum }) => sum),
        r * d,
        (6 * Math.sqrt((2 * r * d) / draws)) / (r * d),
      );
      const expected = expectedSquares({ shape, rank: r, width: d, variance: 1 }),
        bound = (6 * deviation(shape, r, d)) / Math.sqrt(draws);
      near(
        mean(({ sum_squares: squares }) => squares),
        expected,
        bound / expected,
      );
      // The published sum of squared diagonal entries lies far outside.
      assert.ok(expected - diagonalSquares({ shape, rank: r, width: d, variance: 1 }) > 3 * bound);
    });
  });
}

test('drawn moments are those of the nested A', () => {
  const [r, d] = [5, 11];
  const A = drawA('theory-map', d, 7, 'normal', 1, 3).data;
  let sum = 0,
    squares = 0;
  for (let i = 0; i < r; i++)
    for (let j = 0; j < r; j++) {
      let product = 0;
      for (let k = 0; k < d; k++) product += present(A[i * d + k]) * present(A[j * d + k]);
      squares += product ** 2;
      if (i === j) sum += product;
    }
  const [, five] = drawnMoments('normal', [2, 5, 7], d, 3);
  assert.is(present(five).rank, 5);
  near(present(five).sum, sum);
  near(present(five).sum_squares, squares);
});

/** The tiny model under LoRA at B = 0, drawn as a training run would start. */
function withDraw(
  model: AdaptedModel,
  shape: Shape,
  rank: number,
  scale: number,
  s: number,
  seed: number,
): AdaptedModel & { free(): void } {
  const made: LoraFactors[] = [];
  const layers = model.layers.map((layer) => {
    const { data } = drawA(layer.name, layer.in, rank, shape, scale / layer.in, seed);
    const lora = {
      A: tf.tensor2d(data as Float32Array, [rank, layer.in]),
      B: tf.zeros<tf.Rank.R2>([layer.out, rank]),
      scale: s,
    };
    made.push(lora);
    return { ...layer, lora };
  });
  return {
    ...model,
    layers,
    free: () => {
      made.forEach(({ A, B }) => {
        A.dispose();
        B.dispose();
      });
    },
  };
}

test('one kernel a rank, scaled, is the kernel of LoRA at every rank, variance and s', async () => {
  const network = await openTiny('full', true);
  const model = adaptedModel(network);
  const rows = tinyRows.slice(0, 5),
    ranks = [2, 3, 7],
    labels = rows.map(({ label }) => label);
  const before = tf.memory().numTensors;
  const found = await rankKernels(model, rows, ['normal', 'uniform'], ranks, 11, {
    batchTokens: 40,
  });
  assert.is(tf.memory().numTensors, before, 'tensors');
  const drawn = new Map(
    (['normal', 'uniform'] as const).map((shape) => [
      shape,
      drawnMoments(shape, [2, 3, 7], 31, 11),
    ]),
  );
  const params = { width: 31, scales: [0.1, 2], tolerance: 1e-6 };
  const map = theoryMap(params, drawn, found, ranks, rows.length);
  assert.is(map.points.length, 2 * 3 * 2);
  for (const [shape, rank, scale, s] of [
    ['normal', 3, 2, 1],
    ['uniform', 7, 0.1, 1],
    ['normal', 2, 0.1, 3],
  ] as const) {
    const lora = withDraw(model, shape, rank, scale, s, 11);
    const own = await kernels(lora, rows);
    lora.free();
    const kernel = present(found.lora.get(shape)![ranks.indexOf(rank)]).map(
      (value) => s ** 2 * scale * value,
    );
    assert.ok(
      relative(kernel, present(own.lora)) < tolerance.rounding,
      `${shape} ${rank}: ${relative(kernel, present(own.lora))}`,
    );
    assert.ok(relative(found.full, own.full) < tolerance.rounding);
    if (s !== 1) continue;
    const {
      spectrum,
      information_bits: bits,
      count,
    } = fisher(present(own.lora), own.logits, labels, { tolerance: 1e-6, alphas: [2] }).true;
    const { model: values } = present(
      map.points.find(
        (point) => point.distribution === shape && point.rank === rank && point.scale === scale,
      ),
    );
    assert.is(present(values).count, count);
    near(present(values).h1, Math.log(spectrum.reduce((a, b) => a + b)), 1e-4);
    near(present(values).h2, -Math.log(spectrum.reduce((a, b) => a + b * b, 0)), 1e-4);
    near(present(values!.information_bits), present(bits), 1e-3);
  }
  let fault = '';
  try {
    await rankKernels(model, rows, ['normal'], [999], 1);
  } catch (error) {
    fault = (error as Error).message;
  }
  assert.match(fault, /rank 999 is above the fan-in/);
  network.dispose();
});

test.run();
