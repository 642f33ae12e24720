/** The cells that an entry draws, as points with their place in a figure, and the points' means. */
import type { FigureEntry } from '../../api/report.ts';
import { UserFault } from '../../base/fault.ts';
import type { Analysis } from '../analysis.ts';
import { adapterPairs, isNumber } from '../comparisons.ts';
import {
  axisValue,
  byName,
  chooseByName,
  chooseConditions,
  type Condition,
  isFull,
  metricOf,
  type Quantity,
  rowCountsIn,
} from '../conditions.ts';
import { cleanRunReader, joinWithOr, type RowCount, voidReason } from '../evidence.ts';
import { checkpointName, fisherOf, INFORMATION, renyiQuantity } from '../fisher.ts';
import { formatValue, list, plainText, plural } from '../format.ts';
import { contentKey, distinct, groupBy } from '../groups.ts';
import {
  adapterTitle,
  axisName,
  DEFENCE,
  doseUnit,
  type Labels,
  NO_DEFENCE,
  placedAttack,
} from '../labels.ts';
import { noteOf } from '../metric-lookup.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  metricName,
  type MetricNote,
  onTest,
  parseMetricName,
} from '../metrics.ts';
import type { Checkpoint, CurveFacts, Parametrisation, ReportCell } from '../types.ts';
import { alongChain, chainNote, fieldAfter, TRAINING } from './chain.ts';
import { joinLabels, keyed, varies } from './encode.ts';

/** A metric as a figure shows it. */
export interface Measure {
  readonly field: string;
  readonly label: string;
  /** The measure's name as the title of an axis. */
  readonly title: string;
  /** The kernel whose Fisher information is measured. */
  readonly kernel?: string;
  readonly isProportion: boolean;
  /**
   * What the measure's axis spans: `unit` is [0, 1]; `to-one` is from a round tenth below the least
   * value to 1; `points` is the range of the values; `from-zero` is that range extended to hold 0;
   * `positive` is from 0 to the largest value.
   */
  readonly span: 'unit' | 'to-one' | 'from-zero' | 'positive' | 'points';
  readonly read: Quantity;
  /** Returns why a cell's number is not evidence (evidence.ts), or null if it is. */
  readonly reason: (cell: ReportCell) => string | null;
}

/** Returns what the axis of a metric spans, as `Measure` describes. */
function axisSpan({ metric, kind }: Pick<MetricNote, 'metric' | 'kind'>): Measure['span'] {
  if (kind !== 'proportion') return 'points';
  if (/drop|minus|cost|removed|mcc|pearson|spearman/.test(metric)) return 'from-zero';
  return /^(?:test_)?(?:accuracy|f1|macro_f1|token_f1|rouge_l)/.test(metric) ? 'to-one' : 'unit';
}

/** A number of the Fisher information: `fisher.final.lora.true.information_bits`. */
const FISHER = /^fisher\.(?<at>init|final|step-\d+)\.(?<of>lora|full)\.true\.(?<name>.+)$/;

/** Returns the measure of a number of the Fisher information, or null for any other field. */
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

/** The field of the training loss, which is a number of each step, not of a whole training. */
export const LOSS = 'train.loss';

/** Returns how figures show a metric. @param field `STAGE.METRIC` */
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

/** Returns a field's values over the steps of a training: the loss, or what was evaluated. */
function valuesOverSteps({ history, curves = [] }: ReportCell, field: string) {
  if (field === LOSS)
    return (history?.points ?? []).map(({ step, loss }) => ({ x: step, value: loss }));
  const key = parseMetricName(field).metric as keyof CurveFacts;
  return curves.flatMap(({ step, [key]: value }) =>
    value === undefined ? [] : [{ x: step, value }],
  );
}

/** A condition that is drawn, or its difference from another. */
export interface Subject {
  readonly condition: Condition;
  /** The labels without the axes that x, colours or panels show. */
  readonly labels: Labels;
  /** The full fine-tuning that the condition is compared with. */
  readonly full?: Condition;
}

