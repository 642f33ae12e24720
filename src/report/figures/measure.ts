/** Metrics as figures show them, and what is read of them from the cells of a condition. */
import type { FigureEntry } from '../../api/report.ts';
import { isNumber } from '../comparisons.ts';
import { type Condition, metricOf, type Quantity } from '../conditions.ts';
import { cleanRunReader, voidReason } from '../evidence.ts';
import { checkpointName, fisherOf, INFORMATION, renyiQuantity } from '../fisher.ts';
import type { Labels } from '../labels.ts';
import { noteOf } from '../metric-lookup.ts';
import { ACCURACY, type MetricNote, parseMetricName } from '../metrics.ts';
import type { Checkpoint, CurveFacts, Parametrisation, ReportCell } from '../types.ts';
import type { Axis } from './axis.ts';
import { alongChain, fieldAfter, TRAINING } from './chain.ts';
import { keyed } from './encode.ts';

export interface Measure {
  readonly field: string;
  readonly label: string;
  /** The measure's name as the title of an axis. */
  readonly title: string;
  /**
   * If the measure is a number of a Fisher information: the kernel, `LoRA kernel` or `full kernel`.
   * Absent for other measures.
   */
  readonly kernel?: string;
  readonly isProportion: boolean;
  /**
   * What the measure's axis spans: `unit` is [0, 1]; `to-one` is from a round tenth below the least
   * value to 1; `points` is the range of the values; `from-zero` is that range extended to hold 0;
   * `positive` is from 0 to the largest value.
   */
  readonly span: 'unit' | 'to-one' | 'from-zero' | 'positive' | 'points';
  readonly read: Quantity;
  /** Returns why a cell's number is not evidence; null if it is. */
  readonly reason: (cell: ReportCell) => string | null;
}

function axisSpan({ metric, kind }: Pick<MetricNote, 'metric' | 'kind'>): Measure['span'] {
  if (kind !== 'proportion') return 'points';
  if (/drop|minus|cost|removed|mcc|pearson|spearman/.test(metric)) return 'from-zero';
  return /^(?:test_)?(?:accuracy|f1|macro_f1|token_f1|rouge_l)/.test(metric) ? 'to-one' : 'unit';
}

/** A number of the Fisher information: `fisher.final.lora.true.information_bits`. */
const FISHER = /^fisher\.(?<at>init|final|step-\d+)\.(?<of>lora|full)\.true\.(?<name>.+)$/;

/** Returns the measure of a number of the Fisher information; null for any other field. */
function fisherMeasure(field: string): Measure | null {
  const { at, of, name = '' } = FISHER.exec(field)?.groups ?? {};
  if (at === undefined) return null;
  const [, scale, alpha = ''] = /^renyi_(raw|normalised)_(.+)$/.exec(name) ?? [];
  const quantity =
    scale === undefined
      ? INFORMATION.find(({ id }) => id === name)
      : renyiQuantity(scale as 'raw' | 'normalised', alpha);
  if (quantity === undefined) return null;
  const kernel = of === 'lora' ? 'LoRA’s kernel' : 'the full kernel';
  return {
    field,
    kernel: of === 'lora' ? 'LoRA kernel' : 'full kernel',
    label: `${quantity.label} of ${kernel} ${checkpointName(at as Checkpoint)}`,
    title: `${quantity.label} (nats)`,
    isProportion: false,
    span: 'points',
    read: fisherOf(quantity, at as Checkpoint, of as Parametrisation),
    reason: (cell) => (at === 'init' ? null : voidReason(cell, ACCURACY)),
  };
}

/** The field of the training loss, a number of each step and not of a whole training. */
export const LOSS = 'train.loss';

/** Returns how figures show a metric, which is named as `STAGE.METRIC`. */
export function measureOf(field: string): Measure {
  const named = parseMetricName(field);
  const note = noteOf(named),
    label = note?.label ?? named.metric;
  return (
    fisherMeasure(field) ?? {
      field,
      label,
      title: label,
      isProportion: note?.kind === 'proportion',
      span: field === LOSS ? 'positive' : note === undefined ? 'points' : axisSpan(note),
      read: metricOf(named.stage, named.metric),
      reason: (cell) => (named.stage === ACCURACY.stage ? voidReason(cell, named) : null),
    }
  );
}

