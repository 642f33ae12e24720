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
  computeClassWeights,
  loopSettings,
  type StepRecord,
  type TrainParams,
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
import { type Context, trainingOf, type WatchParams } from './params.ts';
import { backendFaults } from './preflight.ts';
import { openStart, type Start } from './start.ts';
import { type EncodedSet, encodeSet, type PoisonedSet, readPoisonedSet } from './training-set.ts';
import { unreachedWarnings, unreadInSet } from './unread.ts';

/** Trains the model and writes it; with 0 steps, writes the model that training starts from. */
export async function run(context: Context): Promise<void> {
  const training = trainingOf(context.params);
  await checkBackend(context.backend, training);
  const { classes } = await readDatasetInfo(inputDir(context, 'data'));
  const set = training === null ? null : await readPoisonedSet(context);
  const start = await openStart(context, classes);
  try {
    if (training === null || set === null) {
      await start.trainer.save(context.outDir);
      await writeRecord(context, { classes, start }, [], {});
    } else {
      await train(context, { training, classes, set, start });
    }
  } finally {
    start.trainer.dispose();
  }
}

/**
 * Throws a UserFault if this machine lacks what the training needs: the preflight may have run on
 * another machine.
 */
async function checkBackend(
  backend: Context['backend'],
  training: TrainParams | null,
): Promise<void> {
  const [fault] = training === null ? [] : await backendFaults(backend, training);
  if (fault) throw new UserFault(fault.message, fault.hint, fault.path);
}

interface Parts {
  readonly training: TrainParams;
  readonly classes: readonly string[];
  readonly set: PoisonedSet;
  readonly start: Start;
}

/**
 * Encodes the rows, trains on them, and writes the model and its record. Warns of what the training
 * will not reach or read.
 */
async function train(context: Context, parts: Parts): Promise<void> {
  const { training, classes, set, start } = parts;
  const { trainer, tokenizer, attack } = start;
  if (tokenizer === null) throw new Error('a training needs the tokenizer');
  checkVocabulary(tokenizer, start.vocabulary, start.model.path);
  const encoded = encodeSet(context, training, set, tokenizer, attack?.name ?? null);
  const { order } = encoded;
  const steps = totalSteps(training, { ...order, accumulate: training.accumulate ?? 1 });
  const unread = unreadInSet(set.receipt, order, training),
    onClean = existsSync(join(inputDir(context, 'data'), 'clean.json'));
  if (unread !== null) context.warn(unread);
  unreachedWarnings(training, steps, onClean).forEach(context.warn);
  const watch = await openWatch(context, training, encoded, { classes, steps });
  const labels = set.rows.map(({ label }) => label);
  const weights = computeClassWeights(training.class_weights, labels, classes);
  const session = await runSession({
    trainer,
    rows: encoded.rows,
    watch,
    place: context,
    kept: checkpointSteps(training.checkpoints ?? 0, steps),
    settings: loopSettings(training, steps, context.params.seed, weights),
  });
  try {
    await writeTrained(context, parts, encoded, session, watch);
  } finally {
    session.model.dispose();
  }
}

/** Writes the trained model, its record, history and metrics, and what was measured on the way. */
async function writeTrained(
  context: Context,
  parts: Parts,
  set: EncodedSet,
  { model, step, journal }: Session,
  watch: Watch | null,
): Promise<void> {
  const { outDir, log } = context;
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
  // The metric is there whatever step is kept, so that its mean is over all seeds.
  if (parts.training.early_stopping !== undefined) metrics['kept_step'] = step;
  Object.assign(metrics, await poisonedMetrics(model, set));
  const more = {
    ...(set.appended && { appended: set.appended }),
    ...(step !== steps && { kept_step: step }),
  };
  await writeRecord(context, parts, journal.history, metrics, more);
  if (watch !== null) await writeJsonLines(outDir, 'curves.jsonl', watch.curves);
  if (parts.training.tensorboard) await writeEvents(outDir, journal, watch?.curves ?? []);
}

const BATCH = 32;

/** Returns how many rows are poisoned and, if any is, the metrics of the trained model on them. */
async function poisonedMetrics(
  model: EvaluatedModel,
  { poisoned, triggerSeen }: EncodedSet,
): Promise<Metrics> {
  const metrics: Metrics = { poisoned_rows: poisoned.length };
  if (poisoned.length === 0) return metrics;
  if (!isRegression(model))
    metrics['poisoned_accuracy'] = (
      await measureRows(model, poisoned, BATCH, () => yieldToEventLoop())
    ).accuracy;
  if (triggerSeen !== null) metrics['trigger_seen'] = triggerSeen;
  return metrics;
}

/**
 * Opens what is evaluated during the training; null if nothing is. `steps` are the steps of the
 * whole training.
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
  const { patience = 0, metric = 'loss', min_delta: minDelta = 0, keep } = stopping ?? {};
  return watchTraining({
    steps,
    every,
    onBatch: () => yieldToEventLoop(),
    keepBest: keep !== 'last',
    watched: {
      ...(await watchedRows(context, watch, set, classes)),
      poisoned: set.poisoned,
      batchSize: watch.batch_size,
    },
    stopping: patience > 0 ? { patience, metric, minDelta } : null,
  });
}

/**
 * Returns the encoded validation rows, and the encoded rows under the trigger (`triggered`), which
 * are null without a backdoor.
 */
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
  const { seed } = context.params;
  const shown = trigger && (await showTriggerInStage(context, trigger, rows, { classes, seed }));
  const triggered = shown?.shown.map((row) => encode(withTarget(row, shown.target), maxLength));
  return { validation, triggered: triggered ?? null };
}

/**
 * Writes `train.json`, `history.jsonl` and `metrics.json`.
 * @param more further fields of `train.json`
 */
async function writeRecord(
  context: Context,
  { start, classes }: Pick<Parts, 'start' | 'classes'>,
  history: readonly StepRecord[],
  metrics: Metrics,
  more = {},
): Promise<void> {
  const { outDir, params } = context;
  const hasFactors = params.adapter.type === 'lora' && existsSync(join(outDir, 'adapter'));
  const adapted = hasFactors ? await readPeftShapes(join(outDir, 'adapter')) : [];
  const { length: steps } = history;
  await writeJson(outDir, 'train.json', {
    ...initialRecord(context, start, classes),
    // Record the release, so that it is in the keys of the stages that read this model.
    ...(params.weights?.quantize && { bitsandbytes: await quantizerRelease() }),
    steps,
    ...more,
    ...(adapted.length > 0 && { lora_layers: adapted }),
  });
  await writeJsonLines(outDir, 'history.jsonl', history);
  const { trainable } = start.trainer;
  await writeMetrics(outDir, { steps, trainable_parameters: trainable, ...metrics });
}

/** Returns `train.json` as it is before the first step. */
function initialRecord(
  context: Context,
  { architecture, model, attack, tokenRows }: Start,
  classes: readonly string[],
): TrainRecord {
  const { params, assets, inputs } = context;
  const isBased = inputs['base'] !== undefined;
  return {
    format: 1,
    architecture: params.architecture,
    ...(architecture.engine && { class: architecture.transformersName }),
    model: model.digest,
    ...(isBased && { source: assetOf(context, 'model').digest }),
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
    ...(attack && { attack: params.attack }),
    ...defined({ defence: params.defence }),
    ...(tokenRows && { token_rows: tokenRows }),
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
