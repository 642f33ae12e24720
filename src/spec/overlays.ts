/** Reads the published numbers that a figure of `report` is drawn with, each table from its CSV. */
import { basename } from 'node:path';
import type { FigureEntry, Overlay } from '../api/report.ts';
import { defined } from '../base/defined.ts';
import type { Report } from './faults.ts';
import { readTextValue } from './files.ts';
import {
  child,
  fieldsOfMap,
  isText,
  itemsOf,
  type MapNode,
  type Node,
  oneOrMany,
  type Span,
  type TextNode,
  toJson,
} from './node.ts';
import type { OverlaySpec } from './pipeline.generated.ts';
import { all, either, suggest } from './suggest.ts';

type Facets = NonNullable<FigureEntry['facet']>;

export const figuresIn = (root: MapNode): readonly Node[] =>
  itemsOf(child(child(root, 'report'), 'figures'));

/** Returns the entries of a figure's `overlay`, which is one or a list. */
export const listOverlays = (figure: Node): readonly Node[] => {
  const overlay = child(figure, 'overlay');
  return overlay === undefined ? [] : oneOrMany(overlay);
};

export const overlayFiles = (root: MapNode): readonly TextNode[] =>
  figuresIn(root)
    .flatMap(listOverlays)
    .map((overlay) => child(overlay, 'file'))
    .filter(isText);

interface Csv {
  readonly name: string;
  readonly header: readonly string[];
  readonly rows: readonly CsvRow[];
}

interface CsvRow {
  /** The row's line in the file, from 1. */
  readonly line: number;
  readonly values: { readonly [column: string]: string };
}

/** Returns the table in a CSV file; null, after reporting why, if the file has no table. */
async function readCsv(file: TextNode, report: Report): Promise<Csv | null> {
  const text = await readTextValue(file, report);
  if (text === null) return null;
  const { parse } = await import('csv-parse/sync');
  const name = basename(file.value);
  /** Reports what is wrong with the file. Returns null. */
  const fault = (what: string): null => {
    report('bad-csv', file.span, `${name} ${what}`, 'write a line of column names, then the rows');
    return null;
  };
  type Line = { readonly record: readonly string[]; readonly info: { readonly lines: number } };
  let lines: readonly Line[];
  try {
    const options = { bom: true, trim: true, skip_empty_lines: true, info: true } as const;
    lines = parse(text, options) as unknown as readonly Line[];
  } catch (error) {
    return fault(`is no CSV: ${(error as Error).message}`);
  }
  const [head, ...rows] = lines,
    header = head?.record ?? [];
  const twice = header.find((column, i) => header.indexOf(column) !== i);
  if (twice !== undefined) return fault(`has two columns "${twice}"`);
  if (rows.length === 0) return fault('has no rows');
  return {
    name,
    header,
    rows: rows.map(({ record, info }) => ({
      line: info.lines,
      values: Object.fromEntries(header.map((column, i) => [column, record[i] ?? ''])),
    })),
  };
}

/**
 * Returns an overlay with the rows that it chooses, in the columns that it names. Reports what is
 * wrong. Undefined if the file has no table, or if `x` or `y` is no column of the table.
 * @param isNumericX whether the column `x` must hold numbers
 * @param facets the axes by which the figure has panels
 */
export async function readOverlay(
  overlay: Node,
  isNumericX: boolean,
  facets: Facets,
  report: Report,
): Promise<Overlay | undefined> {
  const file = child(overlay, 'file');
  const csv = isText(file) ? await readCsv(file, report) : null;
  if (csv === null) return undefined;
  const columns: string[] = [];
  /**
   * Returns the node if it names a column, and adds the column to `columns`. Otherwise returns
   * undefined, after reporting the name if there is one.
   */
  const used = (node: Node | undefined): TextNode | undefined => {
    if (!isText(node)) return undefined;
    if (csv.header.includes(node.value)) columns.push(node.value);
    else reportColumn(node.value, node.span, csv, report);
    return csv.header.includes(node.value) ? node : undefined;
  };
  const [x, y, color] = ['x', 'y', 'color'].map((field) => used(child(overlay, field)));
  const written = child(overlay, 'spread'),
    spread = (written === undefined ? [] : oneOrMany(written)).flatMap((one) => used(one) ?? []);
  const panels = fieldsOfMap(child(overlay, 'facet')).map(([name, node]) => {
    if (name === 'row' || name === 'column') checkPanel(name, node, facets, report);
    return [name, used(node)?.value] as const;
  });
  const rows = chosenRows(child(overlay, 'where'), csv, report);
  for (const cell of [...(isNumericX && x ? [x] : []), ...(y ? [y] : []), ...spread])
    checkNumbers(cell, rows, csv, report);
  checkLineNames(overlay, color, rows, report);
  if (x === undefined || y === undefined) return undefined;
  const [low, high] = spread.map(({ value }) => value);
  const { citation, label = 'published', names = {} } = toJson(overlay) as unknown as OverlaySpec;
  return {
    rows: rows.map(({ values }) =>
      Object.fromEntries([...new Set(columns)].map((name) => [name, values[name] ?? ''])),
    ),
    ...{ citation, label, names },
    x: x.value,
    y: y.value,
    ...defined({
      color: color?.value,
      spread: low === undefined || high === undefined ? low : ([low, high] as const),
      facet: panels.length === 0 ? undefined : Object.fromEntries(panels),
    }),
  };
}

