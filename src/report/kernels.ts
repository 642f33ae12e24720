/** Compares LoRA's Fisher information with that of the same layers in full, at the same weights. */
import type { Condition } from './conditions.ts';
import { predictsOneClass, writesAnswers } from './evidence.ts';
import {
  checkpointsOf,
  entropiesOf,
  fisherOf,
  type FisherQuantity,
  INFORMATION,
  withLora,
} from './fisher.ts';
import { RELATIVE_MARGIN } from './margins.ts';
import { cellsBySeed, type Comparison, pairBySeed } from './pairs.ts';
import type { Checkpoint, Parametrisation } from './types.ts';
import { judge } from './verdict.ts';

export interface KernelComparison extends Comparison {
  readonly quantity: FisherQuantity;
  readonly checkpoint: Checkpoint;
  readonly condition: Condition;
}

/**
 * Compares one quantity. A model that predicts one class only is excluded, except at its start,
 * because training made it so.
 */
function compareOne(
  quantity: FisherQuantity,
  checkpoint: Checkpoint,
  condition: Condition,
): KernelComparison {
  const cells = cellsBySeed(condition);
  const value =
    (of: Parametrisation) =>
    (seed: number): number | null => {
      const cell = cells.get(seed);
      return cell ? fisherOf(quantity, checkpoint, of)(cell) : null;
    };
  const reason = (seed: number): string | null => {
    const cell = cells.get(seed);
    return checkpoint !== 'init' && cell !== undefined && predictsOneClass(cell)
      ? `the model ${writesAnswers(cell) ? 'writes one text only' : 'predicts one class only'}`
      : null;
  };
  const seeds = [...cells.keys()].sort((x, y) => x - y);
  const pairs = pairBySeed(seeds, value('lora'), value('full'), reason);
  const size = pairs.b.reduce((sum, x) => sum + Math.abs(x), 0) / Math.max(1, pairs.b.length);
  return {
    quantity,
    checkpoint,
    condition,
    margin: RELATIVE_MARGIN * size,
    verdict: null,
    ...pairs,
  };
}

/**
 * Compares the two kernels of K_LoRA = K_full + Δ, cell by cell. The paper claims LoRA ≤ full for
 * each quantity.
 */
export function compareKernels(conditions: readonly Condition[]): readonly KernelComparison[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const quantities = [...INFORMATION, ...entropiesOf(cells)];
  return checkpointsOf(cells).flatMap((checkpoint) =>
    quantities.flatMap((quantity) => {
      const family = withLora(conditions, checkpoint)
        .map((condition) => compareOne(quantity, checkpoint, condition))
        .filter(({ difference, excluded }) => difference !== null || excluded > 0);
      // The claim is about LoRA: the kernel of another adapter is neither judged nor counted.
      const ofLora = family.filter(({ condition }) => condition.adapter === 'lora');
      const verdicts = new Map(judge(ofLora, -1).map((verdict, i) => [ofLora[i], verdict]));
      return family.map((comparison) => ({
        ...comparison,
        verdict: verdicts.get(comparison) ?? null,
      }));
    }),
  );
}
