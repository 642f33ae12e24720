/**
 * A pack's member saved and opened as a training by itself is, so that either goes on from what the other left: in the
 * groups of trained-values.ts and with the optimiser's moments by the names that it gives them.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import type { Network } from '../nn/network.ts';
import type { TrainHooks } from './loop.ts';
import type { MemberValues } from './pack-state.ts';
import type { SavedState } from './resume.ts';
import { savedGathered, savedGroups, savedMoments, toSave } from './saved-training.ts';
import type { LabelledRow, StepRecord } from './settings.ts';
import { disposeAll, trainedValues } from './trained-values.ts';

/** Where a member goes on: after `step`. The tensors are its own to dispose of. */
export interface MemberStart extends MemberValues {
  readonly step: number;
  readonly last: StepRecord | null;
}

/** How a member is saved. */
export interface MemberSaves {
  due(step: number): boolean;
  save(step: number, values: MemberValues, last: StepRecord | null): Promise<void>;
}

/** @param state of a training with these rows, alone or in a pack */
export function memberStart(
  network: Network,
  rows: readonly LabelledRow[],
  state: SavedState,
): MemberStart {
  const grouping = trainedValues(network, rows);
  const own = (groups: Map<string, Tensor>): Map<string, Tensor> => {
    const tensors = grouping.unpack(groups);
    disposeAll(groups);
    return tensors;
  };
  const moments: Record<string, Map<string, Tensor>> = {};
  for (const [name, tensor] of savedMoments(state)) {
    const [moment, group] = [name.slice(0, name.indexOf('/')), name.slice(name.indexOf('/') + 1)];
    (moments[moment] ??= new Map()).set(group, tensor);
  }
  return {
    step: state.step,
    last: (state.facts['last'] ?? null) as StepRecord | null,
    parameters: own(savedGroups(state)),
    moments: Object.fromEntries(
      Object.entries(moments).map(([moment, groups]) => [moment, own(groups)]),
    ),
  };
}

/** What the caller of the member's training had gathered. */
export function restoreGathered(
  resume: NonNullable<TrainHooks['resume']>,
  state: SavedState,
): void {
  resume.restore({ facts: state.facts['gathered'] as JsonObject, tensors: savedGathered(state) });
}

export function memberSaves(
  network: Network,
  rows: readonly LabelledRow[],
  resume: NonNullable<TrainHooks['resume']>,
): MemberSaves {
  return {
    due: resume.due,
    save: async (step, { parameters, moments }, last) => {
      const grouping = trainedValues(network, rows),
        groups = grouping.pack(parameters);
      const named = new Map(
        Object.entries(moments).flatMap(([moment, own]) =>
          [...grouping.pack(own)].map(([group, tensor]): [string, Tensor] => [
            `${moment}/${group}`,
            tensor,
          ]),
        ),
      );
      const { facts, tensors } = resume.gathered();
      try {
        await resume.save(
          step,
          { last: last as unknown as JsonObject, gathered: facts },
          toSave(groups, named, tensors),
        );
      } finally {
        disposeAll(groups, named);
      }
    },
  };
}
