import { UserFault } from '../../../src/api.ts';
import { readReversed } from '../../../src/science/models/network.ts';
import { isRegression } from '../../../src/science/models/outputs.ts';
import { checkVocabulary } from '../../../src/science/text/tokenizer.ts';
import { totalSteps } from '../../../src/science/training/batches.ts';
import { checkpointSteps } from '../../../src/science/training/checkpoints.ts';
import { runSession, type Session } from '../../../src/science/training/session.ts';
import {
  classWeightsOf,
  loopSettings,
  type TrainParams,
  type TrainSettings,
} from '../../../src/science/training/settings.ts';
import { accuracyOn, type Watch } from '../../../src/science/training/watch.ts';
import { bf16Fault } from '../../../src/tensor/backend.ts';
import { breathe } from '../shared/breathe.ts';
import { type Metrics, writeJsonLines } from '../shared/files.ts';
import { openWatch } from './looks.ts';
import { openOutput, type Output, writeEvents } from './output.ts';
import { BF16_PRODUCTS, type Context, type Params, trainingOf } from './params.ts';
import { openStart, type Start } from './start.ts';
import {
  type EncodedSet,
  encodeSet,
  type PoisonedSet,
  readClasses,
  readPoisonedSet,
} from './training-set.ts';
import { unreadInSet } from './unread.ts';

export async function run(context: Context): Promise<void> {
  const training = trainingOf(context.params);
  await checkPrecision(context.backend, training);
  const classes = await readClasses(context);
  const set = training === null ? null : await readPoisonedSet(context);
  const start = await openStart(context, classes);
  try {
    const output = openOutput(context, start, classes);
    if (training === null || set === null) {
      await output.save(null);
      await output.write([], {});
    } else {
      await train(context, { training, classes, set, start, output });
    }
  } finally {
    start.network.dispose();
  }
}

/**
 * Throws a UserFault if the training takes its products in bfloat16, and this machine does not
 * offer them. A run that hands its stages to other machines has not looked at this one before.
 */
async function checkPrecision(
  backend: Context['backend'],
  training: TrainParams | null,
): Promise<void> {
  const fault = training?.precision === 'bf16' ? await bf16Fault(backend) : null;
  if (fault === null) return;
  const message = `${BF16_PRODUCTS} ${fault.message}`;
  throw new UserFault(message, fault.hint, ['train', 'precision']);
}

interface Parts {
  readonly training: TrainParams;
  readonly classes: readonly string[];
  readonly set: PoisonedSet;
  readonly start: Start;
  readonly output: Output;
}

async function train(context: Context, parts: Parts): Promise<void> {
  const { training, classes, set, start, output } = parts;
  const { network, rules, tokenizer, attack } = start;
  if (tokenizer === null) throw new Error('a training needs the tokenizer');
  checkVocabulary(tokenizer, start.vocabulary, start.model.path);
  const encoded = encodeSet(context, training, set, tokenizer, attack?.name ?? null);
  const { order } = encoded;
  const steps = totalSteps(training, { ...order, accumulate: training.accumulate ?? 1 });
  const unread = unreadInSet(set.receipt, order, training);
  if (unread !== null) context.warn(unread);
  const watch = await openWatch(context, training, encoded, { network, classes, steps });
  try {
    const session = await runSession({
      network: isReversed(context.params) ? readReversed(network) : network,
      rows: encoded.rows,
      watch,
      place: context,
      kept: checkpointSteps(training.checkpoints ?? 0, steps),
      settings: { ...settingsOf(context.params, parts, steps), ...rules },
      save: (weights, dir) => output.save(weights, dir),
    });
    try {
      await writeTrained(context, parts, encoded, session, watch);
    } finally {
      session.weights.forEach((tensor) => tensor.dispose());
    }
  } finally {
    watch?.dispose();
  }
}

const isReversed = ({ batch_rows: rows }: Params): boolean => rows === 'reversed';

function settingsOf(
  { seed }: Params,
  { training, classes, set }: Parts,
  steps: number,
): TrainSettings {
  const labels = set.rows.map(({ label }) => label);
  return loopSettings(
    training,
    steps,
    seed,
    classWeightsOf(training.class_weights, labels, classes),
  );
}

async function writeTrained(
  { outDir }: Context,
  { training, start, output }: Parts,
  set: EncodedSet,
  { weights, step, journal }: Session,
  watch: Watch | null,
): Promise<void> {
  await output.save(weights);
  const { steps, ...taken } = journal.metrics();
  const kept = step === steps ? {} : { kept_step: step };
  await output.write(
    journal.history,
    { ...taken, ...(await poisonedMetrics(start, set, weights)), ...kept },
    { ...(set.appended === null ? {} : { appended: set.appended }), ...kept },
  );
  if (watch !== null) await writeJsonLines(outDir, 'curves.jsonl', watch.curves);
  if (training.tensorboard) await writeEvents(outDir, journal, watch?.curves ?? []);
}

/** The number of rows per batch in the pass over the poisoned rows. */
const BATCH = 32;

/** Returns metrics of how well the model learnt the labels of the poisoned rows. */
async function poisonedMetrics(
  { network }: Start,
  { poisoned, triggerSeen }: EncodedSet,
  weights: Session['weights'],
): Promise<Metrics> {
  if (poisoned.length === 0) return {};
  return {
    poisoned_rows: poisoned.length,
    ...(isRegression(network)
      ? {}
      : {
          poisoned_accuracy: await accuracyOn(network, weights, poisoned, BATCH, () => breathe()),
        }),
    ...(triggerSeen === null ? {} : { trigger_seen: triggerSeen }),
  };
}
