import {
  type Asset,
  type DatasetDescriptor,
  type JsonObject,
  type RawRow,
  type ResolvedSplit,
  type Row,
  taskOf,
} from '../api.ts';
import { defined } from '../base/defined.ts';
import { randomStream } from '../base/random.ts';
import { flooredShare } from '../base/rounding.ts';
import { shown } from '../base/untrusted/json.ts';
import { inWords, readLimit } from '../base/untrusted/limits.ts';
import { columnNames, isCompletion, SplitFault } from './columns.ts';
import { firstNames, nearest } from './names.ts';
import { DECIMAL, differences, firstWords, sameToTheEye } from './texts.ts';

/** An estimate of a row's memory in bytes, without its texts, which take 2 bytes a character. */
const ROW_BYTES = 200;

/**
 * `clean` are the rows that a defender is given, `test` and `tasks.NAME` those that `evaluate`
 * alone reads.
 */
export type SplitName = 'train' | 'validation' | 'clean' | 'test' | `tasks.${string}`;

/** A split, its fetched source, and the plugin that reads the source. */
export interface SplitReading {
  readonly split: ResolvedSplit;
  readonly asset: Asset;
  readonly dataset: DatasetDescriptor;
}

export interface SplitRequest extends SplitReading {
  readonly name: SplitName;
  /**
   * Class names by label id; `SCORE` if labels are numbers. If null, the classes are the label
   * values of the training file.
   */
  readonly classes: readonly string[] | null;
  /** The training split. Set if `classes` is null and this is another split. */
  readonly train?: SplitReading;
}

export interface LoadedSplit {
  readonly rows: readonly Row[];
  /** Class names by label id; `SCORE` if labels are numbers, empty in a completion task. */
  readonly classes: readonly string[];
  /** For the provenance: what the reader returned, the split's settings, and numbers of rows. */
  readonly facts: JsonObject;
  /** Returns a row's id and where it was read: `train-000001 (train.tsv:3)`. */
  readonly placeOf: (row: Row) => string;
}

/**
 * Loads a split. Its settings take effect in this order: `sample`, `balance`, `offset` and `limit`,
 * `hold_out`. Throws `UserFault`, which is a `SplitFault` if a field of the split is wrong.
 */
export async function loadSplit(request: SplitRequest): Promise<LoadedSplit> {
  const { name, split, asset, dataset } = request;
  checkDigest(split, asset);
  const { rows: raw, facts } = await readAll(dataset, asset, split);
  if (raw.length === 0) throw noRowsFault(split);
  const classes = await findClasses(request, raw);
  const inOrder = orderedRows(raw, dataset),
    ordered = sampledRows(toRows(name, inOrder, classes, split), split);
  const balanced = split.balance ? balancedRows(ordered, classes.length) : ordered;
  const end = split.limit === undefined ? undefined : split.offset + split.limit;
  const chosen = balanced.slice(split.offset, end);
  if (chosen.length === 0) throw noneLeftFault(split, balanced.length);
  const rows = holdOutPart(chosen, split.hold_out);
  if (rows.length === 0)
    throw new SplitFault(['hold_out'], 'No row is left: `hold_out` takes the only one.');
  if (name === 'train' && taskOf(classes) === 'classes') refuseOneClass(split, rows, classes);
  refuseEmptyDocuments(name, rows);
  const empty = rows.filter((row) => row.text.trim() === '').length;
  const unanswered = rows.filter(hasBlankAnswer).length;
  const places = inOrder.map(({ place }) => place);
  return {
    rows,
    classes,
    placeOf: ({ id }) => `${id} (${places[Number(id.slice(name.length + 1))] ?? ''})`,
    facts: {
      ...facts,
      rows_in_source: raw.length,
      order: dataset.unordered ? 'seeded' : 'as in the file',
      balance: split.balance,
      offset: split.offset,
      limit: split.limit ?? null,
      ...defined({
        sample: split.sample,
        hold_out: split.hold_out,
        max_words: split.max_words,
        empty_texts: empty || undefined,
        empty_answers: unanswered || undefined,
      }),
    },
  };
}

