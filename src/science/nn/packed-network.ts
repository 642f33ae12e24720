/** Several adapters over one frozen base as one network: their parameters stacked, and the forward pass over all of their rows. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { within } from './family.ts';
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
import type { TokenMap, TokenRow } from './types.ts';

/** One tensor of the pack: the members' own, one after another along an axis. */
export interface Stacked {
  readonly axis: 0 | 1;
  /** By member: its extent along the axis, and what it is called there; 0 where the member has none. */
  readonly parts: readonly { readonly name: string; readonly extent: number }[];
}

export interface PackedForward {
  /** Logits (ΣB, C), rows by member. */
  readonly logits: Tensor2D;
  /** Where each member's rows of the batch start. (K + 1) */
  readonly bounds: Bounds;
}

export interface PackedNetwork {
  readonly networks: readonly Network[];
  /** Every trained tensor by its name in the pack. */
  readonly stacks: ReadonlyMap<string, Stacked>;
  /** The members' values stacked, in tensors of their own. */
  stack(values: readonly Tensors[]): Map<string, Tensor>;
  /** A member's own by its own names, in tensors of their own. */
  member(values: Tensors, k: number): Map<string, Tensor>;
  /** Call it within tf.tidy. `keep` is told of tensors that must live as long as a gradient may still be taken. */
  forward(
    batches: readonly (readonly TokenRow[])[],
    values: Tensors,
    keep: (tensor: Tensor) => void,
  ): PackedForward;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Layers that the task brings: each member trains its own. */
const headLayers = ({ linears, architecture }: Network): string[] =>
  linears.map(({ name }) => name).filter((name) => within(name, architecture.headModules));

/** Whether a network's training is that of its factors and its head's linear layers, and of nothing else. */
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

/** Whether the two can be members of one pack: their frozen parameters are the same tensors, and their heads read alike. */
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

/** Which rows of an activation are which member's. members: (B), each row of the batch's. */
function boundsOf({ example }: TokenMap, members: Int32Array, count: number): Bounds {
  const counts = new Array<number>(count).fill(0);
  for (const row of example) counts[members[row]!]!++;
  return [0, ...counts.map((_, k) => sum(counts.slice(0, k + 1)))];
}

/** @param networks any two of them `packable` */
export function packNetworks(networks: readonly Network[]): PackedNetwork {
  const first = networks[0]!,
    { architecture } = first;
  const heads = new Set(headLayers(first));
  const factors = new Map<string, PackedFactors>();
  const stacks = new Map<string, Stacked>();
  for (const { name } of first.linears) {
    if (heads.has(name)) {
      for (const part of ['weight', 'bias']) {
        const own = `${name}.${part}`;
        stacks.set(own, {
          axis: 0,
          parts: networks.map((network) => ({
            name: own,
            extent: network.initial.get(own)!.shape[0],
          })),
        });
      }
      continue;
    }
    const own = networks.map((network) => network.adapter.factors(name));
    const ranks = own.map((names, k) =>
      names === null ? 0 : networks[k]!.initial.get(names.A)!.shape[0],
    );
    if (sum(ranks) === 0) continue;
    factors.set(name, { ranks, scales: own.map((names) => names?.scale ?? 0) });
    stacks.set(`${name}/A`, {
      axis: 0,
      parts: own.map((names, k) => ({ name: names?.A ?? '', extent: ranks[k]! })),
    });
    stacks.set(`${name}/B`, {
      axis: 1,
      parts: own.map((names, k) => ({ name: names?.B ?? '', extent: ranks[k]! })),
    });
  }

  const forward: PackedNetwork['forward'] = (batches, values, keep) => {
    const rows = batches.flat();
    const members = Int32Array.from(batches.flatMap((batch, k) => batch.map(() => k)));
    const known = new Map<TokenMap, Bounds>(),
      masks = new Map<string, Tensor2D>();
    const at = (tokens: TokenMap): Bounds => {
      const bounds = known.get(tokens) ?? boundsOf(tokens, members, networks.length);
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
    const parameter = (name: string): Tensor => first.frozen(name);
    const logits = architecture.forward(first.config, rows, {
      parameter,
      scope: (part) => tf.tidy(part),
      linear: (layer, x, tokens) => {
        const bounds = at(tokens);
        if (heads.has(layer))
          return apartLinear(
            x,
            values.get(`${layer}.weight`) as Tensor2D,
            values.get(`${layer}.bias`) as Tensor1D,
            bounds,
          );
        const W = parameter(`${layer}.weight`) as Tensor2D,
          b = parameter(`${layer}.bias`) as Tensor1D;
        const layerFactors = factors.get(layer);
        if (layerFactors === undefined) return linear(x, W, b);
        const A = values.get(`${layer}/A`) as Tensor2D,
          B = values.get(`${layer}/B`) as Tensor2D;
        return jointly(bounds, layerFactors, W.shape[1], W.shape[0])
          ? jointLora(x, W, b, A, B, maskOf(bounds, layerFactors))
          : apartLora(x, W, b, A, B, bounds, layerFactors);
      },
    });
    return {
      logits,
      bounds: [
        0,
        ...batches.map((_, k) => sum(batches.slice(0, k + 1).map(({ length }) => length))),
      ],
    };
  };

  return {
    networks,
    stacks,
    forward,
    stack: (values) =>
      new Map(
        [...stacks].map(([name, { axis, parts }]) => {
          const present = parts.flatMap((part, k) =>
            part.extent === 0 ? [] : [values[k]!.get(part.name)!],
          );
          return [
            name,
            tf.keep(present.length === 1 ? tf.clone(present[0]!) : tf.concat(present, axis)),
          ];
        }),
      ),
    member: (values, k) =>
      new Map(
        [...stacks].flatMap(([name, { axis, parts }]): [string, Tensor][] => {
          const { name: own, extent } = parts[k]!;
          if (extent === 0) return [];
          const whole = values.get(name)!,
            begin = whole.shape.map(() => 0),
            size = whole.shape.slice();
          begin[axis] = sum(parts.slice(0, k).map((part) => part.extent));
          size[axis] = extent;
          return [[own, tf.keep(tf.slice(whole, begin, size))]];
        }),
      ),
  };
}
