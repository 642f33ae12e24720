/**
 * Draws accuracy and ASR against an attack's dose: the poison rate, or the number of poisoned rows.
 */
import { byName, type Condition, numericAxis, scoreOf } from '../conditions.ts';
import { distinct } from '../groups.ts';
import { axisName, doseUnit } from '../labels.ts';
import { ACCURACY, ASR, ASR_CLEAN, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { curveFigures, type CurvePoint } from './curves.ts';
import { joinLabels, slug, varies } from './encode.ts';
import { adapterPalette } from './theme.ts';

const MOST_ATTACKS = 4;

/** Sorts rates before counts, and an attack's own dose before those of its steps. */
const byUnit = (a: string, b: string): number =>
  Number(doseUnit(a) === 'count') - Number(doseUnit(b) === 'count') ||
  a.split('.').length - b.split('.').length;

const isStepDose = (path: string): boolean => path.startsWith('poisoning.steps.');

function doseTitle(path: string): string {
  const title =
    doseUnit(path) === 'rate' ? 'poison rate (share of training rows)' : 'poisoned rows';
  return isStepDose(path) ? `${axisName(path)}: ${title}` : title;
}

/** One attack along one of its doses. */
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
