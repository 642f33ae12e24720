import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { withTarget } from '../../../src/poisoning/classes.ts';
import type { EvaluatedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { readPeftShapes } from '../../../src/science/models/io/peft.ts';
import { isRegression } from '../../../src/science/models/outputs.ts';
import { checkVocabulary } from '../../../src/science/text/tokenizer.ts';
import { quantizerRelease } from '../../../src/science/torch/model.ts';
import type { TrainRecord } from '../../../src/science/training/adapted-model.ts';
import { totalSteps } from '../../../src/science/training/batches.ts';
import { checkpointSteps } from '../../../src/science/training/checkpoints.ts';
import { type Journal, runSession, type Session } from '../../../src/science/training/session.ts';
import {
  classWeightsOf,
  loopSettings,
  type StepRecord,
  type TrainParams,
  type TrainSettings,
} from '../../../src/science/training/settings.ts';
import { eventFile, scalarEvents } from '../../../src/science/training/tensorboard.ts';
import {
  type CurvePoint,
  measureRows,
  type Watch,
  type Watched,
  watchTraining,
} from '../../../src/science/training/watch.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import {
  assetOf,
  inputDir,
  type Metrics,
  writeJson,
  writeJsonLines,
  writeMetrics,
} from '../shared/files.ts';
import { showTriggerInStage } from '../shared/program-files.ts';
import { checkClasses } from '../shared/trained-model.ts';
import { type Context, type Params, trainingOf, type WatchParams } from './params.ts';
import { backendFaults } from './preflight.ts';
import { openStart, type Start } from './start.ts';
import {
  type EncodedSet,
  encodeSet,
  type PoisonedSet,
  readClasses,
  readPoisonedSet,
} from './training-set.ts';
import { unreachedWarnings, unreadInSet } from './unread.ts';

/** Trains the model, unless it is trained for 0 steps, and writes it with its records. */
export async function run(context: Context): Promise<void> {
  const training = trainingOf(context.params);
  await checkBackend(context.backend, training);
  const classes = await readClasses(context);
  const set = training === null ? null : await readPoisonedSet(context);
  const start = await openStart(context, classes);
  try {
    const output = await openOutput(context, start, classes);
    if (training === null || set === null) {
      await start.trainer.save(context.outDir);
      await output.write([], {});
    } else {
      await train(context, { training, classes, set, start, output });
    }
  } finally {
    start.trainer.dispose();
  }
}

/**
 * Throws a UserFault if this machine does not offer what the training asks for. The preflight has
 * not checked this machine if the run hands its stages to other machines.
 */
async function checkBackend(
  backend: Context['backend'],
  training: TrainParams | null,
): Promise<void> {
  const [fault] = training === null ? [] : await backendFaults(backend, training);
  if (fault !== undefined) throw new UserFault(fault.message, fault.hint, fault.path);
}

interface Parts {
  readonly training: TrainParams;
  readonly classes: readonly string[];
  readonly set: PoisonedSet;
  readonly start: Start;
  readonly output: Output;
}

/** Trains the opened model on the encoded rows, and writes what results. */
async function train(context: Context, parts: Parts): Promise<void> {
  const { training, classes, set, start } = parts;
  const { trainer, tokenizer, attack } = start;
  if (tokenizer === null) throw new Error('a training needs the tokenizer');
  checkVocabulary(tokenizer, start.vocabulary, start.model.path);
  const encoded = encodeSet(context, training, set, tokenizer, attack?.name ?? null);
  const { order } = encoded;
  const steps = totalSteps(training, { ...order, accumulate: training.accumulate ?? 1 });
  const unread = unreadInSet(set.receipt, order, training);
  for (const warning of [
    ...(unread === null ? [] : [unread]),
    ...unreachedWarnings(
      training,
      steps,
      existsSync(join(inputDir(context, 'data'), 'clean.json')),
    ),
  ])
    context.warn(warning);
  const watch = await openWatch(context, training, encoded, { classes, steps });
  const session = await runSession({
    trainer,
    rows: encoded.rows,
    watch,
    place: context,
    kept: checkpointSteps(training.checkpoints ?? 0, steps),
    settings: settingsOf(context.params, parts, steps),
  });
  try {
    await writeTrained(context, parts, encoded, session, watch);
  } finally {
    session.model.dispose();
  }
}

/** Returns the settings of the training loop. @param steps of the whole training */
function settingsOf(
  { seed }: Params,
  { training, classes, set }: Parts,
  steps: number,
): TrainSettings {
  const labels = set.rows.map(({ label }) => label);
  const weights = classWeightsOf(training.class_weights, labels, classes);
  return loopSettings(training, steps, seed, weights);
}

