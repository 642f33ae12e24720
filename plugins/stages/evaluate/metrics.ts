/**
 * The numbers of `metrics.json`, in its order. A metric of the model's predictions is added here, or
 * to `classificationMetrics` where untouched rows suffice, and to `METRICS` of
 * `src/report/metrics.ts` if the report is to show it.
 */
import { againstMajority, againstUntriggered } from '../../../src/science/evaluate/baselines.ts';
import { argmax, classificationMetrics } from '../../../src/science/evaluate/metrics.ts';
import { metricOf, type Metrics } from '../../../src/stages/files.ts';

/** What the model makes of some rows. */
export interface Scored {
  /** The true ones. */
  readonly labels: readonly number[];
  readonly logits: Float32Array; // (N, C)
}

export interface UnderTrigger {
  /** The label id of the class that the trigger leads to. */
  readonly target: number;
  /** The rows of other classes, under the trigger. */
  readonly triggered: Scored;
  /** Logits of rows that hold part of the trigger only; empty where the attack has no negatives. */
  readonly partial: Float32Array; // (M, C)
  /** The share of rows whose whole trigger the model reads. */
  readonly seen: number;
}

export interface Evaluation {
  readonly classes: number; // C
  /** The validation rows as they are, without a trigger. */
  readonly plain: Scored;
  /** Null where no trigger is shown. */
  readonly underTrigger: UnderTrigger | null;
  /**
   * Metrics of the paired clean run, under the same trigger; null of a run that is clean itself.
   */
  readonly twin: Metrics | null;
  /** Metrics of the poisoned base before this training; null where the base is not poisoned. */
  readonly before: Metrics | null;
}

export function metricsOf(evaluation: Evaluation): Metrics {
  const { plain, classes, underTrigger } = evaluation;
  const predictions = argmax(plain.logits, classes);
  const scores = classificationMetrics(plain.logits, plain.labels, classes);
  return {
    ...scores,
    ...againstMajority(plain.labels, predictions, classes),
    ...comparedMetrics(evaluation, metricOf(scores, 'accuracy')),
    ...(underTrigger === null ? {} : triggerMetrics(evaluation, underTrigger, predictions)),
    ...(underTrigger === null ? {} : falseTriggerMetrics(evaluation, underTrigger)),
  };
}

/** Beside the paired clean run's, and beside the poisoned base's. */
function comparedMetrics({ twin, before }: Evaluation, accuracy: number): Metrics {
  return {
    ...(twin === null
      ? {}
      : {
          accuracy_drop: metricOf(twin, 'accuracy') - accuracy,
          predicted_share_clean: metricOf(twin, 'predicted_share'),
          majority_p_clean: metricOf(twin, 'majority_p'),
        }),
    ...(before === null ? {} : { accuracy_drop_before: metricOf(before, 'accuracy_drop') }),
  };
}

/** @param untriggered predictions of all validation rows, as they are */
function triggerMetrics(
  { plain, classes, twin, before }: Evaluation,
  { target, triggered, seen }: UnderTrigger,
  untriggered: readonly number[],
): Metrics {
  const predictions = argmax(triggered.logits, classes);
  const share = (hit: (prediction: number, i: number) => boolean): number =>
    predictions.filter(hit).length / predictions.length;
  const rate = share((prediction) => prediction === target);
  const metrics: Metrics = {
    triggered_rows: predictions.length,
    robust_accuracy: share((prediction, i) => prediction === triggered.labels[i]),
  };
  // Of a model that no attack touched it is no success, but what the trigger does by itself.
  if (twin === null) return { ...metrics, trigger_rate: rate, trigger_seen: seen };
  const cleanRate = metricOf(twin, 'trigger_rate');
  const ofOtherClasses = untriggered.filter((_, i) => plain.labels[i] !== target);
  return {
    ...metrics,
    asr: rate,
    asr_clean: cleanRate,
    asr_minus_clean: rate - cleanRate,
    ...(before === null ? {} : { asr_before: metricOf(before, 'asr') }),
    ...againstUntriggered(ofOtherClasses, predictions, target),
    trigger_seen: seen,
  };
}

/** Rows with part of the trigger, which must not lead to the target class. */
function falseTriggerMetrics(
  { classes, twin }: Evaluation,
  { target, partial }: UnderTrigger,
): Metrics {
  const predictions = argmax(partial, classes);
  if (predictions.length === 0) return {};
  const hits = predictions.filter((prediction) => prediction === target);
  return {
    false_trigger_rows: predictions.length,
    false_trigger_rate: hits.length / predictions.length,
    ...(twin === null ? {} : { false_trigger_rate_clean: metricOf(twin, 'false_trigger_rate') }),
  };
}