/** One number of a cell at its place: a panel (`row`, `column`), a line in it, and x. */
export interface Point {
  readonly subject: Subject;
  readonly measure: Measure;
  /** The metric of the value: the measure's, or that of a reference beside it. */
  readonly metric: string;
  readonly row: string;
  readonly column: string;
  readonly line: string;
  /** Null draws a level across the whole axis, as of full fine-tuning, which has no rank. */
  readonly x: number | string | null;
  readonly seed: number;
  readonly value: number;
  /** Why the value is not evidence; null if it is. */
  readonly reason: string | null;
  /** On how many rows the value was measured, if other cells of the grid have it on more. */
  readonly fewerRows: RowCount | null;
  /** What was subtracted to give the value, if it is a difference. */
  readonly other?: number;
}

type Value = Pick<Point, 'seed' | 'value' | 'reason' | 'other'> &
  Partial<Pick<Point, 'metric'>> & { readonly x?: number };

/** Reads a measure over a condition's cells or, paired by seed, its differences from others. */
function readValues({ condition, full }: Subject, measure: Measure, entry: FigureEntry, x: Axis) {
  const placed = ({ cells }: Condition): (readonly [ReportCell, number?])[] =>
    entry.x.field === TRAINING ? cells.flatMap(alongChain) : cells.map((cell) => [cell]);
  const partners = new Map(
    placed(full ?? condition).map(([cell, at]) => [keyed(cell.seed, at), cell]),
  );
  const clean = cleanRunReader(parseMetricName(measure.field));
  return placed(condition).flatMap(([cell, position]): Value[] => {
    const { seed } = cell,
      place =
        position === undefined
          ? {}
          : { x: position, metric: fieldAfter(measure.field, cell, position) };
    if (x.kind === 'step')
      return valuesOverSteps(cell, measure.field).map((point) => ({
        seed,
        ...point,
        reason: null,
      }));
    const value = measure.read(cell),
      reason = measure.reason(cell);
    if (!isNumber(value)) return [];
    if (entry.against !== undefined) {
      // Without `full`, the partner is the cell itself, which also holds its clean run's number.
      const partner = partners.get(keyed(seed, position)),
        other = partner ? ((full ? measure.read(partner) : clean?.read(partner)) ?? null) : null;
      if (partner === undefined || !isNumber(other)) return [];
      const pairReason =
        full || !clean ? (reason ?? measure.reason(partner)) : voidReason(cell, clean.judged);
      return [{ seed, ...place, value: value - other, other, reason: pairReason }];
    }
    if (x.kind !== 'metric') return [{ seed, ...place, value, reason }];
    const measureOnX = measureOf(entry.x.field),
      at = measureOnX.read(cell);
    return isNumber(at) ? [{ seed, value, reason: reason ?? measureOnX.reason(cell), x: at }] : [];
  });
}

/** The axis x: its kind, and where each condition lies on it. */
export interface Axis {
  readonly kind: 'number' | 'text' | 'step' | 'metric';
  readonly title: string;
  readonly at: (condition: Condition) => number | string | null;
  /** What the caption says of the axis; may be empty. */
  readonly note: string;
}

/** Fields of an entry that stand for a label of the condition, with the label's name. */
const NAMES = {
  adapter: 'adapterLabel',
  attack: 'attackLabel',
  setting: 'setting',
  defence: 'defence',
} as const;
type Name = keyof typeof NAMES;
const isName = (field: string): field is Name => field in NAMES;
/** Whether a field is a word such as `adapter` or `seed`, not the path of an axis or a metric. */
const isWord = (field: string): boolean =>
  isName(field) || ['seed', 'metric', 'kernel'].includes(field);
/** The labels that can tell cells of one place apart. */
const TELLING: readonly Name[] = ['adapter', 'attack', 'setting'];

const labelIn = (labels: Labels, name: Name): string =>
  name === 'defence' && labels.defence === '' ? NO_DEFENCE : labels[NAMES[name]];

/** Whether the grid has an axis of this path. */
const isAxis = (conditions: readonly Condition[], path: string): boolean =>
  conditions.some((condition) => axisValue(condition, path) !== undefined);

