/** What several of the adapters lora, vera and peft use: dropout, biases, the head, problems. */
import type { Rank, Tensor2D } from '@tensorflow/tfjs-core';
import { type Problem, UserFault } from '../../../src/api.ts';
import type { LayerContext, SaveContext } from '../../../src/science/models/adapter.ts';
import { dropoutMask } from '../../../src/science/models/elementwise.ts';
import type { LoraBias } from '../../../src/science/models/io/peft-config.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';

/**
 * Returns a dropout mask for a layer's input x, (S, n); undefined if nothing is dropped: at rate 0,
 * or outside training (`random` undefined).
 */
export const inputMask = (
  layer: string,
  x: Tensor2D,
  rate: number,
  random: LayerContext['random'],
): Tensor2D | undefined =>
  random === undefined || rate === 0
    ? undefined
    : dropoutMask<Rank.R2>(x.shape, { rate, random: random(layer) });

/**
 * Returns a predicate: whether a name is that of a trained bias. Under `none` no bias is trained,
 * under `all` every one, under `lora_only` those of the adapted layers (`layers`).
 */
export function trainedBiasPredicate(
  bias: LoraBias,
  layers: { has(name: string): boolean },
): (name: string) => boolean {
  return {
    none: () => false,
    all: (name: string) => name.endsWith('.bias'),
    lora_only: (name: string) =>
      name.endsWith('.bias') && layers.has(name.slice(0, -'.bias'.length)),
  }[bias];
}

/**
 * Reads the parameters of `headModules` (`saved`) and the trained biases of other modules, both by
 * canonical name.
 */
export async function readHeadAndBiases(
  { architecture, parameters, read }: SaveContext,
  isTrainedBias: (name: string) => boolean,
): Promise<{ readonly saved: Map<string, HostTensor>; readonly biases: Map<string, HostTensor> }> {
  const saved = new Map<string, HostTensor>(),
    biases = new Map<string, HostTensor>();
  for (const { name } of parameters) {
    if (within(name, architecture.headModules)) saved.set(name, await read(name));
    else if (isTrainedBias(name)) biases.set(name, await read(name));
  }
  return { saved, biases };
}

/** Returns a problem at a field of the spec's `adapter`; `path` begins below `adapter`. */
export const adapterProblem = (
  path: readonly (string | number)[],
  message: string,
  hint?: string | null,
): Problem => ({
  path: ['adapter', ...path],
  message,
  ...(typeof hint === 'string' ? { hint } : {}),
});

/** Throws the first problem as a UserFault. Does nothing if the list is empty. */
export function throwFirst(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first !== undefined) throw new UserFault(first.message, first.hint);
}
