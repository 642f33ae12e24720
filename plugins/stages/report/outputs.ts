/** Gathers every row that the models of the grid were asked about, and packs them. */
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Row, RunContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { linesIn, readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { formatValue } from '../../../src/report/format.ts';
import {
  contentText,
  labelText,
  type ReceiptFile,
  turnsBefore,
} from '../../../src/report/inputs.ts';
import { axisName, varyingPaths } from '../../../src/report/labels.ts';
import {
  type Answers,
  type Asked,
  type AskedColumn,
  editOf,
  type Evaluation,
  type GatheredOutputs,
  type Outputs,
  type PoisonedRow,
  type RowSet,
} from '../../../src/report/outputs.ts';
import type { ReportCell } from '../../../src/report/types.ts';
import { numbered, type PlannedCell } from './index.ts';

type Context = Pick<RunContext, 'inputs' | 'signal'>;

/**
 * Of more bytes than this, only the first rows are read: their text would not fit into the page.
 * The logits in predictions.csv, most of that file, are not kept.
 */
const MOST_READ = 2e8;
const WEIGHT = { 'predictions.csv': 0.1, 'outputs.jsonl': 1, 'asked.jsonl': 1, 'rows.jsonl': 1 };

async function bytesIn(dirs: Iterable<string>): Promise<number> {
  let bytes = 0;
  for (const dir of dirs)
    for (const [name, weight] of Object.entries(WEIGHT)) {
      const file = join(dir, name);
      if (existsSync(file)) bytes += weight * (await stat(file)).size;
    }
  return bytes;
}

/** Distinct folders in the order in which they are asked for, each with its index. */
function createFolders() {
  const indexes = new Map<string, number>();
  return {
    dirs: indexes,
    indexOf: (dir: string | undefined): number | null => {
      if (dir === undefined) return null;
      const index = indexes.get(dir) ?? indexes.size;
      indexes.set(dir, index);
      return index;
    },
  };
}

/** Returns null if nothing was evaluated, and no training row was changed. */
export async function gatherOutputs(
  { inputs, signal }: Context,
  cells: readonly ReportCell[],
  planned: readonly PlannedCell[],
): Promise<GatheredOutputs | null> {
  const [sets, evaluations, poisons] = [createFolders(), createFolders(), createFolders()];
  const setOf = new Map<number, number>();
  const found = cells.map((_, i) => {
    const dir = (name: string): string | undefined => inputs[`${name}:${i}`]?.dir;
    const set = sets.indexOf(inputs[numbered('validation data', planned[i]?.data ?? 0)]?.dir);
    const [own, twin] = [dir('evaluate'), dir('twin')].map((from) => {
      const index = set === null ? null : evaluations.indexOf(from);
      if (index !== null && set !== null) setOf.set(index, set);
      return index;
    });
    return { own: own ?? null, twin: twin ?? null, poisoned: poisons.indexOf(dir('poison')) };
  });

  const bytes = await bytesIn([...sets.dirs, ...evaluations.dirs].map(([dir]) => dir));
  const infos = await Promise.all([...sets.dirs.keys()].map(readDatasetInfo));
  const of = Math.max(0, ...infos.map(({ rows }) => rows));
  const most = bytes > MOST_READ ? Math.ceil((of * MOST_READ) / bytes) : Infinity;

  const rowSets: EvaluatedRows[] = [];
  for (const dir of sets.dirs.keys()) rowSets.push(await readSet(dir, most));
  const read: Evaluation<AskedColumn>[] = [];
  for (const [dir, index] of evaluations.dirs) {
    signal.throwIfAborted();
    const set = setOf.get(index) ?? 0;
    read.push({ set, ...(await readEvaluation(dir, rowSets[set]!)) });
  }
  const originals = createFolders();
  const receipts: Receipt[] = [];
  for (const dir of poisons.dirs.keys()) {
    signal.throwIfAborted();
    receipts.push(await readReceipt(dir, originals.indexOf, most));
  }
  if (read.length === 0 && receipts.every(({ rows }) => rows.length === 0)) return null;
  const axes = axesOf(cells);
  return {
    axes: axes.map(({ path, name, values }) => ({ path, name, values: [...values.keys()] })),
    cells: found.map(({ own, twin, poisoned }, i) => {
      const receipt = receipts[poisoned ?? -1];
      return {
        at: axes.map(({ values, of }) => values.get(of[i] ?? '') ?? -1),
        own,
        twin,
        poisoned: receipt === undefined || receipt.rows.length === 0 ? null : poisoned,
        target: receipt?.target ?? null,
      };
    }),
    sets: rowSets.map(({ set }) => set),
    evaluations: read,
    originals: [...originals.dirs.keys()],
    poisoned: receipts.map(({ rows }) => rows),
    ...(most < of ? { first: { shown: most, of } } : {}),
  };
}

/** The axes that vary, and those that tell cells apart that would otherwise look the same. */
function axesOf(cells: readonly ReportCell[]) {
  const textOf = ({ axes, seed }: ReportCell, path: string): string | null => {
    const value = path === 'seed' ? seed : axes[path];
    return value === undefined ? null : formatValue(value);
  };
  const paths = [...new Set(cells.flatMap(({ axes }) => Object.keys(axes))), 'seed'];
  const vary = varyingPaths(cells);
  const chosen = new Set(paths.filter((path) => vary.has(path) || path === 'seed'));
  const told = (by: Iterable<string>): number =>
    new Set(cells.map((cell) => JSON.stringify([...by].map((path) => textOf(cell, path))))).size;
  for (const path of paths) if (told([...chosen, path]) > told(chosen)) chosen.add(path);
  return paths
    .filter((path) => chosen.has(path) && told([path]) > 1)
    .map((path) => {
      const of = cells.map((cell) => textOf(cell, path));
      const distinct = [...new Set(of)].filter((value) => value !== null);
      const values = new Map(distinct.map((value, i) => [value, i]));
      const name = path === 'seed' || path === 'adapter.type' ? path.split('.')[0] : axisName(path);
      return { path, name: name ?? path, values, of };
    });
}

interface EvaluatedRows {
  readonly set: RowSet;
  readonly indexes: ReadonlyMap<string, number>;
}

async function readSet(dir: string, most: number): Promise<EvaluatedRows> {
  const { classes } = await readDatasetInfo(dir);
  const rows = await readRows(dir, most);
  return {
    set: {
      classes,
      ids: rows.map(({ id }) => id),
      texts: rows.map(contentText),
      labels: rows.map(({ label, answer }) => answer ?? label),
    },
    indexes: new Map(rows.map(({ id }, i) => [id, i])),
  };
}

type Shown = 'plain' | 'triggered';

/** An answer, as it is read. */
interface Line {
  readonly row: number;
  readonly given: number | string;
  readonly hits: { readonly [scorer: string]: boolean };
}

async function readEvaluation(
  dir: string,
  { set, indexes }: EvaluatedRows,
): Promise<Omit<Evaluation<AskedColumn>, 'set'>> {
  const lines: { readonly [S in Shown]: Line[] } = { plain: [], triggered: [] };
  const add = (shown: Shown, id: string, line: Omit<Line, 'row'>): void => {
    const row = indexes.get(id);
    if (row !== undefined) lines[shown].push({ row, ...line });
  };
  await (existsSync(join(dir, 'predictions.csv')) ? readPredictions : readWritten)(dir, add);
  const asked = await readAsked(dir, set, indexes);
  const answers = (shown: Shown): Answers<AskedColumn> => {
    const own = lines[shown].sort((a, b) => a.row - b.row);
    return {
      rows: own.map(({ row }) => row),
      given: own.map(({ given }) => given),
      hits: Object.fromEntries(
        Object.keys(own[0]?.hits ?? {}).map((scorer) => [
          scorer,
          own.map(({ hits }) => (hits[scorer] === true ? 1 : 0)),
        ]),
      ),
      asked: own.map(({ row }) => asked[shown].get(row) ?? 0),
    };
  };
  return {
    plain: answers('plain'),
    ...(lines.triggered.length === 0 ? {} : { triggered: answers('triggered') }),
  };
}

type Add = (shown: Shown, id: string, line: Omit<Line, 'row'>) => void;

/** The first four fields of a line of predictions.csv: id, triggered, label, prediction. */
const PREDICTION =
  /^(?:"(?<quoted>(?:[^"]|"")*)"|(?<bare>[^,]*)),(?<triggered>[01]),[^,]*,(?<given>[^,]*)/;

