/**
 * Computes the numbers of `metrics.json`, in their order. To add a metric of the model's
 * predictions, add it here, or to `classificationMetrics` if it needs only unchanged rows. To show
 * it in the report, add it to `METRICS` in `src/report/metrics.ts` too.
 */
import { againstMajority, againstUntriggered } from '../../../src/science/evaluate/baselines.ts';
import { argmax, classificationMetrics } from '../../../src/science/evaluate/metrics.ts';
import { metricOf, type Metrics } from '../../../src/stages/files.ts';

/** The model's output for some rows. */
export interface Scored {
  /** The true labels. */
  readonly labels: readonly number[];
  readonly logits: Float32Array; // (N, C)
}

export interface UnderTrigger {
  /** The label id of the class that the trigger leads to. */
  readonly target: number;
  /** The rows of other classes, with the trigger. */
  readonly triggered: Scored;
  /** The logits of rows with only a part of the trigger. Empty if the attack has no negatives. */
  readonly partial: Float32Array; // (M, C)
  /** The share of rows whose whole trigger the model reads. */
  readonly seen: number;
}

export interface Evaluation {
  readonly classes: number; // C
  /** The validation rows without a trigger. */
  readonly plain: Scored;
  /** Null if no trigger is evaluated. */
  readonly underTrigger: UnderTrigger | null;
  /** Metrics of the paired clean run, with the same trigger. Null if this run is clean itself. */
  readonly twin: Metrics | null;
  /** Metrics of the poisoned base before this training. Null if the base is not poisoned. */
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

/** Returns the accuracy compared with the paired clean run's and with the poisoned base's. */
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

/** @param untriggered the predictions for all validation rows without the trigger */
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
  // For a model that no attack touched, the rate is not a success: it shows what the trigger does
  // by itself.
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

/**
 * Returns the metrics of rows with part of the trigger, which must not lead to the target class.
 */
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
