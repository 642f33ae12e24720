/** What a stage takes of a machine, and what a machine has. */
import type { BackendName } from '../api.ts';
import type { PlannedStage } from '../plan/types.ts';

export interface Machine {
  readonly cores: number;
  /** Left out: memory is not counted. */
  readonly memoryMB?: number;
  /** By identity, as CUDA_VISIBLE_DEVICES has them. */
  readonly gpus?: readonly string[];
  /** Whether TensorFlow computes on its GPUs: then a stage that computes takes one, unless it says otherwise. */
  readonly computesOnGpu?: boolean;
}

export interface Need {
  readonly cpu: number;
  readonly memoryMB: number;
  /** How many. */
  readonly gpu: number;
}

/** What the stage takes; where it asks for more than there is, all there is. */
export function needOf(
  { resources, descriptor }: Pick<PlannedStage, 'resources' | 'descriptor'>,
  backend: BackendName,
  { cores, memoryMB = Infinity, gpus = [], computesOnGpu = false }: Machine,
): Need {
  const usual = descriptor.compute && backend === 'tensorflow' && computesOnGpu ? 1 : 0;
  return {
    cpu: Math.min(cores, Math.max(1, resources.cpu)),
    memoryMB: Math.min(memoryMB, resources.memoryMB ?? 0),
    gpu: Math.min(gpus.length, resources.gpu ?? usual),
  };
}

/** How many stages like this one may run at once. */
export const placesOn =
  (machine: Machine, backend: BackendName) =>
  (stage: PlannedStage): number =>
    placesFor(needOf(stage, backend, machine), machine);

/** How many stages with this need may run at once. */
export function placesFor(
  { cpu, memoryMB, gpu }: Need,
  { cores, memoryMB: memory = Infinity, gpus = [] }: Machine,
): number {
  return Math.max(
    1,
    Math.floor(
      Math.min(
        cores / cpu,
        memoryMB > 0 ? memory / memoryMB : Infinity,
        gpu > 0 ? gpus.length / gpu : Infinity,
      ),
    ),
  );
}
