/**
 * STRIP (Gao, Xu, Wang, Chen, Ranasinghe and Nepal 2019, STRIP: A Defence Against Trojan Attacks on
 * Deep Neural Networks, ACSAC; for texts Gao et al. 2021, STRIP-ViTA, IEEE TDSC; arXiv 1911.10312):
 * the model's prediction of a clean text changes where many of its words are replaced, that of a
 * text with a trigger does not. Of each text, copies are made in which a share of the words is
 * replaced by words of clean held-out texts. The score of the text is the mean entropy of the
 * predictions for its own copies,
 *
 *     H(x) = −(1/n) Σ_copies Σ_c p_c log₂ p_c,
 *
 * and texts with a low entropy are rejected, below the quantile of clean held-out texts at the
 * allowed false rejection rate. Pure.
 */
import type { RandomStream } from '../api.ts';

/** What the copies of a text are made with. */
export interface StripOptions {
  /** The number of copies of each text. */
  readonly copies: number;
  /** The share of a text's words that is replaced, rounded down, at least one word. */
  readonly ratio: number;
}

/**
 * Returns copies of a text of words. In each, ⌊ratio·words⌋ words, at least one, at places drawn
 * without replacement, are replaced by the most characteristic words of one clean text, which is
 * drawn for each copy; a shorter text begins again. OpenBackdoor draws the places with replacement,
 * so that it replaces fewer words than it says.
 * @param pool the words of clean texts, the most characteristic first (`characteristicWords`); texts
 * without words are left out by the caller
 * @throws RangeError where the pool has no text, or one without words
 */
export function stripCopies(
  words: readonly string[],
  pool: readonly (readonly string[])[],
  { copies, ratio }: StripOptions,
  random: RandomStream,
): string[][] {
  if (pool.length === 0 || pool.some((text) => text.length === 0))
    throw new RangeError('copies are made with the words of clean texts, and each needs some');
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
