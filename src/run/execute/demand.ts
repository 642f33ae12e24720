/** What a scheduler is told of a job before it runs. */
import type { BackendName, Demand, RunContext } from '../../api.ts';
import type { PlannedStage } from '../../plan/types.ts';
import { packMemory } from './packer.ts';
import { usualGpus } from './resources.ts';
import type { Assets } from './survey.ts';

export interface DemandFacts {
  readonly backend: BackendName;
  readonly assets: Assets;
  readonly computesOnGpu: boolean;
  /** Returns the seconds that a stage will take, or null if that is unknown. */
  readonly expect: (stage: PlannedStage) => number | null;
}

/**
 * Returns what the stage will take. Rejects if the stage's own estimate throws.
 * @param inputs the stage's inputs, once they are made
 */
export async function demandOf(
  stage: PlannedStage,
  { backend, assets, computesOnGpu, expect }: DemandFacts,
  inputs?: RunContext['inputs'],
): Promise<Demand> {
  const { resources, descriptor } = stage;
  const seconds = expect(stage);
  const estimate = (await packMemory(stage, assets, inputs)) ?? 0;
  const memoryMB = (resources.memoryMB ?? 0) + (Number.isFinite(estimate) ? estimate : 0);
  return {
    gpu: resources.gpu ?? usualGpus(descriptor, backend, computesOnGpu),
    compute: descriptor.compute,
    ...(seconds === null ? {} : { seconds }),
    ...(memoryMB === 0 ? {} : { memoryMB }),
  };
}
