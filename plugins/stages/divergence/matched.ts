/**
 * The entries of a kernel between matched rows alone: row i of one set with row i of another, and
 * each with itself, summed over the outputs,
 *
 *     Σ_c Σ_{t,u} (a^c_t · a'^c_u)(b_t · b'_u).
 *
 * A kernel over both sets would compute the entries of all 2P rows with each other.
 */
import type { Tensor1D, Tensor3D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { TokenBlock } from '../../../src/science/measures/ntk/accumulator.ts';
import { rectangle, spread } from '../../../src/science/measures/ntk/explicit.ts';
import { compiled } from '../../../src/tensor/compiled/compiled.ts';

/** For each of the R rows of two blocks, the three sums. */
export interface Matched {
  readonly between: Float32Array; // (R)
  readonly left: Float32Array; // (R)
  readonly right: Float32Array; // (R)
}

/** A block's tokens, row by row and padded with zeros. */
interface Rectangles {
  readonly a: readonly Tensor3D[]; // C × (R, T, p)
  readonly b: Tensor3D; // (R, T, q)
}

function rectanglesOf(block: TokenBlock): Rectangles {
  const index = rectangle(block),
    rows = block.rows.length;
  const layout = index === null ? null : tf.tensor1d(index, 'int32');
  return {
    a: block.a.map((a) => spread(a, layout, rows)),
    b: spread(block.b, layout, rows),
  };
}

/** The sum by row. (R, …) → (R) */
const byRow = (x: Tensor3D): Tensor1D => tf.sum(x, [1, 2]);

/** Through token pairs: (a aᵀ) ∘ (b bᵀ) of each pair of rows. */
function overPairs(x: Rectangles, y: Rectangles): Tensor1D {
  const similarity = tf.matMul(x.b, y.b, false, true); // (R, T, T')
  return tf.addN(
    x.a.map((a, c) => byRow(tf.mul<Tensor3D>(tf.matMul(a, y.a[c]!, false, true), similarity))),
  );
}

/** Through each row's gradients, G^c = Σ_t a^c_t b_tᵀ. */
function overGradients(x: Rectangles, y: Rectangles): [Tensor1D, Tensor1D, Tensor1D] {
  const gradients = ({ a, b }: Rectangles): Tensor3D[] =>
    a.map((one) => tf.matMul(one, b, true, false)); // C × (R, p, q)
  const G = gradients(x),
    H = gradients(y);
  const inner = (one: readonly Tensor3D[], other: readonly Tensor3D[]): Tensor1D =>
    tf.addN(one.map((g, c) => byRow(tf.mul<Tensor3D>(g, other[c]!))));
  return [inner(G, H), inner(G, G), inner(H, H)];
}

/**
 * Whether token pairs take fewer operations than gradients do, for rows of T tokens: three times
 * 2T²(q + Cp) against twice 2TCpq.
 */
export const pairsAreCheaper = (T: number, C: number, p: number, q: number): boolean =>
  3 * T * (q + C * p) < 2 * C * p * q;

/** The sums of one term over two blocks, whose rows are matched in order. */
export function matched(left: TokenBlock, right: TokenBlock): Matched {
  const [between, ofLeft, ofRight] = compiled(() =>
    tf.tidy(() => {
      const x = rectanglesOf(left),
        y = rectanglesOf(right);
      const [first] = x.a;
      if (first === undefined) throw new Error('a term has no output');
      const tokens = Math.max(x.b.shape[1], y.b.shape[1]);
      const sums = pairsAreCheaper(tokens, x.a.length, first.shape[2], x.b.shape[2])
        ? [overPairs(x, y), overPairs(x, x), overPairs(y, y)]
        : overGradients(x, y);
      return sums.map((sum) => sum.dataSync<'float32'>().slice());
    }),
  );
  if (between === undefined || ofLeft === undefined || ofRight === undefined)
    throw new Error('three sums were expected');
  return { between, left: ofLeft, right: ofRight };
}
