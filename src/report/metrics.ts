/** What each number is called, how it is written, and by how much two must differ to matter. */
import type { NumberKind } from './format.ts';

export interface MetricNote {
  readonly stage: string;
  readonly metric: string;
  readonly label: string;
  readonly kind: NumberKind;
  /** One sentence, shown under tables. */
  readonly meaning: string;
}

const evaluate = (
  metric: string,
  label: string,
  meaning: string,
  kind: NumberKind = 'proportion',
): MetricNote => ({ stage: 'evaluate', metric, label, kind, meaning });

export const ACCURACY = evaluate(
  'accuracy',
  'Clean accuracy',
  'share of untouched validation rows classified rightly',
);
export const MAJORITY = evaluate(
  'majority_share',
  'Majority share',
  'share of the commonest class among the validation rows: the accuracy of always predicting it',
);
export const PREDICTED = evaluate(
  'predicted_share',
  'Most predicted',
  'share of the class that the model predicts most; 1 is a model that predicts one class only',
);
export const DROP = evaluate(
  'accuracy_drop',
  'Accuracy drop',
  'clean accuracy of the paired clean run (same adapter, same seed) minus clean accuracy here',
);
export const DROP_BEFORE = evaluate(
  'accuracy_drop_before',
  'Drop before',
  'accuracy drop of the poisoned base, before the training on clean rows that the others are measured after',
);
export const ASR = evaluate(
  'asr',
  'ASR',
  'attack success rate: share of non-target validation rows that the trigger turns into the target class',
);
export const ASR_CLEAN = evaluate(
  'asr_clean',
  'Clean model',
  'the same share for the paired clean model: what the trigger does without any poisoning',
);
export const ASR_UNTRIGGERED = evaluate(
  'asr_untriggered',
  'No trigger',
  'share of the same rows that the same model gives the target class without the trigger',
);
export const ASR_ADDED = evaluate(
  'asr_minus_untriggered',
  'Trigger adds',
  'ASR minus the rate of the same model without the trigger',
);
export const ASR_BEFORE = evaluate(
  'asr_before',
  'ASR before',
  'attack success rate of the poisoned base, before the training on clean rows that the others are measured after',
);
export const TRIGGER_SEEN = evaluate(
  'trigger_seen',
  'Trigger read',
  'share of triggered validation rows whose whole trigger is within max_length and told from the original by the tokenizer',
);
export const TRIGGER_SEEN_TRAIN: MetricNote = {
  stage: 'train',
  metric: 'trigger_seen',
  label: 'Trigger read in training',
  kind: 'proportion',
  meaning: 'the same share of the poisoned training rows',
};

/** Of the task itself, in the order of the results table. Metrics that no cell has are left out of it. */
export const TASK_METRICS: readonly MetricNote[] = [
  ACCURACY,
  MAJORITY,
  PREDICTED,
  DROP,
  DROP_BEFORE,
  evaluate(
    'f1',
    'F1',
    'F1 on untouched validation rows: of the second class where there are two, else the mean over classes',
  ),
];
/** Of attacks, likewise. */
export const ATTACK_METRICS: readonly MetricNote[] = [
  ASR,
  ASR_CLEAN,
  evaluate('asr_minus_clean', 'ASR − clean', 'ASR minus the paired clean model’s rate'),
  ASR_UNTRIGGERED,
  ASR_ADDED,
  ASR_BEFORE,
];
/** Of what else a trigger does, and whether an attack was read and learnt at all. */
export const CHECK_METRICS: readonly MetricNote[] = [
  evaluate(
    'robust_accuracy',
    'Robust accuracy',
    'share of triggered non-target rows that keep their true class',
  ),
  evaluate(
    'false_trigger_rate',
    'FTR',
    'false trigger rate: share of rows with part of the trigger that turn into the target class',
  ),
  evaluate(
    'false_trigger_rate_clean',
    'FTR, clean model',
    'the same share for the paired clean model',
  ),
  TRIGGER_SEEN,
  TRIGGER_SEEN_TRAIN,
  {
    stage: 'train',
    metric: 'poisoned_accuracy',
    label: 'Poison learnt',
    kind: 'proportion',
    meaning: 'share of poisoned training rows that the model predicts as they were poisoned to',
  },
  {
    stage: 'train',
    metric: 'penalised_share',
    label: 'Penalised steps',
    kind: 'proportion',
    meaning:
      'share of training steps in which the penalty that the attack adds to the loss was not zero',
  },
];
export const METRICS: readonly MetricNote[] = [
  ...TASK_METRICS,
  ...ATTACK_METRICS,
  ...CHECK_METRICS,
];

/** A difference within ±margin is none, whatever its interval: one percentage point. */
export const PROPORTION_MARGIN = 0.01;
/** For information bits and entropies, which have no natural scale: this share of the full kernel's value. */
export const RELATIVE_MARGIN = 0.01;

/** For rank correlations, which lie in [−1, 1]. */
export const CORRELATION_MARGIN = 0.1;

/** The metrics that adapters are compared by; the others are in the table of conditions and in the CSV. */
export const COMPARED: readonly MetricNote[] = METRICS.filter(({ metric }) =>
  ['accuracy', 'accuracy_drop', 'asr', 'asr_minus_clean'].includes(metric),
);

const ALPHA_NAMES: Readonly<Record<string, string>> = { '0.5': '½', inf: '∞' };
const SUBSCRIPTS = '₀₁₂₃₄₅₆₇₈₉';
/** `H₂`, `H½`, `H∞`. */
export const entropyName = (alpha: string): string =>
  `H${/^\d+$/.test(alpha) ? [...alpha].map((digit) => SUBSCRIPTS[Number(digit)]).join('') : alphaName(alpha)}`;
export const alphaName = (alpha: string): string => ALPHA_NAMES[alpha] ?? alpha;
export const alphaOrder = (a: string, b: string): number =>
  (a === 'inf' ? Infinity : Number(a)) - (b === 'inf' ? Infinity : Number(b)) || 0;
