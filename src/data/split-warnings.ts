import { type Row, taskOf, type Warning } from '../api.ts';
import { defined } from '../base/defined.ts';
import { isCompletion } from './columns.ts';
import { hasBlankAnswer, type LoadedSplit, type SplitRequest } from './load-split.ts';
import { firstNames } from './names.ts';
import { splitPath } from './split-request.ts';
import { differences, sameButForCase, sameNumber, textKey } from './texts.ts';

/** Up to this many classes are no sign of a wrong column, however few rows a file has. */
const FEW_CLASSES = 20;

/** There is a warning if the texts of more than this share of the rows also have another label. */
const CONTRADICTORY = 0.01;

export function splitWarnings(request: SplitRequest, loaded: LoadedSplit): Warning[] {
  const { name } = request;
  const { rows, classes, facts } = loaded;
  const found: Warning[] = request.classes === null ? labelWarnings(request, loaded) : [];
  /** Adds a warning about a field of the split; [] for the split itself. */
  const warn = (field: readonly string[], message: string, hint?: string): void => {
    found.push({ path: [...splitPath(name), ...field], message, ...defined({ hint }) });
  };
  const warnOfEmpty = (what: 'text' | 'answer', lacks: (row: Row) => boolean): void => {
    const places = rows.flatMap((row) => (lacks(row) ? [loaded.placeOf(row)] : []));
    if (places.length > 0)
      warn(
        ['columns'],
        `${places.length} of ${rows.length} ${name} rows have an empty ${what}: ` +
          firstNames(places, 3),
        'Fill them in or leave them out of the file, or read another column.',
      );
  };
  warnOfEmpty('text', ({ text }) => text.trim() === '');
  warnOfEmpty('answer', hasBlankAnswer);
  const { quoted_lines: quoted, ragged_lines: ragged } = facts;
  if (typeof quoted === 'number')
    warn(
      ['source'],
      'fields in double quotes, as CSV has them, ' +
        `in ${linesText(quoted)} of data.${name}: TSV reads the quotes as text`,
      `Write format: csv and delimiter: "\\t" in data.${name}.`,
    );
  if (typeof ragged === 'number')
    warn(
      ['source'],
      `${linesText(ragged)} of data.${name} left out: another number of fields than in the header`,
    );
  const contradictory = taskOf(classes) === 'classes' ? contradictoryRows(rows) : [];
  if (contradictory.length > CONTRADICTORY * rows.length)
    warn(
      ['columns'],
      `${contradictory.length} of ${rows.length} ${name} rows have a text that also has another ` +
        `label: ${firstNames(contradictory.map(loaded.placeOf), 3)}`,
      'Keep one row of each text, or read another column.',
    );
  const haveOneLabel = rows.every(({ label }) => label === rows[0]?.label);
  if (name !== 'train' && name !== 'clean' && taskOf(classes) === 'classes' && haveOneLabel)
    warn([], `all ${rows.length} ${name} rows are of one class`);
  if (taskOf(classes) === 'regression' && haveOneLabel)
    warn([], `all ${rows.length} ${name} rows have the same label: nothing correlates with it`);
  return found;
}

/** Returns the rows whose text also occurs with another label. Empty texts do not count. */
function contradictoryRows(rows: readonly Row[]): readonly Row[] {
  const keys = rows.map(textKey),
    first = new Map<string, number>(),
    several = new Set<string>();
  keys.forEach((key, i) => {
    const label = rows[i]?.label ?? -1;
    if ((first.get(key) ?? label) !== label) several.add(key);
    else first.set(key, label);
  });
  several.delete(textKey({ text: '' }));
  return rows.filter((_, i) => several.has(keys[i] ?? ''));
}

/** Returns a number of lines in words: `1 line`, `2 lines`. */
const linesText = (count: number): string => `${count} line${count === 1 ? '' : 's'}`;

/** Matches what programs write in the place of a missing label, such as nothing, `nan` or `N/A`. */
const MISSING = /^(?:nan|null|none|#?n\/a|na|<na>)?$/i;

/**
 * Warns of labels of the training file that differ in case alone, are the same number or look
 * missing. Also warns if there are more than `FEW_CLASSES` labels and more than half as many labels
 * as rows. Returns no warning for any other split.
 */
function labelWarnings(
  { name, split: { columns } }: SplitRequest,
  { classes, facts }: LoadedSplit,
): Warning[] {
  if (name !== 'train' || isCompletion(columns)) return [];
  const path = [...splitPath(name), 'columns', 'label'];
  const rows = Number(facts['rows_in_source']),
    missing = classes.filter((label) => MISSING.test(label.trim()));
  const found: Warning[] = [];
  for (const [how, alike] of [
    ['differ in case alone', sameButForCase(classes)],
    ['are the same number', sameNumber(classes)],
  ] as const)
    if (alike.length > 0)
      found.push({
        path,
        message: `labels that ${how} are classes of their own: ${differences(alike)}`,
        hint: 'Write them alike in the file, or name every class in `data.classes`.',
      });
  if (missing.length > 0)
    found.push({
      path,
      message:
        missing.map((label) => JSON.stringify(label)).join(', ') +
        (missing.length === 1
          ? ', which looks like a label that is missing, is a class of its own'
          : ', which look like labels that are missing, are classes of their own'),
      hint: 'Fill such labels in, leave their rows out, or name every class in `data.classes`.',
    });
  if (classes.length > FEW_CLASSES && 2 * classes.length > rows)
    found.push({
      path,
      message:
        `the column ${JSON.stringify(columns.label)} has ${classes.length} different values in ` +
        `${rows} rows, and each becomes a class`,
      hint: "Is this the label's column?",
    });
  return found;
}