/**
 * Returns the classes: those that are given, else the labels of the training file; [] for a
 * completion task. Throws if the training file is needed and has fewer than two labels, or labels
 * that can't be told apart by eye.
 * @param raw all rows of the requested split's file
 */
async function findClasses(
  request: SplitRequest,
  raw: readonly RawRow[],
): Promise<readonly string[]> {
  const { train, split } = request;
  if (isCompletion(split.columns)) return [];
  if (request.classes !== null) return request.classes;
  const classes = train === undefined ? sortedValues(raw) : await trainLabels(train, request, raw);
  const alike = sameToTheEye(classes);
  if (classes.length >= 2 && alike.length === 0) return classes;
  const path = ['columns', 'label'];
  const fault =
    classes.length < 2
      ? new SplitFault(
          path,
          `All rows of the training file have one label, ${JSON.stringify(classes[0])}; ` +
            'a classifier needs at least two classes.',
          "Is this the label's column?",
        )
      : new SplitFault(
          path,
          `The training file has labels that look the same: ${differences(alike)}.`,
          'Correct the file, or name every class in `data.classes` to keep them apart.',
        );
  throw Object.assign(fault, { split: 'train' });
}

/** Whether a row's answer is blank. False for a document, and for a row without an answer. */
export const hasBlankAnswer = ({ answer, document }: Row): boolean =>
  answer?.trim() === '' && document !== true;

/** Throws if all training rows are of one class. */
function refuseOneClass(
  split: ResolvedSplit,
  rows: readonly Row[],
  classes: readonly string[],
): void {
  const [label, ...others] = new Set(rows.map(({ label }) => label));
  if (label === undefined || others.length > 0) return;
  const kept = rows.length === 1 ? 'row kept is' : 'rows kept are';
  throw new SplitFault(
    split.limit === undefined ? [] : ['limit'],
    `The ${rows.length} training ${kept} all of one class, ${JSON.stringify(classes[label])}.`,
    'Set `balance: true`, or take more rows.',
  );
}

/** Throws if a document is ''. White space passes: only a tokenizer tells whether it has tokens. */
function refuseEmptyDocuments(name: SplitName, rows: readonly Row[]): void {
  const ids = rows.flatMap(({ id, text, document }) => (document && text === '' ? [id] : []));
  if (ids.length === 0) return;
  throw new SplitFault(
    ['columns', 'document'],
    `${ids.length} of ${rows.length} ${name} rows are empty documents, in which there is nothing ` +
      `to predict: ${firstNames(ids, 3)}.`,
    'Leave them out of the file, or read another column.',
  );
}

/** Returns the fault that no row is left. @param rows how many there were before `offset` */
const noneLeftFault = ({ offset, source, balance }: ResolvedSplit, rows: number): SplitFault =>
  new SplitFault(
    ['offset'],
    `No row is left: \`offset\` is ${offset}, and ${source} has ${rows} rows` +
      `${balance ? ' when its classes are balanced' : ''}.`,
  );

const noRowsFault = (split: ResolvedSplit): SplitFault =>
  new SplitFault(['source'], `${split.source} holds no rows.`);

/**
 * Throws if the spec gives a digest that is neither the asset's nor that of the archive that the
 * asset was unpacked from.
 */
function checkDigest(split: ResolvedSplit, asset: Asset): void {
  const { digest } = split;
  if (digest === undefined || digest === asset.digest || digest === asset.provenance['archive'])
    return;
  throw new SplitFault(
    ['digest'],
    `The content of ${split.source} is ${asset.digest}, not ${digest}.`,
    'The spec was written for other bytes. Correct `digest` only if the change is intended.',
  );
}

/**
 * Returns all rows that the plugin reads, and the facts that it returns. Throws `SplitFault` once
 * the rows take more memory than the limit.
 */
