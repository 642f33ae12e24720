/**
 * Several adapters over one frozen base as one network: their parameters stacked, and one forward
 * pass over the rows of all of them.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../lookup.ts';
import { within } from '../model/names.ts';
import type { TokenMap, TokenRow } from '../model/types.ts';
import { joined } from '../tensor/join.ts';
import { linear } from './linear.ts';
import type { Network, Tensors } from './network.ts';
import {
  apartLinear,
  apartLora,
  type Bounds,
  jointLora,
  jointly,
  memberMask,
  type PackedFactors,
} from './packed.ts';
import { outputRows } from './targets.ts';

/** A tensor of the pack: the tensors of the members, concatenated along an axis. */
export interface Stacked {
  readonly axis: 0 | 1;
  /**
   * For each member, the name of its tensor and its extent along the axis, which is 0 where the
   * member has no such tensor.
   */
  readonly parts: readonly { readonly name: string; readonly extent: number }[];
}

export interface PackedForward {
  /** Logits (ΣB, C), the rows of each member together. */
  readonly logits: Tensor2D;
  /** Where the rows of each member start in the batch. (K + 1) */
  readonly bounds: Bounds;
}

export interface PackedNetwork {
  readonly networks: readonly Network[];
  /** Every trained tensor by its name in the pack. */
  readonly stacks: ReadonlyMap<string, Stacked>;
  /** Returns the members' values stacked. The caller disposes of the new tensors. */
  stack(values: readonly Tensors[]): Map<string, Tensor>;
  /**
   * Returns the values of member k, under its own names. The caller disposes of the new tensors.
   */
  member(values: Tensors, k: number): Map<string, Tensor>;
  /**
   * Must be called within tf.tidy.
   * @param keep receives the tensors that must not be disposed of before the gradient is taken
   */
  forward(
    batches: readonly (readonly TokenRow[])[],
    values: Tensors,
    keep: (tensor: Tensor) => void,
  ): PackedForward;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

const hasParameter = (network: Network, name: string): boolean =>
  network.parameters.some((spec) => spec.name === name);

/** Returns the layers of the head. Each member trains its own copy of them. */
const headLayers = ({ linears, architecture }: Network): string[] =>
  linears.map(({ name }) => name).filter((name) => within(name, architecture.headModules));

/**
 * Whether a network trains its low-rank factors, the linear layers of its head, and nothing else.
 */
function isPlain(network: Network): boolean {
  if (!network.adapter.packable) return false;
  const known = new Set([
    ...network.linears.flatMap(({ name }) => {
      const factors = network.adapter.factors(name);
      return factors === null ? [] : [factors.A, factors.B];
    }),
    ...headLayers(network).flatMap((name) => [`${name}.weight`, `${name}.bias`]),
  ]);
  return network.trainable.every((name) => known.has(name));
}

/**
 * Whether two networks can be members of one pack: they share their frozen tensors and have the
 * same kind of head.
 */
export function packable(a: Network, b: Network): boolean {
  if (
    !isPlain(a) ||
    !isPlain(b) ||
    a.architecture.modelType !== b.architecture.modelType ||
    a.classes !== b.classes
  )
    return false;
  if (JSON.stringify(a.architecture.head) !== JSON.stringify(b.architecture.head)) return false;
  const own = new Set([...a.adapter.parameters, ...b.adapter.parameters].map(({ name }) => name));
  return a.parameters.every(
    ({ name }) =>
      own.has(name) ||
      within(name, a.architecture.headModules) ||
      a.frozen(name) === b.frozen(name),
  );
}

/** Returns where each part starts if all are laid end to end, then where the last one ends. */
function startsOf(extents: readonly number[]): number[] {
  let end = 0;
  return [0, ...extents.map((extent) => (end += extent))];
}

/**
 * Where the rows of each member start in an activation.
 * @param members for each row of the batch, its member, (B)
 */
function boundsOf({ example }: TokenMap, members: Int32Array, count: number): Bounds {
  const counts = new Array<number>(count).fill(0);
  for (const row of example) counts[members[row]!]!++;
  return startsOf(counts);
}

interface Layout {
  /** The layers of the head. */
  readonly heads: ReadonlySet<string>;
  /** The factors of each adapted layer. */
  readonly factors: ReadonlyMap<string, PackedFactors>;
  readonly stacks: ReadonlyMap<string, Stacked>;
}

/** How the trained tensors of the members are stacked. */
function layOut(first: Network, networks: readonly Network[]): Layout {
  const heads = new Set(headLayers(first));
  const factors = new Map<string, PackedFactors>();
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
    const members = networks.map((network) => {
      const names = network.adapter.factors(name);
      return names === null
        ? { A: '', B: '', scale: 0, rank: 0 }
        : { ...names, rank: rowsIn(network, names.A) };
    });
    const ranks = members.map(({ rank }) => rank);
    if (sum(ranks) === 0) continue;
    factors.set(name, { ranks, scales: members.map(({ scale }) => scale) });
    stacks.set(`${name}/A`, {
      axis: 0,
      parts: members.map(({ A, rank }) => ({ name: A, extent: rank })),
    });
    stacks.set(`${name}/B`, {
      axis: 1,
      parts: members.map(({ B, rank }) => ({ name: B, extent: rank })),
    });
  }
  return { heads, factors, stacks };
}