/** A condition of which numbers, or differences from another run, are drawn. */
export interface Subject {
  readonly condition: Condition;
  readonly labels: Labels;
  /** Under `against: full`, the full fine-tuning with which the condition is compared. */
  readonly full?: Condition;
}

export interface Value {
  readonly seed: number;
  readonly value: number;
  /** Why the value is not evidence; null if it is. */
  readonly reason: string | null;
  /** For a difference: what was subtracted. */
  readonly other?: number;
  /** The step, the training or the metric on x. Absent if x shows none of these. */
  readonly x?: number;
  /** The metric of the value, if it is not the measure's. */
  readonly metric?: string;
}

/** Returns a field's values over the steps of a training: the loss, or an evaluated metric. */
function valuesOverSteps({ seed, history, curves = [] }: ReportCell, field: string): Value[] {
  const key = parseMetricName(field).metric as keyof CurveFacts;
  const values =
    field === LOSS
      ? (history?.points ?? []).map(({ step, loss }) => ({ step, value: loss }))
      : curves.map(({ step, [key]: value }) => ({ step, value }));
  return values.flatMap(({ step, value }) =>
    value === undefined ? [] : [{ seed, x: step, value, reason: null }],
  );
}

/** A cell and, along a chain, the training, from 1, after which its numbers are taken. */
type PlacedCell = readonly [cell: ReportCell, training?: number];

/** Returns a condition's cells; along a chain, each cell once for each of its trainings. */
const cellsOnX = ({ cells }: Condition, { x }: FigureEntry): readonly PlacedCell[] =>
  x.field === TRAINING ? cells.flatMap(alongChain) : cells.map((cell) => [cell]);

/**
 * Reads a measure of a condition's cells or, under `against`, its differences from partners. Leaves
 * out cells without a finite number or without a partner and, if x shows a metric, cells without a
 * finite number of this metric.
 */
export function readValues(
  subject: Subject,
  measure: Measure,
  entry: FigureEntry,
  x: Axis,
): readonly Value[] {
  const { condition } = subject;
  if (x.kind === 'step')
    return condition.cells.flatMap((cell) => valuesOverSteps(cell, measure.field));
  const readOther = entry.against === undefined ? null : otherReader(subject, measure, entry);
  const onX = x.kind === 'metric' ? measureOf(entry.x.field) : null;
  return cellsOnX(condition, entry).flatMap((placed): Value[] => {
    const [cell, training] = placed;
    const value = measure.read(cell);
    if (!isNumber(value)) return [];
    const own: Value = {
      seed: cell.seed,
      value,
      reason: measure.reason(cell),
      ...(training !== undefined && {
        x: training,
        metric: fieldAfter(measure.field, cell, training),
      }),
    };
    if (readOther !== null) {
      const { other = null, reason = null } = readOther(placed) ?? {};
      return isNumber(other) ? [{ ...own, value: value - other, other, reason }] : [];
    }
    if (onX === null) return [own];
    const place = onX.read(cell);
    return isNumber(place) ? [{ ...own, x: place, reason: own.reason ?? onX.reason(cell) }] : [];
  });
}

/**
 * Returns a function that reads what a cell's number is compared with, and why the pair is not
 * evidence (null if it is): the number of `full` at the same seed or, without `full`, that of the
 * paired clean run. It returns null or undefined if there is no partner; the partner's number may
 * still be null or NaN.
 */
function otherReader({ full }: Subject, measure: Measure, entry: FigureEntry) {
  const clean = cleanRunReader(parseMetricName(measure.field));
  if (full === undefined)
    return ([cell]: PlacedCell) =>
      clean && { other: clean.read(cell), reason: voidReason(cell, clean.judged) };
  const placeKey = ([{ seed }, training]: PlacedCell): string => keyed(seed, training);
  const partners = new Map(cellsOnX(full, entry).map((placed) => [placeKey(placed), placed[0]]));
  return (placed: PlacedCell) => {
    const partner = partners.get(placeKey(placed));
    return (
      partner && {
        other: measure.read(partner),
        reason: measure.reason(placed[0]) ?? measure.reason(partner),
      }
    );
  };
}