async function readAll(
  dataset: DatasetDescriptor,
  asset: Asset,
  split: ResolvedSplit,
): Promise<{ rows: RawRow[]; facts: JsonObject }> {
  const rows: RawRow[] = [];
  const memoryLimit = readLimit('text');
  let heldBytes = 0;
  const iterator = dataset.read(asset, split)[Symbol.asyncIterator]();
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) return { rows, facts: next.value ?? {} };
    const { text, text_pair: pair = '', answer = '', rejected = '', context = [] } = next.value;
    const before = context.reduce((sum, { content }) => sum + content.length, 0);
    const own = text.length + pair.length + answer.length + rejected.length;
    heldBytes += 2 * (own + before) + ROW_BYTES;
    if (heldBytes > memoryLimit.value)
      throw new SplitFault(
        ['source'],
        `${split.source} holds more than ${inWords(memoryLimit.value)} of rows, ` +
          'which are held in memory.',
        memoryLimit.raise,
      );
    rows.push(next.value);
  }
}

/** Returns the distinct labels, sorted as numbers if all are whole numbers, else by code unit. */
export function sortedValues(rows: readonly RawRow[]): string[] {
  const values = [...new Set(rows.map(requireLabel))];
  const numeric = values.every((value) => /^-?\d{1,15}$/.test(value));
  return values.sort((a, b) =>
    numeric && Number(a) !== Number(b) ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0,
  );
}

/** Returns a row's label. Throws `SplitFault` if it has none. */
function requireLabel({ label, place }: RawRow): string {
  if (label !== undefined) return label;
  throw new SplitFault(
    ['columns'],
    `${place} has no label.`,
    'If the rows are prompts and answers, say so: columns: { prompt: prompt, answer: answer }.',
  );
}

/**
 * Returns the distinct labels of the training file. Marks each fault as one of the training split.
 * @param rows the rows of `request`; they are used if the training split is the same file, read in
 *   the same way
 */
async function trainLabels(
  train: SplitReading,
  request: SplitRequest,
  rows: readonly RawRow[],
): Promise<string[]> {
  const readingKey = ({ split, asset, dataset }: SplitReading): string =>
    JSON.stringify([
      asset.digest,
      asset.path,
      dataset.name,
      split.delimiter,
      split.header,
      columnNames(split),
    ]);
  try {
    if (readingKey(train) === readingKey(request)) return sortedValues(rows);
    checkDigest(train.split, train.asset);
    const { rows: trainRows } = await readAll(train.dataset, train.asset, train.split);
    if (trainRows.length === 0) throw noRowsFault(train.split);
    return sortedValues(trainRows);
  } catch (error) {
    throw Object.assign(error as Error, { split: 'train' });
  }
}

/**
 * Shuffles the rows of a corpus that has no order, in the same way in every cell and for every
 * seed. Other rows stay in the order of the file.
 */
function orderedRows(rows: readonly RawRow[], dataset: DatasetDescriptor): readonly RawRow[] {
  if (!dataset.unordered) return rows;
  const order = randomStream(0, 'dataset.order', dataset.name).permutation(rows.length);
  return [...order].flatMap((index) => rows[index] ?? []);
}

/**
 * Turns raw rows into rows: gives them ids, replaces labels by class ids or (in a regression)
 * numbers, and cuts texts to `max_words`. Throws `SplitFault` for a row without the answer or the
 * label that the task needs.
 */
