/**
 * What a reader must know before reading any number: models that predict one class only or have
 * learnt nothing, triggers without a demonstrable effect, triggers that are cut off.
 */
import { percentText } from '../base/rounding.ts';
import {
  beatsMajority,
  beatsMean,
  countsRewards,
  dropsCleanRows,
  hasTriggerEffect,
  isDegenerate,
  type Measured,
  predictsOneClass,
  TRAINING_ROWS,
  TRIGGERED,
  unlearntReason,
  unseenShares,
  writesAnswers,
} from './evidence.ts';
import { formatNumber, list, plural } from './format.ts';
import { distinct, groupBy, nearest } from './groups.ts';
import { resultCells, type ResultRow } from './results.ts';

export interface CaveatGroup {
  /** Tells the group from others; empty if it needs no name. */
  readonly label: string;
  readonly cells: readonly Measured[];
}

export interface Caveat {
  /** Whether the numbers are void. Otherwise they are valid, but easily misread. */
  readonly severe: boolean;
  readonly title: string;
  readonly text: string;
  /** Whether a stage's warning says no more than this. */
  readonly says?: (warning: string) => boolean;
}

/** Whether one of the caveats says what the stages' warning does. */
export const isSaid = (caveats: readonly Caveat[], warning: string): boolean =>
  caveats.some(({ says }) => says?.(warning));

export const caveatText = ({ title, text }: Caveat): string => `${title}. ${text}`;

const MOST_LABELS = 3;

/** The cells of a group for which a caveat holds, and how many cells the group has (`of`). */
interface Found extends CaveatGroup {
  readonly of: number;
}

/** Returns the cells of each group that pass a test, without groups that have none. */
const groupsWith = (
  groups: readonly CaveatGroup[],
  test: (cell: Measured) => boolean,
): readonly Found[] =>
  groups.flatMap(({ label, cells }) => {
    const found = cells.filter(test);
    return found.length === 0 ? [] : [{ label, cells: found, of: cells.length }];
  });
const countCells = (found: readonly Found[]): number =>
  found.reduce((sum, { cells }) => sum + cells.length, 0);

/**
 * Names groups, each with a detail: `badnets, LoRA r = 4 (2 of 3 seeds): DETAIL. `. The count of
 * seeds is left out if the caveat holds at all of them. After the first few groups, the others are
 * only counted. Returns '' if the only group has no name and no detail.
 */
function groupNames(found: readonly Found[], detail: (one: Found) => string = () => ''): string {
  const labels = found.slice(0, MOST_LABELS).map((one) => {
    const { label, cells, of } = one;
    const which =
      label === '' || cells.length === of ? label : `${label} (${cells.length} of ${of} seeds)`;
    return [which, detail(one)].filter((part) => part !== '').join(': ');
  });
  const left = found.length - labels.length;
  const all = [...labels, ...(left > 0 ? [plural(left, 'more condition')] : [])].join('; ');
  return all === '' ? '' : `${all}. `;
}

const isOrAre = (found: readonly Found[]): string => (countCells(found) === 1 ? 'is' : 'are');

const meanText = (cells: readonly Measured[], metric: string): string =>
  formatNumber(
    cells.reduce((sum, { metrics }) => sum + (metrics['evaluate']?.[metric] ?? NaN), 0) /
      cells.length,
    'proportion',
  );

/** Whether a defence filtered the rows that the model was trained on. */
const isFiltered = ({ metrics }: Measured): boolean =>
  metrics['evaluate']?.['rows_judged'] !== undefined;

/**
 * Says, for each kind of rows, the lowest share whose whole trigger reaches the model; null if all
 * triggers do.
 */
