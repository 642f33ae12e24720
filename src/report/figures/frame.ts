/** The cells that an entry draws, as points with their place in a figure. */
import type { FigureEntry } from '../../api/report.ts';
import { UserFault } from '../../base/fault.ts';
import type { Analysis } from '../analysis.ts';
import { adapterPairs } from '../comparisons.ts';
import {
  axisValue,
  byName,
  cellAt,
  chooseByName,
  chooseConditions,
  type Condition,
  conditionName,
  isFull,
  rowCountsIn,
} from '../conditions.ts';
import { joinWithOr } from '../evidence.ts';
import { list, plural } from '../format.ts';
import { contentKey, distinct, groupBy } from '../groups.ts';
import { DEFENCE, doseUnit, type Labels } from '../labels.ts';
import { ASR, ASR_CLEAN, metricName, onTest, parseMetricName } from '../metrics.ts';
import {
  type Axis,
  describeX,
  isAxis,
  isDoseOfOneStep,
  isName,
  isWord,
  labelIn,
  type Name,
} from './axis.ts';
import { TRAINING } from './chain.ts';
import { joinLabels, keyed, namesText, varies } from './encode.ts';
import { type Measure, measureOf, readValues, type Subject, type Value } from './measure.ts';
import {
  checkedPlaces,
  fieldText,
  hasMixedLine,
  joinedNames,
  placeKey,
  type Point,
  subjectKey,
  TELLING,
  tellingApart,
  withoutConstant,
} from './points.ts';

export interface Frame {
  readonly form: NonNullable<FigureEntry['mark']>;
  readonly x: Axis;
  readonly measures: readonly Measure[];
  readonly points: readonly Point[];
  /** The conditions of each line, including those that the entry's `cells` leave out. */
  readonly lines: ReadonlyMap<string, readonly Condition[]>;
  /** Numbers of other metrics that are marked beside the points. */
  readonly references: readonly Point[];
  /** Whether x, colours or facets tell metrics apart. Otherwise each metric has a panel. */
  readonly isByMetric: boolean;
  /** Whether several lines stand side by side at each place on x. */
  readonly isDodged: boolean;
  /** Sentences for the caption. */
  readonly notes: readonly string[];
}

/**
 * Returns the entry's mark. Default: a heat map if y has names or an axis; else points if x has
 * names or a metric; else lines.
 */
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

/** What an entry measures, for which conditions, and by which fields these are named. */
interface Layout extends Pick<Frame, 'form' | 'x' | 'measures' | 'isByMetric'> {
  readonly entry: FigureEntry;
  /**
   * The fields that name places and lines: of x, of panels, and of colours (of y in a heat map).
   */
  readonly naming: readonly string[];
  readonly subjects: readonly Subject[];
  /** The subjects that there would be without the entry's choice of `cells`. */
  readonly possible: readonly Subject[];
}

/**
 * Adds the main scorer's name to metrics that stand beside the same metric by another scorer. Does
 * nothing if the cells have different main scorers.
 */
function withScorer(
  measures: readonly Measure[],
  conditions: readonly Condition[],
): readonly Measure[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const [main, ...others] = distinct(
    cells.flatMap(({ writing }) => writing?.scorer.name ?? writing?.scorer.scorer ?? []),
  );
  if (main === undefined || others.length > 0) return measures;
  return measures.map((measure) => {
    const { field, label, title } = measure;
    const isBesideOthers = measures.some(
      (one) => one.field.startsWith(`${field}.`) && !one.field.includes('.trigger.'),
    );
    return isBesideOthers
      ? { ...measure, label: `${label}, ${main}`, title: `${title}, ${main}` }
      : measure;
  });
}

/**
 * Works out what an entry measures, and for which conditions.
 * @throws UserFault if differences are asked for along an x that has no place for them
 */
