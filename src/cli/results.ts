/** `dosimeter results SPEC`: the numbers of finished goal stages, by cell and over the seeds. */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';
import { type Against, compareRows, TEST_NOTE } from '../report/against.ts';
import { caveatText, isSaid } from '../report/caveats.ts';
import { csvLine, type CsvValue } from '../report/csv.ts';
import { DAGGER, daggerText, FEWER_ROWS, fewerRowsText, rowsText } from '../report/evidence.ts';
import { distinct, groupBy } from '../report/groups.ts';
import { triggerNote } from '../report/labels.ts';
import { distinctMetrics, selectMetrics } from '../report/metric-lookup.ts';
import { isSuccessRate, type Metric, metricName } from '../report/metrics.ts';
import { spreadNote } from '../report/numbers.ts';
import { axesByName, type ResultRow, scorersOfRows } from '../report/results.ts';
import { caveatSentences, targetLines } from '../report/table-facts.ts';
import { scorerSentence, scorerWords } from '../report/tasks.ts';
import { distinctDiagnostics, repeatsIn, warningText } from '../run/execute/warnings.ts';
import { otherBackends, type Results, resultsOf, targetsOf } from '../run/facts.ts';
import { prepare, type Prepared } from '../run/prepare.ts';
import { runCommandOf, type SpecOptions } from './options.ts';
import type { TableOptions } from './paper-tables.ts';
import {
  axisText,
  caveatLines,
  caveatsIn,
  cellTable,
  differences,
  firstMetrics,
  leftOut,
  metricTable,
  MOST_COLUMNS,
  rowsOf,
} from './result-tables.ts';
import {
  columns,
  count,
  json,
  out,
  paintErr,
  remarkProse,
  say,
  warn,
  warnLines,
  warnProse,
  wrap,
} from './terminal.ts';

interface ResultsOptions extends SpecOptions, TableOptions {
  readonly csv?: boolean;
  readonly all?: boolean;
  /** Names or patterns of metrics. If empty, only the few that people want first are shown. */
  readonly metric: readonly string[];
  /** Whether to print the measurements along each training instead. */
  readonly steps?: boolean;
  readonly latex?: boolean;
  readonly markdown?: boolean;
  /** Whether a LaTeX table has notes below it; by default, it has. */
  readonly notes?: boolean;
}

/**
 * Prints the results in the form that the options ask for, and what is missing. Throws `UserFault`
 * if options do not fit together.
 */
export async function resultsCommand(spec: string, options: ResultsOptions): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say });
  if (options.steps) return showSteps(prepared, options);
  const results = resultsOf(prepared, await targetsOf(prepared), await repeatsIn(prepared));
  const { rows, missing, computedBy, warnings } = results;
  const isTable = options.latex === true || options.markdown === true;
  if (!isTable && [options.rows, options.columns].some(Boolean))
    throw new UserFault('--rows and --columns shape the table that --latex or --markdown prints');
  if (options.spread !== undefined && (options.json === true || options.csv === true))
    throw new UserFault('--spread shapes tables; --json and --csv have the value of each seed');
  if (prepared.experiment.notes !== '') say(prepared.experiment.notes);
  for (const line of leftOut(results)) say(paintErr.red(line));
  for (const what of computedBy) say(wrap(`computed by ${what}`, columns(), '  '));
  sayWarnings(warnings);
  for (const line of otherBackends(prepared)) say(line);
  const asked = askedMetrics(rows, options.metric);
  if (options.json === true || options.csv === true) {
    const compared = compareRows(rows, options.against ?? 'none');
    const chosen = asked === null ? compared : rowsOf(compared, asked);
    if (options.json === true) json(chosen);
    else out(csv(chosen, options.against));
  } else if (isTable) {
    if (rows.length === 0)
      throw new UserFault('no stage of this spec has a result yet', runCommandOf(spec, options));
    const targets = rows.flatMap(({ target }) => target ?? []),
      caveats = caveatSentences(targets, ...caveatsAndWarnings(results));
    const { latexResults, markdownResults } = await import('./paper-tables.ts');
    out(
      options.latex === true
        ? latexResults(prepared, results, asked, options, caveats)
        : markdownResults(results, asked, options, caveats),
    );
  } else if (rows.length > 0) show(rows, asked, options);
  if (missing > 0)
    warn(`${count(missing, 'goal stage')} not run yet: ${runCommandOf(spec, options)}`);
  return 0;
}

