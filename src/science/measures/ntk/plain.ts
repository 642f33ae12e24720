/**
 * The reference that every faster contraction is compared with: it writes out each row's gradient
 * G^c = Σ_t a^c_t b_tᵀ and sums each pair's inner product, on the host in double precision.
 */
import { type Contraction, type TermBlock, tokenBlocks } from './contraction.ts';

/** Gradients in a sum's order. */
function gradients(blocks: readonly TermBlock[]): Float64Array[] {
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

export const plain: Contraction = (left, right, coefficient, { width, data }) => {
  const ofLeft = gradients(left),
    ofRight = right === null ? ofLeft : gradients(right);
  ofLeft.forEach((x, i) =>
    ofRight.forEach((y, j) => {
      let product = 0;
      for (let k = 0; k < x.length; k++) product += x[k]! * y[k]!;
      data[i * width + j]! += coefficient * product;
    }),
  );
};
