/**
 * ONION (Qi, Chen, Li, Yao, Liu and Sun 2021, ONION: A Simple and Effective Defense Against Textual
 * Backdoor Attacks, EMNLP, section 3; arXiv 2011.10369): a word that makes a text much less likely
 * may be a trigger, and is left out. With PPL the perplexity of a language model, the suspicion
 * score of the i-th word of a text x is
 *
 *     f_i = PPL(x) − PPL(x∖i),
 *
 * and words with f_i ≥ bar are dropped. The paper uses GPT-2 and tunes the bar on held-out rows;
 * OpenBackdoor has a bar of 0. Here any `LanguageModel` serves.
 */
import type { LanguageModel } from './language-model.ts';

/** Returns f_i for each word of a text: the larger, the more suspicious. */
export async function onionScores(
  words: readonly string[],
  model: LanguageModel,
): Promise<number[]> {
  if (words.length === 0) return [];
  const { whole, without } = await model.leaveOneOut(words);
  return without.map((perplexity) => whole - perplexity);
}

/**
 * Returns for each word whether it is dropped, f_i ≥ bar. A text keeps at least its least
 * suspicious word, the first of several, so that there is something left to classify.
 */
export function onionDrops(scores: readonly number[], bar: number): boolean[] {
  const drops = scores.map((score) => score >= bar);
  if (drops.length > 0 && drops.every(Boolean)) {
    const least = scores.reduce((best, score, i) => (score < scores[best]! ? i : best), 0);
    drops[least] = false;
  }
  return drops;
}

/**
 * The suspicion of a whole text, for detection: its largest word score. −Infinity for a text of
 * fewer than two words, from which nothing is ever dropped.
 */
export const onionTextScore = (scores: readonly number[]): number =>
  scores.length < 2 ? -Infinity : Math.max(...scores);