function reportColumn(column: string, at: Span, { name, header }: Csv, report: Report) {
  const hint = suggest(column, header) ?? `its columns are ${all(header)}`;
  report('unknown-column', at, `${name} has no column "${column}"`, hint);
}

/** Reports an overlay's panels by row or column if the figure has no such panels. */
function checkPanel(name: 'row' | 'column', { span }: Node, facets: Facets, report: Report): void {
  if (facets[name] === undefined)
    report(
      'conflicting-keys',
      span,
      `the figure has no panels by ${name}`,
      `give it facet: { ${name}: AXIS }, or leave this out`,
    );
}

/**
 * Returns the rows that match `where`; all rows if there is no `where`. Reports what matches
 * nothing. A column that the table lacks is reported, and does not restrict the rows.
 */
function chosenRows(where: Node | undefined, csv: Csv, report: Report): readonly CsvRow[] {
  if (where?.kind !== 'map') return csv.rows;
  let rows = csv.rows;
  for (const [column, { key, value }] of where.entries) {
    if (!csv.header.includes(column)) {
      reportColumn(column, key, csv, report);
      continue;
    }
    const wanted = oneOrMany(value).map((one) => (one.kind === 'scalar' ? one.value : null)),
      before = rows;
    rows = rows.filter(({ values }) =>
      wanted.some((one) =>
        typeof one === 'number'
          ? values[column] !== '' && Number(values[column]) === one
          : values[column] === String(one),
      ),
    );
    if (rows.length > 0 || before.length === 0) continue;
    const seen = [...new Set(before.map(({ values }) => `"${values[column] ?? ''}"`))];
    report(
      'matches-nothing',
      value.span,
      `no row of ${csv.name} has this in "${column}"`,
      seen.length > MOST_SHOWN ? undefined : `it is ${either(seen)}`,
    );
  }
  return rows;
}

const MOST_SHOWN = 8;

function checkNumbers(
  { value: column, span }: TextNode,
  rows: readonly CsvRow[],
  { name }: Csv,
  report: Report,
): void {
  /** Whether a text is a finite number; false for '' and a missing value. */
  const isNumber = (text = ''): boolean => text !== '' && Number.isFinite(Number(text));
  const wrong = rows.find(({ values }) => !isNumber(values[column]));
  if (wrong !== undefined)
    report(
      'wrong-type',
      span,
      `"${column}" is ${JSON.stringify(wrong.values[column])} in line ${wrong.line} of ${name}`,
      'a number belongs there: choose rows with `where`, or mend the file',
    );
}

/**
 * Reports keys of `names` that no row has in the column that `color` names, and `names` without
 * `color`.
 */
function checkLineNames(
  overlay: Node,
  color: TextNode | undefined,
  rows: readonly CsvRow[],
  report: Report,
): void {
  const names = child(overlay, 'names');
  if (names?.kind !== 'map' || names.entries.size === 0) return;
  if (child(overlay, 'color') === undefined)
    report(
      'missing-key',
      names.span,
      '"names" are of the lines that a column tells apart, and there is none',
      'name the column with `color`',
    );
  if (color === undefined) return;
  const lines = new Set(rows.map(({ values }) => values[color.value] ?? ''));
  for (const [line, { key }] of names.entries)
    if (!lines.has(line))
      report(
        'unknown-value',
        key,
        `no row that is drawn has "${line}" in "${color.value}"`,
        suggest(line, lines) ?? `it has ${all([...lines].map((one) => `"${one}"`))}`,
      );
}
