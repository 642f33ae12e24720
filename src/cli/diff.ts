/** `dosimeter diff A B`: the differences between two specs' results, with both numbers. */
import { shortNames } from '../api/cell.ts';
import { canonical } from '../base/canonical.ts';
import { mapValues } from '../base/record.ts';
import { tellingAxes } from '../plan/label.ts';
import { pText } from '../report/against.ts';
import {
  type DifferenceRow,
  differenceRows,
  type DifferenceSummary,
  fieldDifferences,
  summariseDifferences,
} from '../report/diff.ts';
import { countsText, DAGGER, daggerText, FEWER_ROWS, type RowCount } from '../report/evidence.ts';
import { bothValues, list } from '../report/format.ts';
import { groupBy } from '../report/groups.ts';
import { distinctMetrics } from '../report/metric-lookup.ts';
import { isPValue } from '../report/metrics.ts';
import { plainPair, plainValue } from '../report/numbers.ts';
import { distinctDiagnostics, repeatsIn, warningText } from '../run/execute/warnings.ts';
import { comparedResults } from '../run/facts.ts';
import { prepare } from '../run/prepare.ts';
import { runCommandOf, type SpecOptions } from './options.ts';
import { firstMetrics, leftOut, pairsText, rowsOf, valueText } from './result-tables.ts';
import { askedMetrics, remarkOthers } from './results.ts';
import { count, json, out, paint, paintErr, say, table, warn, warnProse } from './terminal.ts';

interface DiffOptions extends SpecOptions {
  /**
   * Names or patterns of metrics. If empty, the few metrics that `results` shows, or all with
   * `--all` or `--json`.
   */
  readonly metric: readonly string[];
  readonly all?: boolean;
}

export async function diffCommand(
  specA: string,
  specB: string,
  options: DiffOptions,
): Promise<number> {
  const a = await readSide(specA, options);
  const b = await readSide(specB, options);
  const every = differenceRows(a.cells, b.cells);
  const asked = askedMetrics(every, options.metric),
    isWhole = options.all === true || options.json === true;
  const metrics = asked ?? (isWhole ? distinctMetrics(every) : firstMetrics(every)),
    rows = rowsOf(every, metrics);
  const fields = fieldDifferences(a.resolved, b.resolved);
  const summaries = summariseDifferences(rows);
  if (options.json) {
    json({ fields, rows, summaries });
    return 0;
  }
  for (const { path, a: before, b: after } of fields)
    out(`${paint.bold(path)}  ${fieldText(before)} → ${fieldText(after)}`);
  if (summaries.length > 0) out(differenceTable(summaries));
  const apart = axesApart(summaries);
  if (apart.length > 0)
    warnProse(
      `no cells are compared: those that are most alike differ in ${list(apart)}. A spec with ` +
        'both values as an axis has both in its results.',
    );
  if (summaries.some(({ p }) => p !== null))
    say(
      'p: of no difference, paired by seed, from three pairs on; corrected by Holm’s method over ' +
        'the conditions that have the metric',
    );
  const dagger = daggerText(summaries.flatMap((row) => [...row.reasonsA, ...row.reasonsB]));
  if (dagger !== null) warnProse(`${DAGGER} ${dagger}`);
  const fewer = countsText(summaries.flatMap((row) => [...row.fewerA, ...row.fewerB]));
  if (fewer !== '')
    warnProse(
      `${FEWER_ROWS} Measured on fewer rows than in the other spec (${fewer}): the two numbers ` +
        'are not of the same rows.',
    );
  const excluded = reasonsText(rows);
  if (excluded !== '') warnProse(`left out of the differences, as no evidence: ${excluded}`);
  if (asked === null) remarkOthers(distinctMetrics(every), metrics);
  return 0;
}

/**
 * Returns the axes in which the cells of two specs differ, for the pair of cells that is most
 * alike; [] if the specs have a cell in common.
 */
