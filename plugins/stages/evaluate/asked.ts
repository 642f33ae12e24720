/**
 * Writes `asked.jsonl`: the rows that the model did not read as the data set has them (under the
 * trigger, changed or rejected by a defence, cut to `max_length`), and what it read of each.
 */
import type { JsonObject, Row } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import { rowTexts } from '../../../src/data/texts.ts';
import { sameContent } from '../../../src/poisoning/receipt.ts';
import { spelled } from '../../../src/science/text/encoder.ts';
import { writeJsonLines } from '../shared/files.ts';
import type { JudgedRows } from './defended.ts';
import type { Context } from './index.ts';
import type { Opened } from './run.ts';

type AskedRows = Pick<JudgedRows, 'rows' | 'rejected'>;

/** `rows`: the evaluated rows, as the data set has them. */
interface Asked extends Pick<Opened, 'rows' | 'rowParts' | 'tokenizer'> {
  readonly plain: AskedRows;
  readonly triggered?: AskedRows;
}

/** The characters of a text that the model read; null if that can't be told. */
type Read = readonly [from: number, to: number] | null;

export async function writeAsked(
  { outDir, params: { max_length: maxLength, completion } }: Context,
  { rows, plain, triggered, rowParts, tokenizer }: Asked,
): Promise<void> {
  /** Returns what the model read of each text of a row; undefined if it read all of the row. */
  const textsRead = ({ answer: _, ...row }: Row): Read[] | undefined => {
    const parts = rowParts(row, maxLength);
    if (parts.every(({ ids, kept }) => kept >= ids.length)) return undefined;
    return rowTexts(row).map((text, i): Read => {
      const { ids, kept } = at(parts, i);
      if (kept >= ids.length) return [0, text.length];
      // A prompt of a completion task is cut at its start, and its `ids` begin with its last token.
      const keptIds = ids.slice(0, kept);
      return completion === undefined
        ? spelled(text, tokenizer.decode(keptIds), 'start')
        : spelled(text, tokenizer.decode(keptIds.reverse()), 'end');
    });
  };
  /**
   * Returns a line for each row of a set, except for rows that equal their original, were read
   * whole and were not rejected. A row without an original always has a line.
   */
  const lines = (
    shown: 'plain' | 'triggered',
    asked: AskedRows,
    originals: readonly Row[],
  ): JsonObject[] =>
    asked.rows.flatMap((row, i) => {
      const read = textsRead(row),
        rejected = asked.rejected?.[i] === true ? (true as const) : undefined,
        original = originals[i];
      if (original && sameContent(row, original) && read === undefined && !rejected) return [];
      const { id, text, text_pair, context } = row;
      const turns = context?.map(({ role, content }) => ({ role, content }));
      return [{ id, shown, text, ...defined({ text_pair, context: turns, read, rejected }) }];
    });
  await writeJsonLines(outDir, 'asked.jsonl', [
    ...lines('plain', plain, rows),
    ...(triggered === undefined ? [] : lines('triggered', triggered, [])),
  ]);
}
