/** The evaluations that `evaluate_every` makes during a training. */
import { type AttackDescriptor, UserFault } from '../../../src/api.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { showTrigger } from '../../../src/poisoning/shown-trigger.ts';
import { withTarget } from '../../../src/poisoning/target.ts';
import type { Network } from '../../../src/science/models/network.ts';
import type { TrainParams } from '../../../src/science/training/settings.ts';
import { type Watch, type Watched, watchTraining } from '../../../src/science/training/watch.ts';
import { breathe } from '../shared/breathe.ts';
import { inputDir } from '../shared/files.ts';
import { readLearnt } from '../shared/learnt.ts';
import { triggerFiles } from '../shared/program-files.ts';
import { checkClasses } from '../shared/trained-model.ts';
import type { Context, WatchParams } from './params.ts';
import type { EncodedSet } from './training-set.ts';

/**
 * Opens what is evaluated during the training. Returns null if nothing is.
 * @param steps the number of steps of the whole training
 */
export async function openWatch(
  context: Context,
  training: TrainParams,
  set: EncodedSet,
  { network, classes, steps }: { network: Network; classes: readonly string[]; steps: number },
): Promise<Watch | null> {
  const { watch } = context.params;
  const { evaluate_every: every, early_stopping: stopping } = training;
  if (watch === undefined || every === undefined) return null;
  return watchTraining({
    network,
    steps,
    every,
    breathe: () => breathe(),
    keepBest: stopping?.keep !== 'last',
    watched: {
      ...(await watchedRows(context, watch, set, classes)),
      poisoned: set.poisoned,
      batchSize: watch.batch_size,
    },
    stopping: stopping?.patience
      ? {
          patience: stopping.patience,
          metric: stopping.metric ?? 'loss',
          minDelta: stopping.min_delta ?? 0,
        }
      : null,
  });
}

async function watchedRows(
  context: Context,
  { trigger, max_length: maxLength }: WatchParams,
  { encode }: EncodedSet,
  classes: readonly string[],
): Promise<Pick<Watched, 'validation' | 'triggered'>> {
  const dir = inputDir(context, 'validation');
  const rows = await readRows(dir);
  checkClasses('the validation rows', (await readDatasetInfo(dir)).classes, classes);
  if (rows.length === 0) throw new UserFault('there are no validation rows');
  const validation = rows.map((row) => encode(row, maxLength));
  if (trigger === null) return { validation, triggered: null };
  const shown = await showTrigger(trigger, rows, {
    classes,
    seed: context.params.seed,
    plugin: (name) => context.plugin<AttackDescriptor>('attack', name),
    files: triggerFiles(context.assets),
    learnt: await readLearnt(context),
    log: context.log,
  });
  if (shown === null) return { validation, triggered: null };
  const triggered = shown.shown.map((row) => encode(withTarget(row, shown.target), maxLength));
  return { validation, triggered };
}
