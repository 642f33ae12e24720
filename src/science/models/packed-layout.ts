/** How the trained tensors of a pack's members are stacked. */
import { at, named } from '../../base/lookup.ts';
import { within } from './names.ts';
import type { Network } from './network.ts';
import type { PackedFactors } from './packed.ts';

/** A tensor of the pack: the tensors of the members, concatenated along an axis. */
export interface Stacked {
  readonly axis: 0 | 1;
  /**
   * For each member, the name of its tensor and its extent along the axis, which is 0 where the
   * member has no such tensor.
   */
  readonly parts: readonly { readonly name: string; readonly extent: number }[];
}

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const hasParameter = (network: Network, name: string): boolean =>
  network.parameters.some((spec) => spec.name === name);

/** Returns the layers of the head. Each member trains its own copy of them. */
export const headLayers = ({ linears, architecture }: Network): string[] =>
  linears.map(({ name }) => name).filter((name) => within(name, architecture.headModules));

/** The factors of a layer. */
export interface LayerFactors {
  readonly trained: PackedFactors;
  /** The factors that are subtracted; null where no member has any. */
  readonly fixed: PackedFactors | null;
  /** For each member, whether it has magnitudes. */
  readonly magnitudes: readonly boolean[];
}

export interface Layout {
  /** The layers of the head. */
  readonly heads: ReadonlySet<string>;
  /** The factors of each layer that low-rank factors adapt. */
  readonly factors: ReadonlyMap<string, LayerFactors>;
  /** For each layer that vectors adapt and each member, whether it has vectors there. */
  readonly vectors: ReadonlyMap<string, readonly boolean[]>;
  readonly stacks: ReadonlyMap<string, Stacked>;
}

/** How the trained tensors of the members are stacked. */
export function layOut(first: Network, networks: readonly Network[]): Layout {
  const heads = new Set(headLayers(first));
  const factors = new Map<string, LayerFactors>(),
    vectors = new Map<string, readonly boolean[]>();
  const stacks = new Map<string, Stacked>();
  const rowsIn = (network: Network, name: string): number =>
    at(named(network.initial, name).shape, 0);
  for (const { name } of first.linears) {
    if (heads.has(name)) {
      for (const own of [`${name}.weight`, `${name}.bias`].filter((of) => hasParameter(first, of)))
        stacks.set(own, {
          axis: 0,
          parts: networks.map((network) => ({ name: own, extent: rowsIn(network, own) })),
        });
      continue;
    }
    layOutVectors(name, networks, vectors, stacks);
    layOutFactors(name, networks, factors, stacks);
  }
  return { heads, factors, vectors, stacks };
}

/** How many entries along its first axis a member's tensor has; 0 where it has no such tensor. */
const extentOf = (network: Network, name: string | undefined): number =>
  name === undefined ? 0 : at(named(network.initial, name).shape, 0);

function layOutFactors(
  layer: string,
  networks: readonly Network[],
  factors: Map<string, LayerFactors>,
  stacks: Map<string, Stacked>,
): void {
  const members = networks.map((network) => {
    const names = network.adapter.factors(layer);
    return { network, names, rank: extentOf(network, names?.A) };
  });
  const ranks = members.map(({ rank }) => rank);
  if (sum(ranks) === 0) return;
  const fixed = members.map(({ names, rank }) => (names?.fixed === undefined ? 0 : rank));
  factors.set(layer, {
    trained: { ranks, scales: members.map(({ names }) => names?.scale ?? 0) },
    fixed:
      sum(fixed) === 0
        ? null
        : { ranks: fixed, scales: members.map(({ names }) => -(names?.scale ?? 0)) },
    magnitudes: members.map(({ names }) => names?.magnitude !== undefined),
  });
  const stack = (axis: 0 | 1, of: 'A' | 'B'): void => {
    stacks.set(`${layer}/${of}`, {
      axis,
      parts: members.map(({ names, rank }) => ({ name: names?.[of] ?? '', extent: rank })),
    });
  };
  stack(0, 'A');
  stack(1, 'B');
  if (members.some(({ names }) => names?.magnitude !== undefined))
    stacks.set(`${layer}/m`, {
      axis: 0,
      parts: members.map(({ network, names }) => ({
        name: names?.magnitude ?? '',
        extent: extentOf(network, names?.magnitude),
      })),
    });
}

function layOutVectors(
  layer: string,
  networks: readonly Network[],
  vectors: Map<string, readonly boolean[]>,
  stacks: Map<string, Stacked>,
): void {
  const members = networks.map((network) => network.adapter.vectors?.(layer) ?? null);
  if (members.every((names) => names === null)) return;
  vectors.set(
    layer,
    members.map((names) => names !== null),
  );
  for (const of of ['d', 'b'] as const)
    stacks.set(`${layer}/${of}`, {
      axis: 0,
      parts: networks.map((network, k) => {
        const name = at(members, k)?.[of];
        return { name: name ?? '', extent: extentOf(network, name) };
      }),
    });
}
