/**
 * A program that computes fused products on as many threads as it is told to, and writes what came
 * out as JSON: digests of results by name, and how many threads the first large product started.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../src/base/random.ts';
import { compiled } from '../../src/tensor/compiled/compiled.ts';
import { hasFusedBf16 } from '../../src/tensor/fused.ts';
import { loadBackend } from '../../src/tensor/load.ts';
import {
  fusedLinear,
  fusedLora,
  fusedLoraGradient,
  fusedProduct,
} from '../../src/tensor/products.ts';
import { normals } from './exact.ts';

await loadBackend('tensorflow', { threads: Number(process.argv[2]) });

const stream = randomStream(13, 'fused-threads');
const matrix = (rows: number, columns: number): Tensor2D =>
  normals(stream, rows, columns) as Tensor2D;
const tasks = (): number =>
  existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0;

const digests: Record<string, string> = {};
function note(name: string, results: readonly (Tensor | null)[]): void {
  const hash = createHash('sha256');
  for (const result of results) if (result !== null) hash.update(result.dataSync().slice());
  digests[name] = hash.digest('hex');
}

/** Every operation on factors of one size: more than 2²¹ multiplications each. */
function all(name: string, S: number, n: number, m: number, scale = 1, rank = 8): void {
  const [x, W, dy, A, B] = [
    tf.mul<Tensor2D>(matrix(S, n), scale),
    tf.mul<Tensor2D>(matrix(m, n), scale),
    matrix(S, m),
    matrix(rank, n),
    matrix(m, rank),
  ];
  const b = normals(stream, m) as Tensor1D;
  const transposes = [tf.transpose(x), tf.transpose(W)] as const;
  note(`${name}, product`, [fusedProduct(x, W, false, true)]);
  note(`${name}, product of transposes`, [fusedProduct(...transposes, true, false)]);
  note(`${name}, linear`, [fusedLinear(x, W, b)]);
  const [y, down] = fusedLora([x, W, A, B], b, 1.5);
  note(`${name}, LoRA`, [y, down]);
  const wanted = { x: true, A: true, B: true };
  note(`${name}, gradients`, fusedLoraGradient(dy, [x, W, A, B, down], 1.5, wanted));
}

tf.matMul(matrix(2, 2), matrix(2, 2)).dataSync();
const large = [matrix(128, 256), matrix(256, 512)] as const;
const before = tasks();
fusedProduct(...large, false, false).dataSync();
const started = tasks() - before;

const runAll = (suffix: string): void => {
  tf.tidy(() => {
    all(`even sizes${suffix}`, 128, 384, 512);
    all(`odd sizes${suffix}`, 67, 389, 333);
    all(`few rows${suffix}`, 14, 512, 1030);
    // Its summands are too small for a normal float32, so they count as zero on every thread.
    all(`tiny numbers${suffix}`, 64, 256, 300, 1e-20);
    // Products of one panel, whose rows are shared.
    all(`wide factors${suffix}`, 300, 1536, 512, 1, 16);
  });
};
runAll('');
if (hasFusedBf16())
  compiled(() => {
    runAll(', bf16');
  }, 'bf16');

// The threads take parts in another order each time.
const repeated = new Set<string>();
for (let i = 0; i < 50; i++)
  tf.tidy(() => {
    note('repeated', [fusedProduct(...large, false, false)]);
    repeated.add(digests['repeated'] ?? '');
  });

console.log(JSON.stringify({ digests, started, results: repeated.size }));
