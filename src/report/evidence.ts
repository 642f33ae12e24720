/**
 * Decides which numbers are evidence. A model that gives one class to every row has an attack
 * success rate of 0 or 1, and its accuracy is that class's share, whatever it was trained on. Such
 * numbers are shown, but they do not count for any claim. The criteria:
 *
 * - *one class*: the model predicts a single class on all untriggered validation rows.
 * - *no better than the majority*: its accuracy is not above the majority class's share of the
 *   validation rows, by McNemar's exact test on the rows (5%, two-sided).
 * - *no effect of the trigger*: its ASR is not above its own rate of the target on the same rows
 *   without the trigger, by the same test. The attack may simply have failed, which is evidence.
 *   The verdict therefore rests on the difference in what the trigger adds.
 * - *trigger not read*: the whole trigger reaches the model in only some of the rows
 *   (`trigger_seen`). In training rows, whatever the attack changes, such as noise, takes the
 *   trigger's place.
 *
 * - *no better than the mean*, in place of the first two for a regression: its squared error is not
 *   below the variance of the validation rows' numbers (R² ≤ 0).
 * - *no preference*, in place of the first two for rates that count rewards: the chosen answer has
 *   the larger reward in no more than half of the validation pairs, by the binomial test.
 *
 * In a completion task, an answer, or the text that the model writes, takes the place of a class.
 * If a criterion was not measured (no evaluate stage), the number counts as evidence.
 *
 * Every form of output marks numbers by this judgement: † in tables and figures, a field or columns
 * in JSON and CSV.
 */
import type { JsonObject } from '../api.ts';
import { SIGNIFICANCE } from '../base/stats.ts';
import { contentKey, distinct } from './groups.ts';
import { isSuccessRate, measuredRows, type Metric, ROW_COUNTS, taskOf } from './metrics.ts';

/** What a reader must know of a number before using it. */
export interface Judgement {
  /** Whether the number may count for a claim. */
  readonly counts: boolean;
  /** Why it may not, as ends of a sentence about the model; empty if it may. */
  readonly reasons: readonly string[];
  /** How many seeds of the cell have the number. */
  readonly n: number;
  /** How many of the cell's other planned seeds lack it. */
  readonly missing: number;
  /** The warnings of the stages behind the number. */
  readonly warnings: readonly string[];
  /** Set if other cells have this number on more rows, or if it leaves out rejected rows. */
  readonly fewer_rows?: RowCount;
}

/**
 * On how many rows a number was measured (`rows`), and the most rows on which any comparable cell
 * has it, before a defence rejects any of them (`of`).
 */
export interface RowCount {
  readonly rows: number;
  readonly of: number;
}

/** The mark of numbers that are not evidence. */
export const DAGGER = '†';

/** The mark of numbers on fewer rows than others (`compareRowCounts`). */
export const FEWER_ROWS = '‡';

/** Returns `32 of 40`, or '' for null. */
export const rowsText = (count: RowCount | null = null): string =>
  count === null ? '' : `${count.rows} of ${count.of}`;

const MOST_COUNTS = 6;

/** Writes each count once: `10 of 20, 5 of 10`; of many, the first ones and `3 more`. */
export function countsText(counts: readonly RowCount[]): string {
  const pairs = distinct(counts.map(rowsText)),
    more = pairs.length - MOST_COUNTS;
  return [...pairs.slice(0, MOST_COUNTS), ...(more > 0 ? [`${more} more`] : [])].join(', ');
}

/** Explains `FEWER_ROWS` below a table; null if no number has it. */
export function fewerRowsText(counts: readonly RowCount[]): string | null {
  if (counts.length === 0) return null;
  return (
    `Under a defence, measured on fewer rows (${countsText(counts)}): the defender’s clean rows ` +
    'are left out and, of scores that do not count a rejected row as wrong (F1, MCC, loss, ' +
    'shares of classes), the rows that it rejects. accuracy_undefended and asr_undefended are on ' +
    'the same rows as accuracy and ASR.'
  );
}

