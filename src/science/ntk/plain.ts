/**
 * The oracle that every faster contraction is compared with: each row's gradient G^c = Σ_t a^c_t b_tᵀ written out, each
 * pair's inner product summed, on the host in double precision.
 */
import type { Contraction, TermBlock } from './contraction.ts';

interface Gradient {
  readonly index: number; // (i, c)
  readonly values: Float64Array; // (p, q)
}

function gradients(block: TermBlock, classes: number): Gradient[] {
  const q = block.b.shape[1];
  const b = block.b.dataSync<'float32'>();
  return block.a.flatMap((tensor, c) => {
    const p = tensor.shape[1];
    const a = tensor.dataSync<'float32'>();
    return Array.from(block.rows, (row, k) => {
      const values = new Float64Array(p * q);
      block.example.forEach((example, t) => {
        if (example !== k) return;
        for (let i = 0; i < p; i++) for (let j = 0; j < q; j++) values[i * q + j]! += a[t * p + i]! * b[t * q + j]!;
      });
      return { index: row * classes + c, values };
    });
  });
}

export const plain: Contraction = (blocks, coefficient, { rows, classes, data }) => {
  const all = blocks.flatMap((block) => gradients(block, classes));
  for (const x of all) {
    for (const y of all) {
      let product = 0;
      for (let k = 0; k < x.values.length; k++) product += x.values[k]! * y.values[k]!;
      data[x.index * rows * classes + y.index]! += coefficient * product;
    }
  }
};
