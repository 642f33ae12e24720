/** Lays results out over chosen axes as a table, and writes it in GitHub's Markdown. Pure. */
import type { Json, JsonObject } from '../api.ts';
import { memoized } from '../base/memoized.ts';
import { summarise, type Summary } from '../base/stats.ts';
import {
  type Against,
  compareCells,
  type Compared,
  isCompared,
  TEST_HEAD,
  TEST_NOTE,
  testText,
} from './against.ts';
import {
  DAGGER,
  daggerText,
  FEWER_ROWS,
  fewerRowsText,
  joinWithOr,
  type RowCount,
} from './evidence.ts';
import { plainText } from './format.ts';
import { contentKey, distinct } from './groups.ts';
import { adapterTitle, DEFENCE, NO_DEFENCE, triggerNote, withBasesNamed } from './labels.ts';
import { noteOf } from './metric-lookup.ts';
import { isSuccessRate, type Metric, metricName } from './metrics.ts';
import { plainDifference, plainSpread, type Spread, spreadNote } from './numbers.ts';
import {
  axesByName,
  type ResultCell,
  resultCells,
  type ResultRow,
  seedsNote,
  valuesBySeed,
} from './results.ts';
import { withShownSources } from './sources.ts';

export interface GridRequest {
  readonly rows: readonly ResultRow[];
  readonly metrics: readonly Metric[];
  /** The paths of the axes down and across, outermost first. */
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  /**
   * Returns the values of those axes that are words, such as `adapter`, for a cell's axis values.
   */
  readonly wordsFor?: (axes: JsonObject) => JsonObject;
  readonly against: Against;
  /** Whether a cell is shown. The others serve comparisons only. Default: all are shown. */
  readonly isShown?: (cell: ResultCell) => boolean;
}

/** A metric of a cell over its seeds. */
export interface Entry extends Compared {
  readonly cell: JsonObject;
  readonly summary: Summary;
  /** The number of each seed that has one. */
  readonly values: readonly number[];
  /** How many seeds the spec asks for. */
  readonly planned: number;
  /** One reason for each seed whose number is not evidence. */
  readonly reasons: readonly string[];
  /** On how many rows the number was measured, if other cells have it on more. */
  readonly fewerRows: RowCount | undefined;
}

/**
 * The values of a row or column, axis by axis. An axis has several values if the cells have several
 * names (α = r and α = 16 at rank 16), and none if the cells lack the axis.
 */
export type PlaceNames = readonly (readonly Json[])[];

export interface GridColumn {
  readonly at: PlaceNames;
  readonly metric: Metric;
  /** Whether any number of the column is compared with another. */
  readonly differs: boolean;
  /** Whether any of these comparisons has a p-value. */
  readonly tested: boolean;
}

export interface Grid {
  readonly rows: readonly PlaceNames[];
  /** One column for each metric at each place across. Columns without any number are left out. */
  readonly columns: readonly GridColumn[];
  /** The entries by row and column. A cell with several places has the same object at each. */
  readonly entries: readonly (readonly (Entry | null)[])[];
}

interface Clash {
  /** The paths of the axes in which two cells with the same place differ. */
  readonly clash: readonly string[];
}

/** Returns how many seeds are behind each number and each difference of these entries. */
export const seedCounts = (entries: readonly Entry[]): number[] =>
  entries.flatMap(({ summary, difference }) => [summary.n, ...(difference ? [difference.n] : [])]);

/** Returns how many pairs the differences leave out, and why; null if they leave out none. */
export function excludedText(entries: readonly Entry[]): string | null {
  const excluded = entries.flatMap((entry) => entry.excluded);
  if (excluded.length === 0) return null;
  const pairs = entries.reduce(
    (sum, { difference }) => sum + (difference?.n ?? 0),
    excluded.length,
  );
  return (
    `The differences leave out ${excluded.length} of ${pairs} pairs that are not evidence: ` +
    `a model of the pair ${joinWithOr(excluded)}.`
  );
}

/** A cell with its axis values under one of its names. */
interface NamedCell {
  readonly cell: ResultCell;
  readonly axes: JsonObject;
}

/** A cell's values along the axes of rows or columns; undefined for an axis that it lacks. */
type Place = readonly (Json | undefined)[];

/** Returns the places along axes, ordered by first appearance of their values, outermost first. */
function placesAlong(named: readonly NamedCell[], paths: readonly string[]): readonly Place[] {
  const all = named.map(({ axes }) => paths.map((path) => axes[path]));
  const orders = paths.map((_, depth) => distinct(all.map((place) => placeKey([place[depth]]))));
  const ranked = [...new Map(all.map((place) => [placeKey(place), place])).values()].map(
    (place) => ({ place, ranks: orders.map((keys, i) => keys.indexOf(placeKey([place[i]]))) }),
  );
  const compare = (a: readonly number[], b: readonly number[]): number =>
    a.map((rank, i) => rank - (b[i] ?? 0)).find((by) => by !== 0) ?? 0;
  return ranked.sort((a, b) => compare(a.ranks, b.ranks)).map(({ place }) => place);
}

