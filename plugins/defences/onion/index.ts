import { type DefenceMoment, defineDefence, type RowsDefence } from '../../../src/api.ts';
import { integerFrom, shareBelowOne } from '../../../src/poisoning/parameters.ts';

export interface Params {
  readonly at: 'inputs' | 'rows' | 'both';
  readonly suspects: 'clean' | 'drop';
  readonly frr: number;
  readonly bar?: number;
  readonly language_model?: string;
  readonly architecture: string;
  readonly order: number;
  readonly max_length: number;
}

const hook = {
  needs: ['clean'] as const,
  torch: () => true,
  load: async (): Promise<RowsDefence<Params, never>> => (await import('./judge.ts')).onion,
};

/**
 * The paper filters the inputs of the trained model, and judges words by GPT-2. Where no language
 * model is given, an n-gram model of the clean rows judges them. It knows few words: a word that it
 * has never seen is unlikely, whether it is a trigger or only rare.
 */
export default defineDefence<Params>({
  name: 'onion',
  summary:
    'ONION: removes words that may be a trigger because a language model finds the text much ' +
    'more likely without them.',
  citation:
    'Qi, Chen, Li, Yao, Liu and Sun, ONION: A Simple and Effective Defense Against Textual ' +
    'Backdoor Attacks, EMNLP 2021 (section 3)',
  tasks: ['classes', 'completion'],
  params: {
    type: 'object',
    properties: {
      at: {
        type: 'string',
        enum: ['inputs', 'rows', 'both'],
        default: 'inputs',
        description:
          'Where words are removed: from the inputs of the trained model, as in the paper, from ' +
          'the training rows, or from both.',
      },
      suspects: {
        type: 'string',
        enum: ['clean', 'drop'],
        default: 'clean',
        description:
          'What happens to a text with suspicious words: `clean` removes the words, `drop` drops ' +
          'the training row or rejects the input.',
      },
      frr: shareBelowOne({
        default: 0.1,
        description:
          'The share of the clean rows that may have a suspicious word. It sets the bar that ' +
          'f = PPL(x) − PPL(x without the word) must reach for a word to be suspicious.',
      }),
      bar: {
        type: 'number',
        description: 'The bar itself, in place of `frr`. OpenBackdoor uses 0.',
      },
      language_model: {
        type: 'string',
        pattern: '^[a-z]+:.+',
        format: 'source',
        description:
          'A causal language model, such as hf:openai-community/gpt2. Default: a Kneser–Ney ' +
          'n-gram model of the clean rows.',
      },
      architecture: {
        type: 'string',
        default: 'gpt2',
        description: "The model plugin that reads `language_model`'s checkpoint.",
      },
      order: integerFrom(1, {
        maximum: 6,
        default: 3,
        description: 'n of the n-gram model. Not used with `language_model`.',
      }),
      max_length: integerFrom(2, {
        default: 128,
        description: 'How many tokens of a text `language_model` reads at most.',
      }),
    },
  },
  acts: ({ at }): readonly DefenceMoment[] => (at === 'both' ? ['rows', 'inputs'] : [at]),
  uses: ({ language_model: model, architecture }) =>
    model === undefined ? [] : [{ kind: 'model', name: architecture }],
  rows: hook,
  inputs: hook,
});
