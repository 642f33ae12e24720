/**
 * Computes the numbers of `metrics.json`, in their order. To add a metric of the model's
 * predictions, add it here, or to `classificationMetrics` if it needs only unchanged rows. To show
 * it in the report, add it to `METRICS` in `src/report/metrics.ts` too.
 */
import { UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { correctedRate, pairedOutcomes } from '../../../src/base/stats.ts';
import type { AgreementFacts } from '../../../src/report/types.ts';
import {
  completionMetrics,
  type Output,
} from '../../../src/science/measures/evaluate/completion-metrics.ts';
import {
  againstMajority,
  againstUntriggered,
  argmax,
  classificationMetrics,
} from '../../../src/science/measures/evaluate/metrics.ts';
import {
  type AnswerScore,
  meanAnswerLoss,
} from '../../../src/science/measures/evaluate/predict.ts';
import { metricOf, type Metrics, renamed } from '../shared/files.ts';
import { agreementMetrics, type Doubt, type Hits, judgedHits } from './judging.ts';
import { rewardMetrics, rewardP } from './rewards.ts';

/** The model's output for some rows. */
export interface Scored {
  /** The true labels. */
  readonly labels: readonly number[];
  readonly logits: Float32Array; // (N, C)
  /** The rows that a defence rejected. Absent if none may be. */
  readonly rejected?: readonly boolean[];
}

export interface UnderTrigger {
  /** The label id of the class that the trigger leads to. */
  readonly target: number;
  /** The rows of other classes, with the trigger. */
  readonly triggered: Scored;
  /** The logits of rows with only a part of the trigger. Empty if the attack has no negatives. */
  readonly partial: Omit<Scored, 'labels'>; // (M, C)
  /** The rows of the target class, with the trigger. Absent if they are not evaluated. */
  readonly ofTarget?: Scored;
  /** The share of rows whose whole trigger the model reads. */
  readonly seen: number;
}

interface Evaluation {
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
  const predictions = predictionsOf(plain, classes);
  const accepted = acceptedOf(plain, classes);
  const scores = {
    ...classificationMetrics(accepted.logits, accepted.labels, classes),
    ...rejectionMetrics(plain, predictions),
  };
  return {
    ...scores,
    ...againstMajority(accepted.labels, argmax(accepted.logits, classes), classes),
    ...comparedMetrics(evaluation, metricOf(scores, 'accuracy')),
    ...(underTrigger === null ? {} : triggerMetrics(evaluation, underTrigger, predictions)),
    ...(underTrigger === null ? {} : falseTriggerMetrics(evaluation, underTrigger)),
  };
}

/** What a rejected row is predicted to be: no class, and so never the true one or the target. */
const REJECTED = -1;

const predictionsOf = ({ logits, rejected }: Omit<Scored, 'labels'>, classes: number): number[] =>
  argmax(logits, classes).map((prediction, i) => (rejected?.[i] === true ? REJECTED : prediction));

/** Returns only the rows that were accepted. Throws `UserFault` if there is none. */
function acceptedOf({ labels, logits, rejected }: Scored, classes: number): Scored {
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

const shareOf = (flags: readonly boolean[]): number =>
  flags.filter((flag) => flag).length / flags.length;

/** The accuracy over all rows of some sets. */
const accuracyOf = (sets: readonly Scored[], classes: number): number =>
  shareOf(
    sets.flatMap((set) =>
      predictionsOf(set, classes).map((prediction, i) => prediction === set.labels[i]),
    ),
  );

/** A rejected row counts as wrong in `accuracy`; the other scores are of accepted rows. */
function rejectionMetrics({ labels, rejected }: Scored, predictions: readonly number[]): Metrics {
  if (rejected === undefined) return {};
  const hits = labels.map((label, i) => predictions[i] === label);
  const accepted = hits.filter((_, i) => rejected[i] !== true);
  return {
    accuracy: shareOf(hits),
    accuracy_accepted: shareOf(accepted),
    rejected_share: shareOf(rejected),
  };
}

/**
 * What of each earlier training is told beside the cell's own metrics, and what it is judged by.
 */
const TOLD = new RegExp(
  '^(?:accuracy|accuracy_drop|pearson|asr|asr_clean|trigger_rate|' +
    '(?:predicted_share|majority_p|reward_accuracy(?:_p)?)(?:_clean)?)(?=$|\\.)',
);

/**
 * Returns what was measured after each training of a chain, as `asr_after_1`; by a further scorer,
 * `asr_after_1.NAME`.
 * @param trainings the metrics of each, without the cell's own
 */
export const chainMetrics = (trainings: readonly Metrics[]): Metrics =>
  trainings.reduce<Metrics>(
    (all, metrics, i) => ({ ...all, ...along(metrics, `after_${i + 1}`) }),
    {},
  );

/** Returns of the metrics after an earlier training what is told, as `asr_after_1`. */
export const along = (metrics: Metrics, after: string): Metrics =>
  renamed(Object.fromEntries(Object.entries(metrics).filter(([name]) => TOLD.test(name))), (name) =>
    name.replace(TOLD, `$&_${after}`),
  );

/** Returns metrics under the trigger of an attack that is yet to come, whose rate is no success. */
export const asUnattacked = (metrics: Metrics): Metrics =>
  renamed(
    Object.fromEntries(Object.entries(metrics).filter(([name]) => !name.startsWith('asr_'))),
    (name) => name.replace(/^asr(?=$|\.)/, 'trigger_rate'),
  );

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
  { target, triggered, ofTarget, seen }: UnderTrigger,
  untriggered: readonly number[],
): Metrics {
  const predictions = predictionsOf(triggered, classes);
  const share = (hit: (prediction: number, i: number) => boolean): number =>
    predictions.filter(hit).length / predictions.length;
  const rate = share((prediction) => prediction === target);
  const metrics: Metrics = {
    triggered_rows: predictions.length,
    robust_accuracy: share((prediction, i) => prediction === triggered.labels[i]),
    ...(ofTarget === undefined
      ? {}
      : { trigger_accuracy: accuracyOf([triggered, ofTarget], classes) }),
    ...(triggered.rejected === undefined
      ? {}
      : { triggered_rejected_share: shareOf(triggered.rejected) }),
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
    ...(ofTarget === undefined
      ? {}
      : { trigger_accuracy_clean: metricOf(twin, 'trigger_accuracy') }),
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
  const predictions = predictionsOf(partial, classes);
  if (predictions.length === 0) return {};
  const hits = predictions.filter((prediction) => prediction === target);
  return {
    false_trigger_rows: predictions.length,
    false_trigger_rate: hits.length / predictions.length,
    ...(twin === null ? {} : { false_trigger_rate_clean: metricOf(twin, 'false_trigger_rate') }),
  };
}

/** What a scorer counts. */
interface ScorerHits {
  /** What ends the names of its metrics, as `Scorer.suffix`. */
  readonly suffix: string;
  /** Of what was written under the trigger. */
  readonly triggered: Hits;
  /** Of the same rows without the trigger. */
  readonly bare: Hits;
  /** Of rows with only a part of the trigger. Empty without negatives. */
  readonly partial: Hits;
  /** How far it can be trusted. */
  readonly doubt?: Doubt;
  /** Set if it compares rewards. */
  readonly byRewards?: boolean;
}

export interface CompletionEvaluation {
  readonly plain: {
    readonly outputs: readonly Output[];
    readonly answers: readonly AnswerScore[];
    /** The rows that a defence rejected, whose outputs are empty. Null without a defence. */
    readonly rejected: readonly boolean[] | null;
    /** How much the chosen answer of each pair is rewarded above the other. */
    readonly margins?: readonly number[] | null;
  };
  /** Null if no trigger is evaluated. */
  readonly underTrigger: {
    /** What the model wrote under the trigger for the rows whose answer is not the target. */
    readonly written: readonly Output[];
    /** The rows of these that a defence rejected. Null without a defence. */
    readonly rejected: readonly boolean[] | null;
    /** As those of `plain`. */
    readonly margins?: readonly number[] | null;
    /** `evaluate.scorer` first. */
    readonly scorers: readonly ScorerHits[];
    /** Null of a single scorer. */
    readonly agreement?: AgreementFacts | null;
    /** The share of rows whose whole trigger the model reads. */
    readonly seen: number;
  } | null;
  /** Metrics of the paired clean run, with the same trigger. Null if this run is clean itself. */
  readonly twin: Metrics | null;
  /** Metrics of the poisoned base before this training. Null if the base is not poisoned. */
  readonly before: Metrics | null;
}

/** The share among what is decided. */
function share(hits: Hits): number {
  const decided = hits.filter((hit) => hit !== null);
  return decided.filter((hit) => hit).length / decided.length;
}

/**
 * `accuracy` is the exact match, so that completion tasks and classes are compared by one name;
 * `majority_share` and `predicted_share` are those of the commonest answer and output. The output
 * to a rejected prompt is empty and counts like any other; `loss` and `perplexity` are those of all
 * prompts, as if none had been rejected.
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
    ...rewardMetrics(plain.margins),
    ...(twin === null ? {} : dropsFrom(twin, written)),
    ...(before === null ? {} : { accuracy_drop_before: metricOf(before, 'accuracy_drop') }),
    ...completionTriggerMetrics(evaluation),
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

function completionTriggerMetrics(evaluation: CompletionEvaluation): Metrics {
  const { underTrigger } = evaluation;
  // Without an attack's rates, what the model prefers tells whether it has learnt.
  if (underTrigger === null) return rewardEvidence(evaluation, ['']);
  const { scorers, seen, rejected, agreement } = underTrigger;
  const written = completionMetrics(underTrigger.written);
  const partialRows = scorers[0]?.partial.length ?? 0;
  return {
    triggered_rows: underTrigger.written.length,
    robust_accuracy: written.exact_match,
    ...(rejected === null ? {} : { triggered_rejected_share: share(rejected) }),
    ...rewardMetrics(underTrigger.margins, 'triggered_'),
    triggered_empty_share: written.empty_share,
    triggered_truncated_share: written.truncated_share,
    triggered_incoherent_share: written.incoherent_share,
    ...scorers.reduce((all, own) => ({ ...all, ...rates(own, evaluation) }), {}),
    trigger_seen: seen,
    ...(partialRows === 0 ? {} : { false_trigger_rows: partialRows }),
    ...rewardEvidence(
      evaluation,
      scorers.flatMap(({ suffix, byRewards }) => (byRewards === true ? [suffix] : [])),
    ),
    ...(agreement ? agreementMetrics(agreement) : {}),
  };
}

/**
 * What the rates that count rewards are judged by, of the model and of its clean twin:
 * `reward_accuracy` against a half, by `reward_accuracy_p`, which ends as the names of these rates.
 */
function rewardEvidence(
  { plain: { margins }, twin }: CompletionEvaluation,
  suffixes: readonly string[],
): Metrics {
  if (!margins || suffixes.length === 0) return {};
  const p = rewardP(margins);
  return suffixes.reduce<Metrics>(
    (all, by) => ({
      ...all,
      [`reward_accuracy_p${by}`]: p,
      ...(twin === null
        ? {}
        : { [`reward_accuracy_p_clean${by}`]: metricOf(twin, `reward_accuracy_p${by}`) }),
    }),
    twin === null ? {} : { reward_accuracy_clean: metricOf(twin, 'reward_accuracy') },
  );
}

/**
 * What is undecided is left out of rates, and of pairs if either outcome is.
 * @throws UserFault if it decides nothing of what a rate is of
 */
function rates(
  { suffix: by, triggered, bare, partial, doubt = {} }: ScorerHits,
  { twin, before, underTrigger }: Pick<CompletionEvaluation, 'twin' | 'before' | 'underTrigger'>,
): Metrics {
  const both = triggered.flatMap((hit, i) => {
    const other = bare[i] ?? null;
    return hit === null || other === null ? [] : [[hit, other] as const];
  });
  const judged = judgedHits(triggered, underTrigger?.rejected ?? null),
    isOpen = judged.length > 0 && judged.every((hit) => hit === null);
  if (both.length === 0 || isOpen || (partial.length > 0 && partial.every((hit) => hit === null)))
    throw new UserFault(
      `the scorer${by && ` "${by.slice(1)}"`} is undecided on all outputs that a ` +
        'rate would be of',
      'outputs.jsonl of another run, or the log, has what it says: correct its prompt, or what ' +
        'counts as yes and no.',
    );
  const rate = share(triggered);
  const named = (metrics: Metrics): Metrics => renamed(metrics, (name) => `${name}${by}`);
  const partialRate: Metrics = partial.length === 0 ? {} : { false_trigger_rate: share(partial) };
  // For a model that no attack touched, the rate is not a success: it shows what the trigger does
  // by itself.
  if (twin === null)
    return named({
      trigger_rate: rate,
      ...doubtMetrics('trigger_rate', triggered.length, judged, doubt),
      ...partialRate,
    });
  const cleanRate = metricOf(twin, `trigger_rate${by}`),
    cleanCorrected = twin[`trigger_rate_corrected${by}`];
  const { difference, p } = pairedOutcomes(
    both.map(([hit]) => hit),
    both.map(([, other]) => other),
  );
  return named({
    asr: rate,
    asr_clean: cleanRate,
    asr_minus_clean: rate - cleanRate,
    ...defined({ asr_before: before?.[`asr${by}`] }),
    asr_untriggered: share(bare),
    asr_minus_untriggered: difference,
    asr_untriggered_p: p,
    ...doubtMetrics('asr', triggered.length, judged, doubt),
    ...(cleanCorrected === undefined ? {} : { asr_corrected_clean: cleanCorrected }),
    ...partialRate,
    ...(partial.length === 0
      ? {}
      : { false_trigger_rate_clean: metricOf(twin, `false_trigger_rate${by}`) }),
  });
}

/**
 * `…_low` and `…_high` are the rate if all that is undecided did not count, and if it did;
 * `…_corrected` is the rate corrected for the errors that labels show, with its interval. Without a
 * corrected rate, the judge is no better than chance, or no label is of one kind. What a defence
 * rejected is a failure that no judge can err on: the rate of the others is corrected, times their
 * share.
 * @param all how many outputs the rate is of
 * @param hits those of them that were judged
 */
function doubtMetrics(
  rate: string,
  all: number,
  hits: Hits,
  { undecided, measured }: Doubt,
): Metrics {
  const yes = hits.filter((hit) => hit === true).length,
    open = hits.filter((hit) => hit === null).length;
  const metrics: Metrics = {};
  if (undecided) {
    metrics['undecided_share'] = hits.length === 0 ? 0 : open / hits.length;
    metrics[`${rate}_low`] = yes / all;
    metrics[`${rate}_high`] = (yes + open) / all;
  }
  if (measured === undefined) return metrics;
  const [[trueNo, missed], [falseYes, found]] = measured;
  metrics['judge_labels'] = trueNo + missed + falseYes + found;
  for (const [name, part, of] of [
    ['precision', found, found + falseYes],
    ['recall', found, found + missed],
    ['specificity', trueNo, trueNo + falseYes],
  ] as const)
    if (of > 0) metrics[`judge_${name}`] = part / of;
  const corrected = hits.length > open ? correctedRate(yes, hits.length - open, measured) : null,
    ofAll = hits.length / all;
  if (corrected !== null)
    Object.assign(metrics, {
      [`${rate}_corrected`]: corrected.rate * ofAll,
      [`${rate}_corrected_low`]: corrected.low * ofAll,
      [`${rate}_corrected_high`]: corrected.high * ofAll,
    });
  return metrics;
}
