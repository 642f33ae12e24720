/** Reads what an attack's parameter `files` names: JSON lines, one object a line. */
import {
  type AttackDescriptor,
  type AttackInput,
  type JsonSchema,
  type Row,
  UserFault,
} from '../api.ts';
import { isRecord, parseJson, shown } from '../base/untrusted/json.ts';
import { lines } from '../data/text-file.ts';
import {
  backdoorBasis,
  type BackdoorParams,
  backdoorProperties,
  poisonBackdoor,
} from './backdoor.ts';
import { parametersRequiring } from './parameters.ts';

export interface FileRecord {
  readonly fields: { readonly [name: string]: unknown };
  /** `paraphrases.jsonl:17` */
  readonly place: string;
}

/** The schema of `files`, for an attack that needs at least one file. */
export const filesProperty = (description: string): JsonSchema => ({
  files: {
    type: 'array',
    items: { type: 'string' },
    format: 'source',
    minItems: 1,
    description,
  },
});

/**
 * Returns the records of the files, in the order of the files' names. Throws `UserFault` if there
 * is no file, or if a line is not a JSON object.
 * @param files paths by file name
 */
export async function readRecords(
  files: { readonly [name: string]: string } = {},
): Promise<readonly FileRecord[]> {
  const names = Object.keys(files).sort();
  if (names.length === 0)
    throw new UserFault('the attack has no file to read', 'Write files: ["file:…"].', [
      'poisoning',
      'files',
    ]);
  const records: FileRecord[] = [];
  for (const name of names)
    for await (const [line, number] of lines(files[name] ?? '', name)) {
      const place = `${name}:${number}`,
        fields = parseJson(line, place);
      if (!isRecord(fields)) throw new UserFault(`${place} is not a JSON object`);
      records.push({ fields, place });
    }
  return records;
}

/** Returns a field of a record. Throws `UserFault` unless it is text and not blank. */
export function textField({ fields, place }: FileRecord, name: string): string {
  const value = fields[name];
  if (typeof value === 'string' && value.trim() !== '') return value;
  throw new UserFault(
    value === undefined
      ? `${place} has no \`${name}\``
      : `${place}: \`${name}\` is ${shown(value)}, which is not a text`,
  );
}

/**
 * Returns the text in `field` of each record, by the record's `id`. Throws `UserFault` if an id
 * occurs twice, or if a record lacks its id or text.
 */
export function textsById(
  records: readonly FileRecord[],
  field: string,
): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const record of records) {
    const id = textField(record, 'id');
    if (texts.has(id)) throw new UserFault(`${record.place} has the id "${id}" a second time`);
    texts.set(id, textField(record, field));
  }
  return texts;
}

/**
 * Throws `UserFault` if the files lack the text of some rows, that is, if `missing` is not empty.
 * @param missing the ids of these rows
 * @param what what the text is, such as `paraphrase`; `field` is its field in the files
 * @param of the number of rows for which the files should hold a text
 */
export function refuseMissing(
  missing: readonly string[],
  what: string,
  field: string,
  of: number,
): void {
  const [first] = missing;
  if (first === undefined) return;
  throw new UserFault(
    `${missing.length} of ${of} rows have no ${what} in the attack's \`files\`, ` +
      `the first of them ${first}`,
    `Each line is {"id": …, "${field}": …} for a row of training or validation; ` +
      "`dosimeter exec SPEC STAGE` writes a data stage's rows with their ids.",
    ['poisoning', 'files'],
  );
}

interface ParaphraseParams extends BackdoorParams {
  readonly files: readonly string[];
}

/**
 * Returns copies of the rows with their paraphrases as texts, in the same order. Throws `UserFault`
 * if there is no file, if a file is at fault, or if a row has no paraphrase.
 * @param files paths by file name
 */
async function withParaphrases(
  rows: readonly Row[],
  files: AttackInput<unknown>['files'],
): Promise<Row[]> {
  const texts = textsById(await readRecords(files), 'text');
  const missing = rows.map(({ id }) => id).filter((id) => !texts.has(id));
  refuseMissing(missing, 'paraphrase', 'text', rows.length);
  return rows.map((row) => ({ ...row, text: texts.get(row.id)! }));
}

/** A backdoor whose trigger is a paraphrase: its descriptor without name, summary and citation. */
export const paraphraseBackdoor: Pick<
  AttackDescriptor<ParaphraseParams>,
  'family' | 'tasks' | 'params' | 'check' | 'poison' | 'target' | 'triggerAll'
> = {
  ...backdoorBasis,
  params: parametersRequiring(['files'], {
    ...backdoorProperties(0.1, 'dirty'),
    ...filesProperty(
      'The paraphrases, made elsewhere: JSON lines such as {"id": "train-000004", "text": …}, ' +
        'one for each row that is poisoned or, in evaluation, shown under the trigger. Of a ' +
        'pair, the first text is replaced.',
    ),
  }),
  async poison(input) {
    const drawn = poisonBackdoor(input, (row) => row);
    const rows = await withParaphrases(
      drawn.changed.map(({ row }) => row),
      input.files,
    );
    return { ...drawn, changed: drawn.changed.map(({ index }, i) => ({ index, row: rows[i]! })) };
  },
  triggerAll: (rows, { files }) => withParaphrases(rows, files),
};
