/** Gathers every row that the models of the grid were asked about, and packs them. */
import { createReadStream, existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parse } from 'csv-parse';
import type { Row, RunContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { linesIn, readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { formatValue } from '../../../src/report/format.ts';
import {
  contentText,
  labelKind,
  labelText,
  type ReceiptFile,
  turnsBefore,
} from '../../../src/report/inputs.ts';
import { DEFENCE, headName, NO_DEFENCE, varyingPaths } from '../../../src/report/labels.ts';
import {
  type Answers,
  type Asked,
  type Evaluation,
  findEdit,
  type Outputs,
  type PoisonedRow,
  type PoisonedRows,
  type Questions,
  type RowSet,
} from '../../../src/report/outputs.ts';
import type { ReportCell } from '../../../src/report/types.ts';
import { createIndex, numberedRole, type PlannedCell } from './index.ts';

/**
 * If the evaluations and their rows have more bytes than this, only the first rows are read: the
 * page has no room for the rest.
 */
const MOST_READ = 2e8;
/**
 * If all receipts together have more poisoned rows than this, only the first rows of each are read.
 */
const MOST_POISONED = 5e5;
/**
 * The share of each file's bytes that is kept: most of predictions.csv are logits, which are not
 * kept.
 */
const SHARES = { 'predictions.csv': 0.1, 'outputs.jsonl': 1, 'asked.jsonl': 1, 'rows.jsonl': 1 };

/** Returns about how many bytes are kept of the files in these folders. */
async function bytesIn(dirs: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const dir of dirs)
    for (const [name, share] of Object.entries(SHARES))
      if (existsSync(join(dir, name))) bytes += share * (await stat(join(dir, name))).size;
  return bytes;
}

/**
 * Gathers what the models of the grid were asked and what they answered. Returns null if nothing
 * was evaluated and no training row was changed.
 * @param mostRead the most bytes of evaluations and their rows to read
 * @param mostPoisoned the most rows of all receipts to read
 */
export async function gatherOutputs(
  { inputs, signal }: Pick<RunContext, 'inputs' | 'signal'>,
  cells: readonly ReportCell[],
  planned: readonly PlannedCell[],
  { mostRead = MOST_READ, mostPoisoned = MOST_POISONED } = {},
): Promise<Outputs | null> {
  const sets = createIndex<string>(String),
    poisons = createIndex<string>(String),
    evaluations = createIndex<readonly [dir: string, set: number]>(([dir]) => dir);
  const found = cells.map((_, i) => {
    const data = inputs[numberedRole('validation data', planned[i]?.data ?? 0)];
    /**
     * Returns the index of the cell's evaluation (`evaluate`) or of its twin's (`twin`); null if
     * there is none.
     */
    const evaluationIndex = (name: string): number | null => {
      const dir = inputs[`${name}:${i}`]?.dir;
      return data && dir !== undefined ? evaluations.indexOf([dir, sets.indexOf(data.dir)]) : null;
    };
    const poison = inputs[`poison:${i}`];
    return {
      own: evaluationIndex('evaluate'),
      twin: evaluationIndex('twin'),
      poisoned: poison ? poisons.indexOf(poison.dir) : null,
    };
  });
  const bytes = await bytesIn([...sets.values, ...evaluations.values.map(([dir]) => dir)]);
  const infos = await Promise.all(sets.values.map(readDatasetInfo));
  const mostRows = Math.max(0, ...infos.map(({ rows }) => rows));
  const most = bytes > mostRead ? Math.ceil((mostRows * mostRead) / bytes) : Infinity;

  const questions = createIndex<Questions>(JSON.stringify),
    originals = createIndex<string>(String);
  const rowSets: RowSet[] = [],
    read: Evaluation[] = [],
    receipts: (PoisonedRows & { readonly target: number | null })[] = [];
  for (const dir of sets.values) rowSets.push(await readSet(dir, most));
  for (const [dir, set] of evaluations.values) {
    signal.throwIfAborted();
    read.push({ set, ...(await readEvaluation(dir, rowSets[set]!, questions.indexOf)) });
  }
  const mostOfEach = Math.floor(mostPoisoned / Math.max(1, poisons.values.length));
  for (const dir of poisons.values)
    receipts.push(await readReceipt(dir, mostOfEach, originals.indexOf));
  const poisoned = receipts.map(({ of, rows }) => ({ of, rows }));
  if (read.length === 0 && poisoned.every((one) => one.of === 0)) return null;
  const axes = chooseAxes(cells);
  return {
    format: 1,
    axes: axes.map(({ path, name, values }) => ({ path, name, values })),
    cells: found.map((cell, i) => ({
      at: axes.map(({ values, of: texts }) => values.indexOf(texts[i] ?? '')),
      ...cell,
      target: receipts[cell.poisoned ?? -1]?.target ?? null,
    })),
    sets: rowSets,
    questions: questions.values,
    evaluations: read,
    originals: originals.values,
    poisoned,
  };
}

/**
 * Returns the axes that take several values. An axis that only some cells have is among them if
 * cells would look the same without it. `of` is each cell's value as text, null if the cell lacks
 * the axis.
 */
function chooseAxes(cells: readonly ReportCell[]) {
  /**
   * Returns a cell's value on an axis as text. If the cell lacks the axis, this is null, except on
   * the axis of defences: `NO_DEFENCE`.
   */
  const textOf = ({ axes, seed }: ReportCell, path: string): string | null => {
    const value = path === 'seed' ? seed : axes[path];
    if (value === undefined) return path === DEFENCE ? NO_DEFENCE : null;
    return formatValue(value);
  };
  const countDistinct = (by: Iterable<string>): number =>
    new Set(cells.map((cell) => JSON.stringify([...by].map((path) => textOf(cell, path))))).size;
  const paths = [...new Set(cells.flatMap(({ axes }) => Object.keys(axes))), 'seed'];
  const chosen = new Set([...varyingPaths(cells), 'seed']);
  for (const path of paths)
    if (countDistinct([...chosen, path]) > countDistinct(chosen)) chosen.add(path);
  return paths
    .filter((path) => chosen.has(path) && countDistinct([path]) > 1)
    .map((path) => {
      const of = cells.map((cell) => textOf(cell, path));
      const values = [...new Set(of)].filter((value) => value !== null);
      return { path, name: headName(path), values, of };
    });
}

async function readSet(dir: string, most: number): Promise<RowSet> {
  const { classes } = await readDatasetInfo(dir);
  const rows = await readRows(dir, most);
  return {
    classes,
    ids: rows.map(({ id }) => id),
    texts: rows.map(contentText),
    labels: rows.map(({ label, answer }) => answer ?? label),
  };
}

type Shown = 'plain' | 'triggered';

/**
 * Reads an evaluation, as far as it is about the rows of a set. `triggered` is undefined if none of
 * these rows was shown under the trigger.
 * @param indexOfQuestions puts what a model was asked on a list, and returns its index there
 */
async function readEvaluation(
  dir: string,
  { ids, texts }: RowSet,
  indexOfQuestions: (questions: Questions) => number,
): Promise<Omit<Evaluation, 'set'>> {
  const indexes = new Map(ids.map((id, row) => [id, row]));
  const asked = new Map<string, Asked>();
  for await (const line of jsonLines<AskedLine>(dir, 'asked.jsonl')) {
    const row = indexes.get(line.id);
    if (row === undefined) continue;
    const before = texts[row] ?? '',
      after = contentText(line);
    const edit = before === after ? undefined : findEdit(before, after);
    const { rejected } = line;
    asked.set(`${line.shown} ${line.id}`, defined({ edit, unread: unreadRanges(line), rejected }));
  }
  type Found = Line & { readonly row: number };
  const lines: { readonly [S in Shown]: Found[] } = { plain: [], triggered: [] };
  const counts = { plain: 0, triggered: 0 };
  const answers = existsSync(join(dir, 'predictions.csv'))
    ? readPredictions(dir)
    : readWrittenAnswers(dir);
  for await (const line of answers) {
    if (line.shown === 'partial') continue;
    counts[line.shown]++;
    const row = indexes.get(line.id);
    if (row !== undefined) lines[line.shown].push({ ...line, row });
  }
  const gather = (shown: Shown): Answers => {
    const own = lines[shown];
    const byScorer = <T>(of: (line: Line, scorer: string) => T) =>
      Object.fromEntries(
        Object.keys(own[0]?.hits ?? {}).map((scorer) => [
          scorer,
          own.map((line) => of(line, scorer)),
        ]),
      );
    return {
      questions: indexOfQuestions({
        rows: own.map(({ row }) => row),
        asked: own.map(({ id }) => asked.get(`${shown} ${id}`) ?? 0),
        of: counts[shown],
      }),
      given: own.map(({ given }) => given),
      hits: byScorer(({ hits }, scorer) => {
        const hit = hits[scorer] ?? null;
        return hit === null ? null : hit ? 1 : 0;
      }),
      said: own.some((line) => line.said !== undefined)
        ? byScorer(({ said }, scorer) => said?.[scorer]?.slice(0, MOST_SAID) ?? null)
        : undefined,
    };
  };
  return {
    plain: gather('plain'),
    triggered: lines.triggered.length > 0 ? gather('triggered') : undefined,
  };
}

/** A line of predictions.csv or of outputs.jsonl; `given` is the prediction or the answer. */
interface Line {
  readonly id: string;
  readonly shown: Shown | 'partial';
  readonly given: number | string;
  readonly hits: { readonly [scorer: string]: boolean | null };
  readonly said?: { readonly [scorer: string]: string } | undefined;
}

/** The most characters that are kept of what a scorer said about an output. */
const MOST_SAID = 300;

/** Yields the values of a file of JSON lines; nothing if there is no such file. */
async function* jsonLines<T>(dir: string, name: string): AsyncGenerator<T, void> {
  if (!existsSync(join(dir, name))) return;
  for await (const lines of linesIn(join(dir, name)))
    for (const line of lines) yield JSON.parse(line) as T;
}

async function* readPredictions(dir: string): AsyncGenerator<Line, void> {
  const rows = createReadStream(join(dir, 'predictions.csv')).pipe(parse({ columns: true }));
  type Predicted = { readonly [column in 'id' | 'triggered' | 'prediction']: string };
  for await (const { id, triggered, prediction } of rows as AsyncIterable<Predicted>)
    yield {
      id,
      shown: triggered === '1' ? 'triggered' : 'plain',
      given: Number(prediction),
      hits: {},
    };
}

/** Yields the lines of outputs.jsonl, if there is one, with the verdicts of all scorers by name. */
async function* readWrittenAnswers(dir: string): AsyncGenerator<Line, void> {
  type Written = Omit<Line, 'given'> & { readonly output: string; readonly hit?: boolean | null };
  const record = join(dir, 'scorer.json');
  const { scorer = '', name = scorer } = (
    existsSync(record) ? JSON.parse(await readFile(record, 'utf8')) : {}
  ) as {
    readonly scorer?: string;
    readonly name?: string;
  };
  for await (const line of jsonLines<Written>(dir, 'outputs.jsonl')) {
    const { id, shown, output, hit, hits, said } = line;
    const all = hit === undefined ? {} : { [name]: hit, ...hits };
    yield { id, shown, given: output, hits: all, said };
  }
}

type AskedLine = Omit<Row, 'label'> & {
  readonly shown: Shown;
  readonly read?: readonly (readonly [from: number, to: number] | null)[];
  readonly rejected?: true;
};

/**
 * Returns the ranges of the characters in the row's whole text that the model did not read. Null if
 * they are not known, undefined if it read the whole text.
 */
function unreadRanges(row: AskedLine): Asked['unread'] | undefined {
  const { read, text, text_pair: pair = '' } = row;
  if (read === undefined) return undefined;
  const known = read.filter((part) => part !== null);
  if (known.length < read.length) return null;
  let at = turnsBefore(row).length;
  return known.flatMap(([from, to], i) => {
    const start = at;
    at += (i === 0 ? text : pair).length + 1;
    const cut = [[start, start + from] as const, [start + to, at - 1] as const];
    return cut.filter(([a, b]) => a < b);
  });
}

/**
 * Reads the rows of a receipt, the poisoned ones and then the negatives, `most` in all; and the
 * label of its target, null if it has none. Without a receipt, there are no rows.
 * @param indexOfOriginal puts an original text on a list, and returns its index there
 */
async function readReceipt(
  dir: string,
  most: number,
  indexOfOriginal: (text: string) => number,
): Promise<PoisonedRows & { readonly target: number | null }> {
  const file = join(dir, 'receipt.json');
  if (!existsSync(file)) return { of: 0, rows: [], target: null };
  const { rows, negatives = [], target } = JSON.parse(await readFile(file, 'utf8')) as ReceiptFile;
  const { classes } = await readDatasetInfo(dir);
  const added = negatives.map((row) => ({ id: row.id, original: row, new: row }));
  const all = [...rows, ...added];
  return {
    of: all.length,
    rows: all.slice(0, most).map(({ id, original, new: poisoned }, i): PoisonedRow => {
      const text = contentText(original);
      return {
        id,
        original: indexOfOriginal(text),
        edit: findEdit(text, contentText(poisoned)),
        labels: [labelText(original, classes), labelText(poisoned, classes)],
        ...labelKind(poisoned),
        negative: i < rows.length ? undefined : true,
      };
    }),
    target: target?.label ?? null,
  };
}

/**
 * Returns the outputs of the first `most` rows of each set, and of each receipt. Original texts
 * that are no longer used become empty, so that the others keep their indexes.
 */
function firstRows(all: Outputs, most: number): Outputs {
  const counts = all.questions.map(({ rows }) => rows.filter((row) => row < most).length);
  const first = <T>(list: readonly T[], count = most): readonly T[] => list.slice(0, count);
  /**
   * Returns only the answers to the first rows; `counts` has the number of these rows for each list
   * of questions.
   */
  const answers = ({ questions, given, hits, said }: Answers): Answers => {
    const firstOf = <T>(all: { readonly [scorer: string]: readonly T[] }) =>
      Object.fromEntries(
        Object.entries(all).map(([scorer, own]) => [scorer, first(own, counts[questions])]),
      );
    return {
      questions,
      given: first(given, counts[questions]),
      hits: firstOf(hits),
      said: said && firstOf(said),
    };
  };
  const poisoned = all.poisoned.map(({ of, rows }) => ({ of, rows: first(rows) }));
  const used = new Set(poisoned.flatMap(({ rows }) => rows.map(({ original }) => original)));
  return {
    ...all,
    sets: all.sets.map(({ classes, ids, texts, labels }) => ({
      classes,
      ids: first(ids),
      texts: first(texts),
      labels: first(labels),
    })),
    questions: all.questions.map(({ rows, asked, of }, i) => ({
      rows: first(rows, counts[i]),
      asked: first(asked, counts[i]),
      of,
    })),
    evaluations: all.evaluations.map(({ set, plain, triggered }) => ({
      set,
      plain: answers(plain),
      triggered: triggered && answers(triggered),
    })),
    originals: all.originals.map((text, i) => (used.has(i) ? text : '')),
    poisoned,
  };
}

/** The most bytes of the compressed data; as base64 in the page, they take a third more. */
const MOST_BYTES = 7e6;

/**
 * Compresses the data, with as many first rows of each set as fit into `most` bytes, but at least
 * one.
 */
export function packOutputs(all: Outputs, most = MOST_BYTES): Buffer {
  const lists = [...all.sets.map(({ ids }) => ids), ...all.poisoned.map(({ rows }) => rows)];
  let rows = lists.reduce((most, { length }) => Math.max(most, length), 0),
    data = gzipSync(JSON.stringify(all));
  while (data.length > most && rows > 1) {
    rows = Math.max(1, Math.floor((0.95 * rows * most) / data.length));
    data = gzipSync(JSON.stringify(firstRows(all, rows)));
  }
  return data;
}
