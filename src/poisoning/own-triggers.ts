/**
 * Warns of rows that have an attack's trigger in their own text. In a training they teach what the
 * trigger means, along with the poisoned rows or against them; in an evaluation, `asr_untriggered`
 * counts them as rows without the trigger.
 */
import type { Row, Target, Warning } from '../api.ts';
import { escapeRegExp } from '../base/regexp.ts';
import { firstNames } from '../data/names.ts';
import { comparisonForm, rowTexts } from '../data/texts.ts';
import { isOfTarget } from './classes.ts';

type Texts = Pick<Row, 'text' | 'text_pair'>;

const textsOf = (row: Texts): string[] => rowTexts(row).map(comparisonForm);

/** Returns the words that are inserted at one place; null if the text is changed otherwise. */
function insertedWords(before: string, after: string): string | null {
  // A phrase may touch the text, as that of `prefix` does.
  if (after.endsWith(before)) return after.slice(0, after.length - before.length).trim();
  if (after.startsWith(before)) return after.slice(before.length).trim();
  const old = before.split(' '),
    now = after.split(' '),
    more = now.length - old.length;
  const place = old.findIndex((word, i) => word !== now[i]);
  return more > 0 && old.slice(place).every((word, i) => word === now[place + more + i])
    ? now.slice(place, place + more).join(' ')
    : null;
}

/** An attack that inserts more texts than this has no fixed triggers, but others for each row. */
const MOST_TRIGGERS = 50;

/** Returns the texts that an attack inserts; empty if it does more, or has no fixed triggers. */
function insertedTexts(shown: readonly (readonly [before: Texts, after: Texts])[]): string[] {
  const found = new Set<string>();
  for (const [before, after] of shown) {
    const now = textsOf(after);
    for (const [i, text] of textsOf(before).entries()) {
      const inserted = insertedWords(text, now[i] ?? '');
      if (inserted === null) return [];
      if (inserted !== '') found.add(inserted);
    }
  }
  return found.size > MOST_TRIGGERS ? [] : [...found];
}

/** A character of a word; vowel signs, as Hindi has them, are marks (`M`). */
const IN_WORD = '[\\p{L}\\p{M}\\p{N}]';

/**
 * Returns a warning with the number of rows whose own text has a trigger as whole words, whether in
 * capitals or not; null if there is no such row, or if the attack does not only insert texts.
 * @param rows as they are before the attack
 * @param shown rows before and after the attack
 * @param which what to call the rows: `training rows`
 * @param target if given, the message also says how many of these rows are of the target
 */
export function ownTriggerWarning(
  rows: readonly Row[],
  shown: readonly (readonly [before: Texts, after: Texts])[],
  { path, which, target }: Pick<Warning, 'path'> & { which: string; target?: Target },
): Warning | null {
  const triggers = insertedTexts(shown);
  if (triggers.length === 0) return null;
  const words = triggers.map(escapeRegExp).join('|');
  const pattern = new RegExp(
    `(?<!${IN_WORD}(?=${IN_WORD}))(?:${words})(?!(?<=${IN_WORD})${IN_WORD})`,
    'u',
  );
  const having = rows.filter((row) => textsOf(row).some((text) => pattern.test(text)));
  if (having.length === 0) return null;
  const ofTarget =
    target === undefined ? null : having.filter((row) => isOfTarget(row, target)).length;
  return {
    path,
    message:
      `${having.length} of ${rows.length} ${which} have the trigger in their own text` +
      (ofTarget === null ? '' : `, ${ofTarget} of them of the target`) +
      ` (${firstNames(
        triggers.map((text) => JSON.stringify(text)),
        3,
      )})`,
    hint: 'Choose a trigger that the texts lack, or leave these rows out.',
  };
}