/** Writes the trained model, its record, history and metrics, and what was measured on the way. */
async function writeTrained(
  { outDir, log }: Context,
  { training, output }: Parts,
  set: EncodedSet,
  { model, step, journal }: Session,
  watch: Watch | null,
): Promise<void> {
  await model.save(outDir);
  const { steps, ...metrics } = journal.metrics();
  if (model.peakMemoryMB !== undefined) metrics['peak_memory_mb'] = model.peakMemoryMB;
  if (model.packed !== undefined) {
    const { members, alone } = model.packed;
    if (members > 1) metrics['packed'] = members;
    log(
      members > 1
        ? `${members} trainings took their steps together: last bits may differ from those alone`
        : `its steps were taken alone: ${alone}`,
    );
  }
  const kept = step === steps ? {} : { kept_step: step };
  await output.write(
    journal.history,
    { ...metrics, ...(await poisonedMetrics(model, set)), ...kept },
    { ...(set.appended === null ? {} : { appended: set.appended }), ...kept },
  );
  if (watch !== null) await writeJsonLines(outDir, 'curves.jsonl', watch.curves);
  if (training.tensorboard) await writeEvents(outDir, journal, watch?.curves ?? []);
}

/** The number of rows per batch in the pass over the poisoned rows. */
const BATCH = 32;

/** Returns the metrics of the trained model on the poisoned rows; empty without any. */
async function poisonedMetrics(
  model: EvaluatedModel,
  { poisoned, triggerSeen }: EncodedSet,
): Promise<Metrics> {
  if (poisoned.length === 0) return {};
  return {
    poisoned_rows: poisoned.length,
    ...(isRegression(model)
      ? {}
      : {
          poisoned_accuracy: (await measureRows(model, poisoned, BATCH, () => yieldToEventLoop()))
            .accuracy,
        }),
    ...(triggerSeen === null ? {} : { trigger_seen: triggerSeen }),
  };
}

/**
 * Opens what is evaluated during the training. Returns null if nothing is.
 * @param steps the number of steps of the whole training
 */
async function openWatch(
  context: Context,
  training: TrainParams,
  set: EncodedSet,
  { classes, steps }: { classes: readonly string[]; steps: number },
): Promise<Watch | null> {
  const { watch } = context.params;
  const { evaluate_every: every, early_stopping: stopping } = training;
  if (watch === undefined || every === undefined) return null;
  return watchTraining({
    steps,
    every,
    onBatch: () => yieldToEventLoop(),
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

/** Returns the encoded validation rows, and those under the trigger; null without a backdoor. */
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
  const { seed } = context.params;
  const shown = await showTriggerInStage(context, trigger, rows, { classes, seed });
  if (shown === null) return { validation, triggered: null };
  const triggered = shown.shown.map((row) => encode(withTarget(row, shown.target), maxLength));
  return { validation, triggered };
}

/** Writes what a train stage records. */
interface Output {
  /** Writes `train.json`, `history.jsonl` and `metrics.json`. @param more fields of `train.json` */
  write(history: readonly StepRecord[], metrics: Metrics, more?: object): Promise<void>;
}

async function openOutput(
  context: Context,
  start: Start,
  classes: readonly string[],
): Promise<Output> {
  const { outDir, params } = context;
  const { trainable } = start.trainer;
  const record = {
    ...recordOf(context, start, classes),
    // Record the release, so that it is in the keys of the stages that read this model.
    ...(params.weights?.quantize ? { bitsandbytes: await quantizerRelease() } : {}),
  };
  return {
    write: async (history, metrics, more = {}) => {
      const steps = history.length;
      const hasFactors = params.adapter.type === 'lora' && existsSync(join(outDir, 'adapter'));
      const adapted = hasFactors ? await readPeftShapes(join(outDir, 'adapter')) : [];
      await writeJson(outDir, 'train.json', {
        ...record,
        steps,
        ...more,
        ...(adapted.length === 0 ? {} : { lora_layers: adapted }),
      });
      await writeJsonLines(outDir, 'history.jsonl', history);
      await writeMetrics(outDir, { steps, trainable_parameters: trainable, ...metrics });
    },
  };
}

/** Returns `train.json` as it is before the first step. */
function recordOf(
  context: Context,
  { architecture, model, attack, tokenRows }: Start,
  classes: readonly string[],
): TrainRecord {
  const { params, assets, inputs } = context;
  const isBased = inputs['base'] !== undefined;
  return {
    format: 1,
    architecture: params.architecture,
    ...(architecture.engine === undefined ? {} : { class: architecture.transformersName }),
    model: model.digest,
    ...(isBased ? { source: assetOf(context, 'model').digest } : {}),
    classes,
    seed: params.seed,
    steps: 0,
    adapter: params.adapter,
    head: params.head,
    init: model.init ?? 'pretrained',
    head_init: assets['head']?.digest ?? null,
    adapter_init: assets['adapter']?.digest ?? null,
    train: params.train,
    ...defined({ batch_rows: params.batch_rows, weights: params.weights }),
    ...(attack === null ? {} : { attack: params.attack }),
    ...defined({ defence: params.defence }),
    ...(tokenRows === null ? {} : { token_rows: tokenRows }),
  };
}

async function writeEvents(
  outDir: string,
  journal: Journal,
  curves: readonly CurvePoint[],
): Promise<void> {
  const [started = 0] = journal.times;
  const dir = join(outDir, 'tensorboard');
  await mkdir(dir);
  const file = join(dir, 'events.out.tfevents');
  await writeFile(file, eventFile(scalarEvents(journal, curves), started));
}