/** Joins reasons, each once, as ends of one sentence: `a`, `a or b`, `a, b, or c`. */
export function joinWithOr(reasons: readonly string[]): string {
  const each = distinct(reasons);
  return each.length < 3
    ? each.join(' or ')
    : `${each.slice(0, -1).join(', ')}, or ${each.slice(-1).join('')}`;
}

/** Explains `DAGGER` below a table; null if there is no reason. */
export const daggerText = (reasons: readonly string[]): string | null =>
  reasons.length === 0 ? null : `Not evidence: a model behind the number ${joinWithOr(reasons)}.`;

/** Stage kind → metric → value, as in each stage's metrics.json. */
export interface Measured {
  readonly metrics: { readonly [stage: string]: { readonly [metric: string]: number } };
}

type Scores = { readonly [metric: string]: number | undefined };
/** Returns the metrics of the cell's evaluation; {} if it was not evaluated. */
const evaluateMetrics = ({ metrics }: Measured): Scores => metrics['evaluate'] ?? {};

/** Whether the model writes answers (a completion task) and does not predict classes. */
export const writesAnswers = (cell: Measured): boolean =>
  evaluateMetrics(cell)['exact_match'] !== undefined;

/** Whether the model gives all rows one class; false if that was not measured. */
export const predictsOneClass = (cell: Measured): boolean =>
  evaluateMetrics(cell)['predicted_share'] === 1;

/**
 * Whether most outputs are empty, or most incoherent (`incoherent_share`), or all are one text;
 * false if that was not measured.
 */
export function isDegenerate(cell: Measured): boolean {
  const { empty_share: empty = 0, incoherent_share: incoherent = 0 } = evaluateMetrics(cell);
  return predictsOneClass(cell) || Math.max(empty, incoherent) > 0.5;
}

/**
 * Whether a test with the p-value `p` shows that `value` is above `than`. True too if any of the
 * three is unknown: a model is called unlearnt only because of what was measured.
 */
const isAboveOrUnknown = (
  p: number | undefined,
  value: number | undefined,
  than: number | undefined,
): boolean =>
  p === undefined ||
  value === undefined ||
  than === undefined ||
  (p < SIGNIFICANCE && value > than);

/**
 * Returns the end of a metric's name that tells its scorer: `.refusal` of `asr.refusal`; '' if it
 * tells none.
 */
export const scorerSuffix = (metric: string): string =>
  (/\..*$/.exec(metric)?.[0] ?? '').replace(/\.trigger\..*$/, '');

/** Whether a metric is a rate of success by the main scorer. */
export const isByMainScorer = (named: Metric): boolean =>
  isSuccessRate(named) && scorerSuffix(named.metric) === '';

/**
 * Whether the rates of a scorer compare rewards of answers (DPO), not what the model writes.
 * @param by the scorer's `scorerSuffix`
 */
export const countsRewards = (cell: Measured, by = ''): boolean =>
  evaluateMetrics(cell)[`reward_accuracy_p${by}`] !== undefined;

/**
 * Whether `reward_accuracy` is shown to be above a half. All scorers share that number; only its
 * p-value is named after a scorer.
 * @param by the scorer's `scorerSuffix`
 * @param of `_clean` for the paired clean run, '' for the cell's own model
 */
const hasLearntPreference = (cell: Measured, by: string, of: string): boolean => {
  const own = evaluateMetrics(cell);
  return isAboveOrUnknown(own[`reward_accuracy_p${of}${by}`], own[`reward_accuracy${of}`], 0.5);
};

/**
 * Whether McNemar's test shows that the accuracy is above the majority class's share; true if that
 * was not measured. Under a defence that may reject rows, the accuracy, the share and the p-value
 * are over the rows that the defence accepts.
 */
export function beatsMajority(cell: Measured): boolean {
  const {
    majority_p: p,
    accuracy,
    accuracy_accepted: accepted,
    majority_share: share,
  } = evaluateMetrics(cell);
  return isAboveOrUnknown(p, accepted ?? accuracy, share);
}

/** Whether a regression's squared error is below the labels' variance; true for other models. */
export const beatsMean = (cell: Measured): boolean => (evaluateMetrics(cell)['r2'] ?? 1) > 0;