/** The forward pass over the rows of all members. */
function forwardOver(
  first: Network,
  count: number,
  { heads, factors }: Layout,
): PackedNetwork['forward'] {
  const parameter = (name: string): Tensor => first.frozen(name);
  const biases = new Set(
    first.parameters.map(({ name }) => name).filter((name) => name.endsWith('.bias')),
  );
  const biasOf = (layer: string): Tensor1D | null =>
    biases.has(`${layer}.bias`) ? (parameter(`${layer}.bias`) as Tensor1D) : null;
  return (batches, values, keep) => {
    const members = Int32Array.from(batches.flatMap((batch, k) => batch.map(() => k)));
    const known = new Map<TokenMap, Bounds>(),
      masks = new Map<string, Tensor2D>();
    const boundsAt = (tokens: TokenMap): Bounds => {
      const bounds = known.get(tokens) ?? boundsOf(tokens, members, count);
      known.set(tokens, bounds);
      return bounds;
    };
    const maskOf = (bounds: Bounds, layer: PackedFactors): Tensor2D => {
      const key = JSON.stringify([bounds, layer]);
      let mask = masks.get(key);
      if (mask === undefined) {
        masks.set(key, (mask = tf.keep(memberMask(bounds, layer))));
        keep(mask);
      }
      return mask;
    };
    const logits = first.architecture.forward(first.config, batches.flat(), {
      parameter,
      scope: (part) => tf.tidy(part),
      copies: members,
      linear: (layer, x, tokens) => {
        const bounds = boundsAt(tokens);
        if (heads.has(layer))
          return apartLinear(
            x,
            values.get(`${layer}.weight`) as Tensor2D,
            (values.get(`${layer}.bias`) ?? null) as Tensor1D | null,
            bounds,
          );
        const W = parameter(`${layer}.weight`) as Tensor2D,
          b = biasOf(layer);
        const layerFactors = factors.get(layer);
        if (layerFactors === undefined) return linear(x, W, b);
        const A = values.get(`${layer}/A`) as Tensor2D,
          B = values.get(`${layer}/B`) as Tensor2D;
        return jointly(bounds, layerFactors, W.shape[1], W.shape[0])
          ? jointLora(x, W, b, A, B, maskOf(bounds, layerFactors))
          : apartLora(x, W, b, A, B, bounds, layerFactors);
      },
    });
    const example = outputRows(first.architecture.head, batches.flat());
    return { logits, bounds: boundsOf({ batch: members.length, example }, members, count) };
  };
}

/** Makes one network of several, any two of which must be `packable`. */
export function packNetworks(networks: readonly Network[]): PackedNetwork {
  const first = at(networks, 0);
  const layout = layOut(first, networks);
  return {
    networks,
    stacks: layout.stacks,
    forward: forwardOver(first, networks.length, layout),
    stack: (values) =>
      new Map(
        [...layout.stacks].map(([name, { axis, parts }]) => {
          const present = values.flatMap((own, k) => {
            const part = at(parts, k);
            return part.extent === 0 ? [] : [named(own, part.name)];
          });
          return [name, tf.keep(joined(present, axis))];
        }),
      ),
    member: (values, k) =>
      new Map(
        [...layout.stacks].flatMap(([name, { axis, parts }]): [string, Tensor][] => {
          const { name: own, extent } = at(parts, k);
          if (extent === 0) return [];
          const whole = named(values, name),
            begin = whole.shape.map(() => 0),
            size = whole.shape.slice();
          begin[axis] = sum(parts.slice(0, k).map((part) => part.extent));
          size[axis] = extent;
          return [[own, tf.keep(tf.slice(whole, begin, size))]];
        }),
      ),
  };
}
