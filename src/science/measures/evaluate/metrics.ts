/**
 * Metrics of a classifier's predictions, and two baselines for them: always predicting the
 * commonest class and, for an attack, the same model's predictions for the same rows without the
 * trigger. Predictions are compared with a baseline by McNemar's exact test on the rows' outcomes.
 * Pure. A quotient with denominator 0 counts as 0, as in scikit-learn.
 */
import { pairedOutcomes } from '../../../base/stats.ts';

/** Returns the number of rows by true label (row) and prediction (column), (C, C). */
export function confusion(
  labels: readonly number[],
  predictions: readonly number[],
  classes: number,
): number[][] {
  const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  labels.forEach((label, i) => {
    counts[label]![predictions[i]!]!++;
  });
  return counts;
}

const quotient = (a: number, b: number): number => (b === 0 ? 0 : a / b);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

interface ClassScores {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** Precision, recall and F1 of one class against the rest. counts: (C, C), rows by true class. */
export function classScores(counts: readonly (readonly number[])[], positive: number): ClassScores {
  const hits = counts[positive]![positive]!;
  const predicted = sum(counts.map((row) => row[positive]!)),
    actual = sum(counts[positive]!);
  return {
    precision: quotient(hits, predicted),
    recall: quotient(hits, actual),
    f1: quotient(2 * hits, predicted + actual),
  };
}

/**
 * Matthews' correlation for any number of classes (Gorodkin 2004):
 *
 *     (c·s − Σ p_k t_k)/√((s² − Σ p_k²)(s² − Σ t_k²))
 *
 * There are s rows. c of them are predicted correctly, p_k are predicted as class k, and t_k are of
 * class k. counts: (C, C), rows by true class.
 */
export function matthews(counts: readonly (readonly number[])[]): number {
  const actual = counts.map(sum),
    predicted = counts.map((_, k) => sum(counts.map((row) => row[k]!)));
  const s = sum(actual),
    c = sum(counts.map((row, k) => row[k]!));
  const sumOfSquares = (values: readonly number[]): number => sum(values.map((x) => x * x));
  return quotient(
    c * s - sum(actual.map((t, k) => t * predicted[k]!)),
    Math.sqrt((s * s - sumOfSquares(predicted)) * (s * s - sumOfSquares(actual))),
  );
}

/** Returns the mean of −log softmax(f)[label], in double precision. logits: (N, C), row-major. */
export function meanLoss(
  logits: ArrayLike<number>,
  labels: readonly number[],
  classes: number,
): number {
  return (
    sum(
      labels.map((label, i) => {
        const row = Array.from({ length: classes }, (_, c) => logits[i * classes + c]!);
        const top = Math.max(...row);
        return top + Math.log(sum(row.map((x) => Math.exp(x - top)))) - row[label]!;
      }),
    ) / labels.length
  );
}

/** Returns the class of the largest logit of each row, the first one where several are equal. */
export function argmax(logits: ArrayLike<number>, classes: number): number[] {
  return Array.from({ length: logits.length / classes }, (_, i) => {
    let best = 0;
    for (let c = 1; c < classes; c++)
      if (logits[i * classes + c]! > logits[i * classes + best]!) best = c;
    return best;
  });
}

/**
 * Returns accuracy, mcc, macro_f1, loss, examples, precision, recall and f1. With two classes the
 * last three are those of class 1, otherwise their means over classes. As in scikit-learn, such
 * means (and macro_f1) leave out a class that no row has and that is never predicted.
 */
export function classificationMetrics(
  logits: ArrayLike<number>,
  labels: readonly number[],
  classes: number,
): Record<string, number> {
  const counts = confusion(labels, argmax(logits, classes), classes);
  const scores = counts.map((_, k) => classScores(counts, k));
  const met = scores.filter((_, k) => counts.some((row, i) => row[k]! > 0 || counts[k]![i]! > 0));
  const mean = (pick: (s: ClassScores) => number): number =>
    quotient(sum(met.map(pick)), met.length);
  const macro = {
    precision: mean((s) => s.precision),
    recall: mean((s) => s.recall),
    f1: mean((s) => s.f1),
  };
  const { precision, recall, f1 } = classes === 2 ? scores[1]! : macro;
  return {
    accuracy: sum(counts.map((row, k) => row[k]!)) / labels.length,
    precision,
    recall,
    f1,
    macro_f1: macro.f1,
    mcc: matthews(counts),
    loss: meanLoss(logits, labels, classes),
    examples: labels.length,
  };
}

const classShares = (ids: readonly number[], classes: number): number[] => {
  const counts = new Array<number>(classes).fill(0);
  for (const id of ids) counts[id]!++;
  return counts.map((count) => count / ids.length);
};

/**
 * Returns `majority_share`: share of the commonest true class, which is the accuracy of always
 * predicting it; `predicted_share`: share of the class that is predicted most, 1 where the model
 * predicts one class only; `majority_p`: p-value of the hypothesis that the model's accuracy equals
 * `majority_share`.
 */
export function againstMajority(
  labels: readonly number[],
  predictions: readonly number[],
  classes: number,
): Record<'majority_share' | 'predicted_share' | 'majority_p', number> {
  const ofLabels = classShares(labels, classes);
  const majority = ofLabels.indexOf(Math.max(...ofLabels));
  return {
    majority_share: ofLabels[majority]!,
    predicted_share: Math.max(...classShares(predictions, classes)),
    majority_p: pairedOutcomes(
      labels.map((label, i) => predictions[i] === label),
      labels.map((label) => label === majority),
    ).p,
  };
}

/**
 * Returns `asr_untriggered`: share of rows for which the model predicts the target class without
 * the trigger; `asr_minus_untriggered`: what the trigger adds to that share; `asr_untriggered_p`:
 * p-value of the hypothesis that it adds nothing.
 * @param untriggered predictions for the non-target rows without the trigger
 * @param triggered predictions for the same rows, in the same order, with the trigger
 */
export function againstUntriggered(
  untriggered: readonly number[],
  triggered: readonly number[],
  target: number,
): Record<'asr_untriggered' | 'asr_minus_untriggered' | 'asr_untriggered_p', number> {
  const without = untriggered.map((prediction) => prediction === target);
  const { difference, p } = pairedOutcomes(
    triggered.map((prediction) => prediction === target),
    without,
  );
  return {
    asr_untriggered: without.filter((hit) => hit).length / without.length,
    asr_minus_untriggered: difference,
    asr_untriggered_p: p,
  };
}
