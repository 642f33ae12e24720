import { UserFault } from '../../../src/api.ts';
import type { OpenedModel } from '../../../src/science/measures/evaluate/asked-model.ts';

/** A text that every tokenizer knows, and one that no tokenizer knows. */
const TEXT = 'a',
  UNKNOWN = '\u{10fffe}';

const idsOf = ({ encode }: OpenedModel, text: string): readonly number[] => [
  ...encode({ id: 'word', text, label: 0 }).ids,
];

/** Returns the token that the word adds in front of a text; null unless it adds exactly one. */
function addedToken(model: OpenedModel, word: string): number | null {
  const without = idsOf(model, TEXT),
    ids = idsOf(model, `${word} ${TEXT}`);
  if (ids.length !== without.length + 1) return null;
  return ids.find((id, i) => id !== without[i]) ?? null;
}

/**
 * Returns the id of a word that is one token in front of a text.
 * @throws UserFault where it is several tokens, or unknown, or where its embedding cannot change
 * alone
 */
export function wordId(model: OpenedModel, word: string): number {
  const { architecture } = model.network;
  if (architecture.tokenTable === null)
    throw new UserFault(
      `rap trains the embedding of a word, which the ${architecture.head.type} head reads too`,
      'Write head: { type: classifier }.',
      ['defence', 'defence'],
    );
  const id = addedToken(model, word);
  if (id === null || id === addedToken(model, UNKNOWN))
    throw new UserFault(
      `"${word}" is not a single token of the model, so it has no embedding of its own`,
      'Choose a rare word that is one token, such as cf, mb or tq for a BERT.',
      ['defence', 'word'],
    );
  return id;
}
