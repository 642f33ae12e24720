/** Tables over seeds, paired differences, and the figures that the grid's axes call for. */
import type { JSX } from 'preact';
import type { PairedDifference } from '../../stats/summary.ts';
import type { AdapterComparison } from '../compare.ts';
import { blockLabel, type Condition, metricOf, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { predictsOneClass, voidReason } from '../evidence.ts';
import { formatInterval, formatMean, formatNumber } from '../format.ts';
import {
  ACCURACY,
  ATTACK_METRICS,
  CHECK_METRICS,
  COMPARED,
  type MetricNote,
  METRICS,
  PREDICTED,
  PROPORTION_MARGIN,
  RELATIVE_MARGIN,
  TASK_METRICS,
} from '../metrics.ts';
import type { Figure } from '../types.ts';
import { SEEDS_NEEDED } from '../verdict.ts';
import { EvidenceRule } from './evidence.tsx';
import { OwnStages } from './own-stages.tsx';
import { CsvLink, Figures, Judged, type Node, Section, Table } from './parts.tsx';
import { seedsCell, seriesCell } from './series.tsx';

/** More lines than this are for `dosimeter results SPEC --csv`. */
const MOST_CSV_ROWS = 15_000;

interface ResultsProps {
  readonly conditions: readonly Condition[];
  readonly comparisons: readonly AdapterComparison[];
  readonly figures: {
    readonly scores: readonly Figure[];
    readonly axes: readonly Figure[];
    readonly losses: readonly Figure[];
    readonly steps: readonly Figure[];
  };
}

/** Whether a failed condition would have had the metric: its kind of attack has it elsewhere, or nothing of its kind is left to tell. */
function expects(
  conditions: readonly Condition[],
): (condition: Condition, metric: MetricNote) => boolean {
  const has = (of: readonly Condition[], { stage, metric }: MetricNote): boolean =>
    of.some(({ cells }) => cells.some((cell) => cell.metrics[stage]?.[metric] !== undefined));
  const known = new Map(
    (['none', 'untargeted', 'backdoor'] as const).map((family) => {
      const of = conditions.filter((condition) => condition.family === family);
      return [
        family,
        new Set(METRICS.filter((metric) => metric === ACCURACY || has(of, metric))),
      ] as const;
    }),
  );
  return ({ family }, metric) => known.get(family)!.has(metric);
}

/** A spread that is rounding alone (every seed differs by the same) has no effect size. */
const effect = ({ effect: d }: PairedDifference): string =>
  formatNumber(d !== null && Math.abs(d) < 1e6 ? d : null);

export function allMetricsCsv(conditions: readonly Condition[]): {
  readonly csv: string | null;
  readonly rows: number;
} {
  const count = conditions.reduce(
    (sum, { cells }) =>
      sum +
      cells.reduce(
        (n, { metrics }) =>
          n + Object.values(metrics).reduce((m, values) => m + Object.keys(values).length, 0),
        0,
      ),
    0,
  );
  if (count > MOST_CSV_ROWS || count === 0) return { csv: null, rows: count };
  return {
    rows: count,
    csv: toCsv(
      conditions.flatMap(({ attackLabel, adapterLabel, setting, cells }) =>
        cells.flatMap(({ seed, metrics }) =>
          Object.entries(metrics).flatMap(([stage, values]) =>
            Object.entries(values).map(([metric, value]) => ({
              attack: attackLabel,
              adapter: adapterLabel,
              setting,
              seed,
              stage,
              metric,
              value,
            })),
          ),
        ),
      ),
    ),
  };
}

/** A number of a condition, marked where some of its models are no evidence for it. */
function metricCell(
  condition: Condition,
  note: MetricNote,
  expected: (condition: Condition, metric: MetricNote) => boolean,
): Node {
  const cell = seriesCell(
    seriesOf(condition, metricOf(note.stage, note.metric)),
    note.kind,
    condition.cells.length,
    expected(condition, note),
  );
  if (note === PREDICTED) {
    const collapsed = condition.cells.filter(predictsOneClass).length;
    return collapsed === 0 ? (
      cell
    ) : (
      <span class="bad">
        {cell} ({collapsed} of {condition.cells.length} one class)
      </span>
    );
  }
  const judged = COMPARED.includes(note);
  const isMarked = condition.cells.some(
    (one) => one.metrics[note.stage]?.[note.metric] !== undefined && voidReason(one, note) !== null,
  );
  return judged && isMarked ? <span class="muted">{cell} †</span> : cell;
}

/** Every condition of a kind by the metrics of that kind; nothing where none has any. */
function MetricTable({
  label,
  conditions,
  metrics: asked,
  expected,
}: {
  readonly label: string;
  readonly conditions: readonly Condition[];
  readonly metrics: readonly MetricNote[];
  readonly expected: (condition: Condition, metric: MetricNote) => boolean;
}): JSX.Element | null {
  const metrics = asked.filter(({ stage, metric }) =>
    conditions.some(({ cells }) =>
      cells.some((cell) => cell.metrics[stage]?.[metric] !== undefined),
    ),
  );
  if (conditions.length === 0 || metrics.length === 0) return null;
  const hasSettings = conditions.some(({ setting }) => setting !== '');
  return (
    <>
      <Table
        label={label}
        rows={conditions}
        starts={(condition, i) => blockLabel(condition) !== blockLabel(conditions[i - 1]!)}
        columns={[
          { title: 'Attack', kind: 'nowrap', value: ({ attackLabel }) => attackLabel },
          { title: 'Adapter', kind: 'nowrap', value: ({ adapterLabel }) => adapterLabel },
          ...(hasSettings
            ? [{ title: 'Setting', value: ({ setting }: Condition) => setting || '–' }]
            : []),
          { title: 'n seeds', kind: 'number', value: seedsCell },
          ...metrics.map((note) => ({
            title: note.label,
            kind: 'number' as const,
            value: (condition: Condition) => metricCell(condition, note, expected),
          })),
        ]}
        caption="Mean ± half of the 95% t-interval over seeds; one seed has no interval. † of models that are no evidence."
      />
      <dl class="meanings small muted">
        {metrics.map((note) => (
          <div>
            <dt>{note.label}</dt>
            <dd>{note.meaning}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

export function Results({ conditions, comparisons, figures }: ResultsProps): JSX.Element {
  const expected = expects(conditions);
  const all = allMetricsCsv(conditions);
  return (
    <Section id="results" title="Results">
      <Figures figures={figures.scores} layout="masonry" />
      <h3>The task, every condition</h3>
      <MetricTable
        label="Results by condition"
        conditions={conditions}
        metrics={TASK_METRICS}
        expected={expected}
      />
      {conditions.some(({ family }) => family !== 'none') && <h3>The attacks</h3>}
      <MetricTable
        label="Attacks by condition"
        conditions={conditions.filter(({ family }) => family !== 'none')}
        metrics={ATTACK_METRICS}
        expected={expected}
      />
      <MetricTable
        label="Whether attacks were read and learnt"
        conditions={conditions.filter(({ family }) => family !== 'none')}
        metrics={CHECK_METRICS}
        expected={expected}
      />
      <EvidenceRule />
      <p class="small">
        {all.csv !== null ? (
          <CsvLink name="all-metrics" csv={all.csv}>
            Every metric of every cell (CSV, {all.rows.toLocaleString('en')} rows)
          </CsvLink>
        ) : all.rows > 0 ? (
          <>
            All {all.rows.toLocaleString('en')} numbers: <code>dosimeter results SPEC --csv</code>.
          </>
        ) : null}
      </p>

      <OwnStages conditions={conditions} />

      <h3>Adapter against full fine-tuning, paired by seed</h3>
      {comparisons.length === 0 ? (
        <p>
          There is no whole pair of an adapter and full fine-tuning (same attack, setting and seed)
          to compare.
        </p>
      ) : (
        <>
          <Table
            label="Paired differences"
            most={240}
            rows={comparisons}
            starts={(row, i) => row.metric !== comparisons[i - 1]!.metric}
            columns={[
              { title: 'Metric', kind: 'nowrap', value: ({ metric }) => metric.label },
              { title: 'Attack', value: ({ adapter }) => blockLabel(adapter) },
              {
                title: 'Adapter − full',
                kind: 'nowrap',
                value: ({ adapter, full }) =>
                  full.adapterLabel === 'full'
                    ? adapter.adapterLabel
                    : `${adapter.adapterLabel} − ${full.adapterLabel}`,
              },
              {
                title: 'Pairs',
                kind: 'number',
                value: ({ seeds, incomplete, excluded }) => (
                  <>
                    {seeds.length}
                    {incomplete > 0 ? <span class="bad"> ({incomplete} incomplete)</span> : null}
                    {excluded > 0 ? <span class="bad"> ({excluded} excluded)</span> : null}
                  </>
                ),
              },
              {
                title: 'Difference',
                kind: 'number',
                value: ({ difference, metric }) =>
                  difference === null ? '–' : formatMean(difference, metric.kind),
              },
              {
                title: '95% interval',
                kind: 'number',
                value: ({ difference, metric }) =>
                  difference === null ? '–' : formatInterval(difference, metric.kind),
              },
              {
                title: 'Effect size d_z',
                kind: 'number',
                value: ({ difference }) => (difference === null ? '–' : effect(difference)),
              },
              {
                title: 'Claim of the paper',
                kind: 'claim',
                value: ({ verdict, metric, excluded, reasons }) => (
                  <>
                    {verdict ? <Judged verdict={verdict} kind={metric.kind} /> : '–'}
                    {excluded > 0 ? (
                      <span class="bad small"> excluded: {reasons.join('; ')}</span>
                    ) : null}
                  </>
                ),
              },
            ]}
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
      {figures.axes.length === 0 ? null : (
        <>
          <h3>Against the axes of the grid</h3>
          <Figures figures={figures.axes} />
        </>
      )}
      {figures.steps.length === 0 ? null : (
        <>
          <h3>Over the steps of training</h3>
          <p>
            Whether an attack is learnt late, or not at all, shows here; so does an adapter that is
            merely slower.
          </p>
          <Figures figures={figures.steps} />
        </>
      )}
      {figures.losses.length === 0 ? null : (
        <>
          <h3>Training loss</h3>
          <p>
            An adapter that has not learnt its training rows, poisoned ones included, is not shown
            to resist them.
          </p>
          <Figures figures={figures.losses} />
        </>
      )}
    </Section>
  );
}
