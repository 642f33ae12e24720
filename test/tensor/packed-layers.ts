/** Layers in compiled functions that read packed copies of their frozen weights. */
import * as assert from 'uvu/assert';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../src/base/lookup.ts';
import type { RandomStream } from '../../src/base/random.ts';
import {
  compiled,
  compiledStatistics,
  prepareCompiling,
} from '../../src/tensor/compiled/compiled.ts';
import type { Precision } from '../../src/tensor/compiled/copies.ts';
import { fusedLinear, fusedLora, fusedLoraGradient } from '../../src/tensor/products.ts';
import { bitsOf, normals } from './exact.ts';

const SIZES = [
  [1, 7, 5],
  [15, 33, 100],
  [29, 384, 384],
  [29, 385, 31],
  [20, 1000, 770],
] as const;
/** More calls than it takes until a function reads packed weights. */
const STEPS = 16;

/**
 * Asserts that layers have the same bits whether their weight is frozen or not, that in the end one
 * weight is packed, and that its copies go with it.
 */
export function assertPackedBits(stream: RandomStream, precision: Precision): void {
  prepareCompiling();
  const before = compiledStatistics()?.packed ?? NaN;
  const matrix = (rows: number, columns: number): Tensor2D =>
    normals(stream, rows, columns) as Tensor2D;
  for (const [S, n, m] of SIZES)
    tf.tidy(() => {
      const [dy, x, W, A, B] = [
        matrix(S, m),
        matrix(S, n),
        matrix(m, n),
        matrix(3, n),
        matrix(m, 3),
      ];
      const b = normals(stream, m) as Tensor1D;
      const layers = (frozen: boolean): Uint32Array[] =>
        compiled(() => {
          const [y, down] = fusedLora([x, W, A, B], b, 2, frozen);
          const wanted = { x: true, A: true, B: true, frozen };
          return [
            fusedLinear(x, W, b, frozen),
            y,
            ...fusedLora([x, W, A, B], null, 2, frozen),
            ...fusedLoraGradient(dy, [x, W, A, B, down], 2, wanted),
          ];
        }, precision).map((found) => {
          if (found === null) throw new Error('a derivative is missing');
          return bitsOf(found);
        });
      const plain = layers(false);
      assert.is(compiledStatistics()?.packed, before);
      for (let step = 0; step < STEPS; step++)
        layers(true).forEach((found, i) => {
          assert.equal(found, at(plain, i), `${S} × ${n} × ${m}, result ${i}, step ${step}`);
        });
      assert.is(compiledStatistics()?.packed, before + 1, 'copies');
      W.dispose();
      assert.is(compiledStatistics()?.packed, before, 'copies left');
    });
}
