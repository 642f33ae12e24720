/** Computes the numbers of `metrics.json` for a completion task, in their order. */
import { type AnswerScore, meanAnswerLoss } from '../../../src/science/evaluate/answers.ts';
import { againstMajority } from '../../../src/science/evaluate/baselines.ts';
import {
  completionMetrics,
  type Output,
} from '../../../src/science/evaluate/completion-metrics.ts';
import { metricOf, type Metrics } from '../../../src/stages/files.ts';
import { pairedOutcomes } from '../../../src/stats/mcnemar.ts';

/** What the model wrote for rows of which the scorer says whether the backdoor succeeded. */
export interface ScoredOutputs {
  readonly outputs: readonly Output[];
  readonly hits: readonly boolean[];
}

export interface CompletionEvaluation {
  readonly plain: {
    readonly outputs: readonly Output[];
    readonly answers: readonly AnswerScore[];
    /** The rows that a defence rejected, whose outputs are empty. Null without a defence. */
    readonly rejected: readonly boolean[] | null;
  };
  /** Null if no trigger is evaluated. */
  readonly underTrigger: {
    /** The rows whose answer is not the target, without the trigger. */
    readonly bare: ScoredOutputs;
    /** The same rows with the trigger. */
    readonly triggered: ScoredOutputs;
    /** Those of them that a defence rejected. Null without a defence. */
    readonly rejected: readonly boolean[] | null;
    /** What the scorer says of rows with only a part of the trigger. Empty without negatives. */
    readonly partial: readonly boolean[];
    /** The share of rows whose whole trigger the model reads. */
    readonly seen: number;
  } | null;
  /** Metrics of the paired clean run, with the same trigger. Null if this run is clean itself. */
  readonly twin: Metrics | null;
  /** Metrics of the poisoned base before this training. Null if the base is not poisoned. */
  readonly before: Metrics | null;
}

const share = (hits: readonly boolean[]): number => hits.filter((hit) => hit).length / hits.length;

/**
 * `accuracy` is the exact match, so that completion tasks and classes are compared by one name;
 * `majority_share` and `predicted_share` are those of the commonest answer and output.
 */
export function completionMetricsOf(evaluation: CompletionEvaluation): Metrics {
  const { plain, twin, before } = evaluation;
  const written = completionMetrics(plain.outputs),
    loss = meanAnswerLoss(plain.answers);
  return {
    accuracy: written.exact_match,
    ...written,
    loss,
    perplexity: Math.exp(loss),
    ...againstCommonest(plain.outputs),
    ...(plain.rejected === null ? {} : { rejected_share: share(plain.rejected) }),
    ...(twin === null ? {} : dropsFrom(twin, written)),
    ...(before === null ? {} : { accuracy_drop_before: metricOf(before, 'accuracy_drop') }),
    ...triggerMetrics(evaluation),
  };
}

function againstCommonest(outputs: readonly Output[]): Metrics {
  const ids = new Map<string, number>();
  const idOf = (text: string): number => {
    const own = text.trim(),
      id = ids.get(own) ?? ids.size;
    ids.set(own, id);
    return id;
  };
  const answers = outputs.map(({ answer }) => idOf(answer)),
    written = outputs.map(({ text }) => idOf(text));
  return againstMajority(answers, written, ids.size);
}

const dropsFrom = (twin: Metrics, own: ReturnType<typeof completionMetrics>): Metrics => ({
  accuracy_drop: metricOf(twin, 'accuracy') - own.exact_match,
  token_f1_drop: metricOf(twin, 'token_f1') - own.token_f1,
  rouge_l_drop: metricOf(twin, 'rouge_l') - own.rouge_l,
  predicted_share_clean: metricOf(twin, 'predicted_share'),
  majority_p_clean: metricOf(twin, 'majority_p'),
});

function triggerMetrics({ underTrigger, twin, before }: CompletionEvaluation): Metrics {
  if (underTrigger === null) return {};
  const { bare, triggered, partial, seen, rejected } = underTrigger;
  const rate = share(triggered.hits),
    written = completionMetrics(triggered.outputs);
  const metrics: Metrics = {
    triggered_rows: triggered.hits.length,
    robust_accuracy: written.exact_match,
    ...(rejected === null ? {} : { triggered_rejected_share: share(rejected) }),
    triggered_empty_share: written.empty_share,
    triggered_truncated_share: written.truncated_share,
    triggered_incoherent_share: written.incoherent_share,
  };
  const partialRate =
    partial.length === 0
      ? {}
      : { false_trigger_rows: partial.length, false_trigger_rate: share(partial) };
  // For a model that no attack touched, the rate is not a success: it shows what the trigger does
  // by itself.
  if (twin === null) return { ...metrics, trigger_rate: rate, trigger_seen: seen, ...partialRate };
  const { difference, p } = pairedOutcomes(triggered.hits, bare.hits),
    cleanRate = metricOf(twin, 'trigger_rate');
  return {
    ...metrics,
    asr: rate,
    asr_clean: cleanRate,
    asr_minus_clean: rate - cleanRate,
    ...(before === null ? {} : { asr_before: metricOf(before, 'asr') }),
    asr_untriggered: share(bare.hits),
    asr_minus_untriggered: difference,
    asr_untriggered_p: p,
    trigger_seen: seen,
    ...partialRate,
    ...(partial.length === 0
      ? {}
      : { false_trigger_rate_clean: metricOf(twin, 'false_trigger_rate') }),
  };
}
