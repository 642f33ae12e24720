/** What the paper predicts of the Fisher information, each with what the comparisons of this grid say of it. */
import type { KernelComparison } from './compare.ts';
import { distinct } from './conditions.ts';
import type { Verdict } from './verdict.ts';

export interface Prediction {
  readonly comparisons: readonly KernelComparison[];
  readonly held: number;
  readonly refuted: number;
  readonly undecided: number;
  /** Held or refuted where every comparison says so. */
  readonly state: Verdict['state'];
}

/** One a quantity and checkpoint, in the order of the comparisons. */
export function predictionsOf(kernels: readonly KernelComparison[]): readonly Prediction[] {
  const name = ({ quantity, checkpoint }: KernelComparison): string =>
    `${checkpoint} ${quantity.id}`;
  return distinct(kernels.map(name)).map((of) => {
    const comparisons = kernels.filter((kernel) => name(kernel) === of);
    const count = (state: Verdict['state']): number =>
      comparisons.filter(({ verdict }) => (verdict?.state ?? 'undecided') === state).length;
    const [held, refuted, undecided] = [count('held'), count('refuted'), count('undecided')];
    return {
      comparisons,
      held,
      refuted,
      undecided,
      state:
        held === comparisons.length
          ? 'held'
          : refuted === comparisons.length
            ? 'refuted'
            : 'undecided',
    };
  });
}
