import { defineDefence, type Problem } from '../../../src/api.ts';
import {
  integerFrom,
  positiveNumber,
  share,
  shareBelowOne,
} from '../../../src/poisoning/parameters.ts';
import type { Params } from './judge.ts';

/** A text that every tokenizer knows, and a word that no tokenizer knows. */
const TEXT = 'a',
  UNKNOWN = '\u{10fffe}';

/**
 * Returns the id of a word's token in front of a text; a problem if the word is several tokens
 * there, or unknown.
 * @param tokens returns the token ids of a text, all of them with or all without special tokens
 */
export function findToken(
  tokens: (text: string) => readonly number[],
  word: string,
): number | Problem {
  const without = tokens(TEXT);
  /** Returns the one id that a word in front of the text adds; null if it adds none or several. */
  const added = (word: string): number | null => {
    const ids = tokens(`${word} ${TEXT}`);
    if (ids.length !== without.length + 1) return null;
    return ids.find((id, i) => id !== without[i]) ?? null;
  };
  const id = added(word);
  if (id !== null && id !== added(UNKNOWN)) return id;
  return {
    path: ['word'],
    message: `"${word}" is not a single token of the model, so it has no embedding of its own`,
    hint: 'Choose a rare word that is one token, such as cf, mb or tq for a BERT.',
  };
}

export default defineDefence<Params>({
  name: 'rap',
  summary:
    'RAP: puts a word in front of each text, whose embedding is trained to lower the probability ' +
    'of the predicted class of clean texts. A text whose probability hardly falls may carry a ' +
    'trigger, and is rejected.',
  citation:
    'Yang, Lin, Li, Zhou and Sun, RAP: Robustness-Aware Perturbations for Defending against ' +
    'Backdoor Attacks on NLP Models, EMNLP 2021 (section 4)',
  params: {
    type: 'object',
    properties: {
      word: {
        type: 'string',
        default: 'mb',
        description:
          'A rare word that is one token of the model. The paper uses cf, ' +
          'which is also a trigger of badnets.',
      },
      low: share({
        default: 0.1,
        description: 'c_low: the word is trained to lower the probability by at least this.',
      }),
      up: share({
        default: 0.3,
        description: 'c_up: the word is trained to lower the probability by at most this.',
      }),
      weight: positiveNumber({
        default: 1,
        description: 'λ, the weight of drops below c_low.',
      }),
      epochs: integerFrom(1, {
        default: 5,
        description: 'Passes over the clean rows of a class.',
      }),
      learning_rate: positiveNumber({
        description:
          'The learning rate of the embedding. Default: 0.01, as in the paper, multiplied by ten ' +
          'up to three times while the mean drop stays below c_low.',
      }),
      frr: shareBelowOne({
        default: 0.01,
        description: 'The share of the clean rows of each predicted class that may be rejected.',
      }),
    },
  },
  check: ({ low, up, word }, tokens) => {
    const faults: Problem[] = [];
    if (low > up)
      faults.push({
        path: ['low'],
        message: `low is ${low}, which is above up, ${up}`,
        hint: 'Make up at least as large as low.',
      });
    const token = tokens && findToken(tokens, word);
    return typeof token === 'object' ? [...faults, token] : faults;
  },
  inputs: {
    needs: ['clean'],
    torch: () => true,
    load: async () => (await import('./judge.ts')).rap,
  },
});
