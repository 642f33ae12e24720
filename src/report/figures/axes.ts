/** Which curves a grid has: one rule an axis. An axis counts when it takes two values or more. */
import { INFORMATION, renyi } from '../compare.ts';
import {
  axisName,
  byName,
  type Condition,
  distinct,
  doseUnit,
  isFull,
  metricOf,
  numericAxis,
  type Quantity,
} from '../conditions.ts';
import { list } from '../format.ts';
import { ACCURACY, ASR, ASR_CLEAN, DROP, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { type CurveAxis, curveFigures, type CurveOptions, type CurvePoint } from './curves.ts';
import { adapterPalette } from './theme.ts';

const MOST_ATTACKS = 4;

const join = (...parts: readonly string[]): string =>
  parts.filter((part) => part !== '').join(' · ');
const varies = (values: readonly (number | null)[]): boolean =>
  distinct(values.filter((value) => value !== null)).length > 1;
const slug = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '');

/** Rates before counts, an attack's own before those of steps. */
const byUnit = (a: string, b: string): number =>
  Number(doseUnit(a) === 'count') - Number(doseUnit(b) === 'count') ||
  a.split('.').length - b.split('.').length;

function doseTitle(path: string): string {
  const title =
    doseUnit(path) === 'rate' ? 'poison rate (share of training rows)' : 'poisoned rows';
  return path.startsWith('poisoning.steps.') ? `${axisName(path)}: ${title}` : title;
}

/** Accuracy and ASR against the poison rate or count, one panel an attack; dose 0 is the run without attack. */
export async function doseFigures(unique: readonly Condition[]): Promise<Figure[]> {
  const conditions = byName(unique);
  const figures: Figure[] = [];
  const palette = adapterPalette(conditions);
  const colours = new Map(palette.domain.map((name, i) => [name, palette.range[i]!]));
  const clean = conditions.filter(({ family }) => family === 'none');
  for (const path of distinct(conditions.flatMap(({ axes }) => Object.keys(axes)))
    .filter((name) => doseUnit(name) !== null)
    .sort(byUnit)) {
    const attacks = distinct(conditions.map(({ attack }) => attack)).filter((attack) =>
      varies(conditions.filter((c) => c.attack === attack).map((c) => numericAxis(c, path))),
    );
    for (const attack of attacks.slice(0, MOST_ATTACKS)) {
      const isStep = path.startsWith('poisoning.steps.'); // without it the other steps are still there: that is no clean run
      const dosed = conditions.filter((condition) => condition.attack === attack);
      const line = (condition: Condition): string => {
        const labels = condition.labelsWithout(path);
        return join(
          labels.adapterLabel,
          labels.attackLabel === attack ? '' : labels.attackLabel,
          labels.setting,
        );
      };
      for (const metric of [ACCURACY, ASR]) {
        const zero: readonly CurvePoint[] = isStep
          ? []
          : metric === ACCURACY
            ? clean.map((condition) => ({
                line: join(condition.adapterLabel, condition.setting),
                x: 0,
                condition,
                quantity: metricOf(metric.stage, metric.metric),
              }))
            : distinct(dosed.map(line)).map((name) => ({
                line: name,
                x: 0,
                condition: dosed.find((condition) => line(condition) === name)!,
                quantity: metricOf(ASR_CLEAN.stage, ASR_CLEAN.metric),
              }));
        const points = dosed
          .map((condition): CurvePoint => ({
            line: line(condition),
            x: numericAxis(condition, path),
            condition,
            quantity: metricOf(metric.stage, metric.metric),
          }))
          .filter(({ x }) => x !== null);
        figures.push(
          ...(await curveFigures([...zero, ...points], {
            id: slug(`dose-${attack}-${path}-${metric.metric}`),
            title: `${metric.label} against the ${isStep ? axisName(path) : 'dose'} of ${attack}`,
            yTitle: metric.label,
            caption: isStep
              ? 'The other steps are the same along a line.'
              : metric === ACCURACY
                ? 'Dose 0 is the run without attack.'
                : 'Dose 0 is the rate at which the trigger turns the paired clean model’s predictions.',
            axis: { title: doseTitle(path), scale: 'auto' },
            span: metric === ACCURACY ? 'to-one' : 'unit',
            colours,
          })),
        );
      }
    }
  }
  return figures;
}

interface Drawn {
  readonly id: string;
  readonly label: string;
  /** On the axis, where the label is too long for it. */
  readonly short?: string;
  readonly quantity: Quantity;
  readonly span: CurveOptions['span'];
  readonly families: readonly string[];
}

const score = (metric: MetricNote, span: Drawn['span'], families: readonly string[]): Drawn => ({
  id: metric.metric,
  label: metric.label,
  quantity: metricOf(metric.stage, metric.metric),
  span,
  families,
});

const information: readonly Drawn[] = [
  ...INFORMATION,
  renyi('raw', '0.5'),
  renyi('normalised', '0.5'),
  renyi('raw', '2'),
  renyi('normalised', '2'),
].map((quantity) => ({
  id: quantity.id,
  label: `${quantity.label} of LoRA’s kernel after training`,
  short: `${quantity.label} (nats)`,
  span: 'points',
  families: ['none', 'untargeted', 'backdoor'],
  quantity: (cell) => {
    const facts = cell.fisher.final?.lora?.true;
    return facts ? quantity.get(facts) : null;
  },
}));

