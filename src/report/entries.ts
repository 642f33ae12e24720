/**
 * The figures and tables that a spec's `report` asks for, each with what it does not show and why.
 */
import { closest } from 'fastest-levenshtein';
import type { FigureEntry, TableEntry } from '../api/report.ts';
import { defined } from '../base/defined.ts';
import { UserFault } from '../base/fault.ts';
import type { Analysis } from './analysis.ts';
import { chooseByName, type Condition } from './conditions.ts';
import { toCsv } from './csv.ts';
import { writesAnswers } from './evidence.ts';
import { drawEntry } from './figures/entry.ts';
import { LOSS } from './figures/frame.ts';
import {
  type Entry,
  type GridTable,
  layOut,
  markdownTable,
  type TableText,
  tableText,
  valuesText,
} from './grid.ts';
import { contentKey, distinct } from './groups.ts';
import { headName } from './labels.ts';
import { latexTable } from './latex.ts';
import { metricName, metricNamed } from './metrics.ts';
import { collectResults } from './results.ts';
import type { Figure, ReportCell } from './types.ts';

/** A table in each of its forms. */
export interface DrawnTable extends TableText {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  /** How many columns name a row. */
  readonly axes: number;
  readonly latex: string;
  readonly markdown: string;
  /** One line for each number. */
  readonly csv: string;
}

export interface DrawnEntry {
  readonly name: string;
  readonly figures: readonly Figure[];
  readonly table: DrawnTable | null;
  /** What it can't show, and why: ends of a sentence about the entry. */
  readonly lacks: readonly string[];
}

/** Draws every figure and table of the spec, in its order. */
export async function drawSpecEntries(analysis: Analysis): Promise<readonly DrawnEntry[]> {
  const { figures = [], tables = [] } = analysis.input.entries ?? {};
  const drawn: DrawnEntry[] = [];
  for (const entry of figures) drawn.push(await drawFigureEntry(entry, analysis));
  for (const entry of tables) drawn.push(drawTable(entry, analysis));
  return drawn;
}

async function drawFigureEntry(entry: FigureEntry, analysis: Analysis): Promise<DrawnEntry> {
  const { name } = entry;
  try {
    const figures = await drawEntry(entry, analysis),
      isShown = figures.length > 0;
    const lacks = lackedBy(entry, metricsOf(entry), analysis.conditions, isShown);
    return { name, figures, table: null, lacks };
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    const { message, hint } = error;
    return { name, figures: [], table: null, lacks: [hint ? `${message}: ${hint}` : message] };
  }
}

const isMetric = (field: string): boolean => field.includes('.');

/** The metrics of a figure: those of y and, in a heat map, the one that is its colour. */
function metricsOf({ x, y, color, mark, references = [] }: FigureEntry): readonly string[] {
  const fields = [x, ...y].map(({ field }) => field);
  const named = mark === 'heatmap' ? [...fields, ...(color?.fields ?? [])] : fields;
  return [...named.filter(isMetric), ...references];
}

/**
 * Returns what no cell that an entry shows has.
 * @param fields metrics, and perhaps axes
 */
function lackedBy(
  { cells, against }: Pick<FigureEntry, 'cells' | 'against'>,
  fields: readonly string[],
  conditions: readonly Condition[],
  isShown: boolean,
): readonly string[] {
  const shown = chooseByName(conditions, cells);
  if (shown.length === 0) return ['no cell matches its `cells`'];
  const measured = new Set(
    shown.flatMap((condition) => condition.cells.flatMap((cell) => measuredIn(cell))),
  );
  const axes = new Set(conditions.flatMap((condition) => Object.keys(condition.axes)));
  const lacking = distinct(fields)
    .filter((field) => !measured.has(field) && !axes.has(field))
    .map((field) => {
      const near = measured.size === 0 ? '' : `: did you mean ${closest(field, [...measured])}?`;
      return `no finished cell has a metric "${field}"${near}`;
    });
  if (lacking.length > 0 || isShown) return lacking;
  return [
    against === undefined
      ? 'its cells have nothing to show yet'
      : `its cells have no pair with \`against: ${against}\` that is evidence` +
        (against === 'clean' ? '; clean twins have accuracy and asr alone' : ''),
  ];
}

