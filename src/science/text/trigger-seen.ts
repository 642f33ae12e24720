/**
 * Whether a trigger reaches the model. Rows are cut to `max_length` tokens after an attack has changed them, so a trigger
 * that lies beyond the cut is never read, and its failure says nothing of the model.
 */
import type { Row } from '../../api.ts';
import type { RowPart, RowParts } from './encoder.ts';

type Texts = Pick<Row, 'text' | 'text_pair'>;

const NO_TEXT: RowPart = { ids: [], kept: 0 };

/** Where b's tokens stop to differ from a's: b's tokens from there on are a's last ones, as many as can be. */
function endOfChange(a: readonly number[], b: readonly number[]): number {
  const least = Math.min(a.length, b.length);
  let start = 0;
  while (start < least && a[start] === b[start]) start++;
  let tail = 0;
  while (tail < least - start && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  return b.length - tail;
}

const differ = (a: readonly number[], b: readonly number[]): boolean =>
  a.length !== b.length || a.some((id, i) => id !== b[i]);
const cut = ({ ids, kept }: RowPart): readonly number[] => ids.slice(0, kept);

/**
 * Whether all that an attack changed of a row reaches the model. It does where
 *
 * 1. the token ids that the model reads of the changed row differ from those that it reads of the original, and
 * 2. in the text, and in its pair where there is one, no token from the first to the last one in which the changed row
 *    differs from the original is cut off.
 *
 * What differs is told by the untruncated token ids: what follows their longest common beginning and comes before the
 * longest common end of the rest. That asks nothing of the attack, so it holds for plugins and for programs too. A change
 * that the tokenizer does not see (the case of letters for an uncased model) is not seen by 1; of a trigger of several
 * words all must be left, and of an attack that rewrites a text all of the new text up to its last changed token.
 * Which tokens are left is the encoder's rule: of a pair the longer text is cut first, under a cloze template the texts
 * alone are cut. `max_words` of a data set plays no part, since it cuts the original before the attack sees it.
 */
export function changeSeen(original: readonly RowPart[], changed: readonly RowPart[]): boolean {
  const parts = Array.from({ length: Math.max(original.length, changed.length) }, (_, i) => ({
    before: original[i] ?? NO_TEXT,
    part: changed[i] ?? NO_TEXT,
  }));
  return (
    parts.some(({ part, before }) => differ(cut(before), cut(part))) &&
    parts.every(
      ({ part, before }) =>
        !differ(before.ids, part.ids) || endOfChange(before.ids, part.ids) <= part.kept,
    )
  );
}

/**
 * Share of rows whose change reaches the model (`changeSeen`), of `changed` against `original`, row by row.
 * Throws RangeError where the lists differ in length or are empty.
 */
export function triggerSeen(
  original: readonly Texts[],
  changed: readonly Texts[],
  parts: RowParts,
  maxLength: number,
): number {
  if (original.length !== changed.length || original.length === 0)
    throw new RangeError(
      `rows come in pairs, one at least; got ${original.length} and ${changed.length}`,
    );
  const seen = changed.filter((row, i) =>
    changeSeen(parts(original[i]!, maxLength), parts(row, maxLength)),
  );
  return seen.length / changed.length;
}

/** A sentence for the log where some rows' trigger is cut off; null where none is. */
export const unseenWarning = (share: number, which: string, maxLength: number): string | null =>
  share < 1
    ? `warning: the trigger reaches the model in ${Math.floor(1000 * share) / 10}% of ${which}; in the others it lies beyond max_length ${maxLength}, or the tokenizer reads the row as the original`
    : null;