function layOut(asked: FigureEntry, unique: readonly Condition[]): Layout {
  const { y, color, facet: { row = [], column = [] } = {} } = asked;
  const across = describeX(asked, unique);
  if (asked.against !== undefined && (across.kind === 'step' || across.kind === 'metric'))
    throw new UserFault(
      `the figure ${asked.name} draws differences, which have no place along ${asked.x.field}`,
      'Leave out `against`, or put an axis on x.',
    );
  const form = chooseMark(asked, across, unique);
  const isHeat = form === 'heatmap';
  // Vega-Lite would stack bars over a numeric axis.
  const hasNames = isHeat || form === 'bar';
  const entry: FigureEntry = hasNames ? { ...asked, x: { ...asked.x, scale: 'category' } } : asked;
  const onY = y.map(({ field }) => field),
    inColours = color?.fields ?? [];
  // A heat map shows measures in colours, and names on y. Other figures do it the other way round.
  const [measured, others] = isHeat ? [inColours, onY] : [onY, inColours];
  const naming = [entry.x.field, ...row, ...column, ...others];
  const isByMetric = naming.includes('metric') || naming.includes('kernel');
  const measures = withScorer(measured.map(measureOf), unique).map((measure, i) => {
    const title = isHeat ? undefined : y[i]?.title;
    return { ...measure, ...(title !== undefined && { [isByMetric ? 'label' : 'title']: title }) };
  });
  const { cells: _cells, ...ofAll } = entry;
  const subjects = chooseSubjects(entry, form, naming, unique),
    possible = chooseSubjects(ofAll, form, naming, unique);
  const drawn = subjects.map(({ condition }) => condition);
  const x = describeX(entry, drawn);
  return { entry, form, x, measures, isByMetric, naming, subjects, possible };
}

/** Returns what is drawn: conditions or, under `against: full`, pairs with full fine-tuning. */
function chooseSubjects(
  entry: FigureEntry,
  form: Frame['form'],
  naming: readonly string[],
  unique: readonly Condition[],
): readonly Subject[] {
  const paths = naming.filter((field) => field === 'defence' || isAxis(unique, field));
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
  // A condition is drawn under each of its names if x, colours or panels tell the names apart.
  const isByName =
    (form === 'line' && entry.x.field !== 'step') ||
    unique.some(({ named }) =>
      paths.some((path) => varies(named.map(({ axes }) => contentKey(axes[path] ?? null)))),
    );
  const chosen = isByName
    ? chooseConditions(byName(unique), entry.cells)
    : chooseByName(unique, entry.cells);
  return chosen
    .filter(({ family }) => entry.against === undefined || family !== 'none')
    .map((condition) => ({ condition, labels: labelsBeside(condition, paths) }));
}

/** Returns the labels without the axes at `paths`, and without the defence if `paths` names it. */
function labelsBeside(condition: Condition, paths: readonly string[]): Labels {
  const labels = condition.labelsWithout(...paths);
  return paths.includes('defence')
    ? { ...labels, setting: condition.labelsWithout(...paths, DEFENCE).setting }
    : labels;
}

/**
 * Reads the points and places them in panels and on x. In a heat map they also get their lines;
 * elsewhere `nameLines` does that.
 */
function placePoints(
  { entry, form, x, measures, subjects }: Layout,
  unique: readonly Condition[],
): readonly Point[] {
  const { y, facet: { row = [], column = [] } = {} } = entry;
  const onY = y.map(({ field }) => field);
  const rowCount = rowCountsIn(unique);
  // See `compareRowCounts`. Null too for points over steps, and for all but the last point of a
  // chain: their models have no defence, and are measured on all rows.
  const fewerRows = ({ condition }: Subject, { field }: Measure, { seed, x: at }: Value) => {
    const cell = cellAt(condition, seed);
    const isEnd = entry.x.field !== TRAINING || at === (cell?.chain ?? []).length + 1;
    return cell === undefined || !isEnd || x.kind === 'step'
      ? null
      : rowCount(cell, parseMetricName(field));
  };
  // Puts a value at its place.
  const pointFor = (subject: Subject, measure: Measure, value: Value): Point => {
    const named = { subject, measure, seed: value.seed };
    const onX = isWord(entry.x.field) ? fieldText(entry.x.field, named) : value.x;
    return {
      ...{ ...named, metric: measure.field, ...value },
      fewerRows: fewerRows(subject, measure, value),
      row: joinedNames(row, named),
      column: joinedNames(column, named),
      line: form === 'heatmap' ? joinedNames(onY, named) : '',
      x: onX ?? x.at(subject.condition),
    };
  };
  return subjects.flatMap((subject) =>
    measures.flatMap((measure) =>
      readValues(subject, measure, entry, x).map((value) => pointFor(subject, measure, value)),
    ),
  );
}

