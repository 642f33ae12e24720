/** Where the conditions of an entry lie on x, and how the entry's fields name them. */
import type { FigureEntry } from '../../api/report.ts';
import { axisValue, type Condition } from '../conditions.ts';
import { formatValue, list, plainText } from '../format.ts';
import { distinct } from '../groups.ts';
import { adapterTitle, axisName, DEFENCE, doseUnit, type Labels, NO_DEFENCE } from '../labels.ts';
import { chainNote, TRAINING } from './chain.ts';
import { measureOf } from './measure.ts';

/** The axis x of a figure. */
export interface Axis {
  readonly kind: 'number' | 'text' | 'step' | 'metric';
  readonly title: string;
  /**
   * Returns a condition's place; null if it has none, or if each of its values has a separate place
   * (over steps, trainings, seeds, …).
   */
  readonly at: (condition: Condition) => number | string | null;
  /** A sentence for the caption, or ''. */
  readonly note: string;
}

/** Words that an entry may use as a field → the label of the condition that the word stands for. */
const NAMES = {
  adapter: 'adapterLabel',
  attack: 'attackLabel',
  setting: 'setting',
  defence: 'defence',
} as const;
export type Name = keyof typeof NAMES;
export const isName = (field: string): field is Name => field in NAMES;
/** Whether a field is a word such as `adapter` or `seed`, not the path of an axis or a metric. */
export const isWord = (field: string): boolean =>
  isName(field) || ['seed', 'metric', 'kernel'].includes(field);

/** Returns the label for which a word stands; `no defence` (NO_DEFENCE) if the cell has none. */
export const labelIn = (labels: Labels, name: Name): string =>
  name === 'defence' && labels.defence === '' ? NO_DEFENCE : labels[NAMES[name]];

export const isAxis = (conditions: readonly Condition[], path: string): boolean =>
  conditions.some((condition) => axisValue(condition, path) !== undefined);

/**
 * Names a condition's value on an axis: `r 4`, `mrpc` or, beside the axis's title, `4`. A condition
 * without a value has the name of its adapter on an axis of adapters, of its attack on an axis of
 * attacks, `no defence` on the axis of defences, and else `–`.
 * @param isTitled whether the axis's title stands beside the name
 */
export function valueName(condition: Condition, path: string, isTitled = false): string {
  const { adapter } = condition,
    value = axisValue(condition, path);
  if (path === 'adapter.type' || (path.startsWith('adapter.') && value === undefined))
    return adapterTitle(adapter);
  // Names the attack without its parameters, and attacks on bases that are the same in all cells.
  if (path === 'poisoning.attack' || (path.startsWith('poisoning.') && value === undefined))
    return condition.labelsWithout(...Object.keys(condition.axes)).attackLabel;
  if (value === undefined) return path === DEFENCE ? NO_DEFENCE : '–';
  const text = formatValue(value);
  return isTitled || typeof value === 'string' ? text : `${axisName(path)} ${text}`;
}

const VARIANCE = 'adapter.init.variance';

/**
 * Returns σ²n, n being a layer's fan-in, if it is the same for every layer (σ² = k/d), and
 * otherwise null.
 */
function scaledVariance(condition: Condition): number | null {
  const [scaled, ...others] = distinct(
    condition.cells
      .flatMap(({ lora }) => lora ?? [])
      .map(({ fanIn, variance }) => Number((fanIn * variance).toPrecision(9))),
  );
  return scaled === undefined || others.length > 0 ? null : scaled;
}

/**
 * Returns an axis of σ²·n or, if more conditions have a single value of σ² than of σ²·n, an axis of
 * σ². Conditions without a single value have no place, and the note names them.
 */
function varianceAxis(conditions: readonly Condition[]): Axis {
  const given = conditions.filter(({ axes }) => axes[VARIANCE] !== undefined);
  // Returns σ² if the spec gives it as a number; null for `1/d` and the like.
  const plain = (condition: Condition): number | null => {
    const value = condition.axes[VARIANCE];
    return typeof value === 'number' ? value : null;
  };
  // Returns the conditions that have no place by `at`, although σ² is set for them.
  const leftOutBy = (at: typeof plain) => given.filter((condition) => at(condition) === null);
  const isPlain = leftOutBy(plain).length < leftOutBy(scaledVariance).length;
  const at = isPlain ? plain : scaledVariance;
  const left = distinct(leftOutBy(at).map(({ axes }) => plainText(axes[VARIANCE])));
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

/** Whether a path is the dose of one step of an attack that has several. */
export const isDoseOfOneStep = (path: string): boolean => path.startsWith('poisoning.steps.');

/**
 * Returns the title of an axis of numbers. The title of a dose has its unit and, if an attack has
 * several steps, the step.
 */
function axisTitle(path: string): string {
  const unit = doseUnit(path);
  if (unit === null) return path === 'adapter.rank' ? 'rank r' : axisName(path);
  const title = unit === 'rate' ? 'poison rate (share of training rows)' : 'poisoned rows';
  return isDoseOfOneStep(path) ? `${axisName(path)}: ${title}` : title;
}

/** Describes x: steps, trainings of a chain, names, a metric, or an axis of the grid. */
export function describeX({ x, y }: FigureEntry, conditions: readonly Condition[]): Axis {
  const { field, scale } = x;
  const nowhere = { at: () => null, note: '' };
  if (field === 'step') return { kind: 'step', title: 'step', ...nowhere };
  if (field === TRAINING) {
    const onY = y.map((channel) => channel.field);
    return { kind: 'number', title: TRAINING, at: () => null, note: chainNote(conditions, onY) };
  }
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