/** Returns a key of a place. An axis that the cell lacks counts as null. */
const placeKey = (values: Place): string => contentKey(values.map((value) => value ?? null));

/** Returns the cell at each place, by `placeKey`, or the first clash between two cells. */
function cellsByPlace(
  named: readonly NamedCell[],
  paths: readonly string[],
): ReadonlyMap<string, ResultCell> | Clash {
  const byPlace = new Map<string, NamedCell>();
  for (const one of named) {
    const place = placeKey(paths.map((path) => one.axes[path])),
      other = byPlace.get(place);
    if (other !== undefined && other.cell !== one.cell)
      return {
        clash: distinct([...Object.keys(one.axes), ...Object.keys(other.axes)]).filter(
          (path) => placeKey([one.axes[path]]) !== placeKey([other.axes[path]]),
        ),
      };
    byPlace.set(place, one);
  }
  return new Map([...byPlace].map(([place, { cell }]) => [place, cell]));
}

/** A row or a column. */
interface Line {
  /** The first of its places. */
  readonly at: Place;
  /** The values of all its places. */
  readonly names: PlaceNames;
}

/**
 * Merges rows, or columns, that hold the same cells: α = r and α = 16 are one row at rank 16.
 * @param cellsAt returns the cells of a row or column, in order; undefined where there is none
 */
function mergeLines(
  places: readonly Place[],
  cellsAt: (place: Place) => readonly (ResultCell | undefined)[],
): readonly Line[] {
  const merged: { cells: readonly (ResultCell | undefined)[]; first: Place; all: Place[] }[] = [];
  for (const place of places) {
    const cells = cellsAt(place),
      same = merged.find((other) => other.cells.every((cell, i) => cell === cells[i]));
    if (same) same.all.push(place);
    else merged.push({ cells, first: place, all: [place] });
  }
  return merged.map(({ first, all }) => ({
    at: first,
    names: first.map((_, axis) => {
      const values = all.map((place) => place[axis]).filter((value) => value !== undefined);
      return [...new Map(values.map((value) => [placeKey([value]), value])).values()];
    }),
  }));
}

/**
 * Lays cells out along the axes; if several have the same place, returns the axes that would tell
 * them apart. A cell appears under each of its names: an axis α has places for α = r and α = 16.
 */
export function layOut({
  rows,
  metrics,
  rowAxes,
  columnAxes,
  wordsFor = () => ({}),
  against,
  isShown = () => true,
}: GridRequest): Grid | Clash {
  const cells = resultCells(rows),
    shown = cells.filter(isShown),
    paths = [...rowAxes, ...columnAxes];
  const compared = compareCells(cells, metrics, against, shown);
  const named = shown
    .filter((cell) => metrics.some((metric) => valuesBySeed(cell, metric).size > 0))
    .flatMap((cell) =>
      axesByName(cell).map((axes): NamedCell => ({
        cell,
        axes: { ...withBasesNamed(axes, paths), ...wordsFor(axes) },
      })),
    );
  const byPlace = cellsByPlace(named, paths);
  if ('clash' in byPlace) return byPlace;
  // Returns the cell at the meeting of a row and a place across; undefined if there is none.
  const cellAt = (row: Place, at: Place): ResultCell | undefined =>
    byPlace.get(placeKey([...row, ...at]));
  const everyColumn = placesAlong(named, columnAxes);
  const down = mergeLines(placesAlong(named, rowAxes), (row) =>
    everyColumn.map((at) => cellAt(row, at)),
  );
  const across = mergeLines(everyColumn, (at) => down.map((row) => cellAt(row.at, at)));
  const columns = across.flatMap((line) => metrics.map((metric) => ({ line, metric })));
  // Returns a metric's entry of a cell; null if no seed has the metric.
  const entriesOf = memoized((metric: Metric) =>
    memoized((cell: ResultCell): Entry | null => {
      const values = [...valuesBySeed(cell, metric).values()],
        name = metricName(metric);
      if (values.length === 0) return null;
      return {
        cell: cell.cell,
        summary: summarise(values),
        values,
        planned: cell.planned,
        reasons: cell.reasons.get(name) ?? [],
        fewerRows: cell.fewerRows.get(name),
        ...compared(cell, metric),
      };
    }),
  );
  const filled = columns
    .map(({ line, metric }) => ({
      line,
      metric,
      entries: down.map((row): Entry | null => {
        const cell = cellAt(row.at, line.at);
        return cell === undefined ? null : entriesOf(metric)(cell);
      }),
    }))
    .filter(({ entries }) => entries.some((entry) => entry !== null));
  return {
    rows: down.map(({ names }) => names),
    columns: filled.map(({ line, metric, entries }) => ({
      at: line.names,
      metric,
      differs: entries.some((entry) => entry !== null && isCompared(entry)),
      tested: entries.some((entry) => entry !== null && entry.p !== null),
    })),
    entries: down.map((_, i) => filled.map(({ entries }) => entries[i] ?? null)),
  };
}

