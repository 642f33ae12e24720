/**
 * The tables of the results: the metrics by condition, and each adapter against full fine-tuning,
 * paired by seed, with the verdicts.
 */
import type { JSX } from 'preact';
import type { PairedDifference } from '../../base/stats.ts';
import type { AdapterComparison } from '../comparisons.ts';
import { type Condition, rowCountsIn, scoreOf, type Series, seriesOf } from '../conditions.ts';
import { defenceCaveats, DEFENCES, isDefended } from '../defences.ts';
import {
  DAGGER,
  daggerText,
  FEWER_ROWS,
  fewerRowsText,
  predictsOneClass,
  type RowCount,
  voidReason,
  writesAnswers,
} from '../evidence.ts';
import { formatInterval, formatMean, formatNumber, type NumberKind } from '../format.ts';
import { groupBy } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { commonLabel, meaningOf, metricsOfTable } from '../metric-lookup.ts';
import { ACCURACY, type MetricNote, METRICS, PREDICTED } from '../metrics.ts';
import { formatSummary } from '../numbers.ts';
import { type AgreementRow, agreementRows, isTaskScore, taskNote } from '../tasks.ts';
import type { ReportCell } from '../types.ts';
import { PROPORTION_MARGIN, RELATIVE_MARGIN, SEEDS_NEEDED } from '../verdict.ts';
import {
  claims,
  type Column,
  Figures,
  Judged,
  names,
  namingColumns,
  type Node,
  numbers,
  type OfConditions,
  OVER_SEEDS,
  type PageProps,
  startsBlock,
  Table,
  texts,
} from './parts.tsx';

const hasMetric = (cell: ReportCell, { stage, metric }: MetricNote): boolean =>
  cell.metrics[stage]?.[metric] !== undefined;
const anyHasMetric = (conditions: readonly Condition[], note: MetricNote): boolean =>
  conditions.some(({ cells }) => cells.some((cell) => hasMetric(cell, note)));

/** Whether a condition should have a metric, so that its lack is a failure. */
export type Expects = (condition: Condition, note: MetricNote) => boolean;

/**
 * Returns a function that says whether a condition should have a metric, so that its lack is a
 * failure: the accuracy, or a metric that some condition under the same family of attacks has,
 * unless only defences have it.
 */
export function expectedMetrics(conditions: readonly Condition[]): Expects {
  const known = new Map(
    (['none', 'untargeted', 'backdoor'] as const).map((family) => {
      const of = conditions.filter((condition) => condition.family === family);
      const notes = METRICS.filter(
        (note) => note === ACCURACY || (note.defended !== true && anyHasMetric(of, note)),
      );
      return [family, notes] as const;
    }),
  );
  return ({ family }, note) => known.get(family)?.includes(note) ?? false;
}

/** Returns why a cell's number is not evidence; null if it is, or if the cell has no number. */
const whyNotEvidence = (cell: ReportCell, note: MetricNote): string | null =>
  note.stage === ACCURACY.stage && hasMetric(cell, note) ? voidReason(cell, note) : null;

/** Returns counts of rows: one for each seed at which other cells have the metric on more rows. */
type FewerRows = (condition: Condition, note: MetricNote) => readonly RowCount[];

/**
 * Shows a metric of a condition over its seeds, with its marks. For `PREDICTED`, also shows how
 * many of the condition's models give every row the same class or text.
 */
function metricCell(
  condition: Condition,
  note: MetricNote,
  expects: Expects,
  fewerRows: FewerRows,
): Node {
  const cell = seriesCell(seriesOf(condition, scoreOf(note)), note.kind, expects(condition, note));
  const fewer = fewerRows(condition, note).length > 0 ? ` ${FEWER_ROWS}` : '',
    constant = note === PREDICTED ? condition.cells.filter(predictsOneClass).length : 0;
  if (constant > 0)
    return (
      <span class="bad">
        {cell}
        {fewer} ({constant} of {condition.cells.length}{' '}
        {condition.cells.some(writesAnswers) ? 'one text' : 'one class'})
      </span>
    );
  const hasVoidNumber = condition.cells.some((one) => whyNotEvidence(one, note) !== null),
    marks = `${hasVoidNumber ? ` ${DAGGER}` : ''}${fewer}`;
  return marks === '' ? (
    cell
  ) : (
    <span class={hasVoidNumber ? 'muted' : undefined}>
      {cell}
      {marks}
    </span>
  );
}

