/** The paper's predictions about the Fisher information, each with the verdicts of this grid. */
import { groupBy, type NonEmpty } from './groups.ts';
import type { KernelComparison } from './kernels.ts';
import type { Verdict } from './verdict.ts';

export interface Prediction {
  readonly comparisons: NonEmpty<KernelComparison>;
  readonly held: number;
  readonly refuted: number;
  readonly undecided: number;
  /** `held` or `refuted` if every comparison agrees, and otherwise `undecided`. */
  readonly state: Verdict['state'];
}

/**
 * Returns one prediction for each quantity and checkpoint, in the order of the comparisons. Those
 * of other adapters than LoRA are left out, since the paper predicts nothing of them.
 */
export function predictionsOf(kernels: readonly KernelComparison[]): readonly Prediction[] {
  const ofLora = kernels.filter(({ condition }) => condition.adapter === 'lora');
  const groups = groupBy(ofLora, ({ quantity, checkpoint }) => `${checkpoint} ${quantity.id}`);
  return [...groups.values()].map((comparisons) => {
    const count = (state: Verdict['state']): number =>
      comparisons.filter(({ verdict }) => (verdict?.state ?? 'undecided') === state).length;
    const held = count('held'),
      refuted = count('refuted');
    return {
      comparisons,
      held,
      refuted,
      undecided: count('undecided'),
      state:
        held === comparisons.length
          ? 'held'
          : refuted === comparisons.length
            ? 'refuted'
            : 'undecided',
    };
  });
}