/** Returns why the model has not learnt its task, as the end of a sentence; null if it has. */
export function unlearntReason(cell: Measured): string | null {
  if (countsRewards(cell)) return hasLearntPreference(cell, '', '') ? null : NO_PREFERENCE;
  const { one, noBetter } = reasonWords(cell);
  if (!beatsMean(cell)) return NO_BETTER_THAN_MEAN;
  if (predictsOneClass(cell)) return one;
  return beatsMajority(cell) ? null : noBetter;
}

/** Whether the trigger is shown to raise the rate of the target; true if there is no trigger. */
export function hasTriggerEffect(cell: Measured): boolean {
  const { asr_untriggered_p: p, asr_minus_untriggered: added } = evaluateMetrics(cell);
  return isAboveOrUnknown(p, added, 0);
}

/**
 * Whether a defence dropped more than half of the training rows that it judged, and suspected more
 * than half of the clean ones.
 */
export function dropsCleanRows(cell: Measured): boolean {
  const {
    rows_dropped: dropped = 0,
    rows_judged: judged = 0,
    filter_frr: rejected = 0,
  } = evaluateMetrics(cell);
  return dropped > judged / 2 && rejected > 0.5;
}

/** The other models in a cell's evaluation, and how to read their accuracy from it. */
const OTHERS = {
  clean: {
    called: 'a clean run',
    accuracy: ({
      accuracy = NaN,
      accuracy_drop: drop = NaN,
      accuracy_accepted: accepted = NaN,
      accuracy_accepted_drop: ofAccepted,
    }: Scores) => (ofAccepted === undefined ? accuracy + drop : accepted + ofAccepted),
  },
  undefended: {
    called: 'an undefended run',
    accuracy: ({ accuracy_undefended: accuracy = NaN }: Scores) => accuracy,
  },
};

/**
 * Returns why another model's number, or a difference from it, is not evidence; null if it is. That
 * model must predict more than one class. It must also beat the majority class, unless the number
 * is a score of that model alone (`accuracy_undefended`) and not the rate of a trigger.
 */
function otherModelReason(cell: Measured, of: keyof typeof OTHERS, metric: string): string | null {
  const own = evaluateMetrics(cell),
    { one, noBetter } = reasonWords(cell),
    { called, accuracy } = OTHERS[of],
    share = own[`majority_share_${of}`] ?? own['majority_share'];
  if (own[`predicted_share_${of}`] === 1) return `has ${called} that ${one}`;
  const isScore = metric.endsWith(`_${of}`) && !RATE.test(metric);
  if (isScore) return null;
  const value = accuracy(own);
  return Number.isNaN(value) || isAboveOrUnknown(own[`majority_p_${of}`], value, share)
    ? null
    : `has ${called} that ${noBetter}`;
}

/**
 * Returns how to compare a metric with the paired clean run. `read` reads the clean run's ASR or
 * accuracy from the attacked run's evaluation (NaN if it is not there). The difference is evidence
 * if the metric `judged` is. Null for any metric but ASR and, without a scorer's name, accuracy.
 */
export function cleanRunReader({ stage, metric }: Metric) {
  const [, test = '', name, scorer = ''] = /^(test_)?(asr|accuracy)(\..*)?$/.exec(metric) ?? [];
  if (stage !== 'evaluate' || name === undefined || (name === 'accuracy' && scorer !== ''))
    return null;
  // Reads a number by the same scorer and on the same rows as `metric`; NaN if it is not there.
  const readRate = (cell: Measured, of: string): number =>
    evaluateMetrics(cell)[`${test}${of}${scorer}`] ?? NaN;
  return name === 'asr'
    ? {
        read: (cell: Measured) => readRate(cell, 'asr_clean'),
        judged: { metric: 'asr_minus_clean' },
      }
    : {
        read: (cell: Measured) => readRate(cell, 'accuracy') + readRate(cell, 'accuracy_drop'),
        judged: { metric: 'accuracy_drop' },
      };
}

/** Words for the first two criteria, as ends of a sentence. */
const reasonWords = (cell: Measured): { readonly one: string; readonly noBetter: string } =>
  writesAnswers(cell)
    ? { one: 'writes one text only', noBetter: 'is no better than the commonest answer' }
    : { one: 'predicts one class only', noBetter: 'is no better than the majority class' };