/**
 * Names the line of each point. Cells that share a place get separate lines, in a heat map separate
 * panels. Also returns the fields that name lines, and a note for the caption or ''.
 * @throws UserFault if no label tells such cells apart
 */
function nameLines({ entry, form, x }: Layout, points: readonly Point[]) {
  if (form === 'heatmap')
    return { points: checkedPlaces(entry, splitPanels(points)), fields: [], note: '' };
  const { color, facet: { row = [], column = [] } = {} } = entry;
  const unfaceted = TELLING.filter((name) => ![...row, ...column].includes(name));
  const isNamedOnX = x.kind === 'text';
  const candidates = color?.fields ?? (isNamedOnX ? [entry.x.field] : unfaceted);
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
    more.length > 0 && color === undefined && isNamedOnX
      ? more
      : withoutConstant([...asked, ...more], points);
  const [first] = points;
  const isOne = first && candidates.includes('adapter') && !fields.includes('adapter');
  const note = isOne ? `Adapter: ${labelIn(first.subject.labels, 'adapter')}.` : '';
  return { points: checkedPlaces(entry, named(fields)), fields, note };
}

/**
 * Gives separate rows of panels to points of a heat map that share a place, if a label tells them
 * apart.
 */
function splitPanels(points: readonly Point[]): readonly Point[] {
  const more = tellingApart(points);
  return points.map((point) => ({
    ...point,
    row: joinLabels(...distinct([point.row, joinedNames(more, point)])),
  }));
}

/** Success rate → the paired clean run's rate, which is drawn at dose 0. */
const ZERO_DOSE: Readonly<Record<string, string>> = {
  [metricName(ASR)]: metricName(ASR_CLEAN),
  [metricName(onTest(ASR))]: metricName(onTest(ASR_CLEAN)),
};

/**
 * Returns the points to add at dose 0 to each line that has none there: the run without attack or,
 * for ASR, the rate of the paired clean model instead. Adds none along the dose of a single step,
 * because the other steps still apply at dose 0.
 */
function zeroDosePoints(
  { entry, x, subjects }: Layout,
  points: readonly Point[],
): readonly Point[] {
  if (isDoseOfOneStep(entry.x.field)) return [];
  const lines = groupBy(points, ({ row, column, line, measure: { field } }) =>
    keyed(row, column, line, field),
  );
  return [...lines.values()].flatMap((line) => {
    if (line.some(({ x }) => x === 0)) return []; // the grid has dose 0 already
    const [leader] = line;
    const cleanMetric = ZERO_DOSE[leader.measure.field];
    // If an envelope chose another point at each dose, the doses have different clean twins.
    const cells = line.flatMap(({ subject }) => subject.condition.cells);
    if (cleanMetric && varies(cells.map(({ chosen = '' }) => chosen))) return [];
    // `subject.labels` would not do: it lacks the axes that colours and panels show, so that cells
    // which differ in these have the same labels.
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
      : readValues(subject, measureOf(metric), entry, x).map((value) => ({
          ...leader,
          ...value,
          subject,
          metric,
          x: 0,
        }));
  });
}

/**
 * Explains dose 0 or, along the dose of one of several steps, says that the other steps are the
 * same.
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
 * Returns levels across an axis of adapters for full fine-tuning, which has no place on it.
 * @param kept the entry's points, with or without a place on x
 * @param points those with a place
 * @param fields the fields that name lines
 */
function levelPoints(
  { entry, form, x }: Layout,
  kept: readonly Point[],
  points: readonly Point[],
  fields: readonly string[],
): readonly Point[] {
  if (form !== 'line' || x.kind !== 'number' || !entry.x.field.startsWith('adapter.')) return [];
  const blockKey = ({ subject: { labels } }: Point) => keyed(labels.attackLabel, labels.setting);
  const blocks = new Set(points.map(blockKey));
  const levels = kept.filter(
    (point) => point.x === null && isFull(point.subject.condition) && blocks.has(blockKey(point)),
  );
  const named = (more: readonly Name[]): Point[] =>
    levels.map((point) => ({ ...point, line: joinedNames([...fields, ...more], point) }));
  return checkedPlaces(entry, named(tellingApart(named([]))));
}

