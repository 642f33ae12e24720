/** Class probabilities of logits. Pure. */

/** Returns softmax of each row. logits: (N, C), row-major → (N, C). */
export function softmaxRows(logits: ArrayLike<number>, classes: number): Float64Array {
  const out = new Float64Array(logits.length);
  for (let from = 0; from < logits.length; from += classes) {
    let most = -Infinity,
      total = 0;
    for (let i = from; i < from + classes; i++) most = Math.max(most, logits[i]!);
    for (let i = from; i < from + classes; i++) total += out[i] = Math.exp(logits[i]! - most);
    for (let i = from; i < from + classes; i++) out[i]! /= total;
  }
  return out;
}
