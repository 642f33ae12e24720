/**
 * Fused products in bfloat16: those of factors that are rounded to bfloat16, summed in float32.
 * Numbers below 2⁻¹²⁶ count as zero, as everywhere in TensorFlow.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { compiled, prepareCompiling } from '../../src/compute/compiled/compiled.ts';
import { hasFusedBf16 } from '../../src/compute/fused.ts';
import { callOperation } from '../../src/compute/operation.ts';
import {
  fusedLinear,
  fusedLora,
  fusedLoraGradient,
  fusedProduct,
} from '../../src/compute/products.ts';
import { randomStream } from '../../src/random/random.ts';
import { matmul } from '../../src/science/tensor/matmul.ts';
import { backends, useBackend } from '../science/backend.ts';
import {
  assertWithin,
  bitsOf,
  type Exact,
  exact,
  normals,
  plus,
  scaled,
  times,
  transposed,
} from './exact.ts';
import { bestInstructions, withInstructions } from './instructions.ts';

const stream = randomStream(11, 'fused-bf16');
const matrix = (rows: number, columns: number): Tensor2D =>
  normals(stream, rows, columns) as Tensor2D;

/** The nearest bfloat16, in a tie the one whose last bit is 0; NaN and infinities as they are. */
function rounded(value: number): number {
  if (!Number.isFinite(value)) return value;
  const word = new Uint32Array(Float32Array.of(value).buffer);
  word[0] = ((word[0] ?? 0) + 0x7fff + (((word[0] ?? 0) >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(word.buffer)[0] ?? NaN;
}

/** A matrix as a product in bfloat16 reads it. */
function read(tensor: Tensor): Exact {
  const found = exact(tensor);
  return { ...found, values: found.values.map(rounded), sizes: found.sizes.map(rounded) };
}

const inBf16 = <T>(run: () => T): T => compiled(run, 'bf16');

/** Whether the fused operations compute products in bfloat16 here. */
async function areOffered(): Promise<boolean> {
  await useBackend('tensorflow');
  prepareCompiling(Infinity);
  return hasFusedBf16();
}

if (backends.includes('tensorflow')) {
  test('products are those of rounded factors, summed in float32', async () => {
    if (!(await areOffered())) return;
    for (const rows of [1, 13, 14, 15, 29, 257])
      for (const depth of [1, 2, 3, 15, 16, 33, 385, 512, 800, 1024])
        for (const width of [1, 2, 16, 17, 33, 100])
          tf.tidy(() => {
            const [a, b] = [matrix(rows, depth), matrix(depth, width)],
              expected = times(read(a), read(b));
            for (const ofA of [false, true])
              for (const ofB of [false, true])
                assertWithin(
                  inBf16(() =>
                    fusedProduct(ofA ? tf.transpose(a) : a, ofB ? tf.transpose(b) : b, ofA, ofB),
                  ),
                  expected,
                  // Products of bfloat16 are exact in float32; after an odd number, 0 is added.
                  depth + 1,
                  `${rows} × ${depth} × ${width}, transposed: ${ofA}, ${ofB}`,
                );
          });
  });
}

test.run();
