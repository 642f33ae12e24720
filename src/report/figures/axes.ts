/**
 * Figures along a numeric axis of the grid: scores, information bits and entropies against LoRA's
 * rank and the variance of A, with full fine-tuning as a level beside the scores, and accuracy and
 * ASR against an attack's dose.
 */
import {
  byName,
  type Condition,
  isFull,
  numericAxis,
  type Quantity,
  scoreOf,
} from '../conditions.ts';
import { fisherOf, INFORMATION, renyi } from '../fisher.ts';
import { list, plainText } from '../format.ts';
import { distinct } from '../groups.ts';
import { axisName, doseUnit } from '../labels.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP, type MetricNote } from '../metrics.ts';
import type { AttackFamily, Figure } from '../types.ts';
import { type CurveAxis, curveFigures, type CurveOptions, type CurvePoint } from './curves.ts';
import { joinLabels, slug, varies } from './encode.ts';
import { adapterPalette } from './theme.ts';

interface Drawn {
  readonly id: string;
  readonly label: string;
  /** The title on the axis, if the label is too long for it. */
  readonly short?: string;
  readonly quantity: Quantity;
  /** The metric, if it is one. */
  readonly metric?: MetricNote;
  readonly span: CurveOptions['span'];
  readonly families: readonly AttackFamily[];
}

const EVERY_FAMILY = ['none', 'untargeted', 'backdoor'] as const;

const score = (
  metric: MetricNote,
  span: Drawn['span'],
  families: readonly AttackFamily[],
): Drawn => ({
  id: metric.metric,
  label: metric.label,
  quantity: scoreOf(metric),
  metric,
  span,
  families,
});

const DRAWN: readonly Drawn[] = [
  score(ACCURACY, 'to-one', EVERY_FAMILY),
  score(DROP, 'from-zero', ['untargeted']),
  score(ASR, 'unit', ['backdoor']),
  ...[
    ...INFORMATION,
    renyi('raw', '0.5'),
    renyi('normalised', '0.5'),
    renyi('raw', '2'),
    renyi('normalised', '2'),
  ].map((quantity) => ({
    id: quantity.id,
    label: `${quantity.label} of LoRA’s kernel after training`,
    short: `${quantity.label} (nats)`,
    span: 'points' as const,
    families: EVERY_FAMILY,
    quantity: fisherOf(quantity, 'final', 'lora'),
  })),
];

interface AdapterAxis {
  readonly path: string;
  readonly name: string;
  readonly axis: CurveAxis;
  /** Returns a condition's place on the axis, or null if it has none. */
  readonly at: (condition: Condition) => number | null;
  /** Ends the captions; may be empty. */
  readonly note: string;
}

const adapterOf = ({ path }: AdapterAxis, condition: Condition): string =>
  condition.labelsWithout(path).adapterLabel;

/**
 * Returns the conditions whose adapters appear at several places of the axis. Others would have no
 * line along it.
 */
function following(axis: AdapterAxis, along: readonly Condition[]): readonly Condition[] {
  return along.filter((condition) =>
    varies(
      along
        .filter((other) => adapterOf(axis, other) === adapterOf(axis, condition))
        .map((other) => axis.at(other)),
    ),
  );
}

/**
 * Returns the points of one quantity. Levels of full fine-tuning under the same attacks come last.
 */
function pointsOf(
  { path, at }: AdapterAxis,
  drawn: Drawn,
  conditions: readonly Condition[],
  shown: readonly Condition[],
  isSeveralAdapters: boolean,
): readonly CurvePoint[] {
  const asked = shown.filter(({ family }) => drawn.families.includes(family)),
    { quantity, metric = ACCURACY } = drawn;
  const seen = new Set<string>();
  const points = asked
    .map((condition): CurvePoint => {
      const { attackLabel, setting, adapterLabel } = condition.labelsWithout(path);
      const line = joinLabels(attackLabel, setting, isSeveralAdapters ? adapterLabel : '');
      return { line, x: at(condition), condition, quantity, metric };
    })
    // Two names that differ along this axis alone (1/d and 1/(1d)) have one place on it.
    .filter(({ line, x, condition }) => {
      const place = JSON.stringify([line, x, condition.key]);
      return !seen.has(place) && seen.add(place);
    });
  const attackOf = ({ attackLabel, setting }: Condition): string =>
    joinLabels(attackLabel, setting);
  const attacks = new Set(asked.map(attackOf));
  // If only one adapter is drawn, full fine-tuning has the colour of the attack's line. If there
  // are several, it has a separate line.
  const levels = conditions
    .filter((condition) => isFull(condition) && attacks.has(attackOf(condition)))
    .map((condition): CurvePoint => {
      const attack = attackOf(condition);
      const line = isSeveralAdapters ? joinLabels(attack, condition.adapterLabel) : attack;
      return { line, x: null, condition, quantity, metric };
    });
  return [...points, ...levels];
}

