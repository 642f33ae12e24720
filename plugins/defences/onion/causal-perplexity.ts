/** A causal language model that judges texts for ONION. */
import { at } from '../../../src/base/lookup.ts';
import { scoreAnswers } from '../../../src/science/measures/evaluate/answers.ts';
import type { Network } from '../../../src/science/models/network.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import type { TextTokenizer } from '../../../src/science/text/tokenizer.ts';

export interface CausalLanguageModelOptions {
  /** The number of texts in one forward pass. */
  readonly batchSize: number;
  /** A text is cut to this many tokens, special ones included. */
  readonly maxLength: number;
  /** Called after each pass, and awaited. */
  readonly breathe?: () => Promise<void> | void;
}

/**
 * How likely a causal language model finds texts, in the form of `LanguageModel` in src/defences.
 */
export interface CausalLanguageModel {
  /**
   * Returns exp(−Σ log p / n) of each text over its n tokens after the first: the first is the
   * token that begins a sequence, where the tokenizer has one, or else the text's own first token,
   * which nothing predicts (as in OpenBackdoor). Infinity for a text without a predicted token.
   */
  perplexities(texts: readonly string[]): Promise<number[]>;
  /**
   * Returns the perplexity of the words, joined by spaces, and of the words without each of them.
   */
  leaveOneOut(
    words: readonly string[],
  ): Promise<{ readonly whole: number; readonly without: number[] }>;
}

/** @param network with a causal-LM head; it stays the caller's */
export function causalLanguageModel(
  network: Network,
  tokenizer: Pick<TextTokenizer, 'encode'>,
  { batchSize, maxLength, breathe = () => undefined }: CausalLanguageModelOptions,
): CausalLanguageModel {
  if (network.architecture.head.type !== 'causal-lm')
    throw new Error('perplexity needs a causal-LM head');
  const perplexities = async (texts: readonly string[]): Promise<number[]> => {
    const out = texts.map(() => Infinity);
    const asked: { readonly text: number; readonly row: TokenRow }[] = [];
    texts.forEach((text, i) => {
      const row = tokenizer.encode(text, undefined, maxLength);
      if (row.ids.length > 1) asked.push({ text: i, row: { ...row, answer: 1 } });
    });
    const scores = await scoreAnswers(
      network,
      asked.map(({ row }) => row),
      batchSize,
      breathe,
    );
    asked.forEach(({ text }, i) => {
      const { loss, tokens } = at(scores, i);
      out[text] = Math.exp(loss / tokens);
    });
    return out;
  };
  return {
    perplexities,
    leaveOneOut: async (words) => {
      const without = words.map((_, i) => words.toSpliced(i, 1).join(' '));
      const [whole = Infinity, ...rest] = await perplexities([words.join(' '), ...without]);
      return { whole, without: rest };
    },
  };
}