const NO_BETTER_THAN_MEAN = 'is no better than the mean of the labels';
const NO_PREFERENCE = 'rewards the chosen answer of no more than half of the pairs';

/** Matches scores of models, as opposed to counts and facts about predictions. */
const JUDGED =
  /^(?:accuracy|precision|recall|f1|macro_f1|mcc|pearson|spearman|token_f1|rouge_l|exact_match|asr|robust_accuracy|trigger_accuracy|trigger_rate|false_trigger_rate)/;
/**
 * Matches p-values, and numbers of a base before its further training (`asr_before`). In a chain,
 * `nameInChain` has already renamed `asr_before` to `asr_after_N`, which is judged.
 */
const UNJUDGED = /_p(?:_clean|_undefended)?$|_before$/;
/**
 * Matches numbers of the undefended run, which are measured on the rows of the defended run, and
 * differences from such numbers.
 */
const OF_SAME_ROWS = /_(?:undefended|cost|removed)$/;
/** Matches rates at which a trigger succeeds. They need a model that has learnt its task. */
const RATE = /^(?:asr|trigger_rate|false_trigger_rate)/;

/**
 * Returns a cell with only its numbers after an earlier training of its chain, named as its own:
 * `accuracy_after_1` becomes `accuracy`, and `trigger_rate_after_1` becomes `asr`.
 */
export function afterTraining(cell: Measured, training: number): Measured {
  const own = evaluateMetrics(cell),
    after = `_after_${training}`;
  const numbers: { [metric: string]: number } = {};
  for (const [name, value] of Object.entries(own)) {
    const [metric = '', ...by] = name.split('.');
    if (value === undefined || !metric.endsWith(after)) continue;
    const earlierName = metric.slice(0, -after.length);
    numbers[[earlierName.replace(/^(test_)?trigger_rate$/, '$1asr'), ...by].join('.')] = value;
  }
  if (own['exact_match'] !== undefined) numbers['exact_match'] = numbers['accuracy'] ?? NaN;
  return { metrics: { evaluate: numbers } };
}

/** Matches the end of `accuracy_after_1`. */
const AFTER = /_after_(\d+)(?=$|\.)/;

/**
 * Returns the name in a chain of a number that ends in `_before`: `asr_after_2` for `asr_before`,
 * if training 2 is the last with that number. Null for other numbers, or without a chain.
 */
function nameInChain(cell: Measured, named: string): string | null {
  const before = /_before(?=$|\.)/;
  if (!before.test(named)) return null;
  const trainings = Object.keys(evaluateMetrics(cell)).flatMap((metric) => {
    const training = AFTER.exec(metric)?.[1];
    return training && metric.replace(AFTER, '_before') === named ? [Number(training)] : [];
  });
  return trainings.length === 0 ? null : named.replace(before, `_after_${Math.max(...trainings)}`);
}

/** Splits `NAME.accuracy`, a metric on the rows of the task NAME; null for other metrics. */
export function splitTask(
  cell: Measured,
  named: string,
): { readonly task: string; readonly metric: string } | null {
  const own = evaluateMetrics(cell),
    task = taskOf(named, (name) => own[name] !== undefined);
  return task === null ? null : { task, metric: named.slice(task.length + 1) };
}

/**
 * Returns why a number of `evaluate` is not evidence, as the end of a sentence; null if it is, or
 * if such numbers are not judged (counts, p-values). A number on test rows is judged by the same
 * model's numbers on validation rows.
 */