async function showSteps(prepared: Prepared, options: ResultsOptions): Promise<number> {
  const { asResults, readSteps } = await import('../run/facts.ts');
  const { rows: steps, damaged } = await readSteps(prepared);
  for (const line of leftOut({ damaged, refused: [] })) say(paintErr.red(line));
  const final = resultsOf(prepared);
  sayWarnings(final.warnings);
  // Caveats are known only of the model that each training keeps, so these are shown.
  const [caveats, warnings] = caveatsAndWarnings(final),
    ends = caveats.map((sentence) => `Of the models that are kept: ${sentence}`);
  const rows = asResults(steps, prepared.plan);
  const metrics = askedMetrics(rows, options.metric) ?? distinctMetrics(rows);
  const names = new Set(metrics.map(({ metric }) => metric));
  if (options.json) json(steps.filter(({ metric }) => names.has(metric)));
  else if (rows.length === 0)
    warn(
      'no finished training was evaluated along its steps: ' +
        '`train: { evaluate_every: N }` asks for it',
    );
  else if (options.markdown === true) {
    const below = caveatSentences([], ends, warnings);
    out((await import('./paper-tables.ts')).markdownResults({ rows }, metrics, options, below));
  } else {
    out(cellTable(rows, metrics, columns(), options.spread ?? 'interval'));
    for (const sentence of ends) warnProse(sentence);
  }
  return 0;
}

/** Returns the caveats on numbers, and the warnings that say something else. */
function caveatsAndWarnings({ rows, warnings }: Pick<Results, 'rows' | 'warnings'>) {
  const caveats = caveatsIn(rows),
    unsaid = warnings.filter(({ message }) => !isSaid(caveats, message));
  const sentences = distinctDiagnostics(unsaid).map(({ message }) => `${message}.`);
  return [caveats.map(caveatText), sentences] as const;
}

function sayWarnings(warnings: Results['warnings']): void {
  for (const warning of distinctDiagnostics(warnings)) warnLines(warningText(warning));
}

/**
 * Returns the metrics that match the patterns; null if there are no patterns. Throws UserFault if
 * there are rows, and a pattern matches none of their metrics.
 */
export function askedMetrics(
  rows: readonly Metric[],
  patterns: readonly string[],
): readonly Metric[] | null {
  if (patterns.length === 0) return null;
  const {
    metrics,
    unknown: [unknown],
  } = selectMetrics(rows, patterns);
  if (unknown !== undefined && rows.length > 0) {
    const names = distinctMetrics(rows).flatMap((one) => [one.metric, metricName(one)]);
    throw new UserFault(
      `no finished stage has a metric "${unknown}"`,
      `did you mean ${closest(unknown, names)}? ` +
        '`--all` prints every one; in a name, * stands for any characters',
    );
  }
  return metrics;
}

/**
 * Prints a table of the metrics that are asked for or, if `asked` is null, of the first ones, and
 * below it what is to be known of the numbers.
 */
function show(
  rows: readonly ResultRow[],
  asked: readonly Metric[] | null,
  { all = false, spread = 'interval', against = 'none' }: ResultsOptions,
): void {
  const every = distinctMetrics(rows);
  const metrics = asked ?? (all ? every : firstMetrics(rows)),
    chosen = rowsOf(rows, metrics);
  out(
    metrics.length > MOST_COLUMNS || all
      ? metricTable(chosen, columns())
      : cellTable(rows, metrics, columns(), spread),
  );
  if (against !== 'none') showDifferences(rows, metrics, against);
  const dagger = daggerText(chosen.flatMap(({ evidence }) => evidence.reasons)),
    fewer = fewerRowsText(chosen.flatMap(({ evidence }) => evidence.fewer_rows ?? []));
  if (dagger !== null) warnProse(`${DAGGER} ${dagger}`);
  if (fewer !== null) warnProse(`${FEWER_ROWS} ${fewer}`);
  for (const sentence of caveatLines(rows)) warnProse(sentence);
  const triggers = metrics.some(isSuccessRate) ? triggerNote(chosen.flatMap(axesByName)) : null;
  if (triggers !== null) remarkProse(triggers);
  const scorers = scorerSentence(scorersOfRows(chosen));
  if (scorers !== '') remarkProse(scorers);
  const counts = chosen.map(({ evidence }) => evidence.n);
  remarkProse(spreadNote(counts, spread));
  for (const line of targetLines(rows.flatMap(({ target }) => target ?? []))) remarkProse(line);
  if (asked === null) remarkOthers(every, metrics);
}

