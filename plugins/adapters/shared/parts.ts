/** What the adapters of PEFT's kind share beside their factors: dropout, biases, and the head. */
import type { Rank, Tensor2D } from '@tensorflow/tfjs-core';
import { type Problem, UserFault } from '../../../src/api.ts';
import type { LayerContext, SaveContext } from '../../../src/science/models/adapter.ts';
import { dropoutMask } from '../../../src/science/models/elementwise.ts';
import type { LoraBias } from '../../../src/science/models/io/peft-config.ts';
import { within } from '../../../src/science/models/modules.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';

/**
 * The mask of dropout on a layer's input x, (S, n), for this step; undefined where there is none.
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

/** Returns a predicate of names: whether it is a bias trained beside the adapted `layers`. */
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

/** The head and the trained biases, by canonical name, as a folder holds them. */
export async function readHeadAndBiases(
  { architecture, parameters, read }: SaveContext,
  isBias: (name: string) => boolean,
): Promise<{ readonly saved: Map<string, HostTensor>; readonly biases: Map<string, HostTensor> }> {
  const saved = new Map<string, HostTensor>(),
    biases = new Map<string, HostTensor>();
  for (const { name } of parameters) {
    if (within(name, architecture.headModules)) saved.set(name, await read(name));
    else if (isBias(name)) biases.set(name, await read(name));
  }
  return { saved, biases };
}

/** Throws UserFault for the first problem, if there is one. */
export function throwFirst(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first !== undefined) throw new UserFault(first.message, first.hint);
}
