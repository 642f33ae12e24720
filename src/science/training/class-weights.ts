/** The weight of each class in the loss. */
import { UserFault } from '../../api.ts';

/**
 * The weights for `train.class_weights`; undefined where all classes weigh the same. `balanced` is
 * N/(C·n) for a class with n of the N labels, as in scikit-learn, and 0 for a class without labels.
 * Throws UserFault where the list does not have one weight for each class.
 */
export function classWeightsOf(
  setting: 'none' | 'balanced' | readonly number[] | undefined,
  labels: readonly number[],
  classes: readonly string[],
): number[] | undefined {
  if (setting === undefined || setting === 'none') return undefined;
  if (setting !== 'balanced') {
    if (setting.length !== classes.length)
      throw new UserFault(
        `train.class_weights lists ${setting.length} weights, ` +
          `but there are ${classes.length} classes: ${classes.join(', ')}`,
      );
    return [...setting];
  }
  const counts = classes.map((_, id) => labels.filter((label) => label === id).length);
  return counts.map((n) => (n === 0 ? 0 : labels.length / (classes.length * n)));
}