async function readPredictions(dir: string, add: Add): Promise<void> {
  let line = '';
  for await (const lines of linesIn(join(dir, 'predictions.csv')))
    for (const part of lines) {
      line += part;
      if (line.split('"').length % 2 === 0) {
        line += '\n'; // within a quoted id
        continue;
      }
      const { quoted, bare = '', triggered, given } = PREDICTION.exec(line)?.groups ?? {};
      line = '';
      if (given === undefined) continue; // the header
      const id = quoted?.replaceAll('""', '"') ?? bare;
      add(triggered === '1' ? 'triggered' : 'plain', id, { given: Number(given), hits: {} });
    }
}

async function readWritten(dir: string, add: Add): Promise<void> {
  const file = join(dir, 'outputs.jsonl');
  if (!existsSync(file)) return;
  const record = join(dir, 'scorer.json');
  const { scorer } = (existsSync(record) ? JSON.parse(await readFile(record, 'utf8')) : {}) as {
    readonly scorer?: string;
  };
  for await (const lines of linesIn(file))
    for (const text of lines) {
      const line = JSON.parse(text) as {
        readonly id: string;
        readonly shown: Shown | 'partial';
        readonly output: string;
        readonly hit?: boolean;
        readonly hits?: { readonly [scorer: string]: boolean };
      };
      const { shown, hit, hits = {} } = line;
      if (shown === 'partial') continue;
      const own = scorer === undefined || hit === undefined ? {} : { [scorer]: hit };
      add(shown, line.id, { given: line.output, hits: { ...own, ...hits } });
    }
}