export function voidReason(
  cell: Measured,
  { metric: named }: Pick<Metric, 'metric'>,
): string | null {
  // A number of a task is judged by the model's numbers on that task's rows alone.
  const ofTask = splitTask(cell, named);
  if (ofTask !== null) {
    const { task, metric } = ofTask;
    const own = Object.entries(cell.metrics['evaluate'] ?? {}).flatMap(([name, value]) =>
      name.startsWith(`${task}.`) ? [[name.slice(task.length + 1), value] as const] : [],
    );
    const evaluate = Object.fromEntries(own);
    return voidReason({ ...cell, metrics: { evaluate } }, { metric });
  }
  const inChain = nameInChain(cell, named);
  if (inChain !== null) return voidReason(cell, { metric: inChain });
  const [after = '', training] = AFTER.exec(named) ?? [];
  if (training !== undefined)
    return voidReason(afterTraining(cell, Number(training)), { metric: named.replace(after, '') });
  // `asr_clean.NAME` is `asr_clean` by the further scorer NAME.
  const metric = named.replace(/^test_/, '').replace(/\..*$/, '');
  if (!JUDGED.test(metric) || UNJUDGED.test(metric)) return null;
  const words = reasonWords(cell),
    by = scorerSuffix(named);
  if (RATE.test(metric) && countsRewards(cell, by)) {
    const isOfCleanRun = metric.endsWith('_clean') && metric !== 'asr_minus_clean';
    // Which answers an undefended run prefers is not recorded, so its numbers are not judged.
    if (metric.endsWith('_undefended')) return null;
    if (!isOfCleanRun && !hasLearntPreference(cell, by, '')) return NO_PREFERENCE;
    return metric.endsWith('_clean') && !hasLearntPreference(cell, by, '_clean')
      ? `has a clean run that ${NO_PREFERENCE}`
      : null;
  }
  // These are numbers of another model alone.
  if (metric.endsWith('_undefended')) return otherModelReason(cell, 'undefended', metric);
  if (metric.endsWith('_clean') && metric !== 'asr_minus_clean')
    return otherModelReason(cell, 'clean', metric);
  if (!beatsMean(cell)) return NO_BETTER_THAN_MEAN;
  if (predictsOneClass(cell)) return words.one;
  if (RATE.test(metric) && !beatsMajority(cell)) return words.noBetter;
  // These are differences between the cell's model and another one.
  if (/_drop$|^asr_minus_clean$/.test(metric)) return otherModelReason(cell, 'clean', metric);
  if (/_cost$|_removed$/.test(metric)) return otherModelReason(cell, 'undefended', metric);
  return null;
}

/** Returns the columns of a CSV that say whether a number is evidence, and why not. */
export function evidenceColumns(cell: Measured, note: Metric) {
  const reason = note.stage === 'evaluate' ? voidReason(cell, note) : null;
  return { evidence: reason === null, reasons: reason ?? '' };
}

/** Matches numbers that are measured on rows and that are nevertheless not judged. */
const FACTS = /^(?:majority_share|predicted_share|loss|perplexity|(?:triggered_)?reward_accuracy)$/;
/** Matches scores that leave out the rows that a defence rejects. Accuracy and ASR count them. */
const OF_ACCEPTED =
  /^(?:precision|recall|f1|macro_f1|mcc|accuracy_accepted(?:_drop)?|(?:majority|predicted)_share|loss)$/;

/**
 * Returns on how many rows a number was measured, the metric that counts them before a defence
 * rejects any, and whether the number leaves out the rejected ones. Null if the counting metric is
 * missing, and for anything but a score or a fact of `evaluate`. P-values, numbers before or after
 * another training, numbers of the undefended run, and differences from that run count as neither.
 */
export function measuredOn(
  cell: Measured,
  { stage, metric: named }: Metric,
): { readonly rows: number; readonly counter: string; readonly isOfAccepted: boolean } | null {
  if (stage !== 'evaluate' || AFTER.test(named)) return null;
  const own = evaluateMetrics(cell),
    ofTask = splitTask(cell, named);
  const split = ofTask ? `${ofTask.task}.` : named.startsWith('test_') ? 'test_' : '',
    name = ofTask?.metric ?? named.replace(/^test_/, ''),
    metric = name.replace(/\..*$/, '');
  const isCounted = JUDGED.test(metric) || FACTS.test(metric);
  if (!isCounted || UNJUDGED.test(metric) || OF_SAME_ROWS.test(metric)) return null;
  const [kind = 'plain'] = measuredRows({ stage, metric }),
    [ofTrigger = ''] = /\.trigger\..+$/.exec(name) ?? [];
  const count = ROW_COUNTS[kind],
    counter = `${split}${count}${count === ROW_COUNTS.plain ? '' : ofTrigger}`,
    all = own[counter];
  if (all === undefined) return null;
  const isOfAccepted = own[`${split}accuracy_accepted`] !== undefined && OF_ACCEPTED.test(metric),
    rejected = isOfAccepted ? (own[`${split}rejected_share`] ?? 0) : 0;
  return { rows: Math.round(all * (1 - rejected)), counter, isOfAccepted };
}

