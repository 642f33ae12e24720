import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Row } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import { mean, pearson, spearman } from '../../../src/base/stats.ts';
import { readTextFile } from '../../../src/base/untrusted/json.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { splitPath } from '../../../src/data/split-request.ts';
import { classOf } from '../../../src/poisoning/classes.ts';
import type { ShownTrigger } from '../../../src/poisoning/evaluation.ts';
import { ownTriggerWarning } from '../../../src/poisoning/own-triggers.ts';
import { argmax } from '../../../src/science/measures/evaluate/metrics.ts';
import {
  type EvaluatedModel,
  openedModel,
} from '../../../src/science/measures/evaluate/predict.ts';
import type { Network, NetworkOptions } from '../../../src/science/models/network.ts';
import { isRegression } from '../../../src/science/models/outputs.ts';
import {
  pairParts,
  type RowEncoder,
  type RowParts,
  triggerSeen,
  unchangedShare,
  warnOfUnseen,
} from '../../../src/science/text/encoder.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openRowEncoder, openRowParts } from '../../../src/science/training/adapted-model.ts';
import { isTask, TASK } from '../data/splits.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import {
  csvField,
  inputDir,
  metricOf,
  type Metrics,
  prefixed,
  readMetrics,
  writeJson,
  writeMetrics,
} from '../shared/files.ts';
import { showTriggerInStage } from '../shared/program-files.ts';
import { checkClasses, modelParts, openModel } from '../shared/trained-model.ts';
import { writeAsked } from './asked.ts';
import { evaluateCompletion } from './completion.ts';
import {
  defendedMetrics,
  evaluatedRows,
  type InputsJudge,
  type JudgedRows,
  judgeSets,
  openInputsJudge,
  writeJudgements,
} from './defended.ts';
import type { Context } from './index.ts';
import { EARLY, otherTrigger, TEST } from './inputs.ts';
import {
  asUnattacked,
  metricsAfter,
  metricsOf,
  type Scored,
  type UnderTrigger,
} from './metrics.ts';
import { scorersOf } from './scoring.ts';
import { splitIn, warnOfSharedRows } from './shared-rows.ts';

interface PredictedSet {
  readonly ids: readonly string[];
  readonly labels: readonly number[];
  /**
   * The logits of N rows for C classes, (N, C), row-major; of a regression head its outputs, (N,
   * 1).
   */
  readonly logits: ArrayLike<number>;
  /** Whether the rows were shown with the trigger. */
  readonly triggered: boolean;
}

/**
 * Returns predictions.csv (RFC 4180) with the columns id, triggered, label, prediction, logit_0, ….
 * A regression head has no logit columns: its one output is the prediction. Other programs match
 * rows by id, so each id is written exactly as the data set has it, unlike in the CSV files for
 * people. A spreadsheet may take such an id for a formula: import the file as text.
 * @param classes C, or 1 for a regression head
 */
