/**
 * Warns if a training ends before it has read the poisoned rows that stand last in its epoch,
 * before the end of its warm-up, or before its first evaluation.
 */
import {
  JOINT,
  type JsonObject,
  placeInEpoch,
  type Poisoning,
  type Problem,
  stepsOf,
  type Warning,
} from '../../../src/api.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import { askedRows, totalRows } from '../../../src/poisoning/dose.ts';
import type { Receipt } from '../../../src/poisoning/receipt.ts';
import {
  type BatchOrder,
  totalSteps,
  unreadWarning,
} from '../../../src/science/training/batches.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import type { Preflight } from './params.ts';

const HINT = 'Train for a whole epoch, or let them stand first or mixed.';

/**
 * Returns a warning, before anything runs, if poisoned rows that an attack puts last will not be
 * read. Empty if a defence filters the rows, or if they take long to count.
 */
export async function unreadProblems(
  context: Preflight,
  training: TrainParams,
): Promise<readonly Problem[]> {
  const poison = context.upstream?.['data'];
  const data = poison?.upstream?.['data'];
  const poisoning = poison?.params['poisoning'] as Poisoning | undefined;
  if (poisoning === undefined || data === undefined) return [];
  const last = stepsOf(poisoning).filter((step) => placeInEpoch(step) === 'last');
  if (last.length === 0) return [];
  const counts = await knownCounts(context, data);
  if (counts === null) return [];
  const rows = totalRows(counts);
  const message = unreadMessage(
    { rows, batchSize: training.batch_size },
    training,
    last.reduce((sum, { params }) => sum + expectedDose(params, rows), 0),
  );
  return message === null ? [] : [{ ...placedWarning(poisoning, message), warning: true }];
}

/** Returns a warning at the `order` of the attack whose rows stand last. */
function placedWarning(poisoning: Poisoning, message: string): Warning {
  const { attack = '' } = stepsOf(poisoning).find((step) => placeInEpoch(step) === 'last') ?? {};
  const path = poisoning.attack.includes(JOINT)
    ? ['poisoning', 'steps', attack, 'order']
    : ['poisoning', 'order'];
  return { path, message, hint: HINT };
}

/** Returns how many rows a step will poison; 0 for a user's program, which decides by itself. */
function expectedDose({ rate, count }: JsonObject, rows: number): number {
  if (typeof count === 'number') return askedRows({ count }, rows);
  return typeof rate === 'number' ? askedRows({ rate }, rows) : 0;
}

/** Returns a warning if the training will not read all poisoned rows of a set; else null. */
export function unreadInSet(
  { attack, params, rows: poisoned }: Pick<Receipt, 'attack' | 'params' | 'rows'>,
  order: BatchOrder,
  training: TrainParams,
): Warning | null {
  const last = new Set(order.last);
  const unread = poisoned.filter(({ index }) => last.has(index)).length;
  const message = unreadMessage(order, training, unread);
  return message === null ? null : placedWarning({ attack, ...params }, message);
}

/**
 * Returns warnings if the training ends within its warm-up, or before its first evaluation.
 * @param onClean whether it is a defence's training on clean rows, which follows the cell's own
 */
export function unreachedWarnings(
  { warmup, evaluate_every: every = 0 }: TrainParams,
  steps: number,
  onClean: boolean,
): Warning[] {
  const which = onClean ? "the defence's training on clean rows" : 'the training';
  const ends = `${which} ends after ${steps} ${steps === 1 ? 'step' : 'steps'}`;
  const warnings: Warning[] = [];
  if (warmup > 0 && warmup >= steps)
    warnings.push({
      path: ['train', 'warmup'],
      message: `${ends}, within its warm-up of ${warmup}: it never reaches its learning rate`,
    });
  if (every > steps)
    warnings.push({
      path: ['train', 'evaluate_every'],
      message: `${ends}, before step ${every}: only the start and the end are evaluated`,
    });
  return warnings;
}

/**
 * Returns the `unreadWarning` of a training; null if it reads all rows that stand last in its first
 * epoch.
 * @param last how many poisoned rows stand last in an epoch
 */
function unreadMessage(
  { rows, batchSize }: Pick<BatchOrder, 'rows' | 'batchSize'>,
  training: TrainParams,
  last: number,
): string | null {
  const epoch = { rows, batchSize, accumulate: training.accumulate ?? 1 };
  return unreadWarning(epoch, last, totalSteps(training, epoch));
}
