/**
 * The vectors of the model that an adapter trains, as layers of its kernel: biases (BitFit, or LoRA
 * with `bias`) and the scales of norms.
 */
import { within } from './names.ts';
import type { Network } from './network.ts';
import type { AdaptedLayer, LinearLayer, TrainedVectors, VectorLayer } from './types.ts';

export interface OwnVectors {
  /** Those of a linear layer; null where it has none. */
  of(layer: LinearLayer): TrainedVectors | null;
  /** The norms, and the biases that belong to no linear layer, which have some. */
  readonly layers: readonly AdaptedLayer[];
}

const NONE: OwnVectors = { of: () => null, layers: [] };

/**
 * Returns the vectors below the head that the adapter trains. None where it also trains parameters
 * of the model that are no vectors, since a kernel over a part of them would not be the adapter's.
 */
export function ownVectors({
  adapter,
  architecture,
  config,
  linears,
  parameters,
}: Network): OwnVectors {
  const trains = (name: string): boolean =>
    adapter.ofModel?.(name) === true && !within(name, architecture.headModules);
  const uncovered = new Set(parameters.map(({ name }) => name).filter(trains));
  if (uncovered.size === 0) return NONE;
  const trainedOf = ({ name, bias, unit }: Pick<VectorLayer, 'name' | 'bias' | 'unit'>) => {
    const own = {
      bias: bias && trains(`${name}.bias`),
      ...(unit !== undefined && trains(`${name}.weight`) ? { unit } : {}),
    };
    if (own.bias) uncovered.delete(`${name}.bias`);
    if (own.unit !== undefined) uncovered.delete(`${name}.weight`);
    return own.bias || own.unit !== undefined ? own : null;
  };
  const ofLinears = new Map(linears.map((layer) => [layer.name, trainedOf(layer)]));
  const layers = (architecture.vectors?.(config) ?? []).flatMap((layer): AdaptedLayer[] => {
    const trained = trainedOf(layer);
    return trained === null ? [] : [{ ...layer, adaptable: false, ownOnly: true, trained }];
  });
  if (uncovered.size > 0) return NONE;
  return { of: ({ name }) => ofLinears.get(name) ?? null, layers };
}
