/**
 * Metrics of the texts that a model wrote, compared with the answers of a completion task. Pure.
 */
import { l as rougeOf } from 'js-rouge';

export interface Output {
  /** What the model wrote, without the token that ends it. */
  readonly text: string;
  readonly answer: string;
  /** The tokens of the text, in order: ids or texts. */
  readonly tokens: readonly (number | string)[];
  /** Whether the model ended the text by itself, rather than at the limit of tokens. */
  readonly ended: boolean;
}

type CompletionMetrics = {
  /** The share of outputs that are the answer, but for white space at both ends. */
  readonly exact_match: number;
  readonly token_f1: number;
  readonly rouge_l: number;
  readonly empty_share: number;
  /** The share of outputs that reached the limit of tokens. */
  readonly truncated_share: number;
  readonly incoherent_share: number;
};

/** Returns the metrics of all outputs together. Throws a RangeError if there are none. */
export function completionMetrics(outputs: readonly Output[]): CompletionMetrics {
  if (outputs.length === 0) throw new RangeError('there is no output to measure');
  const mean = (of: (output: Output) => number): number =>
    outputs.reduce((sum, output) => sum + of(output), 0) / outputs.length;
  const share = (holds: (output: Output) => boolean): number =>
    mean((output) => (holds(output) ? 1 : 0));
  return {
    exact_match: share(({ text, answer }) => isExactMatch(text, answer)),
    token_f1: mean(({ text, answer }) => tokenF1(text, answer)),
    rouge_l: mean(({ text, answer }) => rougeL(text, answer)),
    empty_share: share(({ text }) => isEmpty(text)),
    truncated_share: share(({ ended }) => !ended),
    incoherent_share: share(({ tokens }) => isIncoherent(tokens)),
  };
}

export const isExactMatch = (output: string, answer: string): boolean =>
  output.trim() === answer.trim();

export const isEmpty = (output: string): boolean => output.trim() === '';

/** Python's `string.punctuation`. */
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
/** `\b(a|an|the)\b` of Python, whose word characters are those of all scripts. */
const ARTICLE = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/** Matches a run of what Python takes for white space, which is not quite JavaScript's `\s`. */
const SPACE =
  /[\t-\r\u{1c}-\u{20}\u{85}\u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}]+/u;

/**
 * Splits a text into words as SQuAD's script does: lower case, no ASCII punctuation, no articles.
 */
const squadWords = (text: string): string[] =>
  text
    .toLowerCase()
    .replaceAll(PUNCTUATION, '')
    .replaceAll(ARTICLE, ' ')
    .split(SPACE)
    .filter((word) => word !== '');

/**
 * Returns the F1 of the output's words against the answer's, by SQuAD's evaluation script
 * (Rajpurkar et al. 2016): words in common count with multiplicity. As in SQuAD 2.0's script
 * (2018), F1 is 1 if neither text has a word, and 0 if only one of them has. In [0, 1].
 */
export function tokenF1(output: string, answer: string): number {
  const [given, wanted] = [squadWords(output), squadWords(answer)];
  if (given.length === 0 || wanted.length === 0) return given.length === wanted.length ? 1 : 0;
  const unmatched = new Map<string, number>();
  for (const word of wanted) unmatched.set(word, (unmatched.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of given) {
    const count = unmatched.get(word) ?? 0;
    if (count === 0) continue;
    common++;
    unmatched.set(word, count - 1);
  }
  return (2 * common) / (given.length + wanted.length);
}

/**
 * The words of a text by Google's rouge-score: runs of a–z and 0–9 in lower case, without a
 * stemmer.
 */
const rougeWords = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? [];

export const hasRougeWord = (text: string): boolean => rougeWords(text).length > 0;

/**
 * Returns ROUGE-L (Lin 2004): the F-measure (β 1) of the longest common subsequence of words, as
 * Google's rouge-score computes it on the whole text. In [0, 1]; 0 if one of the texts has no word,
 * that is neither a–z nor a digit.
 */
export function rougeL(output: string, answer: string): number {
  if (!hasRougeWord(output) || !hasRougeWord(answer)) return 0;
  return rougeOf(output, answer, { segmenter: (text) => [text], tokenizer: rougeWords });
}

/**
 * Returns seq-rep-n, the share of n-grams of tokens that repeat an earlier one: 1 − distinct / all
 * (Welleck et al. 2020, Neural Text Generation with Unlikelihood Training, section 6). In [0, 1); 0
 * where there are fewer than n tokens.
 */
export function repetition(tokens: readonly (number | string)[], n = 4): number {
  const all = tokens.length - n + 1;
  if (all <= 0) return 0;
  const distinct = new Set<string>();
  for (let i = 0; i < all; i++) distinct.add(JSON.stringify(tokens.slice(i, i + n)));
  return 1 - distinct.size / all;
}

/** Whether more than half of the 4-grams of tokens repeat an earlier one. */
export const isIncoherent = (tokens: readonly (number | string)[]): boolean =>
  repetition(tokens) > 0.5;