type AskedLine = Omit<Row, 'label'> & {
  readonly shown: Shown;
  readonly read?: readonly (readonly [from: number, to: number] | null)[];
  readonly rejected?: true;
};

/** Reads `asked.jsonl`, by the index of the row. */
async function readAsked(
  dir: string,
  { texts }: RowSet,
  indexes: ReadonlyMap<string, number>,
): Promise<{ readonly [S in Shown]: Map<number, Asked> }> {
  const asked = { plain: new Map<number, Asked>(), triggered: new Map<number, Asked>() };
  const file = join(dir, 'asked.jsonl');
  if (!existsSync(file)) return asked; // an earlier version evaluated
  for await (const lines of linesIn(file))
    for (const line of lines) {
      const row = JSON.parse(line) as AskedLine;
      const index = indexes.get(row.id);
      if (index === undefined) continue;
      const before = texts[index] ?? '',
        after = contentText(row);
      const edit = before === after ? undefined : editOf(before, after);
      asked[row.shown].set(index, defined({ edit, unread: unreadOf(row), rejected: row.rejected }));
    }
  return asked;
}

/** Returns what of the row's whole text was cut off; undefined if nothing was. */
function unreadOf(row: AskedLine): Asked['unread'] | undefined {
  const { read, text, text_pair: pair = '' } = row;
  if (read === undefined) return undefined;
  const first = turnsBefore(row).length,
    starts = [first, first + text.length + 1];
  if (read.includes(null)) return null;
  return read.flatMap((part, i) => {
    const [from, to] = part ?? [0, 0];
    const [start = 0, length] = [starts[i], [text, pair][i]?.length ?? 0];
    return [[start, start + from] as const, [start + to, start + length] as const].filter(
      ([a, b]) => a < b,
    );
  });
}