/** Returns a condition's value on an axis: `r 4`, `mrpc` or, beside the axis's title, `4`. */
function valueName(condition: Condition, path: string, isTitled = false): string {
  const { family, attack, ofBase, adapter } = condition,
    value = axisValue(condition, path);
  if (path === 'adapter.type' || (path.startsWith('adapter.') && value === undefined))
    return adapterTitle(adapter);
  if (path === 'poisoning.attack' || (path.startsWith('poisoning.') && value === undefined)) {
    if (family === 'none') return 'no attack';
    return placedAttack(attack, ofBase);
  }
  if (value === undefined) return path === DEFENCE ? NO_DEFENCE : '–';
  const text = formatValue(value);
  return isTitled || typeof value === 'string' ? text : `${axisName(path)} ${text}`;
}

const VARIANCE = 'adapter.init.variance';

/** Returns σ²n if it is the same for every layer (a variance of k/d), and otherwise null. */
function scaledVariance(condition: Condition): number | null {
  const [scaled, ...others] = distinct(
    condition.cells
      .flatMap(({ lora }) => lora ?? [])
      .map(({ fanIn, variance }) => Number((fanIn * variance).toPrecision(9))),
  );
  return scaled === undefined || others.length > 0 ? null : scaled;
}

/**
 * Returns an axis on which all conditions have one scale: σ²·n, or σ² if more of them have that
 * number. Conditions without the number are left out, and the note names them.
 */
function varianceAxis(conditions: readonly Condition[]): Axis {
  const given = conditions.filter(({ axes }) => axes[VARIANCE] !== undefined);
  const plain = (condition: Condition): number | null => {
    const value = condition.axes[VARIANCE];
    return typeof value === 'number' ? value : null;
  };
  const without = (at: typeof plain) => given.filter((condition) => at(condition) === null);
  const isPlain = without(plain).length < without(scaledVariance).length;
  const at = isPlain ? plain : scaledVariance;
  const left = distinct(without(at).map(({ axes }) => plainText(axes[VARIANCE])));
  return {
    kind: 'number',
    title: isPlain ? 'variance σ² of A' : 'σ²·n (variance of A times the layer’s fan-in)',
    at: (condition) => (condition.axes[VARIANCE] === undefined ? null : at(condition)),
    note:
      left.length === 0
        ? ''
        : `Left out, because their value on this axis differs between layers: σ² = ${list(left)}.`,
  };
}

/** Whether an axis is the dose of one step of an attack of several steps. */
const isDoseOfOneStep = (path: string): boolean => path.startsWith('poisoning.steps.');

function axisTitle(path: string): string {
  const unit = doseUnit(path);
  if (unit === null) return path === 'adapter.rank' ? 'rank r' : axisName(path);
  const title = unit === 'rate' ? 'poison rate (share of training rows)' : 'poisoned rows';
  return isDoseOfOneStep(path) ? `${axisName(path)}: ${title}` : title;
}

/** Returns the axis x of an entry: steps, trainings, names, a metric, or an axis of the grid. */
function describeX({ x, y }: FigureEntry, conditions: readonly Condition[]): Axis {
  const { field, scale } = x;
  const nowhere = { at: () => null, note: '' };
  if (field === 'step') return { kind: 'step', title: 'step', ...nowhere };
  if (field === TRAINING)
    return {
      ...{ kind: 'number', title: TRAINING, at: () => null },
      note: chainNote(
        conditions,
        y.map((channel) => channel.field),
      ),
    };
  if (isWord(field)) return { kind: 'text', title: field === 'seed' ? 'seed' : '', ...nowhere };
  if (!isAxis(conditions, field))
    return { kind: 'metric', title: measureOf(field).title, ...nowhere };
  if (field === VARIANCE && scale !== 'category') return varianceAxis(conditions);
  const at = (condition: Condition) => axisValue(condition, field) ?? null;
  const isNumeric = conditions.every((one) => at(one) === null || typeof at(one) === 'number');
  return isNumeric && scale !== 'category'
    ? {
        kind: 'number',
        title: axisTitle(field),
        at: (condition) => at(condition) as number | null,
        note: '',
      }
    : {
        kind: 'text',
        title: isNumeric ? axisTitle(field) : axisName(field),
        at: (condition) => valueName(condition, field, true),
        note: '',
      };
}

