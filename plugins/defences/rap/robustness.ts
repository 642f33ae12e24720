/**
 * RAP (Yang, Lin, Li, Zhou and Sun 2021, RAP: Robustness-Aware Perturbations for Defending against
 * Backdoor Attacks on NLP Models, EMNLP, section 4; arXiv 2110.07831): the embedding of a rare word
 * is trained so that the word in front of a clean text lowers the probability of the predicted
 * class by c_low to c_up. With a trigger in the text, the prediction is too robust to fall that
 * much. With Δ(x) = p(y | x) − p(y | word x) and y the predicted class,
 *
 *     L = mean over clean held-out texts of λ·max(0, c_low − Δ) + max(0, Δ − c_up),
 *
 * with c_low = 0.1, c_up = 0.3 and λ = 1. A text is rejected if Δ is below the quantile of
 * clean held-out texts at the allowed false rejection rate. Pure; plugins/defences/rap/word.ts
 * trains the word.
 */

export interface RapBounds {
  readonly low: number;
  readonly up: number;
  /** λ */
  readonly weight: number;
}

/** Returns L of the drops Δ. Throws a RangeError if there is no drop. */
export function rapLoss(drops: readonly number[], { low, up, weight }: RapBounds): number {
  if (drops.length === 0) throw new RangeError('a loss needs at least one text');
  const sum = drops.reduce(
    (total, drop) => total + weight * Math.max(0, low - drop) + Math.max(0, drop - up),
    0,
  );
  return sum / drops.length;
}

/**
 * Returns the mean of Δ, which shows whether the training of the word succeeded. Below c_low, clean
 * texts are as robust as poisoned ones, and the false acceptance rate is near 1 at any threshold:
 * the learning rate was too low.
 */
export const meanDrop = (drops: readonly number[]): number =>
  drops.reduce((sum, drop) => sum + drop, 0) / drops.length;