/** Says how many metrics are not shown, and how to show them; nothing if all are shown. */
export function remarkOthers(every: readonly Metric[], shown: readonly Metric[]): void {
  const names = new Set(shown.map(metricName)),
    rest = every.filter((one) => !names.has(metricName(one)));
  if (rest.length === 0) return;
  const more =
    `${count(rest.length, 'more metric')}: ${countsByStage(rest)}. ` +
    '--metric NAME,NAME shows those (train.* all of a stage), --all every one.';
  remarkProse(more);
}

function showDifferences(
  rows: readonly ResultRow[],
  metrics: readonly Metric[],
  against: Exclude<Against, 'none'>,
): void {
  const { text, tested } = differences(rows, metrics, against, columns());
  if (text === null)
    warn(
      `--against ${against}: no number has ` +
        `${against === 'full' ? 'a full fine-tuning' : 'a clean run'} to compare with`,
    );
  else out(`\n${text}`);
  if (tested) remarkProse(TEST_NOTE);
}

/** Says how many metrics each stage has: `evaluate (3), train (5)`. */
const countsByStage = (metrics: readonly Metric[]): string =>
  [...groupBy(metrics, ({ stage }) => stage)]
    .map(([stage, { length }]) => `${stage} (${length})`)
    .join(', ');

const COMPARISON = ['difference', 'excluded', 'pairs', 'p', 'p_holm'] as const;

/**
 * Returns CSV by RFC 4180, where a text that a spreadsheet would take for a formula is marked. The
 * columns `scorer`, `task`, `precision` and `fewer_rows` are there only if a row has them.
 */
function csv(rows: readonly ResultRow[], against: Against = 'none'): string {
  const paths = distinct(rows.flatMap(axesByName).flatMap((cell) => Object.keys(cell)));
  const named = rows.some(({ task }) => task !== undefined),
    isScored = rows.some(({ scorer }) => scorer !== undefined),
    isMixed = rows.some(({ precision }) => precision !== undefined),
    hasFewerRows = rows.some(({ evidence }) => evidence.fewer_rows !== undefined);
  type Column = readonly [head: string, value: (row: ResultRow) => CsvValue];
  const compared: Column[] = [
    ['against', (row) => row.against?.value],
    ...COMPARISON.map((field): Column => [field, (row) => row.against?.[field]]),
  ];
  const columns: Column[] = [
    ...paths.map((path): Column => [path, (row) => axisText(row, path)]),
    ['seed', ({ seed }) => seed],
    ['stage', ({ stage }) => stage],
    ['metric', ({ metric }) => metric],
    ['value', ({ value }) => value],
    ...(isScored ? [['scorer', ({ scorer }) => scorer && scorerWords(scorer)] as Column] : []),
    ...(named ? [['task', ({ task }) => task] as Column] : []),
    ...(isMixed ? [['precision', ({ precision }) => precision ?? 'float32'] as Column] : []),
    ...(against === 'none' ? [] : compared),
    ['evidence', ({ evidence }) => evidence.counts],
    ['reasons', ({ evidence }) => evidence.reasons.join('; ')],
    ['n', ({ evidence }) => evidence.n],
    ['missing', ({ evidence }) => evidence.missing],
    ['warnings', ({ evidence }) => evidence.warnings.join('; ')],
    ...(hasFewerRows
      ? [['fewer_rows', ({ evidence }) => rowsText(evidence.fewer_rows)] as Column]
      : []),
  ];
  return [columns.map(([head]) => head), ...rows.map((row) => columns.map(([, of]) => of(row)))]
    .map(csvLine)
    .join('\r\n');
}