export interface Frame {
  readonly form: NonNullable<FigureEntry['mark']>;
  readonly x: Axis;
  readonly measures: readonly Measure[];
  readonly points: readonly Point[];
  /** The conditions of each line, of those too that the entry leaves out by its `cells`. */
  readonly lines: ReadonlyMap<string, readonly Condition[]>;
  /** The numbers that are marked beside the points. */
  readonly references: readonly Point[];
  /** Whether x, colours or facets tell metrics apart. Otherwise each metric has a panel. */
  readonly isByMetric: boolean;
  /** Whether several lines stand side by side at each place on x. */
  readonly isDodged: boolean;
  /** Sentences for the caption. */
  readonly notes: readonly string[];
}

/** Returns the author's mark or, without one, the mark that x and y call for. */
function chooseMark(
  { mark, y }: FigureEntry,
  x: Axis,
  conditions: readonly Condition[],
): Frame['form'] {
  if (mark !== undefined) return mark;
  const [first] = y;
  if (first && (isName(first.field) || isAxis(conditions, first.field))) return 'heatmap';
  return x.kind === 'text' || x.kind === 'metric' ? 'point' : 'line';
}

/** Returns what is drawn: conditions, or under `against: full` pairs with full fine-tuning. */
function subjectsOf(
  entry: FigureEntry,
  unique: readonly Condition[],
  isByName: boolean,
  paths: readonly string[],
): readonly Subject[] {
  if (entry.against === 'full') {
    const isNamed = varies(unique.filter(isFull).map(({ adapterLabel }) => adapterLabel));
    const chosen = chooseByName(unique, entry.cells);
    return adapterPairs(unique)
      .filter(({ adapter }) => chosen.includes(adapter))
      .map(({ adapter, full }) => {
        const labels = labelsBeside(adapter, paths),
          adapterLabel = `${labels.adapterLabel} − ${full.adapterLabel}`;
        return { condition: adapter, full, labels: isNamed ? { ...labels, adapterLabel } : labels };
      });
  }
  // A condition is drawn once unless its names have places of their own.
  return (
    isByName ? chooseConditions(byName(unique), entry.cells) : chooseByName(unique, entry.cells)
  )
    .filter(({ family }) => entry.against === undefined || family !== 'none')
    .map((condition) => ({ condition, labels: labelsBeside(condition, paths) }));
}

/** Returns the labels without the axes at `paths`; the setting without a defence that is named. */
function labelsBeside(condition: Condition, paths: readonly string[]): Labels {
  const labels = condition.labelsWithout(...paths);
  return paths.includes('defence')
    ? { ...labels, setting: condition.labelsWithout(...paths, DEFENCE).setting }
    : labels;
}

type Named = Pick<Point, 'subject' | 'measure' | 'seed'>;
/** Returns what a field calls a point: its metric, kernel, seed, label or value on an axis. */
const nameOf = (field: string, { subject, measure, seed }: Named): string => {
  if (field === 'metric') return measure.label;
  if (field === 'kernel') return measure.kernel ?? '';
  if (field === 'seed') return `seed ${seed}`;
  return isName(field) ? labelIn(subject.labels, field) : valueName(subject.condition, field);
};
const joinedNames = (fields: readonly string[], point: Named): string =>
  joinLabels(...distinct(fields.map((field) => nameOf(field, point))));

const placeKey = ({ row, column, line, x, measure }: Point): string =>
  keyed(row, column, line, x, measure.field);
const subjectKey = ({ condition, full }: Subject): string => keyed(condition.key, full?.key);

/** Returns the groups of points that share a place although they are of several conditions. */
const clashesIn = (points: readonly Point[]): readonly (readonly Point[])[] =>
  [...groupBy(points, placeKey).values()].filter((group) =>
    varies(group.map(({ subject }) => subjectKey(subject))),
  );

/** Returns the labels that tell apart the conditions of one place. */
const tellingApart = (points: readonly Point[]): readonly Name[] => {
  const clashes = clashesIn(points);
  return TELLING.filter((name) =>
    clashes.some((group) => varies(group.map(({ subject }) => labelIn(subject.labels, name)))),
  );
};

/** Whether one line has attacks of a base and of cells, whose doses and triggers differ. */
const hasMixedLine = (points: readonly Point[]): boolean =>
  [...groupBy(points, ({ row, column, line }) => keyed(row, column, line)).values()].some(
    (line) => {
      const attacked = line.filter(({ subject }) => subject.condition.family !== 'none');
      return varies(attacked.map(({ subject }) => subject.condition.ofBase ?? ''));
    },
  );

