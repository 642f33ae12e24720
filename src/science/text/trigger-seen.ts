/**
 * Whether a trigger reaches the model. Rows are cut to `max_length` tokens after an attack has
 * changed them, so the model never reads a trigger that lies beyond the cut, and the failure of
 * such a trigger says nothing about the model.
 */
import type { Warning } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import type { RowPart, RowParts, Texts } from './encoder.ts';

const NO_TEXT: RowPart = { ids: [], kept: 0 };

/**
 * The end, in b, of the part in which b differs from a: the tokens from there on are the longest
 * common ending.
 */
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
 * Whether everything that an attack changed in a row reaches the model. It does if
 *
 * 1. the token ids that the model reads differ between the changed row and the original, and
 * 2. in the text, and in its pair if there is one, none of the tokens between the first and the
 *   last changed one is cut off.
 *
 * The changed tokens are found by comparing the untruncated token ids: they follow the longest
 * common beginning and precede the longest common ending of the rest. The rule needs nothing from
 * the attack, so it applies to plugins and external programs too. A change that the tokenizer
 * ignores (upper case, for an uncased model) counts as not seen, by 1. A trigger of several words
 * must be kept completely, and a rewritten text up to its last changed token.
 *
 * Which tokens are cut off is decided by the encoder: in a pair the longer text is cut first, and
 * under a cloze template only the texts are cut. `max_words` of a data set has no influence, since
 * it cuts the original before the attack.
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
 * The share of rows whose change reaches the model (`changeSeen`), comparing `changed` with
 * `original` row by row. Throws RangeError where the lists differ in length or are empty.
 */
export function triggerSeen(
  original: readonly Texts[],
  changed: readonly Texts[],
  parts: RowParts,
  maxLength: number,
): number {
  if (original.length !== changed.length || original.length === 0)
    throw new RangeError(
      `the rows must come in pairs, at least one; got ${original.length} and ${changed.length}`,
    );
  const seen = changed.filter((row, i) =>
    changeSeen(parts(at(original, i), maxLength), parts(row, maxLength)),
  );
  return seen.length / changed.length;
}

/** Warns where some triggers do not reach the model. */
export function warnOfUnseen(
  warn: (warning: Warning) => void,
  share: number,
  which: string,
  { path, maxLength }: { readonly path: Warning['path']; readonly maxLength: number },
): void {
  if (share === 1) return;
  warn({
    path,
    message:
      `the trigger reaches the model in ${Math.floor(1000 * share) / 10}% of ${which}; ` +
      `in the others it lies beyond max_length ${maxLength}, ` +
      'or the tokenizer reads the row like the original',
    hint: 'Raise max_length, or shorten the texts by max_words of their split.',
  });
}