function referencePoints({ entry, x, naming }: Layout, points: readonly Point[]): Point[] {
  const { against: _against, ...plain } = entry;
  const measures = (entry.references ?? []).map(measureOf);
  const places = groupBy(points, (point) => keyed(placeKey(point), subjectKey(point.subject)));
  return [...places.values()].flatMap(([place]) =>
    measures.flatMap((measure) =>
      readValues(place.subject, measure, plain, x)
        .filter(({ seed }) => !naming.includes('seed') || seed === place.seed)
        .map((value) => ({ ...place, ...value, metric: measure.field })),
    ),
  );
}

function conditionsByLine(
  { possible, measures }: Layout,
  fields: readonly string[],
  points: readonly Point[],
): Frame['lines'] {
  const all = possible.flatMap((subject) =>
    measures.flatMap((measure) =>
      subject.condition.cells.map(({ seed }) => ({
        subject,
        line: joinedNames(fields, { subject, measure, seed }),
      })),
    ),
  );
  const byLine = groupBy([...all, ...points], ({ line }) => line);
  return new Map(
    [...byLine].map(([line, of]) => [line, distinct(of.map(({ subject }) => subject.condition))]),
  );
}

/** Says how many pairs are not evidence, and why; '' if all are evidence. */
function leftOutNote(pairs: readonly Point[]): string {
  const reasons = pairs.flatMap(({ reason }) => reason ?? []);
  return reasons.length === 0
    ? ''
    : `Left out are ${reasons.length} of ${plural(pairs.length, 'pair')} that are not ` +
        `evidence: a model of the pair ${joinWithOr(reasons)}.`;
}

/**
 * Names the chosen conditions that have no place: those without a value on the axis on x and, under
 * `against: full`, those without full fine-tuning beside them.
 * @param kept the entry's points, with or without a place on x
 * @param shown the points of the figure
 */
function placelessNotes(
  { entry, x, subjects }: Layout,
  unique: readonly Condition[],
  kept: readonly Point[],
  shown: readonly Point[],
): readonly string[] {
  const drawn = new Set(shown.map(({ subject }) => subject.condition.key));
  const without = kept.flatMap(({ x: at, subject: { condition } }) =>
    x.kind === 'number' && at === null && axisValue(condition, entry.x.field) === undefined
      ? [condition]
      : [],
  );
  const unpaired =
    entry.against === 'full'
      ? chooseByName(unique, entry.cells).filter(
          (one) => !isFull(one) && !subjects.some(({ condition }) => condition === one),
        )
      : [];
  return (
    [
      ['have no value on this axis', without.filter(({ key }) => !drawn.has(key))],
      ['have no full fine-tuning beside them', unpaired],
    ] as const
  ).flatMap(([why, left]) =>
    left.length === 0
      ? []
      : [`Left out, because they ${why}: ${namesText(distinct(left.map(conditionName)))}.`],
  );
}

/**
 * Returns the points of an entry's figure, in their places and lines.
 * @throws UserFault if several cells have one place, or if x has no place for differences
 */
export function frameEntry(
  asked: FigureEntry,
  { conditions }: Pick<Analysis, 'conditions'>,
): Frame {
  const layout = layOut(asked, conditions),
    { entry, form, x, measures, isByMetric } = layout;
  const read = placePoints(layout, conditions);
  // A pair that is not evidence is left out and only counted. A single number that is not evidence
  // is drawn, and marked.
  const isPaired = entry.against !== undefined;
  const kept = isPaired ? read.filter(({ reason }) => reason === null) : read;
  const placed = kept.filter((point) => point.x !== null);
  const { points, fields, note } = nameLines(layout, placed);
  const isDose = form === 'line' && doseUnit(entry.x.field) !== null && !isPaired;
  const zero = isDose ? zeroDosePoints(layout, points) : [];
  const shown = [...zero, ...points, ...levelPoints(layout, kept, points, fields)];
  return {
    form,
    x,
    measures,
    points: shown,
    lines: conditionsByLine(layout, fields, shown),
    references: referencePoints(layout, points),
    isByMetric,
    isDodged: form !== 'line' && x.kind === 'text' && keyed(...fields) !== keyed(entry.x.field),
    notes: [
      note,
      x.note,
      ...(isDose ? doseNotes(entry.x.field, zero) : []),
      isPaired ? leftOutNote(read) : '',
      ...placelessNotes(layout, conditions, kept, shown),
    ].filter((text) => text !== ''),
  };
}