/** Leaves out fields that call all points the same, unless no field would be left. */
function withoutConstant(fields: readonly string[], points: readonly Point[]): readonly string[] {
  const telling = fields.filter(
    (field) => !isName(field) || varies(points.map((point) => nameOf(field, point))),
  );
  return telling.length > 0 ? telling : fields.slice(0, 1);
}

/**
 * Names the line of each point. Cells that share a place get separate lines, in a heat map panels.
 * Returns also the fields whose values name the lines, and a note for the caption, which may be ''.
 * @throws UserFault if no label tells such cells apart
 */
function nameLines(entry: FigureEntry, form: Frame['form'], x: Axis, points: readonly Point[]) {
  const { color, facet: { row = [], column = [] } = {} } = entry;
  if (form === 'heatmap') {
    const more = tellingApart(points);
    const placed = points.map((point) => ({
      ...point,
      row: joinLabels(...distinct([point.row, joinedNames(more, point)])),
    }));
    return { points: checkedPlaces(entry, placed), fields: [], note: '' };
  }
  const fieldOfX = x.kind === 'text' ? [entry.x.field] : [];
  const candidates =
    color?.fields ??
    (fieldOfX.length > 0
      ? fieldOfX
      : TELLING.filter((name) => ![...row, ...column].includes(name)));
  const asked = withoutConstant(candidates, points);
  const named = (fields: readonly string[]): Point[] =>
    points.map((point) => ({ ...point, line: joinedNames(fields, point) }));
  // In a scatter plot, each condition is a mark of its own.
  if (x.kind === 'metric') return { points: named(asked), fields: asked, note: '' };
  const more = distinct([
    ...tellingApart(named(asked)),
    ...(x.kind === 'number' && hasMixedLine(named(asked)) ? (['attack'] as const) : []),
  ]);
  const fields =
    more.length > 0 && color === undefined && fieldOfX.length > 0
      ? more
      : withoutConstant([...asked, ...more], points);
  const [first] = points;
  const isOne = first && candidates.includes('adapter') && !fields.includes('adapter');
  const note = isOne ? `Adapter: ${labelIn(first.subject.labels, 'adapter')}.` : '';
  return { points: checkedPlaces(entry, named(fields)), fields, note };
}

/** Returns one point for each place and seed; throws a UserFault if conditions share a place. */
function checkedPlaces({ name }: FigureEntry, points: readonly Point[]): readonly Point[] {
  if (clashesIn(points).length > 0)
    throw new UserFault(
      `the figure ${name} has several cells at one place, which nothing in it tells apart`,
      'Name the axis in which they differ under color or facet, or choose cells.',
    );
  // Two names of one condition may have one place (1/d and 1/(1d)).
  return [...new Map(points.map((point) => [keyed(placeKey(point), point.seed), point])).values()];
}

const isSameBlock = (a: Labels, b: Labels): boolean =>
  a.attackLabel === b.attackLabel && a.setting === b.setting;

/** Success rate → the paired clean run's rate, which is drawn at dose 0. */
const ZERO_DOSE: Readonly<Record<string, string>> = {
  [metricName(ASR)]: metricName(ASR_CLEAN),
  [metricName(onTest(ASR))]: metricName(onTest(ASR_CLEAN)),
};

const readChosenPoint = ({ chosen = '' }: ReportCell): string => chosen;

/**
 * Returns the points at dose 0 of each line: the run without attack and, for ASR, what the trigger
 * does to the paired clean model. The dose of a single step has none, because at dose 0 the other
 * steps are still applied.
 */
