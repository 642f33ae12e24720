/** What must be said before any number is read: collapsed models, attacks that show nothing, triggers that are cut off. */
import { contentKey, distinct } from './conditions.ts';
import { beatsMajority, type Measured, predictsOneClass, triggerTold, unseen } from './evidence.ts';
import { formatNumber, plural } from './format.ts';
import type { ResultRow } from './results.ts';

/** Cells that differ in their seed alone, with the words that tell them from others. */
export interface CaveatGroup {
  readonly label: string;
  readonly cells: readonly Measured[];
}

export interface Caveat {
  readonly id: 'one-class' | 'no-better' | 'not-told' | 'not-read';
  /** Whether numbers are void by it; else they are right, and easily misread. */
  readonly severe: boolean;
  /** A few words. */
  readonly title: string;
  readonly text: string;
}

const MOST_LABELS = 3;

interface Found {
  readonly label: string;
  readonly cells: readonly Measured[];
  readonly of: number;
}

const having = (
  groups: readonly CaveatGroup[],
  test: (cell: Measured) => boolean,
): readonly Found[] =>
  groups.flatMap(({ label, cells }) => {
    const found = cells.filter(test);
    return found.length === 0 ? [] : [{ label, cells: found, of: cells.length }];
  });
const count = (found: readonly Found[]): number =>
  found.reduce((sum, { cells }) => sum + cells.length, 0);

/** `badnets, LoRA r = 4 (2 of 3 seeds)`; where all seeds are meant they are not counted. */
function named(found: readonly Found[], more: (one: Found) => string = () => ''): string {
  const said = found.slice(0, MOST_LABELS).map((one) => {
    const { label, cells, of } = one;
    return `${label}${cells.length < of ? ` (${cells.length} of ${of} seeds)` : ''}${more(one)}`;
  });
  return (
    found.length > MOST_LABELS
      ? [...said, plural(found.length - MOST_LABELS, 'more condition')]
      : said
  ).join('; ');
}

const percent = (share: number): string => `${Math.floor(share * 1000) / 10}%`;

const mean = (cells: readonly Measured[], metric: string): string =>
  formatNumber(
    cells.reduce((sum, { metrics }) => sum + metrics['evaluate']![metric]!, 0) / cells.length,
    'proportion',
  );

function cutOff(groups: readonly CaveatGroup[]): Caveat | null {
  const shares = groups.flatMap(({ label, cells }) =>
    cells.flatMap((cell) => unseen(cell).map((one) => ({ ...one, label }))),
  );
  const lowest = (stage: 'train' | 'evaluate') =>
    shares
      .filter((one) => one.stage === stage)
      .reduce<(typeof shares)[number] | null>(
        (least, one) => (least === null || one.share < least.share ? one : least),
        null,
      );
  const least = (
    [
      ['evaluate', 'triggered validation rows'],
      ['train', 'poisoned training rows'],
    ] as const
  ).flatMap(([stage, rows]) => {
    const one = lowest(stage);
    return one === null ? [] : [{ said: `${percent(one.share)} of ${rows}`, label: one.label }];
  });
  return least.length === 0
    ? null
    : {
        id: 'not-read',
        severe: true,
        title: 'The trigger does not reach the model in some rows',
        text: `The model reads all of it in ${least.map(({ said }) => said).join(' and ')} (the lowest: ${distinct(least.map(({ label }) => label)).join('; ')}). In the others max_length cuts it off, or the tokenizer reads the row as the original; they count as attacks that failed.`,
      };
}

/** The worst first; none where nothing is amiss, or nothing was evaluated. */
export function caveatsOf(groups: readonly CaveatGroup[]): readonly Caveat[] {
  const all = count(
    having(groups, ({ metrics }) => metrics['evaluate']?.['predicted_share'] !== undefined),
  );
  const oneClass = having(groups, predictsOneClass);
  const noBetter = having(groups, (cell) => !predictsOneClass(cell) && !beatsMajority(cell));
  const notTold = having(
    groups,
    (cell) => !predictsOneClass(cell) && beatsMajority(cell) && !triggerTold(cell),
  );
  const found: (Caveat | null)[] = [
    oneClass.length === 0
      ? null
      : {
          id: 'one-class',
          severe: true,
          title: `${count(oneClass)} of ${plural(all, 'model')} predict${count(oneClass) === 1 ? 's' : ''} one class only`,
          text: `${named(oneClass)}. Equal numbers of theirs are no agreement, and no verdict counts them.`,
        },
    noBetter.length === 0
      ? null
      : {
          id: 'no-better',
          severe: true,
          title: `${count(noBetter)} of ${plural(all, 'model')} ${count(noBetter) === 1 ? 'is' : 'are'} no better than the majority class`,
          text: `${named(noBetter)}. No verdict on attack success counts them.`,
        },
    notTold.length === 0
      ? null
      : {
          id: 'not-told',
          severe: false,
          title: `No effect of the trigger can be told in ${plural(count(notTold), 'model')}`,
          text: `${named(notTold, ({ cells }) => `: ASR ${mean(cells, 'asr')}, without the trigger ${mean(cells, 'asr_untriggered')}`)}.`,
        },
    cutOff(groups),
  ];
  return found.filter((caveat) => caveat !== null);
}

/** Rows of results as groups: cells that differ in their seed alone, by what `label` makes of their axes and their other names. */
export function caveatGroups(
  rows: readonly ResultRow[],
  label: (cell: ResultRow['cell'], also: NonNullable<ResultRow['also']>) => string,
): readonly CaveatGroup[] {
  const groups = new Map<
    string,
    Map<number, { readonly metrics: { [stage: string]: { [metric: string]: number } } }>
  >();
  for (const { cell, also = [], seed, stage, metric, value } of rows) {
    const name = label(cell, also);
    const seeds =
      groups.get(name) ?? new Map<number, { metrics: Record<string, Record<string, number>> }>();
    const one = seeds.get(seed) ?? { metrics: {} };
    (one.metrics[stage] ??= {})[metric] = value;
    seeds.set(seed, one);
    groups.set(name, seeds);
  }
  return [...groups].map(([name, seeds]) => ({ label: name, cells: [...seeds.values()] }));
}

/** Counts a cell's seeds whose model predicts one class only; 0 where that was not measured. @param rows every metric of the cells in question */
export function oneClassCells(rows: readonly ResultRow[]): (cell: ResultRow['cell']) => number {
  const byCell = new Map(
    caveatGroups(rows, contentKey).map(({ label, cells }) => [
      label,
      cells.filter(predictsOneClass).length,
    ]),
  );
  return (cell) => byCell.get(contentKey(cell)) ?? 0;
}