function axesApart(summaries: readonly DifferenceSummary[]): readonly string[] {
  if (summaries.some(({ a, b }) => a !== null && b !== null)) return [];
  // Values are written once, and not for each of the many pairs.
  const cellsIn = (side: 'a' | 'b'): readonly { readonly [path: string]: string }[] => {
    const own = summaries.filter((summary) => summary[side] !== null);
    const cells = groupBy(own, ({ cell }) => canonical(cell));
    return [...cells.values()].map(([{ cell }]) => mapValues(cell, canonical));
  };
  const ofB = cellsIn('b');
  let closest: readonly string[] = [],
    least = Infinity;
  for (const a of cellsIn('a'))
    for (const b of ofB) {
      const apart = Object.keys({ ...a, ...b }).filter(
        (path) => (a[path] ?? NONE) !== (b[path] ?? NONE),
      );
      if (apart.length >= least) continue;
      least = apart.length;
      // A field that one cell lacks follows from another field, as a parameter from its plugin.
      const inBoth = apart.filter((path) => ![a[path] ?? NONE, b[path] ?? NONE].includes(NONE));
      closest = inBoth.length > 0 ? inBoth : apart;
    }
  return closest;
}

const NONE = canonical(null);

/** Returns why pairs are no evidence, each reason with the number of its pairs. */
function reasonsText(rows: readonly DifferenceRow[]): string {
  const excluded = rows.filter((row) => row.excluded !== null);
  return [...groupBy(excluded, ({ reasonA, reasonB }) => reasonA ?? reasonB ?? '')]
    .map(([reason, { length }]) => `${count(length, 'pair')} in which a model ${reason}`)
    .join('; ');
}

async function readSide(spec: string, options: SpecOptions) {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  const { cells, missing, damaged, refused, warnings } = comparedResults(
    prepared,
    await repeatsIn(prepared),
  );
  for (const line of leftOut({ damaged, refused })) say(paintErr.red(line));
  for (const warning of distinctDiagnostics(warnings)) warn(warningText(warning));
  if (missing > 0)
    warn(`${spec}: ${count(missing, 'goal stage')} not run yet: ${runCommandOf(spec, options)}`);
  return { cells, resolved: prepared.experiment.resolved };
}

/** Returns the value of a field as text; null is a field that is not set. */
const fieldText = (value: unknown): string => (value === null ? '(not set)' : valueText(value));

const numberText = (value: number | null): string => (value === null ? '–' : plainValue(value));

/** Returns a mean, marked for no evidence at some seed and for fewer rows than the other's. */
const meanText = (
  value: number | null,
  reasons: readonly string[],
  fewer: readonly RowCount[],
): string =>
  numberText(value) +
  (reasons.length > 0 ? ` ${DAGGER}` : '') +
  (fewer.length > 0 ? ` ${FEWER_ROWS}` : '');

/**
 * Returns the 95% interval of the difference or, for two pairs, both differences; `all equal` if
 * the interval is one number. '' if there is no interval, and for p-values.
 */
function intervalText(row: DifferenceSummary): string {
  const { low, high, difference, std, pairs } = row;
  if (low === null || difference === null || isPValue(row)) return '';
  if (low === high) return 'all equal';
  const [first, second] = bothValues({ n: pairs, mean: difference, std, low, high });
  return first === undefined || second === undefined
    ? `${numberText(low)} to ${numberText(high)}`
    : `both: ${plainPair(first, second)}`;
}

function differenceTable(summaries: readonly DifferenceSummary[]): string {
  const paths = tellingAxes(summaries.map(({ cell }) => cell));
  const names = shortNames(paths);
  const head = ['stage', 'metric', 'A', 'B', 'B − A', '95% interval', 'p', 'pairs'];
  return table([
    [...paths.map((path) => names.get(path) ?? path), ...head],
    ...summaries.map((row) => [
      ...paths.map((path) => (path in row.cell ? fieldText(row.cell[path]) : '')),
      row.stage,
      row.metric,
      meanText(row.a, row.reasonsA, row.fewerA),
      meanText(row.b, row.reasonsB, row.fewerB),
      numberText(row.difference),
      intervalText(row),
      row.p === null ? '' : pText(row.p),
      pairsText(row.pairs, row.excluded, row.unpaired),
    ]),
  ]);
}
