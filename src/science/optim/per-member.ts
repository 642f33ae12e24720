/**
 * The optimisers' updates where several members stand side by side in each tensor, each with its own learning rate and
 * decay. Entry for entry the same as adamw.ts and sgd.ts.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { disposeOf, type Tensors } from './types.ts';

/** Along which axis the members stand, and each one's extent there. */
export interface Span {
  readonly axis: 0 | 1;
  readonly extents: readonly number[];
}

export interface MemberRates {
  /** By member, at this step. */
  readonly learningRates: readonly number[];
  readonly weightDecays: readonly number[];
}

export interface PerMemberOptimizer {
  /** Names of the moments it keeps of each tensor; all start at zero. */
  readonly moments: readonly ('first' | 'second')[];
  /** As `Optimizer.update`, disposal included. @param step from one @returns by moment and name */
  update(
    parameters: Tensors,
    gradients: Tensors,
    moments: Readonly<Record<string, Tensors>>,
    step: number,
    spans: ReadonlyMap<string, Span>,
    rates: MemberRates,
  ): { parameters: Map<string, Tensor>; moments: Record<string, Map<string, Tensor>> };
}

/** A value a member, to multiply a tensor by: a number where they agree, else one along the members' axis. */
function spread(values: readonly number[], { axis, extents }: Span, rank: number): number | Tensor {
  const present = values.filter((_, k) => extents[k]! > 0);
  if (present.every((value) => value === present[0])) return present[0]!;
  const flat = Float32Array.from(
    extents.flatMap((extent, k) => new Array<number>(extent).fill(values[k]!)),
  );
  return tf.tensor(
    flat,
    rank === 1 ? [flat.length] : axis === 0 ? [flat.length, 1] : [1, flat.length],
  );
}

const times = (x: Tensor, by: number | Tensor): Tensor => (by === 1 ? x : tf.mul(x, by));

function each(
  parameters: Tensors,
  gradients: Tensors,
  old: Readonly<Record<string, Tensors>>,
  moments: readonly string[],
  of: (name: string, p: Tensor) => readonly Tensor[],
): ReturnType<PerMemberOptimizer['update']> {
  const updated = new Map<string, Tensor>(),
    next: Record<string, Map<string, Tensor>> = Object.fromEntries(
      moments.map((moment) => [moment, new Map<string, Tensor>()]),
    );
  for (const [name, p] of parameters) {
    const [value, ...rest] = tf.tidy(() => [...of(name, p)]);
    updated.set(name, tf.keep(value!));
    moments.forEach((moment, i) => next[moment]!.set(name, tf.keep(rest[i]!)));
    disposeOf(p, gradients.get(name)!, ...moments.map((moment) => old[moment]!.get(name)!));
  }
  return { parameters: updated, moments: next };
}

const decayed = (p: Tensor, { learningRates, weightDecays }: MemberRates, span: Span): Tensor =>
  times(
    p,
    spread(
      learningRates.map((rate, k) => 1 - rate * weightDecays[k]!),
      span,
      p.rank,
    ),
  );

/** As adamw.ts. β₁, β₂ and ε are the same for all. */
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
      const sizes = rates.learningRates.map((rate) => rate / (1 - beta1 ** step)),
        rootCorrection = Math.sqrt(1 - beta2 ** step);
      return each(parameters, gradients, moments, names, (name, p) => {
        const g = gradients.get(name)!,
          span = spans.get(name)!;
        const m = tf.add(tf.mul(moments['first']!.get(name)!, beta1), tf.mul(g, 1 - beta1));
        const v = tf.add(
          tf.mul(moments['second']!.get(name)!, beta2),
          tf.mul(tf.square(g), 1 - beta2),
        );
        const denominator = tf.add(tf.div(tf.sqrt(v), rootCorrection), epsilon);
        return [
          tf.sub(
            decayed(p, rates, span),
            tf.mul(tf.div(m, denominator), spread(sizes, span, p.rank)),
          ),
          m,
          v,
        ];
      });
    },
  };
}

/** As sgd.ts. */
export const perMemberSgd: PerMemberOptimizer = {
  moments: [],
  update: (parameters, gradients, _moments, _step, spans, rates) =>
    each(parameters, gradients, {}, [], (name, p) => {
      const span = spans.get(name)!;
      return [
        tf.sub(
          decayed(p, rates, span),
          tf.mul(gradients.get(name)!, spread(rates.learningRates, span, p.rank)),
        ),
      ];
    }),
};

/** Tensors with the same span side by side in one, so that an update is a dozen operations and not a dozen a tensor. */
export interface SpanGrouping {
  readonly spans: ReadonlyMap<string, Span>;
  group(tensors: Tensors): Map<string, Tensor>;
  ungroup(groups: Tensors): Map<string, Tensor>;
}

/** @param shapes of the tensors, by name */
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
    const shape = shapes.get(name)!,
      across = span.axis === 0 ? 1 : 0;
    // A vector has no other axis to stand side by side along.
    const key = JSON.stringify(shape.length === 1 ? [name] : [span.axis, span.extents]);
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
          const parts = names.map((name) => tensors.get(name)!);
          return [
            key,
            tf.keep(parts.length === 1 ? tf.clone(parts[0]!) : tf.concat(parts, across)),
          ];
        }),
      ),
    ungroup: (whole) =>
      new Map(
        [...groups].flatMap(([key, { names, across, sizes }]) => {
          const tensor = whole.get(key)!;
          const parts =
            names.length === 1 ? [tf.clone(tensor)] : tf.split(tensor, sizes.slice(), across);
          return names.map((name, i): [string, Tensor] => [name, tf.keep(parts[i]!)]);
        }),
      ),
  };
}
