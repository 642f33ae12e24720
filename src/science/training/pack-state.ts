/** The state of a pack between two steps: its members with their stacked parameters and moments. */
import type { Tensor, Tensor1D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../base/lookup.ts';
import type { Network, Tensors } from '../models/network.ts';
import { memberLosses } from '../models/packed.ts';
import { type PackedNetwork, packNetworks } from '../models/packed-network.ts';
import { targetsOf } from '../models/targets.ts';
import { gradientsOf } from './gradients.ts';
import {
  groupSpans,
  type MemberRates,
  type PerMemberOptimizer,
  type SpanGrouping,
} from './optim/per-member.ts';
import type { LabelledRow } from './settings.ts';
import { disposeAll } from './trained-values.ts';

/** The parameters and moments of a member, under its own names. */
export interface MemberValues {
  readonly parameters: Tensors;
  readonly moments: Readonly<Record<string, Tensors>>;
}

export interface PackedGradients {
  /** The loss of each member. */
  readonly losses: readonly number[];
  /** Whether all losses and gradients are finite. */
  readonly finite: boolean;
  /** In groups, for `update`, which disposes of them. */
  readonly gradients: Map<string, Tensor>;
}

export interface PackState {
  readonly size: number;
  /** @param batches one for each member */
  gradients(batches: readonly (readonly LabelledRow[])[]): PackedGradients;
  /** @param step counted from one */
  update(gradients: Map<string, Tensor>, step: number, rates: MemberRates): void;
  /** The parameters of member k under its own names, in new tensors. */
  parameters(k: number): Map<string, Tensor>;
  /** The parameters and moments of member k, in new tensors. */
  values(k: number): MemberValues;
  /** A pack of some of the members, in new tensors. */
  select(members: readonly number[]): PackState;
  dispose(): void;
}

/**
 * Makes a pack that starts from the members' initial values, or from the values in `from` if given.
 */
export function startPack(
  networks: readonly Network[],
  optimizer: PerMemberOptimizer,
  from?: readonly MemberValues[],
): PackState {
  if (from !== undefined) return makeState(networks, optimizer, from);
  const start = networks.map(({ initial }) => ({
    parameters: initial,
    moments: Object.fromEntries(
      optimizer.moments.map((moment) => [
        moment,
        new Map([...initial].map(([name, value]) => [name, tf.keep(tf.zerosLike(value))])),
      ]),
    ),
  }));
  const state = makeState(networks, optimizer, start);
  for (const { moments } of start) disposeAll(...Object.values(moments));
  return state;
}

/**
 * The members' losses (K), and the gradient of their sum with respect to each stacked tensor. The
 * caller disposes of both.
 */
function lossesOf(
  packed: PackedNetwork,
  batches: readonly (readonly LabelledRow[])[],
  trained: Tensors,
): { readonly losses: Tensor1D; readonly gradients: Map<string, Tensor> } {
  const { head } = at(packed.networks, 0).architecture;
  const targets = batches.flatMap((batch) => targetsOf(head, batch));
  const kept: Tensor[] = [];
  const { loss: losses, gradients } = gradientsOf(trained, () => {
    const { logits, bounds } = packed.forward(batches, trained, (tensor) => {
      kept.push(tensor);
    });
    return memberLosses(logits, targets, bounds);
  });
  disposeAll(kept);
  return { losses, gradients };
}

/** How the stacked tensors are grouped for the optimiser. */
const groupingOf = ({ stacks, rates }: PackedNetwork, tensors: Tensors): SpanGrouping =>
  groupSpans(
    new Map(
      [...stacks].map(([name, { axis, parts }]) => [
        name,
        { axis, extents: parts.map(({ extent }) => extent), rates: rates(name) },
      ]),
    ),
    new Map([...tensors].map(([name, { shape }]) => [name, shape])),
  );

/**
 * Reads back, at once, the losses and for each gradient its sum, which is finite only if all its
 * entries are.
 */
function read(losses: Tensor1D, gradients: Tensors): number[] {
  const numbers = tf.tidy(() => {
    const sums = tf.stack([...gradients.values()].map((gradient) => tf.sum(gradient)));
    return tf.concat([losses, sums as Tensor1D]).dataSync();
  });
  return [...numbers];
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
  const grouping = groupingOf(packed, first);
  const grouped = (tensors: Map<string, Tensor>): Map<string, Tensor> => {
    const groups = grouping.group(tensors);
    disposeAll(tensors);
    return groups;
  };
  let groups = grouped(first);
  let moments: Record<string, Map<string, Tensor>> = Object.fromEntries(
    optimizer.moments.map((moment) => [
      moment,
      grouped(stacked((member) => member.moments[moment] ?? new Map<string, Tensor>())),
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
      const trained = grouping.ungroup(groups);
      const { losses, gradients: own } = lossesOf(packed, batches, trained);
      const gradients = grouped(own);
      disposeAll(trained);
      const numbers = read(losses, gradients);
      losses.dispose();
      return {
        losses: numbers.slice(0, networks.length),
        finite: numbers.every((x) => Number.isFinite(x)),
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
        members.map((k) => at(networks, k)),
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