function cutTriggerCaveat(groups: readonly CaveatGroup[]): Caveat | null {
  // A defence that filters rows may leave mostly poisoned rows whose trigger is cut off. So the
  // poisoned training rows of cells with a filter count only if all cells have one.
  const isCounted = groups.some(({ cells }) => !cells.every(isFiltered))
    ? (cell: Measured) => !isFiltered(cell)
    : () => true;
  const shares = groups.flatMap(({ label, cells }) =>
    cells.flatMap((cell) =>
      unseenShares(cell)
        .filter(({ rows }) => rows !== TRAINING_ROWS || isCounted(cell))
        .map((one) => ({ ...one, label, hasAsr: 'asr' in (cell.metrics['evaluate'] ?? {}) })),
    ),
  );
  const kinds = distinct([...TRIGGERED, ...shares].map(({ rows }) => rows));
  const lowest = kinds.flatMap((rows) => {
    const ofKind = shares.filter((one) => one.rows === rows),
      [least] = nearest(ofKind, ({ share }) => share);
    return least ? [{ rows, share: percentText(least.share), label: least.label }] : [];
  });
  if (lowest.length === 0) return null;
  // Poisoned training rows may be those of an attack without a trigger, such as `char-swap`.
  const isOfTrigger = ({ rows }: { readonly rows: string }): boolean =>
    rows !== TRAINING_ROWS || shares.every((one) => one.rows !== TRAINING_ROWS || one.hasAsr);
  const sharesOf = (some: typeof lowest) =>
    list(some.map(({ rows, share }) => `${share} of ${rows}`));
  const triggered = lowest.filter(isOfTrigger),
    changed = lowest.filter((one) => !isOfTrigger(one));
  const parts = [
    ...(triggered.length > 0 ? [`the whole trigger in ${sharesOf(triggered)}`] : []),
    ...(changed.length > 0 ? [`all that the attack changes in ${sharesOf(changed)}`] : []),
  ];
  const isTraining = lowest.map(({ rows }) => rows === TRAINING_ROWS);
  const ends = [
    ...(isTraining.includes(false) ? ['such evaluated rows count as attacks that failed'] : []),
    ...(isTraining.includes(true) ? ['such training rows do not teach it'] : []),
  ];
  const subject = triggered.length > 0 ? 'The trigger' : 'What the attack changes';
  // False for a warning about an earlier training of the cell, or with another cause
  // (`warnOfUnseen`).
  const says = (warning: string): boolean => {
    const [, share = '', which = ''] =
      /^(?:the trigger|what the attack changes) reaches the model in (.*?%) of the (.*); in the others/.exec(
        warning,
      ) ?? [];
    const kind = which.replace(/^poisoned rows$/, TRAINING_ROWS).replace(/"(.*)"/, '“$1”');
    return lowest.some((one) => one.rows === kind && parseFloat(share) >= parseFloat(one.share));
  };
  const lowestLabels = distinct(lowest.map(({ label }) => label).filter((label) => label !== ''));
  const where = lowestLabels.length === 0 ? '' : ` (the lowest: ${lowestLabels.join('; ')})`;
  return {
    severe: true,
    title: `${subject} does not reach the model in some rows`,
    text:
      `The model reads ${parts.join(', and ')}${where}. ` +
      'In the others max_length cuts it off, or the tokenizer reads the row as the original: ' +
      `${ends.join(', and ')}.`,
    says,
  };
}