/**
 * Shows metrics by condition in a table and, below it, what each metric means. Null if no condition
 * has any of them.
 * @param titled whether the label stands above the table as a heading
 */
export function MetricTable({
  label,
  titled = false,
  conditions,
  metrics: asked,
  expects,
}: {
  readonly label: string;
  readonly titled?: boolean;
  readonly conditions: readonly Condition[];
  readonly metrics: readonly MetricNote[];
  readonly expects: Expects;
}): JSX.Element | null {
  const metrics = asked.filter(
    (note) =>
      anyHasMetric(conditions, note) && (note.ofTask !== true || isTaskScore(conditions, note)),
  );
  if (metrics.length === 0) return null;
  const answers = conditions.some(({ cells }) => cells.some(writesAnswers));
  const dagger = daggerText(
    conditions.flatMap(({ cells }) =>
      cells.flatMap((cell) => metrics.flatMap((note) => whyNotEvidence(cell, note) ?? [])),
    ),
  );
  const rowCount = rowCountsIn(conditions);
  const fewerRows: FewerRows = ({ cells }, note) =>
    cells.filter((cell) => hasMetric(cell, note)).flatMap((cell) => rowCount(cell, note) ?? []);
  const fewer = fewerRowsText(
    conditions.flatMap((one) => metrics.flatMap((note) => fewerRows(one, note))),
  );
  const marked =
    (dagger === null ? '' : ` ${DAGGER} ${dagger}`) +
    (fewer === null ? '' : ` ${FEWER_ROWS} ${fewer}`);
  return (
    <>
      {titled && <h3>{label}</h3>}
      <Table
        label={label}
        rows={conditions}
        starts={startsBlock}
        columns={[
          ...namingColumns(conditions),
          numbers('n seeds', seedsCell),
          ...metrics.map((note) =>
            numbers(note.label, (condition: Condition) =>
              metricCell(condition, note, expects, fewerRows),
            ),
          ),
        ]}
        caption={`${OVER_SEEDS}${marked}${taskNote(conditions, metrics)}`}
      />
      <dl class="meanings small muted">
        {[...groupBy(metrics, (note) => meaningOf(note, answers))].map(([meaning, notes]) => (
          <div>
            <dt>{commonLabel(notes.map(({ label }) => label))}</dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

/**
 * Writes a mean with its interval and, if seeds lack the number, `(n = 2)`. Without a mean, writes
 * "failed" if a seed failed and a lack is a failure, and otherwise a dash.
 * @param expected whether a lack is a failure
 */
export function seriesCell(
  { summary, failed, missing, values }: Series,
  kind: NumberKind,
  expected: boolean,
): Node {
  if (summary === null) return failed > 0 && expected ? <span class="bad">failed</span> : '–';
  return (
    <>
      {formatSummary(summary, kind)}
      {failed + missing > 0 ? (
        <span class={failed > 0 ? 'bad' : 'muted'}> (n = {values.length})</span>
      ) : null}
    </>
  );
}

export const seedsCell = (condition: Condition): Node => {
  const failed = condition.failedCells.size;
  return (
    <>
      {condition.cells.length - failed}
      {failed > 0 ? <span class="bad"> ({failed} failed)</span> : null}
    </>
  );
};

/** Shows what defences did and how well they detect; null if no cell has one. */
export function Defences({ conditions, figures }: PageProps): JSX.Element | null {
  const defended = conditions.filter(isDefended);
  if (defended.length === 0) return null;
  const metrics = metricsOfTable('defence');
  return (
    <>
      <h3 id={DEFENCES.id}>{DEFENCES.title}</h3>
      {defenceCaveats(conditions).map((caveat) => (
        <p>{caveat}</p>
      ))}
      <Figures figures={figures.defences} layout="wide" />
      <MetricTable
        label="How well defences detect, by condition"
        conditions={defended.filter((one) => metrics.some((note) => anyHasMetric([one], note)))}
        metrics={metrics}
        expects={expectedMetrics(conditions)}
      />
    </>
  );
}

/** Writes the effect size; a dash if the differences are equal apart from rounding. */
const effectText = ({ effect }: PairedDifference): string =>
  formatNumber(effect !== null && Math.abs(effect) < 1e6 ? effect : null);

const COLUMNS: readonly Column<AdapterComparison>[] = [
  names('Metric', ({ metric }) => metric.label),
  texts('Attack', ({ adapter }) => blockLabel(adapter)),
  names('Adapter − full', ({ adapter, full }) =>
    full.adapterLabel === 'full'
      ? adapter.adapterLabel
      : `${adapter.adapterLabel} − ${full.adapterLabel}`,
  ),
  numbers('Pairs', ({ seeds, incomplete, excluded }) => (
    <>
      {seeds.length}
      {incomplete > 0 ? <span class="bad"> ({incomplete} incomplete)</span> : null}
      {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
    </>
  )),
  numbers('Difference', ({ difference, metric }) =>
    difference === null ? '–' : formatMean(difference, metric.kind),
  ),
  numbers('95% interval', ({ difference, metric }) =>
    difference === null ? '–' : formatInterval(difference, metric.kind),
  ),
  numbers('Effect size d_z', ({ difference }) =>
    difference === null ? '–' : effectText(difference),
  ),
  claims('Claim of the paper', ({ verdict, metric, excluded, reasons }) => (
    <>
      {verdict ? <Judged verdict={verdict} kind={metric.kind} /> : '–'}
      {excluded > 0 ? <span class="bad small"> excluded: {reasons.join('; ')}</span> : null}
    </>
  )),
];

export function Differences({ comparisons: { adapters } }: PageProps): JSX.Element {
  return (
    <>
      <h3>Adapter against full fine-tuning, paired by seed</h3>
      {adapters.length === 0 ? (
        <p>
          There is no complete pair of an adapter and full fine-tuning (same attack, setting and
          seed) to compare.
        </p>
      ) : (
        <>
          <Table
            label="Paired differences"
            most={240}
            rows={adapters}
            starts={(row, above) => row.metric !== above.metric}
            columns={COLUMNS}
          />
          <p class="muted small">
            d_z is the mean difference over the standard deviation of the differences (– where it
            has none). The paper (arXiv 2505.12871) claims that LoRA has the lower ASR under a
            backdoor and the larger accuracy drop under untargeted poisoning. A claim is{' '}
            <em>held</em> or <em>refuted</em> when its paired 95% interval over at least{' '}
            {SEEDS_NEEDED} seeds, corrected by Holm’s method over all comparisons of that claim,
            excludes zero by the declared margin ({PROPORTION_MARGIN} for accuracies and rates,{' '}
            {RELATIVE_MARGIN * 100}% of the full kernel’s value for information bits and entropies);
            else it is <em>undecided</em>.
          </p>
        </>
      )}
    </>
  );
}

/** Shows how often scorers agree; null if there is nothing to compare. */
export function Agreement({ conditions }: OfConditions): JSX.Element | null {
  const rows = agreementRows(conditions);
  if (rows.length === 0) return null;
  return (
    <>
      <h3>How the scorers agree</h3>
      <p class="small">
        On all outputs of these cells, with the trigger and without it, that the scorers decide.
        Cohen’s κ of two, Fleiss’ κ of all; 0 is what chance would give, and – stands where all
        always say the same. Outputs of one model are not independent of each other.
      </p>
      <Table
        label="How the scorers agree"
        rows={rows}
        columns={[
          names('Scorers', ({ name }: AgreementRow) => name),
          numbers('Outputs', ({ outputs }: AgreementRow) => outputs),
          numbers('Only the first counts', ({ only }: AgreementRow) => only?.[0] ?? '–'),
          numbers('Only the second', ({ only }: AgreementRow) => only?.[1] ?? '–'),
          numbers('Agreement', ({ agreement, outputs, only }: AgreementRow) =>
            outputs === 0
              ? `no row that ${only === null ? 'all' : 'both'} decided`
              : formatNumber(agreement, 'proportion'),
          ),
          numbers('κ', ({ kappa }: AgreementRow) => formatNumber(kappa, 'proportion')),
        ]}
      />
    </>
  );
}