/** Against LoRA's rank and the variance of A: scores with full fine-tuning as a level, information bits and entropies of the LoRA kernel. */
async function adapterAxis(
  unique: readonly Condition[],
  path: string,
  name: string,
  axis: CurveAxis,
  at: (condition: Condition) => number | null,
  note = '',
): Promise<Figure[]> {
  const conditions = byName(unique);
  const along = conditions.filter((condition) => at(condition) !== null);
  if (!varies(along.map(at))) return [];
  // An adapter that stands at one place of the axis follows nothing along it.
  const adapterOf = (condition: Condition): string => condition.labelsWithout(path).adapterLabel;
  const following = along.filter((condition) =>
    varies(along.filter((other) => adapterOf(other) === adapterOf(condition)).map(at)),
  );
  const adapters = distinct(following.map(adapterOf)),
    others = distinct(along.map(adapterOf)).length > adapters.length;
  const figures: Figure[] = [];
  for (const drawn of [
    score(ACCURACY, 'to-one', ['none', 'untargeted', 'backdoor']),
    score(DROP, 'from-zero', ['untargeted']),
    score(ASR, 'unit', ['backdoor']),
    ...information,
  ]) {
    const asked = following.filter(({ family }) => drawn.families.includes(family));
    const line = (condition: Condition): string => {
      const labels = condition.labelsWithout(path);
      return join(
        labels.attackLabel,
        labels.setting,
        adapters.length > 1 ? labels.adapterLabel : '',
      );
    };
    const seen = new Set<string>();
    const points: CurvePoint[] = asked
      .map((condition) => ({
        line: line(condition),
        x: at(condition),
        condition,
        quantity: drawn.quantity,
      }))
      // Two names that differ along this axis alone (1/d and 1/(1d)) have one place on it.
      .filter(({ line: own, x, condition }) => {
        const place = JSON.stringify([own, x, condition.key]);
        return !seen.has(place) && seen.add(place);
      });
    const attacks = new Set(
      asked.map((condition) => join(condition.attackLabel, condition.setting)),
    );
    // Where one line an attack is drawn, full fine-tuning has its colour; else it has one of its own.
    for (const condition of conditions.filter(isFull)) {
      const attack = join(condition.attackLabel, condition.setting);
      if (attacks.has(attack))
        points.push({
          line: adapters.length > 1 ? join(attack, condition.adapterLabel) : attack,
          x: null,
          condition,
          quantity: drawn.quantity,
        });
    }
    figures.push(
      ...(await curveFigures(points, {
        id: slug(`${name}-${drawn.id}`),
        title: `${drawn.label}, against ${name}`,
        yTitle: drawn.short ?? drawn.label,
        caption: [others && adapters.length === 1 ? `${adapters[0]!}.` : '', note]
          .filter((text) => text !== '')
          .join(' '),
        axis,
        span: drawn.span,
      })),
    );
  }
  return figures;
}

export const rankFigures = (conditions: readonly Condition[]): Promise<Figure[]> =>
  adapterAxis(conditions, 'adapter.rank', 'rank', { title: 'rank r', scale: 'log2' }, (condition) =>
    numericAxis(condition, 'adapter.rank'),
  );

const VARIANCE = 'adapter.init.variance';

/** σ²n where it is the same for every layer (a variance of k/d); null where it is not, or where no A was drawn. */
function scaledVariance(condition: Condition): number | null {
  const scaled = distinct(
    condition.cells
      .flatMap(({ lora }) => lora?.groups ?? [])
      .map(({ fanIn, variance }) => Number((fanIn * variance).toPrecision(9))),
  );
  return scaled.length === 1 ? scaled[0]! : null;
}

const VARIANCES = [
  {
    title: 'σ²·n (variance of A times the layer’s fan-in)',
    at: scaledVariance,
  },
  {
    title: 'variance σ² of A',
    at: (condition: Condition) => numericAxis(condition, VARIANCE),
  },
];

/** One scale for all figures: σ²·n, or σ² where that has a value for more of the conditions. Those without one are left out, and named. */
export async function varianceFigures(conditions: readonly Condition[]): Promise<Figure[]> {
  const given = byName(conditions).filter(({ axes }) => axes[VARIANCE] !== undefined);
  const placed = ({ at }: (typeof VARIANCES)[number]): number =>
    given.filter((condition) => at(condition) !== null).length;
  const { title, at } = VARIANCES.reduce((best, other) =>
    placed(other) > placed(best) ? other : best,
  );
  const left = distinct(
    given.filter((condition) => at(condition) === null).map(({ axes }) => String(axes[VARIANCE])),
  );
  return adapterAxis(
    conditions,
    VARIANCE,
    'variance',
    { title, scale: 'auto' },
    (condition) => (condition.axes[VARIANCE] === undefined ? null : at(condition)),
    left.length === 0 ? '' : `Left out, without a single value on this axis: σ² = ${list(left)}.`,
  );
}
