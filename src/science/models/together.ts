/**
 * The forward pass of several trainings over one frozen base, each with its own rows and its own
 * trained values. Products of frozen weights and all other operations take the rows of all members
 * at once; a member's outputs, and the gradients through them, have the bits that they have alone.
 */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { differentiable, isConstant } from '../../tensor/differentiable.ts';
import { hasFused } from '../../tensor/fused.ts';
import { joined, separated } from '../../tensor/join.ts';
import {
  fusedMemberLora,
  fusedMemberLoraGradient,
  type MemberFactors,
} from '../../tensor/products.ts';
import { linear } from './linear.ts';
import type { Network, Tensors } from './network.ts';
import { headLayers } from './packed-layout.ts';
import { boundsOf, packable } from './packed-network.ts';
import type { TokenMap, TokenRow } from './types.ts';

/** A training that takes part in a pass. */
export interface PassMember {
  readonly network: Network;
  /** Its batch. */
  readonly rows: readonly TokenRow[];
  /** Its trained parameters by name. */
  readonly trained: Tensors;
}

/**
 * The number of entries that TensorFlow's elementwise operations compute at once. Where a width is
 * a multiple of it, no entry's bits depend on where it stands in its tensor.
 */
const LANES = 16;

/** The layers that low-rank factors adapt. */
const adaptedLayers = ({ linears, adapter }: Network): string[] =>
  linears.map(({ name }) => name).filter((name) => adapter.factors(name) !== null);

/**
 * Whether the bits of a member's rows do not depend on the others': plain LoRA (one product of two
 * factors a layer) over operations that take each row by itself.
 */
function isApart(network: Network): boolean {
  const { adapter, architecture, config, linears } = network;
  const layers = adaptedLayers(network);
  return (
    hasFused() &&
    layers.length > 0 &&
    architecture.takesRowsApart(config) &&
    linears.every(
      ({ name, in: n, out: m, adaptable }) =>
        (adapter.vectors?.(name) ?? null) === null &&
        (!adaptable || (n % LANES === 0 && m % LANES === 0)),
    ) &&
    layers.every((name) => {
      const { fixed, magnitude } = adapter.factors(name)!;
      return fixed === undefined && magnitude === undefined;
    })
  );
}

/** Whether two networks can be members of one pass: they adapt the same layers of one base. */
export const canPassTogether = (a: Network, b: Network): boolean =>
  isApart(a) && isApart(b) && packable(a, b) && adaptedLayers(a).join() === adaptedLayers(b).join();

/** How many rows of an activation each member has, and where they start. */
interface Shares {
  readonly counts: readonly number[];
  readonly starts: Tensor1D;
}

/**
 * Each member's `loraLinear` over its rows. x: (S, n), W: (m, n), b: (m) → (S, m). W and b are
 * frozen.
 */
function memberLora(
  x: Tensor2D,
  W: Tensor2D,
  b: Tensor1D | null,
  factors: readonly MemberFactors[],
  starts: Tensor1D,
  scales: Tensor1D,
): Tensor2D {
  const frozen = isConstant(W),
    flat = factors.flatMap(({ A, B }) => [A, B]);
  return differentiable([x, ...flat], {
    forward: () => {
      const [value, down] = fusedMemberLora(x, W, factors, b, { starts, scales }, frozen);
      return { value, saved: [x, W, down, starts, scales, ...flat] };
    },
    backward: (dy, [input, weight, down, from, by, ...own], [ofX = false]) =>
      fusedMemberLoraGradient(
        dy,
        [input, weight, down],
        factors.map((_, k) => ({ A: at(own, 2 * k), B: at(own, 2 * k + 1) })),
        { starts: from, scales: by },
        { x: ofX, A: true, B: true, frozen },
      ),
  });
}

/**
 * The outputs (ΣQ_k, O), those of one member after those of another. Must be called within tf.tidy.
 * @param members any two of their networks satisfy `canPassTogether`
 * @param keep receives the tensors that must not be disposed of before the gradient is taken
 */
export function outputsTogether(
  members: readonly PassMember[],
  keep: (tensor: Tensor) => void,
): Tensor2D {
  const { network } = at(members, 0);
  const { architecture, config } = network,
    heads = new Set(headLayers(network)),
    biased = new Set(network.linears.flatMap(({ name, bias }) => (bias ? [name] : [])));
  const owners = Int32Array.from(members.flatMap(({ rows }, k) => rows.map(() => k))),
    known = new Map<TokenMap, Shares>(),
    scalesOf = new Map<string, Tensor1D>();
  const kept = (values: readonly number[], type: 'float32' | 'int32'): Tensor1D => {
    const tensor = tf.keep(tf.tensor1d([...values], type));
    keep(tensor);
    return tensor;
  };
  const sharesAt = (tokens: TokenMap): Shares => {
    let shares = known.get(tokens);
    if (shares === undefined) {
      const bounds = boundsOf(tokens, owners, members.length);
      shares = {
        counts: members.map((_, k) => at(bounds, k + 1) - at(bounds, k)),
        starts: kept(bounds, 'int32'),
      };
      known.set(tokens, shares);
    }
    return shares;
  };
  const scales = (values: readonly number[]): Tensor1D => {
    const tensor = scalesOf.get(values.join()) ?? kept(values, 'float32');
    scalesOf.set(values.join(), tensor);
    return tensor;
  };
  const parameter = (name: string): Tensor => network.frozen(name);
  return architecture.forward(
    config,
    members.flatMap(({ rows }) => rows),
    {
      parameter,
      scope: (part) => tf.tidy(part),
      linear: (layer, x, tokens) => {
        const { counts, starts } = sharesAt(tokens);
        if (heads.has(layer)) {
          const parts = separated(x, counts, 0).map((own, k) => {
            const { trained } = at(members, k);
            return linear(
              own as Tensor2D,
              named(trained, `${layer}.weight`) as Tensor2D,
              biased.has(layer) ? (named(trained, `${layer}.bias`) as Tensor1D) : null,
            );
          });
          return joined(parts, 0) as Tensor2D;
        }
        const W = parameter(`${layer}.weight`) as Tensor2D,
          b = biased.has(layer) ? (parameter(`${layer}.bias`) as Tensor1D) : null;
        const names = members.flatMap((member) => member.network.adapter.factors(layer) ?? []);
        if (names.length === 0) return linear(x, W, b);
        const factors = names.map(({ A, B }, k) => ({
          A: named(at(members, k).trained, A) as Tensor2D,
          B: named(at(members, k).trained, B) as Tensor2D,
        }));
        return memberLora(x, W, b, factors, starts, scales(names.map(({ scale }) => scale)));
      },
    },
  );
}