async function figuresAlong(unique: readonly Condition[], along: AdapterAxis): Promise<Figure[]> {
  const conditions = byName(unique);
  const placed = conditions.filter((condition) => along.at(condition) !== null);
  const shown = following(along, placed);
  const adapters = distinct(shown.map((condition) => adapterOf(along, condition)));
  const every = distinct(placed.map((condition) => adapterOf(along, condition)));
  const [first] = adapters;
  if (first === undefined) return [];
  // The adapter is named if it is the only one drawn but not the only one in the grid.
  const isNamed = adapters.length === 1 && every.length > 1;
  const figures: Figure[] = [];
  for (const drawn of DRAWN)
    figures.push(
      ...(await curveFigures(pointsOf(along, drawn, conditions, shown, adapters.length > 1), {
        id: slug(`${along.name}-${drawn.id}`),
        title: `${drawn.label}, against ${along.name}`,
        yTitle: drawn.short ?? drawn.label,
        caption: [isNamed ? `${first}.` : '', along.note].filter((text) => text !== '').join(' '),
        axis: along.axis,
        span: drawn.span,
      })),
    );
  return figures;
}

export const rankFigures = (conditions: readonly Condition[]): Promise<readonly Figure[]> =>
  figuresAlong(conditions, {
    path: 'adapter.rank',
    name: 'rank',
    axis: { title: 'rank r', scale: 'log2' },
    at: (condition) => numericAxis(condition, 'adapter.rank'),
    note: '',
  });

const VARIANCE = 'adapter.init.variance';

/** Returns σ²n if it is the same for every layer (a variance of k/d), and otherwise null. */
function scaledVariance(condition: Condition): number | null {
  const [scaled, ...others] = distinct(
    condition.cells
      .flatMap(({ lora }) => lora?.groups ?? [])
      .map(({ fanIn, variance }) => Number((fanIn * variance).toPrecision(9))),
  );
  return scaled === undefined || others.length > 0 ? null : scaled;
}

/**
 * Draws all figures on one scale: σ²·n, or σ² if more conditions have a value of that. Conditions
 * without a value are left out and named.
 */
export async function varianceFigures(
  conditions: readonly Condition[],
): Promise<readonly Figure[]> {
  const given = byName(conditions).filter(({ axes }) => axes[VARIANCE] !== undefined);
  const plainVariance = (condition: Condition): number | null => numericAxis(condition, VARIANCE);
  const placed = (at: AdapterAxis['at']): number =>
    given.filter((condition) => at(condition) !== null).length;
  const isPlain = placed(plainVariance) > placed(scaledVariance);
  const at = isPlain ? plainVariance : scaledVariance;
  const left = distinct(
    given
      .filter((condition) => at(condition) === null)
      .map(({ axes }) => plainText(axes[VARIANCE])),
  );
  return figuresAlong(conditions, {
    path: VARIANCE,
    name: 'variance',
    axis: {
      title: isPlain ? 'variance σ² of A' : 'σ²·n (variance of A times the layer’s fan-in)',
      scale: 'auto',
    },
    at: (condition) => (condition.axes[VARIANCE] === undefined ? null : at(condition)),
    note:
      left.length === 0
        ? ''
        : `Left out, because their value on this axis differs between layers: σ² = ${list(left)}.`,
  });
}

const MOST_ATTACKS = 4;

const byUnit = (a: string, b: string): number =>
  Number(doseUnit(a) === 'count') - Number(doseUnit(b) === 'count') ||
  a.split('.').length - b.split('.').length;

const isStepDose = (path: string): boolean => path.startsWith('poisoning.steps.');