function toRows(
  name: SplitName,
  raw: readonly RawRow[],
  classes: readonly string[],
  split: ResolvedSplit,
): Row[] {
  const ids = new Map(classes.map((label, id) => [label, id]));
  const cut = (words: string): string => firstWords(words, split.max_words);
  const isRegression = taskOf(classes) === 'regression';
  return raw.map((row, index): Row => {
    const id = `${name}-${String(index).padStart(6, '0')}`;
    if ('document' in split.columns)
      return { id, text: cut(row.text), answer: '', document: true, label: 0 };
    if (isCompletion(split.columns)) return completionRow(id, row, cut, 'chosen' in split.columns);
    const { text, text_pair, place } = row;
    const label = requireLabel(row);
    const classId = isRegression ? numberLabel(label, place) : ids.get(label);
    if (classId === undefined) {
      const near = nearest(label, classes);
      throw new SplitFault(
        ['columns', 'label'],
        `${place}: the label ${shown(label)} is not one of the classes ` +
          `${firstNames(classes.map(shown))}.`,
        near === null
          ? "Name every class in `data.classes`, or check that this is the label's column."
          : `Did you mean ${shown(near)}?`,
      );
    }
    const pair = text_pair === undefined ? undefined : cut(text_pair);
    return { id, text: cut(text), ...defined({ text_pair: pair }), label: classId };
  });
}

/** Returns the number that a label is. Throws `SplitFault` if it is none. */
function numberLabel(label: string, place: string): number {
  const value = DECIMAL.test(label.trim()) ? Number(label) : NaN;
  if (Number.isFinite(value)) return value;
  throw new SplitFault(
    ['columns', 'label'],
    `${place}: the label ${shown(label)} is not a number, which a regression head learns.`,
    'Is this the column of the numbers? Classes are learnt by head.type: classifier.',
  );
}

/**
 * Returns a row of a completion task; only its prompt is cut. Throws if it lacks an answer or, in a
 * preference pair, the rejected answer.
 */
function completionRow(
  id: string,
  { text, answer, rejected, context, place }: RawRow,
  cut: (words: string) => string,
  isPair: boolean,
): Row {
  if (answer === undefined)
    throw new SplitFault(
      ['columns'],
      `${place} has no answer, and the columns are those of prompts and answers.`,
      'Leave them out if the rows are labelled texts.',
    );
  if (isPair && rejected === undefined)
    throw new SplitFault(
      ['columns'],
      `${place} has one answer, and the columns are those of preference pairs.`,
      'Name the column of the answers alone: columns: { prompt: …, answer: … }.',
    );
  const pair = isPair ? { rejected } : {};
  return { id, text: cut(text), answer, ...defined({ ...pair, context }), label: 0 };
}

/**
 * Draws the rows of `sample` and returns them in the order that they had. With the same seed, a
 * smaller sample is part of a larger one.
 */
function sampledRows(rows: readonly Row[], { sample, source }: ResolvedSplit): readonly Row[] {
  if (sample === undefined) return rows;
  if (sample.rows > rows.length)
    throw new SplitFault(
      ['sample', 'rows'],
      `\`sample.rows\` is ${sample.rows}, and ${source} has ${rows.length} rows.`,
    );
  const order = randomStream(sample.seed, 'data.sample', '').permutation(rows.length);
  const drawn = new Set(order.slice(0, sample.rows));
  return rows.filter((_, index) => drawn.has(index));
}

/**
 * Returns the rows held out, or the rest, as `hold_out.take` says; all rows without `hold_out`.
 * Which rows are held out depends only on their number and the share.
 */
function holdOutPart(rows: readonly Row[], holdOut: ResolvedSplit['hold_out']): readonly Row[] {
  if (holdOut === undefined) return rows;
  const count = Math.max(1, flooredShare(holdOut.share, rows.length));
  const held = new Set(
    randomStream(0, 'data.hold-out', '').permutation(rows.length).slice(0, count),
  );
  return rows.filter((_, index) => held.has(index) === (holdOut.take === 'held'));
}

/**
 * Returns one row of each class in turn, in the order of the label ids, until one class has no more
 * rows. Classes without any row are passed over.
 */
function balancedRows(rows: readonly Row[], classes: number): readonly Row[] {
  const byClass = Array.from({ length: classes }, (_, label) =>
    rows.filter((row) => row.label === label),
  ).filter((list) => list.length > 0);
  const turns = Math.min(...byClass.map((list) => list.length));
  return Array.from({ length: turns }, (_, turn) =>
    byClass.flatMap((list) => list[turn] ?? []),
  ).flat();
}
