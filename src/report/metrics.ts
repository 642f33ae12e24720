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

/** In the order of the results table. Metrics that no cell has are left out of it. */
export const METRICS: readonly MetricNote[] = [
  evaluate('accuracy', 'Clean accuracy', 'share of untouched validation rows classified rightly'),
  evaluate(
    'accuracy_drop',
    'Accuracy drop',
    'clean accuracy of the paired clean run (same adapter, same seed) minus clean accuracy here',
  ),
  evaluate(
    'asr',
    'ASR',
    'attack success rate: share of non-target validation rows that the trigger turns into the target class',
  ),
  evaluate(
    'asr_clean',
    'Clean rate',
    'the same share for the paired clean model: what the trigger does without any poisoning',
  ),
  evaluate('asr_minus_clean', 'ASR − clean', 'ASR minus the paired clean model’s rate'),
  evaluate(
    'asr_before',
    'ASR before',
    'attack success rate of the poisoned base, before the training on clean rows that the others are measured after',
  ),
  evaluate(
    'robust_accuracy',
    'Robust accuracy',
    'share of triggered non-target rows that keep their true class',
  ),
  evaluate(
    'f1',
    'F1',
    'F1 on untouched validation rows: of the second class where there are two, else the mean over classes',
  ),
  evaluate(
    'false_trigger_rate',
    'FTR',
    'share of rows with part of the trigger that turn into the target class',
  ),
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

export const ACCURACY = METRICS[0]!;
export const DROP = METRICS[1]!;
export const ASR = METRICS[2]!;
export const ASR_CLEAN = METRICS[3]!;
export const ASR_BEFORE = METRICS[5]!;

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
