/**
 * The optimisers for a pack, where each tensor contains the values of several members, each with
 * its own learning rate and weight decay. Every entry is updated exactly as in adamw.ts and sgd.ts.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../base/lookup.ts';
import { joined, separated } from '../../../tensor/join.ts';
import { adamwUpdate } from './adamw.ts';
import { disposeOf, type Tensors } from './types.ts';

/** The axis along which the members are concatenated, and the extent of each member. */
export interface Span {
  readonly axis: 0 | 1;
  readonly extents: readonly number[];
  /** What the learning rate of each member is multiplied by for this tensor. Default: 1. */
  readonly rates?: readonly number[];
}

/** Each member's learning rate for a tensor. */
const ownRates = (learningRates: readonly number[], { rates }: Span): readonly number[] =>
  rates === undefined ? learningRates : learningRates.map((rate, k) => rate * at(rates, k));

export interface MemberRates {
  /** The learning rate of each member at this step. */
  readonly learningRates: readonly number[];
  readonly weightDecays: readonly number[];
}

export interface PerMemberOptimizer {
  /** Names of the moments that it keeps for each tensor; all start at zero. */
  readonly moments: readonly ('first' | 'second')[];
  /**
   * As `Optimizer.update`, including disposal.
   * @param step counted from one
   * @returns new parameters by name, and new moments by moment and name
   */
  update(
    parameters: Tensors,
    gradients: Tensors,
    moments: Readonly<Record<string, Tensors>>,
    step: number,
    spans: ReadonlyMap<string, Span>,
    rates: MemberRates,
  ): { parameters: Map<string, Tensor>; moments: Record<string, Map<string, Tensor>> };
}

/**
 * A factor for each member: a number where all are equal, else a tensor to broadcast along the
 * members' axis.
 */
function spread(values: readonly number[], { axis, extents }: Span, rank: number): number | Tensor {
  const present = values.filter((_, k) => at(extents, k) > 0);
  const first = at(present, 0);
  if (present.every((value) => value === first)) return first;
  const flat = Float32Array.from(
    extents.flatMap((extent, k) => new Array<number>(extent).fill(at(values, k))),
  );
  return tf.tensor(
    flat,
    rank === 1 ? [flat.length] : axis === 0 ? [flat.length, 1] : [1, flat.length],
  );
}

/** The moment of a parameter. */
const momentOf = (
  moments: Readonly<Record<string, Tensors>>,
  moment: string,
  name: string,
): Tensor => named(moments[moment] ?? new Map<string, Tensor>(), name);

const times = (x: Tensor, by: number | Tensor): Tensor => (by === 1 ? x : tf.mul(x, by));

/**
 * Updates each parameter with `of`, which returns its new value and moments, and disposes of the
 * old tensors.
 */
function each(
  parameters: Tensors,
  gradients: Tensors,
  old: Readonly<Record<string, Tensors>>,
  moments: readonly string[],
  of: (name: string, p: Tensor) => [value: Tensor, ...moments: Tensor[]],
): ReturnType<PerMemberOptimizer['update']> {
  const updated = new Map<string, Tensor>(),
    next: Record<string, Map<string, Tensor>> = Object.fromEntries(
      moments.map((moment) => [moment, new Map<string, Tensor>()]),
    );
  for (const [name, p] of parameters) {
    const [value, ...rest] = tf.tidy(() => of(name, p));
    updated.set(name, tf.keep(value));
    moments.forEach((moment, i) => next[moment]?.set(name, tf.keep(at(rest, i))));
    disposeOf(p, named(gradients, name), ...moments.map((moment) => momentOf(old, moment, name)));
  }
  return { parameters: updated, moments: next };
}

/** What a tensor is multiplied by for its weight decay. */
const decayOf = (
  { rank }: Tensor,
  { learningRates, weightDecays }: MemberRates,
  span: Span,
): number | Tensor =>
  spread(
    ownRates(learningRates, span).map((rate, k) => 1 - rate * at(weightDecays, k)),
    span,
    rank,
  );

/** AdamW. β₁, β₂ and ε are shared by all members. */
export function perMemberAdamw({
  beta1,
  beta2,
  epsilon,
}: {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}): PerMemberOptimizer {
  const names = ['first', 'second'] as const;
  return {
    moments: names,
    update: (parameters, gradients, moments, step, spans, rates) => {
      const rootCorrection = Math.sqrt(1 - beta2 ** step);
      return each(parameters, gradients, moments, names, (name, p) => {
        const g = named(gradients, name),
          span = named(spans, name),
          sizes = ownRates(rates.learningRates, span).map((rate) => rate / (1 - beta1 ** step));
        return adamwUpdate(
          [p, g, momentOf(moments, 'first', name), momentOf(moments, 'second', name)],
          decayOf(p, rates, span),
          spread(sizes, span, p.rank),
          { beta1, beta2, epsilon, rootCorrection },
        );
      });
    },
  };
}

/** Plain gradient descent. */
export const perMemberSgd: PerMemberOptimizer = {
  moments: [],
  update: (parameters, gradients, _moments, _step, spans, rates) =>
    each(parameters, gradients, {}, [], (name, p) => {
      const span = named(spans, name);
      return [
        tf.sub(
          times(p, decayOf(p, rates, span)),
          tf.mul(named(gradients, name), spread(ownRates(rates.learningRates, span), span, p.rank)),
        ),
      ];
    }),
};

/** Concatenates tensors with the same span, for the reason that groups.ts gives. */
export interface SpanGrouping {
  readonly spans: ReadonlyMap<string, Span>;
  group(tensors: Tensors): Map<string, Tensor>;
  ungroup(groups: Tensors): Map<string, Tensor>;
}

/** @param shapes the shape of each tensor, by name */
export function groupSpans(
  spans: ReadonlyMap<string, Span>,
  shapes: ReadonlyMap<string, readonly number[]>,
): SpanGrouping {
  const groups = new Map<
    string,
    { readonly names: string[]; readonly across: 0 | 1; readonly sizes: number[] }
  >();
  const grouped = new Map<string, Span>();
  for (const [name, span] of spans) {
    const shape = named(shapes, name),
      across = span.axis === 0 ? 1 : 0;
    // A vector has no other axis to be concatenated along.
    const key = JSON.stringify(shape.length === 1 ? [name] : [span.axis, span.extents, span.rates]);
    const group = groups.get(key) ?? { names: [], across, sizes: [] };
    group.names.push(name);
    group.sizes.push(shape[across] ?? 1);
    groups.set(key, group);
    grouped.set(key, span);
  }
  return {
    spans: grouped,
    group: (tensors) =>
      new Map(
        [...groups].map(([key, { names, across }]) => {
          const parts = names.map((name) => named(tensors, name));
          return [key, tf.keep(joined(parts, across))];
        }),
      ),
    ungroup: (whole) =>
      new Map(
        [...groups].flatMap(([key, { names, across, sizes }]) => {
          const parts = separated(named(whole, key), sizes, across);
          return names.map((name, i): [string, Tensor] => [name, tf.keep(at(parts, i))]);
        }),
      ),
  };
}
