/**
 * Computes what a stage needs of a machine, what this machine has, and what a scheduler is told of
 * a job before it runs.
 */
import os from 'node:os';
import type { Asset, BackendName, Demand, RunContext } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { PlannedStage } from '../../plan/types.ts';
import { visibleGpus } from '../../tensor/backend.ts';
import type { Assets } from './survey.ts';

export interface Machine {
  readonly cores: number;
  /** The machine's memory. Without it, memory is not counted. */
  readonly memoryMB?: number;
  /** The GPUs that stages may use, named as in CUDA_VISIBLE_DEVICES. */
  readonly gpus?: readonly string[];
  /**
   * Whether the backend computes on the GPUs. If it does, a stage that computes takes as many GPUs
   * as its `devices`, unless it declares `gpu`.
   */
  readonly computesOnGpu?: boolean;
  /**
   * `Queues.gatherMs`. Set if a scheduler counts resources: `cores` is then the most jobs in
   * flight, and every stage takes one core.
   */
  readonly gatherMs?: number;
}

/** Whether a scheduler counts the resources, in place of this run's queue. */
export const isScheduled = ({ gatherMs }: Machine): boolean => gatherMs !== undefined;

export interface NeedingStage extends Pick<PlannedStage, 'resources'> {
  readonly descriptor: Pick<PlannedStage['descriptor'], 'compute'>;
}

export interface Need {
  readonly cpu: number;
  readonly memoryMB: number;
  /** The number of GPUs. */
  readonly gpu: number;
}

/**
 * Returns what a stage needs, cut to what the machine has. Under a scheduler, each stage takes one
 * core, which stands for a job in flight.
 */
export function needOf(
  { resources, descriptor }: NeedingStage,
  backend: BackendName,
  machine: Machine,
): Need {
  if (isScheduled(machine)) return { cpu: 1, memoryMB: 0, gpu: 0 };
  const { cores, memoryMB = Infinity, gpus = [], computesOnGpu = false } = machine;
  const usual = usualGpus({ resources, descriptor }, backend, computesOnGpu);
  return {
    cpu: Math.min(cores, Math.max(1, resources.cpu)),
    memoryMB: Math.min(memoryMB, resources.memoryMB ?? 0),
    gpu: Math.min(gpus.length, resources.gpu ?? usual),
  };
}

/** Returns the number of GPUs that a stage takes if it does not declare `gpu`. */
const usualGpus = (
  { resources: { devices = 1 }, descriptor: { compute } }: NeedingStage,
  backend: BackendName,
  computesOnGpu: boolean,
): number =>
  compute && (backend === 'tensorflow' || backend === 'torch') && computesOnGpu ? devices : 0;

/** Returns a function that gives how many stages like a given one may run at once. */
export const placesOn =
  (machine: Machine, backend: BackendName) =>
  (stage: PlannedStage): number =>
    placesFor(needOf(stage, backend, machine), machine);

/** Returns how many stages with this need may run at once: at least one. */
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

export interface DemandFacts {
  readonly backend: BackendName;
  readonly assets: Assets;
  readonly computesOnGpu: boolean;
  /** Returns how many seconds a stage is expected to take; null if that is not known. */
  readonly expect: (stage: PlannedStage) => number | null;
}

/**
 * Returns what a scheduler is told of a stage. Rejects if the stage's own estimate throws.
 * @param inputs the stage's inputs, once they are made
 */
export async function estimateDemand(
  stage: PlannedStage,
  { backend, assets, computesOnGpu, expect }: DemandFacts,
  inputs?: RunContext['inputs'],
): Promise<Demand> {
  const { resources, descriptor } = stage;
  const seconds = expect(stage) ?? undefined;
  const memoryMB = (resources.memoryMB ?? 0) + (await estimatedMemory(stage, assets, inputs));
  return {
    gpu: resources.gpu ?? usualGpus(stage, backend, computesOnGpu),
    compute: descriptor.compute,
    ...defined({ seconds, memoryMB: memoryMB === 0 ? undefined : memoryMB }),
  };
}

function availableMemoryMB(): number {
  // The limit of the container, in bytes; 0 or a huge number if there is none.
  const limit = process.constrainedMemory();
  return Math.floor(Math.min(os.totalmem(), limit > 0 ? limit : Infinity) / 2 ** 20);
}

/**
 * Describes this machine.
 * @param cores how many to use
 * @param gpu whether the backend computes on GPUs
 */
export const thisMachine = (cores: number, gpu: boolean): Machine => ({
  cores,
  memoryMB: availableMemoryMB(),
  gpus: visibleGpus(process.env),
  computesOnGpu: gpu,
});

/**
 * Returns a stage's own estimate of its memory in MB; 0 if it makes none that is finite, or while a
 * source is missing.
 */
async function estimatedMemory(
  { descriptor, params, assets }: PlannedStage,
  found: Assets,
  inputs: RunContext['inputs'] | undefined,
): Promise<number> {
  const here: { [name: string]: Asset } = {};
  for (const [name, uri] of Object.entries(assets)) {
    const asset = found.get(uri);
    if (!asset) return 0;
    here[name] = asset;
  }
  const given = { params, assets: here, ...defined({ inputs }) };
  const estimate = (await descriptor.pack?.memoryMB?.(given)) ?? 0;
  return Number.isFinite(estimate) ? estimate : 0;
}
