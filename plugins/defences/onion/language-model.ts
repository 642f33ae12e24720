/** What ONION asks of a language model. */

export interface Perplexities {
  /** The perplexity of the text. */
  readonly whole: number;
  /** The perplexity of the text without its i-th word, for each word. */
  readonly without: readonly number[];
}

export interface LanguageModel {
  /**
   * Returns the perplexity of a text of words, and of the text without each of them. Never NaN.
   * Infinity where the model gives no probability, such as to an empty text without an end symbol.
   */
  leaveOneOut(words: readonly string[]): Perplexities | Promise<Perplexities>;
}