const measuredIn = ({ metrics, history }: ReportCell): string[] => [
  ...Object.entries(metrics).flatMap(([stage, values]) =>
    Object.keys(values).map((metric) => metricName({ stage, metric })),
  ),
  ...(history === null ? [] : [LOSS]),
];

// ---- tables ------------------------------------------------------------------------------------

function drawTable(entry: TableEntry, { conditions, input }: Analysis): DrawnEntry {
  const { name, title = name, rows: rowAxes, columns: columnAxes, against = 'none' } = entry;
  const metrics = entry.metrics.map(metricNamed);
  const cells = conditions.flatMap((condition) => [...condition.cells]);
  const shown = new Set(chooseByName(conditions, entry.cells).map(({ axes }) => contentKey(axes)));
  const rows = collectResults(cells.map(({ axes, ...cell }) => ({ ...cell, cell: axes })));
  const grid = layOut({
    rows,
    metrics,
    rowAxes,
    columnAxes,
    against,
    isShown: ({ cell }) => shown.has(contentKey(cell)),
  });
  const none = (lacks: readonly string[]): DrawnEntry => ({
    name,
    figures: [],
    table: null,
    lacks,
  });
  if ('clash' in grid)
    return none([
      `several cells have the same place, which differ in ${grid.clash.join(', ')}: ` +
        'name them under `rows` or `columns`, or choose one value under `cells`',
    ]);
  const lacks = lackedBy(entry, entry.metrics, conditions, grid.columns.length > 0);
  if (grid.columns.length === 0) return none(lacks);
  const table: GridTable = {
    ...{ grid, rowAxes, columnAxes, against, caveats: [] },
    axisName: headName,
    ...defined({ spread: entry.spread }),
  };
  const caption = [title, entry.caption].filter((text) => text !== undefined).join('. ');
  return {
    name,
    figures: [],
    lacks,
    table: {
      ...tableText(table),
      ...{ name, title, caption: entry.caption ?? '', axes: rowAxes.length },
      markdown: `${markdownTable(table)}\n`,
      latex: `${latexTable({
        ...table,
        name: caption.replace(/\.$/, ''),
        label: name,
        ofAnswers: cells.some(writesAnswers),
        facts: [],
        notes: 'below',
        comments: [`dosimeter, ${input.name}: the table ${name} of ${input.specFile}`],
      })}\n`,
      csv: csvOfTable(table),
    },
  };
}

/** Returns a line for each number: its place along the axes, its summary, and what it is worth. */
function csvOfTable({ grid, rowAxes, columnAxes, against }: GridTable): string {
  const named = (axes: readonly string[], at: GridTable['grid']['rows'][number]) =>
    Object.fromEntries(axes.map((path, i) => [path, valuesText(path, at[i])]));
  const compared = ({ difference, p, holm }: Entry) =>
    against === 'none'
      ? {}
      : {
          against,
          difference: difference?.mean,
          difference_low: difference?.low,
          difference_high: difference?.high,
          pairs: difference?.n,
          p,
          p_holm: holm,
        };
  return toCsv(
    grid.rows.flatMap((at, i) =>
      grid.columns.flatMap((column, k) => {
        const entry = grid.entries[i]?.[k] ?? null;
        if (entry === null) return [];
        const { mean, std, low, high, n } = entry.summary;
        return {
          ...named(rowAxes, at),
          ...named(columnAxes, column.at),
          metric: metricName(column.metric),
          ...{ n, planned: entry.planned, mean, std, low, high },
          least: Math.min(...entry.values),
          greatest: Math.max(...entry.values),
          ...compared(entry),
          not_evidence: entry.reasons.join('; '),
        };
      }),
    ),
  );
}