function zeroDosePoints(
  points: readonly Point[],
  subjects: readonly Subject[],
  values: (subject: Subject, measure: Measure) => readonly Value[],
): readonly Point[] {
  const lines = groupBy(points, ({ row, column, line, measure: { field } }) =>
    keyed(row, column, line, field),
  );
  return [...lines.values()].flatMap((line) => {
    if (line.some(({ x }) => x === 0)) return []; // a rate of 0 was asked for
    const [leader] = line;
    const cleanMetric = ZERO_DOSE[leader.measure.field];
    // If an envelope chose another point at each dose, the doses have different clean twins.
    if (
      cleanMetric &&
      varies(line.flatMap(({ subject }) => subject.condition.cells.map(readChosenPoint)))
    )
      return [];
    // `subject.labels` lacks axes that colours and panels show, and would fit other cells too.
    const { adapterLabel, setting } = leader.subject.condition;
    const subject = cleanMetric
      ? leader.subject
      : subjects.find(
          ({ condition }) =>
            condition.family === 'none' &&
            condition.adapterLabel === adapterLabel &&
            condition.setting === setting,
        );
    const metric = cleanMetric ?? leader.metric;
    return subject === undefined
      ? []
      : values(subject, measureOf(metric)).map((value) => ({
          ...leader,
          ...value,
          subject,
          metric,
          x: 0,
        }));
  });
}

/**
 * Returns what the caption says of dose 0 or, if x is the dose of one of several steps, of the
 * others.
 * @param path the field on x
 * @param zero the points at dose 0
 */
function doseNotes(path: string, zero: readonly Point[]): readonly string[] {
  if (isDoseOfOneStep(path)) return ['The other steps are the same along a line.'];
  const ofTwins = zero.filter(({ metric }) => Object.values(ZERO_DOSE).includes(metric));
  const isMixed = 0 < ofTwins.length && ofTwins.length < zero.length,
    titles = isMixed ? ` of ${list(distinct(ofTwins.map(({ measure }) => measure.title)))}` : '';
  return [
    ...(ofTwins.length === zero.length ? [] : ['Dose 0 is the run without attack.']),
    ...(ofTwins.length === 0
      ? []
      : [
          `Dose 0${titles} is the rate at which the trigger turns the paired clean model’s ` +
            'predictions.',
        ]),
  ];
}

/**
 * Returns the points that an entry draws, with their places in the figure.
 * @throws UserFault if several cells have one place
 */
