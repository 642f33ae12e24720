/** The loss's weights by class. */
import { UserFault } from '../../api.ts';

/**
 * `balanced` is N/(C·n) for a class with n of the N labels (scikit-learn's), 0 for one that none has; undefined where all
 * weigh the same. Throws UserFault at a list of another length than there are classes.
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
        `train.class_weights lists ${setting.length} weights, but there are ${classes.length} classes: ${classes.join(', ')}`,
      );
    return [...setting];
  }
  const counts = classes.map((_, id) => labels.filter((label) => label === id).length);
  return counts.map((n) => (n === 0 ? 0 : labels.length / (classes.length * n)));
}