export interface GridTable {
  readonly grid: Grid;
  readonly rowAxes: readonly string[];
  readonly columnAxes: readonly string[];
  readonly against: Against;
  /** The name of an axis in the table's head. */
  readonly axisName: (path: string) => string;
  /** What stands beside means. Default: `interval`. */
  readonly spread?: Spread | undefined;
  /** Sentences that qualify the numbers: caveats and warnings, unescaped. */
  readonly caveats: readonly string[];
}

/** How Markdown or LaTeX writes the cells of a table. */
export interface GridForm {
  /** What stands in a cell without a number. */
  readonly empty: string;
  /** The mark of a number that is not evidence. */
  readonly mark: string;
  /** The mark of a number on fewer rows than other cells have. */
  readonly fewer: string;
  readonly number: (text: string) => string;
  /** Returns what follows a number of `n` seeds if `of` were planned: ` (n = 1 of 5)`. */
  readonly seeds: (n: number, of: number) => string;
  /** Returns what follows a difference over `n` pairs; `entry` is the number beside it. */
  readonly pairs: (n: number, entry: Entry) => string;
  readonly test: (text: string) => string;
}

/** Returns, for each row and column of the grid, a number and maybe a difference and p-values. */
export const gridCells = (
  { grid, spread = 'interval' }: Pick<GridTable, 'grid' | 'spread'>,
  form: GridForm,
): string[][] =>
  grid.entries.map((entries) =>
    grid.columns.flatMap(({ metric, differs: compared, tested }, k) => {
      const entry = entries[k] ?? null,
        isProportion = noteOf(metric)?.kind === 'proportion';
      return [
        entry === null ? form.empty : numberCell(entry, spread, isProportion, form),
        ...(compared ? [differenceCell(entry, isProportion, form)] : []),
        ...(tested ? [testCell(entry, form)] : []),
      ];
    }),
  );

const numberCell = (
  { values, planned, reasons, fewerRows }: Entry,
  spread: Spread,
  isProportion: boolean,
  form: GridForm,
): string =>
  form.number(plainSpread(values, spread, isProportion)) +
  (reasons.length > 0 ? form.mark : '') +
  (fewerRows === undefined ? '' : form.fewer) +
  form.seeds(values.length, planned);

/** Writes a difference or, without one, `empty`, followed by `(n = 0)` if pairs were excluded. */
function differenceCell(entry: Entry | null, isProportion: boolean, form: GridForm): string {
  if (entry === null) return form.empty;
  const { difference, excluded } = entry;
  if (difference === null) return `${form.empty}${excluded.length > 0 ? form.pairs(0, entry) : ''}`;
  return form.number(plainDifference(difference, isProportion)) + form.pairs(difference.n, entry);
}

/** Writes the p-values of a comparison; `empty` if there are none. */
function testCell(entry: Entry | null, form: GridForm): string {
  const text = entry && testText(entry);
  return text === null ? form.empty : form.test(text);
}

export function gridOfShownSources(grid: Grid): Grid {
  const { rows, columns } = withShownSources({
    rows: grid.rows,
    columns: grid.columns.map(({ at }) => at),
  });
  return {
    ...grid,
    rows,
    columns: grid.columns.map((own, i) => ({ ...own, at: columns[i] ?? [] })),
  };
}

/** Returns the entries, each once, since a cell may have several places. */
export const entriesIn = ({ entries }: Grid): readonly Entry[] =>
  distinct(entries.flat().filter((entry) => entry !== null));

/**
 * Writes a row's or column's values on one axis: `4`, or `r = 16` for several names. Without a
 * value, writes `no defence` on the axis of defences, and '' on any other axis.
 */
export const valuesText = (
  path: string,
  values: readonly Json[] = [],
  write: (value: Json) => string = plainText,
): string =>
  (path === DEFENCE && values.length === 0 ? [NO_DEFENCE] : values)
    .map((value) => write(path === 'adapter.type' ? adapterTitle(plainText(value)) : value))
    .join(' = ');

