/** The head of a model: a classifier, or the masked-LM head with a template (cloze). */
import type { Cell } from './cell.ts';

/** A head as it appears in the parameters of stages and in `train.json`. */
export type HeadSettings =
  | { readonly type: 'classifier' }
  | {
      readonly type: 'cloze';
      /** Contains {text}, {mask} and, for pairs, {text_pair}. */
      readonly template: string;
      /** The word for each class, by the class's name. */
      readonly verbalizer: { readonly [name: string]: string };
    };

/**
 * Returns only the settings that a head of this type reads, because a field that is not read must
 * not be part of a stage's key.
 */
export const headSettings = ({ type, template, verbalizer }: Cell['head']): HeadSettings =>
  type === 'classifier' ? { type } : { type, template, verbalizer: verbalizer ?? {} };
