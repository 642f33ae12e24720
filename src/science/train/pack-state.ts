/** A pack between two steps: who is in it, and the stacked parameters and moments. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Network, Tensors } from '../nn/network.ts';
import { memberLosses } from '../nn/packed.ts';
import { type PackedNetwork, packNetworks } from '../nn/packed-network.ts';
import {
  groupSpans,
  type MemberRates,
  type PerMemberOptimizer,
  type SpanGrouping,
} from '../optim/per-member.ts';
import { frugally } from '../tensor/differentiable.ts';
import type { LabelledRow } from './settings.ts';
import { disposeAll } from './trained-values.ts';

/** A member's parameters and moments by its own names. */
export interface MemberValues {
  readonly parameters: Tensors;
  readonly moments: Readonly<Record<string, Tensors>>;
}

export interface PackedGradients {
  /** By member. */
  readonly losses: readonly number[];
  /** Whether every loss is finite, and every gradient. */
  readonly finite: boolean;
  /** Grouped, for `update`, which disposes of them. */
  readonly gradients: Map<string, Tensor>;
}

export interface PackState {
  readonly size: number;
  gradients(batches: readonly (readonly LabelledRow[])[]): PackedGradients;
  /** @param step from one */
  update(gradients: Map<string, Tensor>, step: number, rates: MemberRates): void;
  /** A member's parameters by its own names, in tensors of their own. */
  parameters(k: number): Map<string, Tensor>;
  /** The same with its moments. */
  values(k: number): MemberValues;
  /** The pack of some of the members, in tensors of its own. */
  select(members: readonly number[]): PackState;
  dispose(): void;
}

/** Where training starts, or goes on from what each member had. */
export function startPack(
  networks: readonly Network[],
  optimizer: PerMemberOptimizer,
  from?: readonly MemberValues[],
): PackState {
  if (from !== undefined) return makeState(networks, optimizer, from);
  const moments = networks.map(({ initial }) =>
    Object.fromEntries(
      optimizer.moments.map((moment) => [
        moment,
        new Map([...initial].map(([name, value]) => [name, tf.keep(tf.zerosLike(value))])),
      ]),
    ),
  );
  const state = makeState(
    networks,
    optimizer,
    networks.map(({ initial }, k) => ({ parameters: initial, moments: moments[k]! })),
  );
  moments.forEach((kinds) => disposeAll(...Object.values(kinds)));
  return state;
}

function makeState(
  networks: readonly Network[],
  optimizer: PerMemberOptimizer,
  values: readonly MemberValues[],
): PackState {
  const packed: PackedNetwork = packNetworks(networks);
  const stacked = (of: (member: MemberValues) => Tensors): Map<string, Tensor> =>
    packed.stack(values.map(of));
  const first = stacked(({ parameters }) => parameters);
  const grouping: SpanGrouping = groupSpans(
    new Map(
      [...packed.stacks].map(([name, { axis, parts }]) => [
        name,
        { axis, extents: parts.map(({ extent }) => extent) },
      ]),
    ),
    new Map([...first].map(([name, { shape }]) => [name, shape])),
  );
  const grouped = (tensors: Map<string, Tensor>): Map<string, Tensor> => {
    const groups = grouping.group(tensors);
    disposeAll(tensors);
    return groups;
  };
  let groups = grouped(first);
  let moments: Record<string, Map<string, Tensor>> = Object.fromEntries(
    optimizer.moments.map((moment) => [
      moment,
      grouped(stacked((member) => member.moments[moment]!)),
    ]),
  );

  const memberOf = (whole: Tensors, k: number): Map<string, Tensor> => {
    const tensors = grouping.ungroup(whole),
      own = packed.member(tensors, k);
    disposeAll(tensors);
    return own;
  };

  const valuesOf = (k: number): MemberValues => ({
    parameters: memberOf(groups, k),
    moments: Object.fromEntries(
      Object.entries(moments).map(([moment, whole]) => [moment, memberOf(whole, k)]),
    ),
  });

  return {
    size: networks.length,
    gradients: (batches) => {
      const trained = grouping.ungroup(groups),
        names = [...trained.keys()],
        kept: Tensor[] = [];
      const labels = batches.flatMap((batch) => batch.map(({ label }) => label));
      const { value, grads } = frugally(() =>
        tf.engine().gradients(
          () => {
            const { logits, bounds } = packed.forward(batches, trained, (tensor) => {
              kept.push(tensor);
            });
            return memberLosses(logits, labels, bounds);
          },
          [...trained.values()],
          undefined,
          true,
        ),
      );
      const gradients = grouped(
        new Map(names.map((name, i) => [name, grads[i] ?? tf.zeros(trained.get(name)!.shape)])),
      );
      disposeAll(trained, kept);
      // One reading for all: the losses, and sums that no gradient which isn't finite leaves finite.
      const read = tf.tidy(() =>
        tf
          .concat([
            value,
            tf.stack([...gradients.values()].map((gradient) => tf.sum(gradient))) as tf.Tensor1D,
          ])
          .dataSync(),
      );
      value.dispose();
      return {
        losses: [...read.subarray(0, networks.length)],
        finite: read.every((x) => Number.isFinite(x)),
        gradients,
      };
    },
    update: (gradients, step, rates) => {
      ({ parameters: groups, moments } = optimizer.update(
        groups,
        gradients,
        moments,
        step,
        grouping.spans,
        rates,
      ));
    },
    parameters: (k) => memberOf(groups, k),
    values: valuesOf,
    select: (members) => {
      const chosen = members.map(valuesOf);
      const state = makeState(
        members.map((k) => networks[k]!),
        optimizer,
        chosen,
      );
      for (const { parameters, moments: kinds } of chosen)
        disposeAll(parameters, ...Object.values(kinds));
      return state;
    },
    dispose: () => disposeAll(groups, ...Object.values(moments)),
  };
}