/** Matches the axes of training and evaluation data; not the defender's clean rows. */
const DATA = /^data\.(?!clean)/;
/** Matches the axes that choose which rows get a trigger. */
const ATTACK = /(?:^|\.)poisoning\./;
const COUNTER = new RegExp(
  `(?:^|_|\\.)(?:${distinct(Object.values(ROW_COUNTS)).join('|')})(?:$|\\.)`,
);

/**
 * Returns a function that gives the counts of rows of a number that was measured on fewer rows than
 * the same number of other cells with the same data and, under a trigger, the same attack; null if
 * it was not. A defence that is given clean rows is evaluated on the remaining rows, and may reject
 * some of these.
 * @param axesOf returns a cell's axis values by full path
 */
export function compareRowCounts<Cell extends Measured>(
  cells: readonly Cell[],
  axesOf: (cell: Cell) => JsonObject,
): (cell: Cell, named: Metric) => RowCount | null {
  // Cells with equal keys are comparable: `plain` for all rows, `triggered` for those with a
  // trigger.
  const dataKeys = (cell: Cell) => {
    const axes = Object.entries(axesOf(cell)),
      data = axes.filter(([path]) => DATA.test(path)),
      attack = axes.filter(([path]) => ATTACK.test(path));
    return { plain: contentKey(data), triggered: contentKey([data, attack]) };
  };
  const keys = new Map(cells.map((cell) => [cell, dataKeys(cell)]));
  const counterKey = (cell: Cell, counter: string): string => {
    const kind = counter.endsWith(ROW_COUNTS.plain) ? 'plain' : 'triggered';
    return `${keys.get(cell)?.[kind] ?? ''} ${counter}`;
  };
  const most = new Map<string, number>();
  for (const cell of cells)
    for (const [metric, value = 0] of Object.entries(evaluateMetrics(cell)))
      if (COUNTER.test(metric)) {
        const name = counterKey(cell, metric);
        most.set(name, Math.max(value, most.get(name) ?? 0));
      }
  return (cell, named) => {
    const measured = measuredOn(cell, named);
    if (measured === null) return null;
    const { rows, counter } = measured,
      of = most.get(counterKey(cell, counter));
    return of === undefined || rows >= of ? null : { rows, of };
  };
}

export const TRAINING_ROWS = 'poisoned training rows';
/** Kinds of rows with a trigger, and the metric for the share whose trigger is read as a whole. */
export const TRIGGERED = [
  { rows: 'triggered validation rows', stage: 'evaluate', metric: 'trigger_seen' },
  { rows: 'triggered test rows', stage: 'evaluate', metric: 'test_trigger_seen' },
  { rows: TRAINING_ROWS, stage: 'train', metric: 'trigger_seen' },
] as const;

const HELD_OUT = /^(test_)?trigger_seen\.trigger\.(.+)$/;

/**
 * Returns, by kind of rows, the share whose whole trigger the model reads, if it is below 1. For
 * poisoned training rows, returns the share in which the model reads all that the attack changes.
 */
export function unseenShares({
  metrics,
}: Measured): readonly { readonly rows: string; readonly share: number }[] {
  const heldOut = Object.entries(metrics['evaluate'] ?? {}).flatMap(([metric, share]) => {
    const [, test, name] = HELD_OUT.exec(metric) ?? [];
    const of = test === undefined ? 'validation' : 'test';
    return name === undefined ? [] : [{ rows: `${of} rows under the trigger “${name}”`, share }];
  });
  const own = TRIGGERED.flatMap(({ rows, stage, metric }) => {
    const share = metrics[stage]?.[metric];
    return share === undefined ? [] : [{ rows, share }];
  });
  return [...own, ...heldOut].filter(({ share }) => share < 1);
}
