/**
 * Several adapters over one frozen base as one network: their parameters stacked, and one forward
 * pass over the rows of all of them.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { add } from '../../tensor/differentiable.ts';
import { joined } from '../../tensor/join.ts';
import { linear } from './linear.ts';
import { productsOf } from './lora-layer.ts';
import { magnified, rowNorms } from './magnitude.ts';
import { rowOwners } from './members.ts';
import { within } from './names.ts';
import type { Network, Tensors } from './network.ts';
import {
  apartLinear,
  apartLora,
  type Bounds,
  jointFrozen,
  jointLora,
  jointly,
  memberMask,
  type PackedFactors,
} from './packed.ts';
import {
  headLayers,
  type LayerFactors,
  type Layout,
  layOut,
  type Stacked,
  sum,
} from './packed-layout.ts';
import { outputRows } from './targets.ts';
import type { TokenMap, TokenRow } from './types.ts';
import { type SharedFactors, veraLinear } from './vectors.ts';

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
  /** What each member's learning rate is multiplied by for a tensor of the pack, (K). */
  readonly rates: (name: string) => readonly number[];
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

/** The names of the parameters that a layer's factors or vectors train. */
function ownNames({ adapter }: Network, layer: string): string[] {
  const factors = adapter.factors(layer),
    vectors = adapter.vectors?.(layer) ?? null;
  return [
    ...(factors === null ? [] : [factors.A, factors.B, factors.magnitude ?? []].flat()),
    ...(vectors === null ? [] : [vectors.d, vectors.b]),
  ];
}

/** The factors that all layers of a network share (VeRA); null where it has none. */
function sharedFactors(network: Network): SharedFactors | null {
  for (const { name } of network.linears) {
    const vectors = network.adapter.vectors?.(name) ?? null;
    if (vectors !== null)
      return {
        A: network.frozen(vectors.A) as Tensor2D,
        B: network.frozen(vectors.B) as Tensor2D,
      };
  }
  return null;
}

/** Whether two networks share the same factors, or neither shares any. */
function sharesFactors(a: Network, b: Network): boolean {
  const [one, other] = [sharedFactors(a), sharedFactors(b)];
  if (one === null || other === null) return one === other;
  const equal = (x: Tensor, y: Tensor): boolean => {
    if (x === y) return true;
    if (x.shape.join() !== y.shape.join()) return false;
    const values = y.dataSync();
    return x.dataSync().every((value, i) => value === values[i]);
  };
  return equal(one.A, other.A) && equal(one.B, other.B);
}

/**
 * Whether a network trains its factors or vectors, the linear layers of its head, and nothing else.
 */
function isPlain(network: Network): boolean {
  if (!network.adapter.packable) return false;
  const known = new Set([
    ...network.linears.flatMap(({ name }) => ownNames(network, name)),
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
    a.classes !== b.classes ||
    !sharesFactors(a, b)
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
export function boundsOf({ example }: TokenMap, members: Int32Array, count: number): Bounds {
  const counts = new Array<number>(count).fill(0);
  for (const row of example) counts[members[row]!]!++;
  return startsOf(counts);
}

/** The forward pass over the rows of all members. */
function forwardOver(
  networks: readonly Network[],
  { heads, factors, vectors }: Layout,
): PackedNetwork['forward'] {
  const first = at(networks, 0),
    count = networks.length,
    shared = sharedFactors(first);
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
        const own = vectors.get(layer);
        if (own !== undefined && shared !== null)
          return veraLinear(
            x,
            W,
            b,
            shared,
            values.get(`${layer}/d`) as Tensor1D,
            values.get(`${layer}/b`) as Tensor1D,
            { owners: rowOwners(bounds, own) },
          );
        const layerFactors = factors.get(layer);
        return layerFactors === undefined
          ? linear(x, W, b)
          : factored({ x, W, b, layer, bounds, values, networks, maskOf }, layerFactors);
      },
    });
    const example = outputRows(first.architecture.head, batches.flat());
    return { logits, bounds: boundsOf({ batch: members.length, example }, members, count) };
  };
}

/** A linear layer under the factors of all members. x: (S, n), W: (m, n), b: (m) → (S, m). */
function factored(
  call: {
    readonly x: Tensor2D;
    readonly W: Tensor2D;
    readonly b: Tensor1D | null;
    readonly layer: string;
    readonly bounds: Bounds;
    readonly values: Tensors;
    readonly networks: readonly Network[];
    readonly maskOf: (bounds: Bounds, factors: PackedFactors) => Tensor2D;
  },
  { trained, fixed, magnitudes }: LayerFactors,
): Tensor2D {
  const { x, W, b, layer, bounds, values, networks, maskOf } = call;
  const A = values.get(`${layer}/A`) as Tensor2D,
    B = values.get(`${layer}/B`) as Tensor2D,
    magnitude = values.get(`${layer}/m`) as Tensor1D | undefined;
  const bias = magnitude === undefined ? b : null;
  const adapted = jointly(bounds, trained, W.shape[1], W.shape[0])
    ? jointLora(x, W, bias, A, B, maskOf(bounds, trained))
    : apartLora(x, W, bias, A, B, bounds, trained);
  const fixedNames = networks.flatMap((network) => {
    const names = network.adapter.factors(layer)?.fixed;
    return names === undefined ? [] : [{ network, names }];
  });
  const stacked = (of: 'A' | 'B', axis: 0 | 1): Tensor2D =>
    joined(
      fixedNames.map(({ network, names }) => network.frozen(names[of])),
      axis,
    ) as Tensor2D;
  const v =
    fixed === null
      ? adapted
      : add(adapted, jointFrozen(x, stacked('A', 0), stacked('B', 1), maskOf(bounds, fixed)));
  if (magnitude === undefined) return v;
  const norms = (): Tensor1D =>
    tf.concat(
      networks.flatMap((network, k) => {
        const names = network.adapter.factors(layer);
        if (names?.magnitude === undefined) return [];
        const from = sum(trained.ranks.slice(0, k)),
          rank = at(trained.ranks, k);
        const lookup = (name: string): Tensor =>
          name === names.A
            ? tf.slice(A, [from, 0], [rank, A.shape[1]])
            : name === names.B
              ? tf.slice(B, [0, from], [B.shape[0], rank])
              : network.frozen(name);
        return [rowNorms(W, productsOf(names, lookup))];
      }),
    ); // (K·m)
  return magnified(v, magnitude, b, norms, rowOwners(bounds, magnitudes));
}

/** Makes one network of several, any two of which must be `packable`. */
export function packNetworks(networks: readonly Network[]): PackedNetwork {
  const first = at(networks, 0);
  const layout = layOut(first, networks);
  return {
    networks,
    stacks: layout.stacks,
    rates: (name) =>
      named(layout.stacks, name).parts.map(({ name: own, extent }, k) =>
        extent === 0 ? 1 : (at(networks, k).adapter.rate?.(own) ?? 1),
      ),
    forward: forwardOver(networks, layout),
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