const escapeMarkdown = (text: string): string =>
  text.replace(/[\\`*_{}[\]<>#|~]/g, '\\$&').replace(/\s+/g, ' ');

const PLAIN_FORM: GridForm = {
  empty: '–',
  mark: ` ${DAGGER}`,
  fewer: ` ${FEWER_ROWS}`,
  number: (text) => text,
  seeds: seedsNote,
  test: (text) => text,
  pairs: (n, { summary }) => (n === summary.n ? '' : ` (n = ${n})`),
};

/**
 * Returns the heading of a column: its values and, if the grid has several metrics, its metric.
 * Numbers and truth values follow the axis's name: `r 4`.
 */
function columnText({ at, metric }: GridColumn, { grid, columnAxes, axisName }: GridTable): string {
  const named = columnAxes.flatMap((path, depth) => {
    const values = at[depth] ?? [],
      value = valuesText(path, values);
    if (value === '') return [];
    return [values.every((own) => typeof own === 'string') ? value : `${axisName(path)} ${value}`];
  });
  const [path = ''] = columnAxes,
    isUnnamed = named.length === 0 && hasPlaces(grid);
  const place = isUnnamed ? [`${axisName(path)} ${PLAIN_FORM.empty}`] : named;
  const isNamed = hasSeveralMetrics(grid) || place.length === 0;
  return [...place, ...(isNamed ? [labelOf(metric)] : [])].join(', ');
}

const labelOf = (metric: Metric): string => noteOf(metric)?.label ?? metric.metric;

const hasSeveralMetrics = ({ columns }: Grid): boolean =>
  new Set(columns.map(({ metric }) => metricName(metric))).size > 1;

const hasPlaces = ({ columns }: Grid): boolean => columns.some(({ at }) => at.flat().length > 0);

const markdownLine = (cells: readonly string[]): string =>
  `| ${cells.map(escapeMarkdown).join(' | ')} |`;

/** Says under whose triggers the grid's success rates are; null if no base is poisoned. */
export const triggerNoteOf = (grid: Grid): string | null =>
  grid.columns.some(({ metric }) => isSuccessRate(metric))
    ? triggerNote(entriesIn(grid).map(({ cell }) => cell))
    : null;

/**
 * Returns a paragraph on intervals, left-out pairs, p-values, marks and, if no heading names it,
 * the metric; and then the caveats.
 */
function notesText({ grid, spread = 'interval', caveats }: GridTable): readonly string[] {
  const entries = entriesIn(grid),
    dagger = daggerText(entries.flatMap(({ reasons }) => reasons)),
    fewer = fewerRowsText(entries.flatMap(({ fewerRows }) => fewerRows ?? []));
  const [first] = grid.columns,
    isUnnamed = hasPlaces(grid) && !hasSeveralMetrics(grid);
  const notes = [
    first && isUnnamed ? `Metric: ${labelOf(first.metric)}.` : null,
    spreadNote(seedCounts(entries), spread),
    excludedText(entries),
    grid.columns.some(({ tested }) => tested) ? TEST_NOTE : null,
    dagger && `${DAGGER} ${dagger}`,
    fewer && `${FEWER_ROWS} ${fewer}`,
    triggerNoteOf(grid),
  ];
  return [notes.filter((note) => note !== null).join(' '), ...caveats];
}

export interface TableText {
  readonly head: readonly string[];
  /** The texts of each row: first its values along the axes, then its numbers. */
  readonly body: readonly (readonly string[])[];
  /** A paragraph on what the numbers are, and then the caveats. */
  readonly notes: readonly string[];
}

export function tableText(asked: GridTable): TableText {
  const request = { ...asked, grid: gridOfShownSources(asked.grid) };
  const { grid, rowAxes, axisName, against } = request;
  const head = grid.columns.flatMap((column) => {
    const text = columnText(column, request);
    return [
      text,
      ...(column.differs ? [`${text} − ${against}`] : []),
      ...(column.tested ? [TEST_HEAD] : []),
    ];
  });
  const cells = gridCells(request, PLAIN_FORM);
  const body = grid.rows.map((names, i) => [
    ...rowAxes.map((path, depth) => valuesText(path, names[depth]) || PLAIN_FORM.empty),
    ...(cells[i] ?? []),
  ]);
  return { head: [...rowAxes.map(axisName), ...head], body, notes: notesText(request) };
}

/** Returns the table in GitHub's Markdown, with the notes as paragraphs below it. */
export function markdownTable(table: GridTable): string {
  const { head, body, notes } = tableText(table),
    axes = table.rowAxes.length;
  return [
    markdownLine(head),
    `|${'---|'.repeat(axes)}${'---:|'.repeat(head.length - axes)}`,
    ...body.map(markdownLine),
    ...notes.flatMap((note, i) => ['', i === 0 ? note : escapeMarkdown(note)]),
  ].join('\n');
}
