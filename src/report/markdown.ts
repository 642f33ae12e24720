/** A grid of results as a table in GitHub's Markdown. Pure. */
import { TEST_HEAD, TEST_NOTE } from './against.ts';
import { DAGGER, daggerText } from './evidence.ts';
import {
  entriesIn,
  excludedText,
  gridCells,
  type GridColumn,
  type GridForm,
  type GridTable,
  seedCounts,
  valuesText,
} from './grid.ts';
import { METRICS } from './metrics.ts';
import { spreadNote } from './numbers.ts';
import { seedsNote } from './results.ts';
import { metricName } from './select.ts';
import { gridWithoutFolders } from './sources.ts';

/** Returns text that Markdown leaves as it is, in a cell of a table or in a line of its own. */
const escaped = (text: string): string =>
  text.replace(/[\\`*_{}[\]<>#|~]/g, '\\$&').replace(/\s+/g, ' ');

const NOTES = new Map(METRICS.map((note) => [metricName(note), note]));
const FORM: GridForm = {
  empty: '–',
  mark: ` ${DAGGER}`,
  isProportion: (metric) => NOTES.get(metricName(metric))?.kind === 'proportion',
  number: (text) => text,
  seeds: seedsNote,
  test: (text) => text,
  pairs: (n, { summary }) => (n === summary.n ? '' : ` (n = ${n})`),
};

/**
 * Returns the heading of a column: its values along the axes, where numbers and truth values have
 * the axis's name, and its metric unless all columns have the same.
 */
function columnText({ at, metric }: GridColumn, { grid, columnAxes, axisName }: GridTable): string {
  const named = columnAxes.flatMap((path, depth) => {
    const values = at[depth] ?? [];
    if (values.length === 0) return [];
    const value = valuesText(path, values);
    return [values.every((own) => typeof own === 'string') ? value : `${axisName(path)} ${value}`];
  });
  const several = new Set(grid.columns.map((column) => metricName(column.metric))).size > 1;
  const label = NOTES.get(metricName(metric))?.label ?? metric.metric;
  return [...named, ...(several || named.length === 0 ? [label] : [])].join(', ');
}

const line = (cells: readonly string[]): string => `| ${cells.map(escaped).join(' | ')} |`;

/** Says what stands in the table's cells, as far as it is there. */
function notesText({ grid, spread = 'interval', caveats }: GridTable): readonly string[] {
  const entries = entriesIn(grid),
    dagger = daggerText(entries.flatMap(({ reasons }) => reasons));
  const notes = [
    spreadNote(seedCounts(entries), spread) ?? 'One seed: no interval.',
    excludedText(entries),
    grid.columns.some(({ tested }) => tested) ? TEST_NOTE : null,
    dagger && `${DAGGER} ${dagger}`,
  ];
  return [notes.filter((note) => note !== null).join(' '), ...caveats.map(escaped)];
}

/**
 * Returns the table: a line for each row of the grid, a column for each of its columns. Paragraphs
 * below it say what the numbers are, and what qualifies them.
 */
export function markdownTable(asked: GridTable): string {
  const request = { ...asked, grid: gridWithoutFolders(asked.grid) };
  const { grid, rowAxes, axisName, against } = request;
  const head = grid.columns.flatMap((column) => {
    const text = columnText(column, request);
    return [
      text,
      ...(column.differs ? [`${text} − ${against}`] : []),
      ...(column.tested ? [TEST_HEAD] : []),
    ];
  });
  const cells = gridCells(request, FORM);
  const body = grid.rows.map((names, i) =>
    line([
      ...rowAxes.map((path, depth) => valuesText(path, names[depth]) || FORM.empty),
      ...(cells[i] ?? []),
    ]),
  );
  return [
    line([...rowAxes.map(axisName), ...head]),
    `|${'---|'.repeat(rowAxes.length)}${'---:|'.repeat(head.length)}`,
    ...body,
    ...notesText(request).flatMap((note) => ['', note]),
  ].join('\n');
}
