/**
 * The baselines of a classifier's scores: always predicting the commonest class and, for an attack,
 * the same model's predictions for the same rows without the trigger. Both are compared by
 * McNemar's exact test on the rows' outcomes. Pure.
 */
import { pairedOutcomes } from '../../../base/stats.ts';

const shares = (values: readonly number[], classes: number): number[] => {
  const counts = new Array<number>(classes).fill(0);
  for (const value of values) counts[value]!++;
  return counts.map((count) => count / values.length);
};

/**
 * `majority_share`: share of the commonest true class, which is the accuracy of always predicting
 * it; `predicted_share`: share of the class that is predicted most, 1 where the model predicts one
 * class only; `majority_p`: p-value of the hypothesis that the model's accuracy equals
 * `majority_share`.
 */
export function againstMajority(
  labels: readonly number[],
  predictions: readonly number[],
  classes: number,
): Record<'majority_share' | 'predicted_share' | 'majority_p', number> {
  const ofLabels = shares(labels, classes);
  const majority = ofLabels.indexOf(Math.max(...ofLabels));
  return {
    majority_share: ofLabels[majority]!,
    predicted_share: Math.max(...shares(predictions, classes)),
    majority_p: pairedOutcomes(
      labels.map((label, i) => predictions[i] === label),
      labels.map((label) => label === majority),
    ).p,
  };
}

/**
 * `asr_untriggered`: share of rows for which the model predicts the target class without the
 * trigger; `asr_minus_untriggered`: what the trigger adds to that share; `asr_untriggered_p`:
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