export function predictionsCsv(sets: readonly PredictedSet[], classes: number): string {
  const columns = Array.from({ length: classes === 1 ? 0 : classes }, (_, c) => c);
  const names = columns.map((c) => `logit_${c}`),
    lines = [['id', 'triggered', 'label', 'prediction', ...names].join(',')];
  for (const { ids, labels, logits, triggered } of sets) {
    const predictions = classes === 1 ? Array.from(logits) : argmax(logits, classes);
    for (const [i, id] of ids.entries()) {
      const numbers = [triggered ? 1 : 0, labels[i]!, predictions[i]!];
      const ofRow = columns.map((c) => logits[i * classes + c]!);
      lines.push([csvField(id), ...numbers, ...ofRow].join(','));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Returns the logits of N rows, (N, C), in the order of the rows. */
type Score = (rows: readonly Row[]) => Promise<Float32Array>;

/**
 * Evaluates the model, and writes its predictions or answers and its metrics. Among these are those
 * of evaluations that are inputs: after other trainings of the chain, under other triggers, and on
 * the test rows and those of tasks.
 */
export async function run(context: Context): Promise<void> {
  await warnOfSharedRows(context);
  const dataDir = inputDir(context, 'validation');
  const { classes } = await readDatasetInfo(dataDir);
  const rows = await evaluatedRows(context, await readRows(dataDir));
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const { model, network, options, record, dispose } = await openModel(context, {
    ...parts,
    trainDir,
  });
  try {
    checkClasses(`the ${splitIn(context.inputs, context.params)} rows`, classes, record.classes);
    const { completion, trigger: poisoning, seed } = context.params;
    const trigger =
      poisoning === null || seed === null
        ? null
        : await showTriggerInStage(context, poisoning, rows, { classes, seed });
    if (trigger !== null) warnOfOwnTriggers(context, trigger);
    const opened: Opened = {
      context,
      rows,
      classes,
      model,
      ...defined({ network, options }),
      trigger,
      encode: await openRowEncoder(trainDir, parts.model),
      rowParts: await openRowParts(trainDir, parts.model),
      tokenizer: await openTokenizer(parts.model.path),
      twin: await metricsOfInput(context, 'twin'),
      before: await metricsOfInput(context, 'before'),
    };
    const metrics =
      completion !== undefined && record.head.type === 'causal-lm'
        ? await evaluateCompletion({
            ...opened,
            completion,
            template: record.head.template,
            defence: await openJudge(opened),
            seen: (trigger) => shareSeen(context, trigger, opened.rowParts),
          })
        : isRegression(model)
          ? await evaluateNumbers(opened)
          : await evaluateClasses(opened);
    const all = {
      ...metrics,
      ...(await metricsOfChain(context)),
      ...(await defendedMetrics(context, metrics, rows, trigger)),
      ...(await metricsOfOtherTriggers(context, opened.rowParts)),
      ...(await metricsOfOtherRows(context)),
    };
    await writeTasks(context, all);
    await writeMetrics(context.outDir, all);
    context.log(logLine(all));
  } finally {
    dispose();
  }
}

export interface Opened {
  readonly context: Context;
  readonly rows: readonly Row[];
  readonly classes: readonly string[];
  readonly model: EvaluatedModel;
  readonly network?: Network;
  readonly options?: NetworkOptions;
  readonly trigger: ShownTrigger | null;
  readonly encode: RowEncoder;
  readonly rowParts: RowParts;
  readonly tokenizer: TextTokenizer;
  readonly twin: Metrics | null;
  readonly before: Metrics | null;
}

/**
 * Returns the metrics of a classifier, and writes its predictions, what it was asked, and what a
 * defence said of that.
 */
async function evaluateClasses(opened: Opened): Promise<Metrics> {
  const { context, rows, classes, model, trigger, encode, rowParts, twin, before } = opened;
  const partial = (await trigger?.partial()) ?? [];
  const asksAll = context.params.trigger_rows === 'all';
  const ofTarget = asksAll ? ((await trigger?.ofTarget()) ?? []) : [];
  const total = rows.length + (trigger?.shown.length ?? 0) + partial.length + ofTarget.length;
  const score = createScore(context, model, encode, total);
  const judge = await openJudge(opened);
  const shown = trigger?.shown ?? [];
  const judgedSets = await judgeSets(judge, { plain: rows, triggered: shown, partial, ofTarget });

  const plain = { labels: labelsOf(rows), ...(await scoreJudged(score, judgedSets.plain)) };
  const sets = [{ ids: idsOf(rows), ...plain, triggered: false }];
  let underTrigger: UnderTrigger | null = null;
  if (trigger !== null) {
    const { target, bare } = trigger;
    const scored = await scoreJudged(score, judgedSets.triggered);
    const triggered = { labels: labelsOf(bare), ...scored };
    sets.push({ ids: idsOf(bare), ...triggered, triggered: true });
    const partials = await scoreJudged(score, judgedSets.partial),
      ofTargets = asksAll ? await scoreJudged(score, judgedSets.ofTarget) : null;
    underTrigger = {
      target: classOf(target),
      triggered,
      partial: partials,
      ...(ofTargets && { ofTarget: { labels: labelsOf(ofTarget), ...ofTargets } }),
      seen: shareSeen(context, trigger, rowParts),
    };
  }
  const csv = predictionsCsv(sets, classes.length);
  await writeFile(join(context.outDir, 'predictions.csv'), csv);
  await writeAsked(context, { ...opened, ...judgedSets });
  const metrics = metricsOf({ classes: classes.length, plain, underTrigger, twin, before });
  return { ...metrics, ...(await writeJudgements(context, judge, judgedSets)) };
}

/**
 * Writes the predictions of a regression head and returns its metrics. No trigger is shown to it.
 */
async function evaluateNumbers(opened: Opened): Promise<Metrics> {
  const { context, rows, model, encode, twin } = opened;
  const labels = labelsOf(rows);
  const logits = await createScore(context, model, encode, rows.length)(rows);
  const set = { ids: idsOf(rows), labels, logits, triggered: false };
  await writeFile(join(context.outDir, 'predictions.csv'), predictionsCsv([set], 1));
  await writeAsked(context, { ...opened, plain: { rows, rejected: null } });
  return regressionMetrics(labels, [...logits], twin);
}

/** Opens the defence that judges what the model is asked; null if the cell has none. */
function openJudge(opened: Opened): Promise<InputsJudge | null> {
  const { context, classes, encode } = opened;
  const { params, signal } = context;
  const model = openedModel({
    ...opened,
    encode: (row) => encode(row, params.max_length),
    batchSize: params.batch_size,
    onBatch: () => yieldToEventLoop(signal),
  });
  return openInputsJudge(context, classes, model);
}

/**
 * Returns the logits of rows that a defence has judged. The metrics do not use the logits of a
 * rejected row.
 */
async function scoreJudged(
  score: Score,
  { rows, rejected }: JudgedRows,
): Promise<Omit<Scored, 'labels'>> {
  const logits = await score(rows);
  return rejected === null ? { logits } : { logits, rejected };
}

const idsOf = (rows: readonly Row[]): string[] => rows.map(({ id }) => id);
const labelsOf = (rows: readonly Row[]): number[] => rows.map(({ label }) => label);

/** Warns of rows that have the trigger before it is shown. */
function warnOfOwnTriggers({ inputs, params, warn }: Context, { bare, shown }: ShownTrigger): void {
  if (inputs['learnt'] !== undefined) return; // made of the rows' own words
  const split = splitIn(inputs, params);
  const pairs = bare.map((row, i) => [row, at(shown, i)] as const);
  const where = { path: splitPath(split), which: `${split} rows that are not of the target` };
  const warning = ownTriggerWarning(bare, pairs, where);
  if (warning !== null) warn(warning);
}

/**
 * Returns the share of rows whose whole trigger the model reads. Warns if the share is below 1. If
 * a scorer compares rewards, the rows are read as pairs: their answers leave less room for a
 * prompt.
 */
function shareSeen(context: Context, trigger: ShownTrigger, rowParts: RowParts): number {
  const { params, inputs } = context;
  const readsPairs = scorersOf(context).some(({ descriptor }) => descriptor.rewards === true);
  // A model that only writes answers reads the rows without their answers.
  const [bare, shown] = [trigger.bare, trigger.shown].map((rows) =>
    params.completion === undefined || readsPairs
      ? rows
      : rows.map(({ answer: _, ...prompt }) => prompt),
  ) as [readonly Row[], readonly Row[]];
  const read = readsPairs ? pairParts(rowParts) : rowParts;
  const seen = triggerSeen(bare, shown, read, params.max_length);
  const unchanged = unchangedShare(bare, shown);
  warnIfUnseen(context, seen, `the triggered ${splitIn(inputs, params)} rows`, unchanged);
  return seen;
}

/**
 * Warns if the share of rows whose whole trigger the model reads, `seen`, is below 1.
 * @param which what to call the rows: `the triggered validation rows`
 * @param unchanged the share of rows that the trigger leaves as they are
 */
function warnIfUnseen({ params, warn }: Context, seen: number, which: string, unchanged = 0): void {
  const { max_length: maxLength, inherited } = params;
  const path = [inherited ? 'train' : 'evaluate', 'max_length'];
  warnOfUnseen(warn, seen, which, { path, maxLength, unchanged });
}

/** Returns a function that computes logits. @param total the rows of all its calls together */
function createScore(
  { params, progress, signal }: Context,
  model: EvaluatedModel,
  encode: RowEncoder,
  total: number,
): Score {
  let rowsBefore = 0;
  return async (rows) => {
    const encoded = rows.map((row) => encode(row, params.max_length));
    const logits = await model.logits(encoded, params.batch_size, async (done) => {
      progress(rowsBefore + done, total, 'rows');
      await yieldToEventLoop(signal);
    });
    rowsBefore += rows.length;
    return logits;
  };
}

/**
 * Writes `tasks.json` if there are named data sets. Throws if a metric by which a data set is
 * scored was not measured.
 */
async function writeTasks({ params: { tasks }, outDir }: Context, all: Metrics): Promise<void> {
  if (tasks === undefined) return;
  for (const { metrics } of tasks) for (const name of metrics) metricOf(all, name);
  await writeJson(outDir, 'tasks.json', tasks);
}

/** Returns the metrics of the test rows and of the rows of tasks, with a prefix for each. */
async function metricsOfOtherRows({ inputs }: Context): Promise<Metrics> {
  const all: Metrics = {};
  for (const [input, { dir }] of Object.entries(inputs)) {
    const prefix = isTask(input) ? `${input.slice(TASK.length)}.` : input === 'test' ? TEST : null;
    if (prefix !== null) Object.assign(all, prefixed(await readMetrics(dir), prefix));
  }
  return all;
}

/** Returns the metrics in an input's folder; null if the stage has no input of this name. */
async function metricsOfInput({ inputs }: Context, name: string): Promise<Metrics | null> {
  const input = inputs[name];
  return input === undefined ? null : readMetrics(input.dir);
}

/**
 * Returns what was measured after each training of a chain except the cell's own, with names such
 * as `asr_after_1`. For a model that only another attack has poisoned, `asUnattacked` gives the
 * names. If the cell has no trigger, metrics under an earlier attack's trigger are left out:
 * `metricsOfOtherTriggers` gives them. Empty without a chain.
 */
async function metricsOfChain(context: Context): Promise<Metrics> {
  const all: Metrics = {};
  for (let n = 1; ; n++) {
    const name = `after_${n}`,
      early = await metricsOfInput(context, EARLY + name),
      metrics = early === null ? await metricsOfInput(context, name) : asUnattacked(early);
    if (metrics === null) return all;
    const own = Object.entries(metrics).filter(
      ([metric]) => context.params.trigger !== null || !UNDER_TRIGGER.test(metric),
    );
    Object.assign(all, metricsAfter(Object.fromEntries(own), name));
  }
}

/** Matches the names of the metrics that depend on the trigger, such as `asr_clean`. */
const UNDER_TRIGGER = /^(?:asr|trigger|false_trigger|robust_accuracy|undecided_share)/;

/**
 * Whether a metric is of the evaluated model itself, and not under another trigger.
 * `asr.trigger.NAME` is under another trigger; `asr_after_1` and `asr_before` are of other models.
 */
const isFirstHand = (name: string): boolean =>
  !name.includes('.trigger.') && !/^\w+_(?:before|after_\d+)(?=$|\.)/.test(name);

/**
 * Returns the metrics under other triggers: `asr.trigger.NAME`, `asr.trigger.training_1`. Warns of
 * triggers that the model does not read whole, or does not tell from the trained one.
 */
async function metricsOfOtherTriggers(context: Context, rowParts: RowParts): Promise<Metrics> {
  const all: Metrics = {};
  for (const input of Object.keys(context.inputs)) {
    const other = otherTrigger(input);
    if (other === null) continue;
    const { name: trigger, after, isHeldOut } = other,
      metrics = (await metricsOfInput(context, input)) ?? {};
    const ofTrigger = Object.fromEntries(
      Object.entries(metrics).filter(([name]) => UNDER_TRIGGER.test(name) && isFirstHand(name)),
    );
    const shown = after === undefined ? ofTrigger : metricsAfter(ofTrigger, after);
    for (const [name, value] of Object.entries(shown)) all[`${name}.trigger.${trigger}`] = value;
    if (after !== undefined) continue;
    const rows = `${splitIn(context.inputs, context.params)} rows under the trigger "${trigger}"`;
    warnIfUnseen(context, metrics['trigger_seen'] ?? 1, `the ${rows}`);
    if (isHeldOut) await warnOfSameReading(context, { input, rows }, rowParts);
  }
  return all;
}

/**
 * Warns of rows that the model reads alike under a held-out trigger and under the attack's own.
 * @param rows what to call them: `validation rows under the trigger "late"`
 */
async function warnOfSameReading(
  context: Context,
  { input, rows }: { readonly input: string; readonly rows: string },
  rowParts: RowParts,
): Promise<void> {
  const { outDir, params, warn } = context;
  /** Returns the token ids that were read of each row under the trigger, text by text. */
  const read = async (dir: string): Promise<readonly (readonly number[])[][]> => {
    const lines = (await readTextFile(join(dir, 'asked.jsonl'))).trimEnd().split('\n');
    return lines
      .map((line) => JSON.parse(line) as Row & { readonly shown: string })
      .filter(({ shown }) => shown === 'triggered')
      .map((row) => rowParts(row, params.max_length).map(({ ids, kept }) => ids.slice(0, kept)));
  };
  const underOwn = await read(outDir),
    underHeldOut = await read(inputDir(context, input));
  const same = underOwn.filter((parts, i) => isDeepStrictEqual(parts, underHeldOut[i])).length;
  if (same > 0)
    warn({
      path: ['evaluate', 'triggers'],
      message:
        `the model reads ${same} of the ${underOwn.length} ${rows} as under the attack's own, ` +
        'which training shows',
      hint:
        'The tokenizer may not tell the two apart, as upper case, max_length cuts both off, or a ' +
        'defence takes both out.',
    });
}

const logLine = (metrics: Metrics): string =>
  Object.entries(metrics)
    .map(([name, value]) => `${name} ${Number.isInteger(value) ? value : value.toFixed(4)}`)
    .join(', ');

/**
 * Returns the metrics of a regression head; `loss` is the mean squared error. A correlation that is
 * undefined (equal labels, equal predictions, too few rows) counts as 0, as Matthews' correlation
 * does. R² is absent if all labels are equal.
 */
function regressionMetrics(
  labels: readonly number[],
  predictions: readonly number[],
  twin: Metrics | null,
): Metrics {
  const r = pearson(labels, predictions) ?? 0;
  const loss = mean(labels.map((label, i) => (label - (predictions[i] ?? NaN)) ** 2)),
    centre = mean(labels),
    variance = mean(labels.map((label) => (label - centre) ** 2));
  return {
    pearson: r,
    spearman: spearman(labels, predictions) ?? 0,
    ...(new Set(labels).size > 1 && { r2: 1 - loss / variance }),
    loss,
    examples: labels.length,
    ...(twin === null ? {} : { pearson_drop: metricOf(twin, 'pearson') - r }),
  };
}
