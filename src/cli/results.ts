/** `dosimeter results SPEC`: the numbers of the finished goal stages, by cell and over the seeds. */
import { closest } from 'fastest-levenshtein';
import { UserFault } from '../api.ts';
import { resultsOf } from '../engine/facts.ts';
import type { Prepared } from '../engine/prepare.ts';
import { prepare } from '../engine/prepare.ts';
import { csvLine } from '../report/csv.ts';
import type { Against } from '../report/latex/grid.ts';
import type { ResultRow } from '../report/results.ts';
import { metricName, metricsIn, selectMetrics } from '../report/select.ts';
import type { SpecOptions } from './options.ts';
import type { Metric } from './result-tables.ts';
import {
  axisText,
  beside,
  caveatLines,
  firstMetrics,
  leftOut,
  lines,
  MOST_COLUMNS,
  namesOf,
  rowsOf,
} from './result-tables.ts';
import { columns, count, json, out, paintErr, say, wrap } from './terminal.ts';

export interface ResultsOptions extends SpecOptions {
  readonly csv?: boolean;
  readonly all?: boolean;
  /** Names or patterns; empty: the few that are asked for first. */
  readonly metric: readonly string[];
  /** Along each training. */
  readonly steps?: boolean;
  readonly latex?: boolean;
  readonly rows?: readonly string[];
  readonly columns?: readonly string[];
  readonly against?: Against;
}

export async function resultsCommand(spec: string, options: ResultsOptions): Promise<number> {
  const prepared = await prepare(spec, options, { fetch: false, note: say }),
    results = resultsOf(prepared);
  if (options.steps) return showSteps(prepared, options);
  const { rows, missing, computedBy } = results;
  if (!options.latex && [options.rows, options.columns, options.against].some(Boolean))
    throw new UserFault('--rows, --columns and --against are of the table that --latex prints');
  for (const line of leftOut(results)) say(paintErr.red(line));
  for (const what of computedBy) say(wrap(`computed by ${what}`, columns(), '  '));
  const asked = askedMetrics(rows, options.metric);
  if (options.json) json(asked === null ? rows : rowsOf(rows, asked));
  else if (options.csv) out(csv(asked === null ? rows : rowsOf(rows, asked)));
  else if (options.latex) {
    if (rows.length === 0)
      throw new UserFault('no stage of it has a result yet', `dosimeter run ${spec}`);
    out((await import('./latex.ts')).latexResults(prepared, results, asked, options));
  } else {
    if (rows.length > 0) show(rows, asked, options.all === true);
    if (missing > 0)
      say(paintErr.yellow(`${count(missing, 'goal stage')} not run yet: dosimeter run ${spec}`));
  }
  return 0;
}

async function showSteps(prepared: Prepared, options: ResultsOptions): Promise<number> {
  const { asResults, stepRows } = await import('./steps.ts');
  const steps = await stepRows(prepared),
    rows = asResults(steps);
  const asked = askedMetrics(rows, options.metric);
  const metrics = asked ?? metricsIn(rows),
    names = new Set(metrics.map(({ metric }) => metric));
  if (options.json) json(steps.filter(({ metric }) => names.has(metric)));
  else if (rows.length === 0)
    say(
      paintErr.yellow(
        'no finished training has looks at its steps: `train: { evaluate_every: N }` asks for them',
      ),
    );
  else out(beside(rows, metrics, columns()));
  return 0;
}

/** Null: none is named. */
function askedMetrics(
  rows: readonly ResultRow[],
  patterns: readonly string[],
): readonly Metric[] | null {
  if (patterns.length === 0) return null;
  const { metrics, unknown } = selectMetrics(rows, patterns);
  if (unknown.length > 0 && rows.length > 0) {
    const names = metricsIn(rows).flatMap((one) => [one.metric, metricName(one)]);
    throw new UserFault(
      `no finished stage has a metric "${unknown[0]!}"`,
      `did you mean ${closest(unknown[0]!, names)}? \`--all\` prints every one; in a name, * stands for any characters`,
    );
  }
  return metrics;
}

function show(rows: readonly ResultRow[], asked: readonly Metric[] | null, all: boolean): void {
  const every = metricsIn(rows);
  const metrics = asked ?? (all ? every : firstMetrics(rows));
  out(
    metrics.length > MOST_COLUMNS || all
      ? lines(rowsOf(rows, metrics), columns())
      : beside(rows, metrics, columns()),
  );
  for (const sentence of caveatLines(rows))
    say(paintErr.yellow(wrap(sentence, Math.min(columns(), 100))));
  const seeds = new Set(rows.map(({ seed }) => seed)).size;
  const shown = new Set(metrics.map(metricName)),
    rest = every.filter((one) => !shown.has(metricName(one)));
  const width = Math.min(columns(), 100);
  say(
    paintErr.dim(
      wrap(
        seeds > 1
          ? '± is half of the 95% Student t interval of the mean over the seeds (n).'
          : 'One seed: no interval.',
        width,
      ),
    ),
  );
  if (rest.length > 0 && asked === null)
    say(
      paintErr.dim(
        wrap(
          `${count(rest.length, 'more metric')}: ${byStage(rest)}. --metric NAME,NAME shows those (train.* all of a stage), --all every one.`,
          width,
        ),
      ),
    );
}

/** `train (9), evaluate (5)`. */
function byStage(metrics: readonly Metric[]): string {
  const stages = new Map<string, number>();
  for (const { stage } of metrics) stages.set(stage, (stages.get(stage) ?? 0) + 1);
  return [...stages].map(([stage, n]) => `${stage} (${n})`).join(', ');
}

const axisPaths = (rows: readonly ResultRow[]): string[] => [
  ...new Set(namesOf(rows).flatMap((cell) => Object.keys(cell))),
];
/** RFC 4180; texts that a spreadsheet would take for formulas are marked. */
function csv(rows: readonly ResultRow[]): string {
  const paths = axisPaths(rows);
  const lines = [
    [...paths, 'seed', 'stage', 'metric', 'value'],
    ...rows.map((row) => [
      ...paths.map((path) => axisText(row, path)),
      row.seed,
      row.stage,
      row.metric,
      row.value,
    ]),
  ];
  return lines.map(csvLine).join('\r\n');
}
