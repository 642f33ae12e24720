/** Whether the tangent kernel's regime held: the kernel's drift, and the linear prediction. */
import type { JSX } from 'preact';
import type { JsonObject } from '../../api.ts';
import { type Condition, isFull, metricOf, type Quantity, seriesOf } from '../conditions.ts';
import { ESTIMATED, isEstimated } from '../fisher.ts';
import { formatNumber, formatSummary, type NumberKind } from '../format.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import {
  type Column,
  having,
  names,
  numbers,
  type OfConditions,
  OVER_SEEDS,
  Table,
} from './parts.tsx';

export const optimiserOf = (train: JsonObject): string => {
  const { optimizer } = train;
  return typeof optimizer === 'string' ? optimizer : 'unknown';
};

/** A row of the table: a condition at a kept step, or at the end. */
interface Line {
  readonly condition: Condition;
  /** Null for the end of the training. */
  readonly step: number | null;
}
type LineQuantity = (line: Line) => Quantity;

/** Reads a metric of the stage. At a kept step, the metric's name has a prefix. */
const at =
  (metric: string): LineQuantity =>
  ({ step }) =>
    metricOf('regime', step === null ? metric : `step-${step}.${metric}`);
/** Reads a number of the kernel over what was trained. */
const own =
  (name: string): LineQuantity =>
  (line) =>
  (cell) =>
    at(`lora.${name}`)(line)(cell) ?? (isFull(cell) ? at(`full.${name}`)(line)(cell) : null);

/**
 * At least one of these is there: with answers there are no classes to agree on, and what did not
 * move has no error.
 */
const PREDICTIONS = ['linear.agreement', 'linear.relative_error'];

/** Returns the kept steps at which any cell of a condition was measured, ascending. */
const stepsOf = ({ cells }: Condition): readonly number[] =>
  distinct(
    cells.flatMap(({ metrics }) =>
      Object.keys(metrics['regime'] ?? {}).flatMap((name) => {
        const step = /^step-(\d+)\.linear\.(?:agreement|relative_error)$/.exec(name)?.[1];
        return step === undefined ? [] : [Number(step)];
      }),
    ),
  ).sort((a, b) => a - b);

/** Sums up the table in a sentence: the smallest and largest means at the end of training. */
function summaryText(lines: readonly Line[]): string {
  const range = (quantity: LineQuantity): string | null => {
    const means = lines
      .filter(({ step }) => step === null)
      .flatMap((line) => seriesOf(line.condition, quantity(line)).summary?.mean ?? []);
    return means.length === 0
      ? null
      : `${formatNumber(Math.min(...means))} to ${formatNumber(Math.max(...means))}`;
  };
  const error = range(at('linear.relative_error')),
    drift = range(own('drift'));
  if (error === null) return '';
  const moved = drift === null ? '' : `, and the kernel has moved by ${drift} of its norm`;
  return (
    `At the end of training its mean error is ${error} over these conditions${moved}: where an ` +
    'error is near 1, what a kernel at the start predicts does not account for the trained model.'
  );
}

const column = (title: string, quantity: LineQuantity, kind: NumberKind = 'plain'): Column<Line> =>
  numbers(title, (line) => {
    const { summary } = seriesOf(line.condition, quantity(line));
    return summary === null ? '–' : formatSummary(summary, kind);
  });
/** Returns a column for numbers of kernels, which may be estimates. */
const kernelColumn = (title: string, quantity: LineQuantity): Column<Line> =>
  numbers(title, (line) => {
    const { summary } = seriesOf(line.condition, quantity(line));
    if (summary === null) return '–';
    const about = isEstimated(line.condition.cells, 'regime') ? '≈ ' : '';
    return `${about}${formatSummary(summary)}`;
  });

const STEP: Column<Line> = names('At', ({ step }) => (step === null ? 'the end' : `step ${step}`));
const columnsOf = (lines: readonly Line[]): readonly Column<Line>[] => [
  names('Attack', ({ condition }) => blockLabel(condition)),
  names('Adapter', ({ condition }) => condition.adapterLabel),
  ...(lines.some(({ step }) => step !== null) ? [STEP] : []),
  names('Optimiser', ({ condition }) => optimiserOf(condition.cells[0].train)),
  kernelColumn('‖K(T)−K(0)‖/‖K(0)‖', own('drift')),
  kernelColumn('1 − cos(K(T), K(0))', own('rotation')),
  column('error of the linear prediction', at('linear.relative_error')),
  column('its cosine', at('linear.cosine')),
  // log p(answer) predicts no class
  ...(lines.every(({ condition }) => condition.cells[0].outputs !== undefined)
    ? []
    : [
        column('same class as f_T', at('linear.agreement'), 'proportion'),
        column('f₀: same class', at('linear.agreement_start'), 'proportion'),
      ]),
];

export function Regime({ conditions }: OfConditions): JSX.Element | null {
  const rows = conditions.filter((condition) =>
    PREDICTIONS.some((name) => having([condition], 'regime', name).length > 0),
  );
  if (rows.length === 0) return null;
  const lines = rows.flatMap((condition) =>
    [...stepsOf(condition), null].map((step): Line => ({ condition, step })),
  );
  const hasEstimates = rows.some(({ cells }) => isEstimated(cells, 'regime'));
  return (
    <>
      <h3>Does the tangent kernel’s regime hold?</h3>
      <p>
        It holds where the kernel over what is trained stays put and f₀ + J₀(Θ<sub>T</sub> − Θ₀), J₀
        being the Jacobian of every trained parameter, predicts the trained model: an error of 0 is
        a linear model, an error of 1 is no better than predicting that nothing moved. The kernel
        describes SGD; AdamW follows a sign-like kernel (Malladi et al. 2023), so its rows speak of
        the prediction alone. {summaryText(lines)}
      </p>
      <Table
        label="Regime"
        most={240}
        rows={lines}
        starts={(line, above) => blockLabel(line.condition) !== blockLabel(above.condition)}
        caption={`${OVER_SEEDS}${hasEstimates ? ` ${ESTIMATED}` : ''}`}
        columns={columnsOf(lines)}
      />
    </>
  );
}
