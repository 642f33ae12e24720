/** Makes rows from the fields of delimited text. */
import type { JsonObject, RawRow, ResolvedSplit } from '../../../src/api.ts';
import { UserFault } from '../../../src/api.ts';
import { columnIndexes, type Fields, rowOfFields } from '../../../src/data/columns.ts';

/**
 * Yields the rows. If all columns are given by number, it returns the header that it skipped,
 * because only the spec says that this line is a header. It also returns how many lines it left out
 * (`ResolvedSplit.ragged`).
 * @param records the file's records in order, each with the line on which it begins
 * @param ragged the hint for a record with the wrong number of fields
 */
export async function* tableRows(
  records: AsyncIterable<readonly [fields: readonly string[], line: number]>,
  split: ResolvedSplit,
  name: string,
  ragged: string,
): AsyncGenerator<RawRow, JsonObject> {
  let width = 0;
  let at: ReturnType<typeof columnIndexes> | null = null;
  let facts: JsonObject = {};
  let leftOut = 0;
  const { columns } = split;
  const numbered = Object.values(columns).every((column) => typeof column === 'number');
  for await (const [fields, line] of records) {
    if (at === null) {
      width = fields.length;
      at = columnIndexes(split, split.header ? fields : null, width, name);
      if (split.header) {
        if (numbered) facts = { header: fields };
        continue;
      }
    }
    const place = `${name}:${line}`;
    if (fields.length !== width) {
      if (split.ragged === 'left out') {
        leftOut++;
        continue;
      }
      throw new UserFault(
        `${place} has ${fields.length} field${fields.length === 1 ? '' : 's'} where the ` +
          `${split.header ? 'header' : 'first line'} has ${width}.`,
        ragged,
      );
    }
    const texts = [...at].map(([role, index]) => [role, fields[index] ?? '']);
    yield rowOfFields(columns, Object.fromEntries(texts) as Fields, place);
  }
  return leftOut === 0 ? facts : { ...facts, ragged_lines: leftOut };
}