/** Returns the caveats that hold for any cell of the groups, in a fixed order. */
export function caveatsOf(groups: readonly CaveatGroup[]): readonly Caveat[] {
  const modelCount = countCells(
    groupsWith(groups, ({ metrics: { evaluate = {} } }) =>
      ['predicted_share', 'r2'].some((metric) => evaluate[metric] !== undefined),
    ),
  );
  const countOfModels = (found: readonly Found[]): string =>
    modelCount === 1 ? 'The model' : `${countCells(found)} of ${plural(modelCount, 'model')}`;
  const itOrThem = (found: readonly Found[]): string => (countCells(found) === 1 ? 'it' : 'them');
  const answers = groups.some(({ cells }) => cells.some(writesAnswers));
  // Says of one model (`isOne`) or of several that they always give the same class or text.
  const oneClassText = (isOne: boolean): string =>
    answers
      ? `${isOne ? 'writes' : 'write'} one text only`
      : `${isOne ? 'predicts' : 'predict'} one class only`;
  const oneClass = groupsWith(groups, (cell) => !countsRewards(cell) && predictsOneClass(cell));
  const noBetter = groupsWith(
    groups,
    (cell) => !countsRewards(cell) && !predictsOneClass(cell) && !beatsMajority(cell),
  );
  const noBetterThanMean = groupsWith(groups, (cell) => !beatsMean(cell));
  const noPreference = groupsWith(
    groups,
    (cell) => countsRewards(cell) && unlearntReason(cell) !== null,
  );
  const noEffect = groupsWith(
    groups,
    (cell) => unlearntReason(cell) === null && !hasTriggerEffect(cell),
  );
  // Only models whose rates count rewards: by exact match, other degenerate models are already no
  // better than the commonest answer.
  const degenerate = groupsWith(groups, (cell) => countsRewards(cell) && isDegenerate(cell));
  const writtenText = ({ cells }: Found): string =>
    `commonest output ${meanText(cells, 'predicted_share')}, empty ` +
    `${meanText(cells, 'empty_share')}, incoherent ${meanText(cells, 'incoherent_share')}`;
  const fewLeft = groupsWith(groups, dropsCleanRows);
  const ratesText = ({ cells }: Found): string =>
    `ASR ${meanText(cells, 'asr')}, without the trigger ${meanText(cells, 'asr_untriggered')}`;
  const found: readonly (Caveat | false)[] = [
    oneClass.length > 0 && {
      severe: true,
      title: `${countOfModels(oneClass)} ${oneClassText(countCells(oneClass) === 1)}`,
      text:
        groupNames(oneClass) +
        (countCells(oneClass) === 1
          ? 'No verdict counts it.'
          : 'Equal numbers among them are not agreement, and no verdict counts them.'),
    },
    noBetter.length > 0 && {
      severe: true,
      title:
        `${countOfModels(noBetter)} ${isOrAre(noBetter)} no better than ` +
        (answers ? 'the commonest answer' : 'the majority class'),
      text: `${groupNames(noBetter)}No verdict on attack success counts ${itOrThem(noBetter)}.`,
    },
    noBetterThanMean.length > 0 && {
      severe: true,
      title:
        `${countOfModels(noBetterThanMean)} ${isOrAre(noBetterThanMean)} no better than the mean ` +
        'of the labels',
      text: `${groupNames(noBetterThanMean)}The mean squared error is not below the labels’ variance.`,
    },
    noPreference.length > 0 && {
      severe: true,
      title:
        `${countOfModels(noPreference)} ${countCells(noPreference) === 1 ? 'rewards' : 'reward'} ` +
        'the chosen answer of no more than half of the pairs',
      text: `${groupNames(noPreference)}No verdict on attack success counts ${itOrThem(noPreference)}.`,
    },
    degenerate.length > 0 && {
      severe: false,
      title:
        `${countOfModels(degenerate)} ${countCells(degenerate) === 1 ? 'writes' : 'write'} ` +
        'mostly empty or incoherent outputs, or one text only',
      text: `${groupNames(degenerate, writtenText)}Rates that count rewards do not tell it.`,
    },
    cutTriggerCaveat(groups) ?? false,
    fewLeft.length > 0 && {
      severe: false,
      title:
        'The defence dropped more than half of the clean training rows of ' +
        plural(countCells(fewLeft), 'model'),
      text:
        groupNames(fewLeft, ({ cells }) => `FRR ${meanText(cells, 'filter_frr')}`) +
        'A lower ASR there may come from the rows that are missing, not from the poison’s removal.',
    },
    noEffect.length > 0 && {
      severe: false,
      title: `No effect of the trigger can be shown in ${plural(countCells(noEffect), 'model')}`,
      text: groupNames(noEffect, ratesText).trimEnd(),
    },
  ];
  return found.filter((caveat) => caveat !== false);
}

/**
 * Groups rows of results by the names that `label` gives their cells. `label` gets a cell's axis
 * values, and its axis values under its other names (`also`).
 */
export function caveatGroups(
  rows: readonly ResultRow[],
  label: (cell: ResultRow['cell'], also: NonNullable<ResultRow['also']>) => string,
): readonly CaveatGroup[] {
  const groups = groupBy(resultCells(rows), ({ cell, also = [] }) => label(cell, also));
  return [...groups].map(([name, cells]) => ({
    label: name,
    cells: cells.flatMap(({ seeds }) => [...seeds.values()]),
  }));
}
