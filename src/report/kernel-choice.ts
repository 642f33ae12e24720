/** Chooses the few cells whose kernels are drawn, so that no more are read. */
import { type Condition, conditionsOf } from './conditions.ts';
import { checkpointName } from './fisher.ts';
import { blockLabel } from './labels.ts';
import type { Checkpoint, ReportCell } from './types.ts';

const MOST_ATTACKS = 3;

export interface KernelChoice {
  readonly cell: ReportCell;
  readonly checkpoint: Checkpoint;
  readonly title: string;
}

/**
 * Chooses one LoRA adapter (the first) and its first seed with results. At initialisation, one
 * kernel is drawn, since the attack plays no part there; after training, one for each attack.
 * @param has whether a cell's kernel stage has finished
 */
export function chooseKernels(
  cells: readonly ReportCell[],
  has: (cell: ReportCell) => boolean,
): readonly KernelChoice[] {
  const finished = conditionsOf(cells, []).flatMap((condition) => {
    const cell = condition.cells.find(has);
    return cell ? [{ condition, cell }] : [];
  });
  const ofAdapter = (test: (condition: Condition) => boolean) =>
    finished.find(({ condition }) => test(condition));
  // LoRA's cells hold both kernels; a grid without any still has the full one.
  const first =
    ofAdapter(({ adapter }) => adapter === 'lora') ??
    ofAdapter(({ adapter }) => adapter !== 'full') ??
    finished[0];
  if (!first) return [];
  const name = first.condition.adapterLabel;
  const alike = finished
    .filter(({ condition }) => condition.adapterLabel === name)
    .slice(0, MOST_ATTACKS);
  return [
    { cell: first.cell, checkpoint: 'init', title: `${name}, ${checkpointName('init')}` },
    ...alike.map(({ condition, cell }) => ({
      cell,
      checkpoint: 'final' as const,
      title: `${name}, ${checkpointName('final')}, ${blockLabel(condition)}`,
    })),
  ];
}