function doseTitle(path: string): string {
  const title =
    doseUnit(path) === 'rate' ? 'poison rate (share of training rows)' : 'poisoned rows';
  return isStepDose(path) ? `${axisName(path)}: ${title}` : title;
}

interface Dosed {
  readonly attack: string;
  readonly path: string;
  readonly conditions: readonly Condition[];
  /** The conditions without attack. */
  readonly clean: readonly Condition[];
}

/** Returns the name of a condition's line: what distinguishes the condition besides the dose. */
function lineOf({ attack, path }: Dosed, condition: Condition): string {
  const { adapterLabel, attackLabel, setting } = condition.labelsWithout(path);
  return joinLabels(adapterLabel, attackLabel === attack ? '' : attackLabel, setting);
}

/**
 * Returns the points at dose 0: the run without attack and, for ASR, what the trigger does to the
 * paired clean model. The dose of a single step has no such points, because at dose 0 the other
 * steps are still applied.
 */
function zeroDose(dosed: Dosed, metric: MetricNote): readonly CurvePoint[] {
  if (isStepDose(dosed.path)) return [];
  if (metric === ACCURACY)
    return dosed.clean.map((condition) => ({
      line: joinLabels(condition.adapterLabel, condition.setting),
      x: 0,
      condition,
      quantity: scoreOf(metric),
    }));
  const firstOfLine = new Map<string, Condition>();
  for (const condition of dosed.conditions) {
    const line = lineOf(dosed, condition);
    if (!firstOfLine.has(line)) firstOfLine.set(line, condition);
  }
  return [...firstOfLine].map(([line, condition]) => ({
    line,
    x: 0,
    condition,
    quantity: scoreOf(ASR_CLEAN),
    metric: ASR_CLEAN,
  }));
}

function captionOf(path: string, metric: MetricNote): string {
  if (isStepDose(path)) return 'The other steps are the same along a line.';
  return metric === ACCURACY
    ? 'Dose 0 is the run without attack.'
    : 'Dose 0 is the rate at which the trigger turns the paired clean model’s predictions.';
}

async function figuresOf(
  dosed: Dosed,
  colours: ReadonlyMap<string, string>,
): Promise<readonly Figure[]> {
  const { attack, path, conditions } = dosed;
  const figures: Figure[] = [];
  for (const metric of [ACCURACY, ASR]) {
    const points = conditions
      .map((condition): CurvePoint => ({
        line: lineOf(dosed, condition),
        x: numericAxis(condition, path),
        condition,
        quantity: scoreOf(metric),
        metric,
      }))
      .filter(({ x }) => x !== null);
    const along = isStepDose(path) ? axisName(path) : 'dose';
    figures.push(
      ...(await curveFigures([...zeroDose(dosed, metric), ...points], {
        id: slug(`dose-${attack}-${path}-${metric.metric}`),
        title: `${metric.label} against the ${along} of ${attack}`,
        yTitle: metric.label,
        caption: captionOf(path, metric),
        axis: { title: doseTitle(path), scale: 'auto' },
        span: metric === ACCURACY ? 'to-one' : 'unit',
        colours,
      })),
    );
  }
  return figures;
}

/** Draws a figure for each attack, dose and metric. An attack with a single dose has none. */
export async function doseFigures(unique: readonly Condition[]): Promise<readonly Figure[]> {
  const conditions = byName(unique);
  const { domain, range } = adapterPalette(conditions);
  const colours = new Map(domain.map((name, i) => [name, range[i] ?? '']));
  const clean = conditions.filter(({ family }) => family === 'none');
  const paths = distinct(conditions.flatMap(({ axes }) => Object.keys(axes)))
    .filter((path) => doseUnit(path) !== null)
    .sort(byUnit);
  const figures: Figure[] = [];
  for (const path of paths) {
    const attacks = distinct(conditions.map(({ attack }) => attack))
      .map((attack) => ({ attack, of: conditions.filter((one) => one.attack === attack) }))
      .filter(({ of }) => varies(of.map((condition) => numericAxis(condition, path))));
    for (const { attack, of } of attacks.slice(0, MOST_ATTACKS))
      figures.push(...(await figuresOf({ attack, path, conditions: of, clean }, colours)));
  }
  return figures;
}