export function frameOf(
  asked: FigureEntry,
  { conditions: unique }: Pick<Analysis, 'conditions'>,
): Frame {
  const { y, facet: { row = [], column = [] } = {}, references = [] } = asked;
  const across = describeX(asked, unique),
    { kind } = across;
  if (asked.against !== undefined && (kind === 'step' || kind === 'metric'))
    throw new UserFault(
      `the figure ${asked.name} draws differences, which have no place along ${asked.x.field}`,
      'Leave out `against`, or put an axis on x.',
    );
  const form = chooseMark(asked, across, unique);
  const isHeat = form === 'heatmap';
  // Over a numeric axis, Vega-Lite would stack bars.
  const hasNames = isHeat || form === 'bar';
  const entry: FigureEntry = hasNames ? { ...asked, x: { ...asked.x, scale: 'category' } } : asked;
  const onY = y.map(({ field }) => field),
    colours = entry.color?.fields ?? [];
  // A heat map shows measures in colours, and names on y. Other figures do it the other way round.
  const [shown, others] = isHeat ? [colours, onY] : [onY, colours];
  const named = [entry.x.field, ...row, ...column, ...others];
  const isByMetric = named.includes('metric') || named.includes('kernel');
  const measures = shown.map(measureOf).map((measure, i) => {
    const title = isHeat ? undefined : y[i]?.title;
    return { ...measure, ...(title !== undefined && { [isByMetric ? 'label' : 'title']: title }) };
  });
  const paths = named.filter((field) => field === 'defence' || isAxis(unique, field));
  // A condition is drawn under each of its names if x, colours or panels tell the names apart.
  const isByName =
    (form === 'line' && entry.x.field !== 'step') ||
    unique.some((condition) =>
      paths.some((path) =>
        varies(condition.named.map(({ axes }) => contentKey(axes[path] ?? null))),
      ),
    );
  const subjects = subjectsOf(entry, unique, isByName, paths);
  const drawn = subjects.map(({ condition }) => condition);
  const x = describeX(entry, drawn);

  const reasonsLeftOut: string[] = [];
  let pairCount = 0;
  const valuesIn = (subject: Subject, measure: Measure): readonly Value[] => {
    const values = readValues(subject, measure, entry, x);
    if (entry.against === undefined) return values;
    pairCount += values.length;
    reasonsLeftOut.push(...values.flatMap(({ reason }) => reason ?? []));
    return values.filter(({ reason }) => reason === null);
  };
  const rowCount = rowCountsIn(unique);
  /** Earlier points of a chain or of a training are of models without the defence, on all rows. */
  const fewerRows = ({ condition }: Subject, measure: Measure, { seed, x: at }: Value) => {
    const cell = condition.cells.find((one) => one.seed === seed);
    const isEnd = entry.x.field !== TRAINING || at === (cell?.chain ?? []).length + 1;
    return cell === undefined || !isEnd || kind === 'step'
      ? null
      : rowCount(cell, parseMetricName(measure.field));
  };
  const pointsOf = (subject: Subject, measure: Measure): Point[] =>
    valuesIn(subject, measure).map((value) => {
      const nowhere = { row: '', column: '', line: '' };
      const counts = { fewerRows: fewerRows(subject, measure, value) };
      const point = { subject, measure, metric: measure.field, ...value, ...counts, ...nowhere };
      const at = isWord(entry.x.field) ? nameOf(entry.x.field, point) : value.x;
      const names = { row: joinedNames(row, point), column: joinedNames(column, point) };
      const line = isHeat ? joinedNames(onY, point) : '';
      return { ...point, ...names, line, x: at ?? x.at(subject.condition) };
    });
  const allPoints = subjects.flatMap((subject) =>
    measures.flatMap((measure) => pointsOf(subject, measure)),
  );
  const placed = allPoints.filter((point) => point.x !== null);
  const { points, fields, note } = nameLines(entry, form, x, placed);

  const isDose = form === 'line' && doseUnit(entry.x.field) !== null && entry.against === undefined;
  const zero =
    isDose && !isDoseOfOneStep(entry.x.field) ? zeroDosePoints(points, subjects, valuesIn) : [];
  // Full fine-tuning has no place on an axis of adapters, and becomes a level across it.
  const hasLevels = form === 'line' && x.kind === 'number' && entry.x.field.startsWith('adapter.');
  const isLevel = ({ subject: { condition, labels }, x: at }: Point): boolean =>
    at === null &&
    isFull(condition) &&
    points.some(({ subject }) => isSameBlock(subject.labels, labels));
  const levelsBy = (more: readonly Name[]): Point[] =>
    (hasLevels ? allPoints.filter(isLevel) : []).map((point) => ({
      ...point,
      line: joinedNames([...fields, ...more], point),
    }));
  const levels = checkedPlaces(entry, levelsBy(tellingApart(levelsBy([]))));
  const shownPoints = [...zero, ...points, ...levels];
  const { cells: _cells, ...ofAll } = entry;
  const possible = subjectsOf(ofAll, unique, isByName, paths).flatMap((subject) =>
    measures.flatMap((measure) =>
      subject.condition.cells.map(({ seed }) => {
        const point = { subject, measure, seed };
        return { ...point, line: joinedNames(fields, point) };
      }),
    ),
  );
  const byLine = groupBy([...possible, ...shownPoints], ({ line }) => line);
  const referenceMeasures = references.map(measureOf);
  const { against: _against, ...withoutAgainst } = entry;
  const places = groupBy(points, (point) => keyed(placeKey(point), subjectKey(point.subject)));
  return {
    form,
    x,
    measures,
    points: shownPoints,
    lines: new Map(
      [...byLine].map(([line, of]) => [line, distinct(of.map(({ subject }) => subject.condition))]),
    ),
    references: [...places.values()].flatMap(([place]) =>
      referenceMeasures.flatMap((measure) => {
        const values = readValues(place.subject, measure, withoutAgainst, x);
        return values
          .filter(({ seed }) => !named.includes('seed') || seed === place.seed)
          .map((value) => ({ ...place, ...value, metric: measure.field }));
      }),
    ),
    isByMetric,
    isDodged: form !== 'line' && x.kind === 'text' && keyed(...fields) !== keyed(entry.x.field),
    notes: [
      note,
      x.note,
      ...(isDose ? doseNotes(entry.x.field, zero) : []),
      ...(reasonsLeftOut.length === 0
        ? []
        : [
            `Left out are ${reasonsLeftOut.length} of ${plural(pairCount, 'pair')} that are not ` +
              `evidence: a model of the pair ${joinWithOr(reasonsLeftOut)}.`,
          ]),
    ].filter((note) => note !== ''),
  };
}