interface Receipt {
  readonly rows: readonly PoisonedRow[];
  readonly target: number | null;
}

/** @param originalOf returns the index of an original text */
async function readReceipt(
  dir: string,
  originalOf: (text: string) => number | null,
  most: number,
): Promise<Receipt> {
  const file = join(dir, 'receipt.json');
  if (!existsSync(file)) return { rows: [], target: null };
  const { rows, negatives = [], target } = JSON.parse(await readFile(file, 'utf8')) as ReceiptFile;
  const { classes } = await readDatasetInfo(dir);
  const changed = [...rows, ...negatives.map((row) => ({ id: row.id, original: row, new: row }))];
  return {
    rows: changed.slice(0, most).map(({ id, original, new: poisoned }, i): PoisonedRow => {
      const text = contentText(original);
      return {
        id,
        original: originalOf(text) ?? 0,
        edit: editOf(text, contentText(poisoned)),
        labels: [labelText(original, classes), labelText(poisoned, classes)],
        ...(poisoned.answer === undefined ? {} : { isAnswer: true as const }),
        ...(i < rows.length ? {} : { negative: true as const }),
      };
    }),
    target: target?.label ?? null,
  };
}

/** Returns the data with only the first rows of each set and of each poisoned set. */
function packed(all: GatheredOutputs, most: number): string {
  const columns = new Map<string, { readonly index: number; readonly column: AskedColumn }>();
  const answers = (of: Answers<AskedColumn>): Answers => {
    const after = of.rows.findIndex((row) => row >= most);
    const count = after < 0 ? of.rows.length : after;
    const column = of.asked.slice(0, count),
      key = JSON.stringify(column);
    const known = columns.get(key) ?? { index: columns.size, column };
    columns.set(key, known);
    return {
      rows: of.rows.slice(0, count),
      given: of.given.slice(0, count),
      hits: Object.fromEntries(
        Object.entries(of.hits).map(([scorer, hits]) => [scorer, hits.slice(0, count)]),
      ),
      asked: known.index,
    };
  };
  const evaluations = all.evaluations.map(({ set, plain, triggered }) => ({
    set,
    plain: answers(plain),
    ...(triggered && { triggered: answers(triggered) }),
  }));
  const sets = all.sets.map(({ classes, ids, texts, labels }) => ({
    classes,
    ids: ids.slice(0, most),
    texts: texts.slice(0, most),
    labels: labels.slice(0, most),
  }));
  const poisoned = all.poisoned.map((rows) => rows.slice(0, most));
  const used = new Set(poisoned.flat().map(({ original }) => original));
  const of = rowsOf(all);
  const outputs: Outputs = {
    ...all,
    format: 1,
    evaluations,
    sets,
    poisoned,
    originals: all.originals.map((text, i) => (used.has(i) ? text : '')),
    asked: [...columns.values()].map(({ column }) => column),
    ...(most < of ? { first: { shown: most, of } } : {}),
  };
  return JSON.stringify(outputs);
}

const rowsOf = ({ sets, poisoned, first }: GatheredOutputs): number =>
  [...sets.map(({ ids }) => ids.length), ...poisoned.map(({ length }) => length)].reduce(
    (most, length) => Math.max(most, length),
    first?.of ?? 0,
  );

/** Compressed; as text in the page it takes a third more. */
const MOST_BYTES = 7e6;

/**
 * Returns the data compressed. Where all rows take more than `most` bytes, only the first rows of
 * each set are kept, so many that they take less.
 */
export function packOutputs(all: GatheredOutputs, most = MOST_BYTES): Buffer {
  let rows = Math.min(rowsOf(all), all.first?.shown ?? Infinity);
  for (;;) {
    const data = gzipSync(packed(all, rows));
    if (data.length <= most || rows <= 1) return data;
    rows = Math.max(1, Math.floor((0.95 * rows * most) / data.length));
  }
}
