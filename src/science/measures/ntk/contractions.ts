/**
 * The three contractions that add a term to a kernel. `plain` is the slow reference. `gram` works
 * over token pairs, and `explicit` (explicit.ts) over gradients of rows: `cheaper` chooses the one
 * of the two with fewer operations.
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { matmul } from '../../../tensor/products.ts';
import {
  addAt,
  blockStarts,
  type Contraction,
  type TermBlock,
  tokenBlocks,
} from './accumulator.ts';
import { explicit, GRAM_ROWS } from './explicit.ts';

/** Returns each row's gradient G^c = Σ_t a^c_t b_tᵀ (p, q), in the order block, class, row. */
function plainGradients(blocks: readonly TermBlock[]): Float64Array[] {
  return tokenBlocks(blocks).flatMap((block) => {
    const q = block.b.shape[1];
    const b = block.b.dataSync<'float32'>();
    return block.a.flatMap((tensor) => {
      const p = tensor.shape[1];
      const a = tensor.dataSync<'float32'>();
      return Array.from(block.rows, (_, k) => {
        const values = new Float64Array(p * q);
        block.example.forEach((example, t) => {
          if (example !== k) return;
          for (let i = 0; i < p; i++)
            for (let j = 0; j < q; j++) values[i * q + j]! += a[t * p + i]! * b[t * q + j]!;
        });
        return values;
      });
    });
  });
}

/** The reference: each row's gradient G^c = Σ_t a^c_t b_tᵀ written out, in double precision. */
export const plain: Contraction = (blocks, coefficient, { size, data }) => {
  const gradients = plainGradients(blocks);
  gradients.forEach((x, i) =>
    gradients.forEach((y, j) => {
      let product = 0;
      for (let k = 0; k < x.length; k++) product += x[k]! * y[k]!;
      data[i * size + j]! += coefficient * product;
    }),
  );
};

/** Returns E (R, S): 1 where a token belongs to a row, 0 elsewhere. */
function rowMembership({ example, rows }: TermBlock): Tensor2D {
  const ones = new Float32Array(rows.length * example.length);
  example.forEach((k, t) => {
    ones[k * example.length + t] = 1;
  });
  return tf.tensor2d(ones, [rows.length, example.length]); // (R, S)
}

/**
 * Contraction over token pairs, without per-row gradients: for two blocks, (a aᵀ) ∘ (b bᵀ) over
 * their tokens, summed over the tokens of each pair of rows. It is cheaper than `explicit` where
 * rows are short.
 *
 *     K^{cd} = E [ (a^c a'^dᵀ) ∘ (b b'ᵀ) ] E'ᵀ,   E (R, S) is one where a token belongs to a row
 */
const gram: Contraction = (termBlocks, coefficient, sum) => {
  const blocks = tokenBlocks(termBlocks),
    starts = blockStarts(blocks);
  tf.tidy(() => {
    const memberships = blocks.map(rowMembership);
    blocks.forEach((x, i) =>
      blocks.slice(0, i + 1).forEach((y, j) => {
        const similarity = matmul(x.b, y.b, false, true); // (S, S')
        x.a.forEach((a, c) => {
          // For a block with itself, class pair (c, d) mirrors (d, c): d > c is left out.
          y.a.slice(0, i === j ? c + 1 : y.a.length).forEach((b, d) => {
            const pair = tf.tidy(() => {
              // (S, S')
              const products = tf.mul<Tensor2D>(matmul(a, b, false, true), similarity);
              // (R, R')
              return matmul(matmul(memberships[i]!, products), memberships[j]!, false, true);
            });
            addAt(
              sum,
              pair.dataSync<'float32'>(),
              x.rows.length,
              y.rows.length,
              starts[i]! + c * x.rows.length,
              starts[j]! + d * y.rows.length,
              coefficient,
            );
            pair.dispose();
          });
        });
        similarity.dispose();
      }),
    );
  });
};

export const contractions = { plain, explicit, gram } satisfies Record<string, Contraction>;
export type Method = keyof typeof contractions;

/** The numbers of rows and tokens of a block, and the most tokens of one of its rows (`width`). */
export interface BlockShape {
  readonly rows: number; // R
  readonly tokens: number; // S
  readonly width: number; // T
}

/** The operations of each contraction, as `costs` counts them. */
export interface Costs {
  readonly explicit: number;
  readonly gram: number;
}

/** Returns the shape of a block. Its `width` is at least 1. */
export function blockShape({ example, rows }: Pick<TermBlock, 'example' | 'rows'>): BlockShape {
  const counts = new Int32Array(rows.length);
  example.forEach((k) => {
    counts[k]!++;
  });
  return {
    rows: rows.length,
    tokens: example.length,
    width: counts.reduce((a, b) => Math.max(a, b), 1),
  };
}

/**
 * How many operations of a matrix product take as long as one elementwise operation, which goes
 * through memory.
 */
const ENTRY_COST = 40;

/**
 * Counts the operations of both contractions. `explicit`: the gradients of all rows, 2·R·T·p·q for
 * each block and class, then their inner products, 2·p·q for about half of the pairs of rows.
 * `gram`: for each pair of tokens, the product of their b, and for each pair of classes the product
 * of their a; then the sums over rows. By symmetry, only half of the pairs are needed.
 */
export function costs(blocks: readonly BlockShape[], classes: number, p: number, q: number): Costs {
  const size = blocks.reduce((sum, { rows }) => sum + rows, 0) * classes;
  const gradients = blocks.reduce(
    (sum, { rows, width }) => sum + 2 * rows * width * classes * p * q,
    0,
  );
  let products = 0;
  for (let top = 0; top < size; top += GRAM_ROWS)
    products += Math.min(GRAM_ROWS, size - top) * Math.min(size, top + GRAM_ROWS);
  let byPairs = 0;
  blocks.forEach((x, i) =>
    blocks.slice(0, i + 1).forEach((y, j) => {
      const pairs = x.tokens * y.tokens;
      const classPairs = i === j ? (classes * (classes + 1)) / 2 : classes ** 2;
      byPairs +=
        2 * pairs * (q + classPairs * (p + x.rows)) + ENTRY_COST * pairs * (1 + classPairs);
    }),
  );
  return { explicit: gradients + 2 * products * p * q, gram: byPairs };
}

/** Returns the contraction with fewer operations; `explicit` if both have as many. */
export const cheaper = ({ explicit: byGradients, gram: byPairs }: Costs): 'explicit' | 'gram' =>
  byPairs < byGradients ? 'gram' : 'explicit';
