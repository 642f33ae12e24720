/**
 * What a classifier's scores must be told from: always predicting the commonest class, and, for an attack, what the same
 * model says of the same rows without the trigger. Pure; both by McNemar's exact test on the rows' outcomes.
 */
import { pairedOutcomes } from '../../stats/mcnemar.ts';

const shares = (values: readonly number[], classes: number): number[] => {
  const counts = new Array<number>(classes).fill(0);
  for (const value of values) counts[value]!++;
  return counts.map((count) => count / values.length);
};

/**
 * `majority_share`: share of the commonest true class, which is the accuracy of always predicting it; `predicted_share`:
 * share of the class that is predicted most, 1 where the model predicts one class only; `majority_p`: p of the model's
 * accuracy being no other than `majority_share`.
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
 * `asr_untriggered`: share of rows that the model gives the target class without the trigger; `asr_minus_untriggered`:
 * what the trigger adds to that; `asr_untriggered_p`: p of its adding nothing.
 * @param untriggered predictions of the non-target rows as they are
 * @param triggered of the same rows, in the same order, under the trigger
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
