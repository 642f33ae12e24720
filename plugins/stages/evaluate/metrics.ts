/**
 * Computes the metrics of predictions, in the order of `metrics.json`. Some of its functions also
 * serve completion tasks (`completion-metrics.ts`). A new metric of rows without a trigger belongs
 * in `classificationMetrics`. A metric that the report shows is also in `METRICS` of
 * `src/report/metrics.ts`.
 */
import { UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import {
  againstMajority,
  againstUntriggered,
  argmax,
  classificationMetrics,
} from '../../../src/science/measures/evaluate/metrics.ts';
import { metricOf, type Metrics, renamed } from '../shared/files.ts';
import type { Hits } from './judging.ts';

/** Rows with the model's logits for them. */
export interface Scored {
  readonly labels: readonly number[];
  readonly logits: Float32Array; // (N, C)
  /** Whether a defence rejected each row. Absent if no defence may. */
  readonly rejected?: readonly boolean[];
}

export interface UnderTrigger {
  /** The label id of the class that the trigger leads to. */
  readonly target: number;
  /** The rows of classes other than the target, with the trigger. */
  readonly triggered: Scored;
  /** The logits of rows with only a part of the trigger. Empty if the attack has no negatives. */
  readonly partial: Omit<Scored, 'labels'>; // (M, C)
  /** The rows of the target class, with the trigger. Absent if they are not evaluated. */
  readonly ofTarget?: Scored;
  /** The share of rows whose whole trigger the model reads. */
  readonly seen: number;
}

interface Evaluation extends Compared {
  readonly classes: number; // C
  /** The validation rows without a trigger. */
  readonly plain: Scored;
  /** Null if no trigger is evaluated. */
  readonly underTrigger: UnderTrigger | null;
}

/**
 * Returns the metrics of a classifier. If a defence may reject rows, the metrics without the
 * trigger are over the accepted rows only, except the metrics that `rejectionMetrics` returns.
 */
export function metricsOf(evaluation: Evaluation): Metrics {
  const { plain, classes, underTrigger } = evaluation;
  const predictions = predictionsOf(plain, classes);
  const accepted = keepAccepted(plain, classes);
  const scores: Metrics = {
    ...classificationMetrics(accepted.logits, accepted.labels, classes),
    ...rejectionMetrics(plain, predictions),
  };
  const { accuracy, accuracy_accepted } = scores;
  return {
    ...scores,
    ...againstMajority(accepted.labels, argmax(accepted.logits, classes), classes),
    ...drops(defined({ accuracy, accuracy_accepted }), evaluation),
    ...(underTrigger && triggerMetrics(evaluation, underTrigger, predictions)),
  };
}

/** What a rejected row is predicted to be: no class, and so never the true one or the target. */
const REJECTED = -1;

/** Returns the predicted label ids; `REJECTED` for a rejected row. */
const predictionsOf = ({ logits, rejected }: Omit<Scored, 'labels'>, classes: number): number[] =>
  argmax(logits, classes).map((prediction, i) => (rejected?.[i] === true ? REJECTED : prediction));

/** Returns only the rows that were accepted. Throws `UserFault` if there is none. */
function keepAccepted({ labels, logits, rejected }: Scored, classes: number): Scored {
  if (rejected === undefined) return { labels, logits };
  const accepted = labels.map((_, i) => i).filter((i) => rejected[i] !== true);
  if (accepted.length === 0)
    throw new UserFault(
      `the defence rejects all ${labels.length} validation rows`,
      'Raise its threshold, or lower the share of clean rows that it may reject.',
    );
  const some = new Float32Array(accepted.length * classes);
  accepted.forEach((i, at) =>
    some.set(logits.subarray(i * classes, (i + 1) * classes), at * classes),
  );
  return { labels: accepted.map((i) => labels[i]!), logits: some };
}

/** Returns the share of hits among the decided ones; NaN if none is decided. */
export function shareOf(hits: Hits): number {
  const decided = hits.filter((hit) => hit !== null);
  return decided.filter((hit) => hit).length / decided.length;
}

const accuracyOf = (sets: readonly Scored[], classes: number): number =>
  shareOf(sets.flatMap((set) => predictionsOf(set, classes).map((id, i) => id === set.labels[i])));

/**
 * Returns `accuracy`, for which a rejected row counts as wrong, and the metrics of what is rejected
 * and accepted. Empty if no defence may reject.
 */
function rejectionMetrics({ labels, rejected }: Scored, predictions: readonly number[]): Metrics {
  if (rejected === undefined) return {};
  const hits = labels.map((label, i) => predictions[i] === label);
  const accepted = hits.filter((_, i) => rejected[i] !== true);
  return {
    examples: labels.length,
    accuracy: shareOf(hits),
    accuracy_accepted: shareOf(accepted),
    rejected_share: shareOf(rejected),
  };
}

/**
 * Matches the names of those metrics of an earlier training that are reported beside the cell's
 * own, and of the evidence for them: `asr`, `majority_p_clean`. A `.NAME` at the end of a name is
 * not part of the match.
 */
const OF_EARLIER = new RegExp(
  '^(?:accuracy|accuracy_drop|pearson|r2|asr|asr_clean|trigger_rate|' +
    '(?:predicted_share|majority_(?:p|share)|reward_accuracy(?:_p)?)(?:_clean)?)(?=$|\\.)',
);

/** Returns the reported metrics of an earlier training, as `asr_after_1`. @param after `after_1` */
export const metricsAfter = (metrics: Metrics, after: string): Metrics =>
  renamed(
    Object.fromEntries(Object.entries(metrics).filter(([name]) => OF_EARLIER.test(name))),
    (name) => name.replace(OF_EARLIER, `$&_${after}`),
  );

/**
 * Returns the metrics of a model that the trigger's attack has not poisoned: its `asr` becomes
 * `trigger_rate`, and the metrics `asr_…` are left out.
 */
export const asUnattacked = (metrics: Metrics): Metrics =>
  renamed(
    Object.fromEntries(Object.entries(metrics).filter(([name]) => !name.startsWith('asr_'))),
    (name) => name.replace(/^asr(?=$|\.)/, 'trigger_rate'),
  );

export interface Compared {
  /** Metrics of the paired clean run, with the same trigger. Null if this run is clean itself. */
  readonly twin: Metrics | null;
  /** Metrics of the model that this training started from. Null if no attack poisoned it. */
  readonly before: Metrics | null;
}

/**
 * Returns how far scores lie below those of the paired clean run, as `accuracy_drop`, and the clean
 * run's evidence that its scores mean something, as `majority_p_clean`. Of a poisoned base, only
 * the base's own drop is returned, as `accuracy_drop_before`.
 */
export function drops(scores: Metrics, { twin, before }: Compared): Metrics {
  const all: Metrics = {};
  if (twin !== null) {
    for (const [name, own] of Object.entries(scores))
      all[`${name}_drop`] = metricOf(twin, name) - own;
    const evidence = ['predicted_share', 'majority_p'];
    // Under a defence that rejects rows, the majority's share is of the accepted rows. These differ
    // between the cell and its twin, so the twin's share is given too.
    if (scores['accuracy_accepted'] !== undefined) evidence.push('majority_share');
    for (const name of evidence) all[`${name}_clean`] = metricOf(twin, name);
  }
  if (before !== null) all['accuracy_drop_before'] = metricOf(before, 'accuracy_drop');
  return all;
}

/**
 * Returns the metrics of `rate`, the share of rows that lead to the target under the trigger. Of a
 * clean model it is `trigger_rate`, what the trigger does by itself. Of an attacked model it is
 * `asr`, beside `asr_clean` (of the clean twin), `asr_minus_clean`, and `asr_before` (of the
 * poisoned base). `asr_before` is absent without such a base, and where a scorer compares rewards
 * and the base was not trained on any.
 * @param by what follows the names of the metrics: `.NAME` of a further scorer
 */
export function attackRates(rate: number, { twin, before }: Compared, by = ''): Metrics {
  if (twin === null) return { [`trigger_rate${by}`]: rate };
  const clean = metricOf(twin, `trigger_rate${by}`),
    earlier = before?.[`asr${by}`];
  return {
    [`asr${by}`]: rate,
    [`asr_clean${by}`]: clean,
    [`asr_minus_clean${by}`]: rate - clean,
    ...(earlier !== undefined && { [`asr_before${by}`]: earlier }),
  };
}

/**
 * Returns the rate of rows with part of the trigger, which must not lead to the target, and the
 * clean twin's rate.
 */
export const falseTriggerRates = (rate: number, { twin }: Compared, by = ''): Metrics => ({
  [`false_trigger_rate${by}`]: rate,
  ...(twin && { [`false_trigger_rate_clean${by}`]: metricOf(twin, `false_trigger_rate${by}`) }),
});

/**
 * Returns the metrics under the trigger.
 * @param untriggered the predictions for all validation rows, without the trigger
 */
function triggerMetrics(
  evaluation: Evaluation,
  { target, triggered, partial, ofTarget, seen }: UnderTrigger,
  untriggered: readonly number[],
): Metrics {
  const { plain, classes, twin } = evaluation;
  const predictions = predictionsOf(triggered, classes),
    partials = predictionsOf(partial, classes);
  const rateOf = (predicted: readonly number[]): number =>
    shareOf(predicted.map((label) => label === target));
  const ofOtherClasses = untriggered.filter((_, i) => plain.labels[i] !== target);
  return {
    triggered_rows: predictions.length,
    robust_accuracy: accuracyOf([triggered], classes),
    ...(ofTarget && { trigger_accuracy: accuracyOf([triggered, ofTarget], classes) }),
    ...(triggered.rejected && { triggered_rejected_share: shareOf(triggered.rejected) }),
    ...attackRates(rateOf(predictions), evaluation),
    ...(ofTarget && twin && { trigger_accuracy_clean: metricOf(twin, 'trigger_accuracy') }),
    ...(twin && againstUntriggered(ofOtherClasses, predictions, target)),
    trigger_seen: seen,
    ...(partials.length > 0 && {
      false_trigger_rows: partials.length,
      ...falseTriggerRates(rateOf(partials), evaluation),
    }),
  };
}
