/**
 * What figures along a chain of trainings (`x: training`) show: the numbers after each training,
 * and the training whose trigger they are under.
 */
import type { FigureEntry } from '../../api/report.ts';
import type { Condition } from '../conditions.ts';
import { afterTraining } from '../evidence.ts';
import { list } from '../format.ts';
import { distinct } from '../groups.ts';
import { noteOf, OF_TRAINING } from '../metric-lookup.ts';
import { parseMetricName } from '../metrics.ts';
import type { ReportCell } from '../types.ts';

/** The field on x for the place in a chain of trainings, from 1. It is no axis of the grid. */
export const TRAINING = 'training';

/** Matches a rate under the trigger of the attack that the cell studies: `evaluate.asr.refusal`. */
const OWN_RATE = /^evaluate\.(?:test_)?asr(?!.*\.trigger\.)/;

/** Returns which training, from 1, plants the trigger that a cell's own rates are under. */
const ownPlanter = ({ chain = [], ofBase }: ReportCell): number =>
  ofBase === undefined ? chain.length + 1 : Number(/\d+/.exec(ofBase)?.[0] ?? 0) + 1;

/** Returns which training plants the trigger that a number is under; null if it is under none. */
function findPlanter(cell: ReportCell, field: string): number | null {
  const [, other] = OF_TRAINING.exec(field) ?? [];
  if (other !== undefined) return Number(other);
  return OWN_RATE.test(field) && cell.family === 'backdoor' ? ownPlanter(cell) : null;
}

/** Returns `training 1 (badnets)`, with the attack on training `k`, counted from 1. */
const trainingName = ({ attack, bases = [] }: ReportCell, k: number): string =>
  `training ${k} (${bases[k - 1]?.poisoning.attack ?? attack})`;

/** Names the training whose trigger a number is under: `training 1 (badnets)`, or ''. */
export function triggerText({ cells: [cell] }: Condition, field: string): string {
  const planter = findPlanter(cell, field);
  return planter === null ? '' : trainingName(cell, planter);
}

/**
 * Returns, for each training of a cell's chain, the cell with the numbers after that training, and
 * the training's place, from 1. The cell's own training is the last. Empty if the cell has no
 * chain.
 */
export const alongChain = (cell: ReportCell): (readonly [ReportCell, number])[] =>
  cell.chain === undefined
    ? []
    : [
        ...cell.chain.map((_, i) => [{ ...cell, ...afterTraining(cell, i + 1) }, i + 1] as const),
        [cell, cell.chain.length + 1],
      ];

/**
 * Returns the metric under which a cell's number after a training of its chain is listed. A success
 * rate under a trigger that no training has planted yet is a `trigger_rate`.
 */
export const fieldAfter = (field: string, cell: ReportCell, training: number): string =>
  training < (findPlanter(cell, field) ?? 0)
    ? field.replace(/\.(test_)?asr(?=$|\.)/, '.$1trigger_rate')
    : field;

/**
 * If an entry draws a rate along chains in which several trainings plant triggers, adds a panel for
 * each other trigger (`asr.trigger.training_1` beside `asr`), with the training in its title. Any
 * other entry is returned as it is.
 */
export function withEveryTrigger(
  entry: FigureEntry,
  conditions: readonly Condition[],
): FigureEntry {
  if (entry.x.field !== TRAINING) return entry;
  const cells = conditions.flatMap((condition) => [...condition.cells]);
  const drawn = new Set(entry.y.map(({ field }) => field));
  const planters = distinct(cells.map(ownPlanter));
  const y = entry.y.flatMap((channel) => {
    const { stage, metric } = parseMetricName(channel.field),
      label = channel.title ?? noteOf({ stage, metric })?.label ?? metric;
    const others = distinct(cells.flatMap(({ metrics }) => Object.keys(metrics[stage] ?? {})))
      .filter((name) => OF_TRAINING.test(name) && name.replace(OF_TRAINING, '') === metric)
      .map((name) => ({ field: `${stage}.${name}`, training: OF_TRAINING.exec(name)?.[1] ?? '' }))
      .filter(({ field }) => !drawn.has(field));
    if (others.length === 0) return channel;
    const title = (training: string | number): string =>
      `${label}, trigger of training ${training}`;
    const [planter = 0, ...more] = planters;
    return [
      more.length === 0 ? { ...channel, title: title(planter) } : channel,
      ...others.map(({ field, training }) => ({ ...channel, field, title: title(training) })),
    ];
  });
  return { ...entry, y };
}

/**
 * Says what the trainings of the chain are, and whose triggers the rates are under; '' without a
 * chain.
 */
export function chainNote(conditions: readonly Condition[], fields: readonly string[]): string {
  const cells = conditions.flatMap((condition) => [...condition.cells]);
  const chain = cells.find((cell) => cell.chain)?.chain ?? [];
  if (chain.length === 0) return '';
  const named = [...chain, 'the cell’s own'].map((name, i) => `${i + 1}: ${name}`);
  const planted = cells.flatMap((cell) =>
    fields.some((field) => OWN_RATE.test(field)) && cell.family === 'backdoor'
      ? [{ at: ownPlanter(cell), name: trainingName(cell, ownPlanter(cell)) }]
      : [],
  );
  const names = distinct(planted.map(({ name }) => name));
  return [
    `Trainings: ${named.join('; ')}.`,
    ...(names.length === 0
      ? []
      : [
          `ASR is under the trigger of ${list(names)}` +
            `${names.length > 1 ? ', whichever attack a line names' : ''}.`,
        ]),
    ...(planted.some(({ at }) => at > 1)
      ? ['Before that training, it is what the trigger does to a model without the attack.']
      : []),
  ].join(' ');
}
