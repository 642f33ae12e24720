/**
 * STRIP (Gao, Xu, Wang, Chen, Ranasinghe and Nepal 2019, STRIP: A Defence Against Trojan Attacks on
 * Deep Neural Networks, ACSAC; for texts Gao et al. 2021, STRIP-ViTA, IEEE TDSC; arXiv 1911.10312):
 * the prediction for a clean text changes when many of its words are replaced, but that for a text
 * with a trigger does not. A share of the words of each text is replaced by words of clean held-out
 * texts, in several copies. The score of the text is the mean entropy of the predictions for its
 * copies,
 *
 *     H(x) = −(1/n) Σ_copies Σ_c p_c log₂ p_c,
 *
 * and a text is rejected if its entropy is below the quantile of clean held-out texts at the
 * allowed false rejection rate. Pure.
 */
import type { RandomStream } from '../../../src/api.ts';

/** How the copies of a text are made. */
export interface StripOptions {
  /** The number of copies of each text. */
  readonly copies: number;
  /** The share of a text's words that is replaced, rounded down, at least one word. */
  readonly ratio: number;
}

/**
 * Returns copies of a text of words. Each has ⌊ratio·words⌋ words, at least one, at places drawn
 * without replacement, replaced by the most characteristic words of one clean text, which is drawn
 * for each copy and repeated if it is too short. OpenBackdoor draws the places with replacement, so
 * it replaces fewer words than its ratio says.
 * @param pool the words of clean texts, the most characteristic first (`characteristicWords`);
 *   texts without words are left out by the caller
 * @throws RangeError where the pool has no text, or one without words
 */
export function stripCopies(
  words: readonly string[],
  pool: readonly (readonly string[])[],
  { copies, ratio }: StripOptions,
  random: RandomStream,
): string[][] {
  if (pool.length === 0 || pool.some((text) => text.length === 0))
    throw new RangeError('STRIP needs clean texts, and each needs at least one word');
  const count = words.length === 0 ? 0 : Math.max(1, Math.floor(ratio * words.length));
  return Array.from({ length: copies }, () => {
    const from = pool[random.integer(pool.length)]!,
      places = random.permutation(words.length).subarray(0, count);
    const copy = [...words];
    places.forEach((place, i) => (copy[place] = from[i % from.length]!));
    return copy;
  });
}

/** −Σ_c p_c log₂ p_c, in bits; 0·log 0 counts as 0. */
export const entropyBits = (probabilities: ArrayLike<number>): number =>
  Array.from(probabilities).reduce((sum, p) => (p > 0 ? sum - p * Math.log2(p) : sum), 0);

/**
 * Returns H(x) of each text, in bits.
 * @param probabilities the predictions for all copies, (N·copies, C) row-major: the copies of the
 * first text, then those of the second, and so on
 * @throws RangeError where the numbers do not fit
 */
export function stripEntropies(
  probabilities: ArrayLike<number>,
  copies: number,
  classes: number,
): number[] {
  const texts = probabilities.length / (copies * classes);
  if (!Number.isInteger(texts))
    throw new RangeError(
      `${probabilities.length} probabilities are not ${copies} copies of ${classes} classes each`,
    );
  const all = Array.from(probabilities);
  return Array.from({ length: texts }, (_, text) => {
    let sum = 0;
    for (let copy = 0; copy < copies; copy++) {
      const from = (text * copies + copy) * classes;
      sum += entropyBits(all.slice(from, from + classes));
    }
    return sum / copies;
  });
}
