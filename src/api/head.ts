/**
 * The head of a model: a classifier, a linear layer with one output (regression), the masked-LM
 * head with a template (cloze), or the next-token head of a decoder.
 */
import type { Cell } from './cell.ts';

/** A head as it appears in the parameters of stages and in `train.json`. */
export type HeadSettings =
  | { readonly type: 'classifier' }
  | { readonly type: 'regression' }
  | {
      readonly type: 'cloze';
      /** Contains {text}, {mask} and, for pairs, {text_pair}. */
      readonly template: string;
      /** The word for each class, by the class's name. */
      readonly verbalizer: { readonly [name: string]: string };
    }
  | {
      readonly type: 'causal-lm';
      /**
       * `chat` (the tokenizer's chat template), `alpaca` (Alpaca's prompt), or a text that contains
       * {prompt}. The answer follows its end.
       */
      readonly template: string;
    };

/** The template of each head that reads one, where the spec has none. */
const TEMPLATES = { cloze: '{text} It was {mask} .', 'causal-lm': '{prompt}' } as const;

/**
 * Returns only the settings that a head of this type reads, because a field that is not read must
 * not be part of a stage's key.
 */
export function headSettings({ type, template, verbalizer }: Cell['head']): HeadSettings {
  if (type === 'classifier' || type === 'regression') return { type };
  const own = template ?? TEMPLATES[type];
  return type === 'cloze'
    ? { type, template: own, verbalizer: verbalizer ?? {} }
    : { type, template: own };
}
