/**
 * Saves and restores a member of a pack in the form of a single training, so that either can
 * continue from the state of the other: in the groups of trained-values.ts, with the optimiser's
 * moments under the names that the optimiser uses.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import type { Network } from '../models/network.ts';
import { groupKind } from './group-kinds.ts';
import type { GatheringResume } from './loop.ts';
import type { MemberValues } from './pack-state.ts';
import type { SavedState } from './resume.ts';
import { savedGathered, savedGroups, savedMoments, toSave } from './saved-training.ts';
import type { LabelledRow, StepRecord } from './settings.ts';
import { disposeAll, trainedValues } from './trained-values.ts';

/**
 * The state from which a member continues after `step`. Whoever receives it disposes of the
 * tensors.
 */
export interface MemberStart extends MemberValues {
  readonly step: number;
  readonly last: StepRecord | null;
}

/** Saves a member: `due` says after which steps, `save` writes its state. */
export interface MemberSaves {
  readonly due: (step: number) => boolean;
  save(step: number, values: MemberValues, last: StepRecord | null): Promise<void>;
}

/** Reads the state of a training with these rows, saved alone or in a pack. */
export function memberStart(
  network: Network,
  rows: readonly LabelledRow[],
  state: SavedState,
): MemberStart {
  const grouping = trainedValues(network, rows, groupKind(network.adapter, {}));
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

/** Hands back to the caller of the member's training what that caller had gathered. */
export function restoreGathered(resume: GatheringResume, state: SavedState): void {
  resume.restore({ facts: state.facts['gathered'] as JsonObject, tensors: savedGathered(state) });
}

export function memberSaves(
  network: Network,
  rows: readonly LabelledRow[],
  resume: GatheringResume,
): MemberSaves {
  return {
    due: resume.due,
    save: async (step, { parameters, moments }, last) => {
      const grouping = trainedValues(network, rows, groupKind(network.adapter, {})),
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
        await resume.save(step, { last, gathered: facts }, toSave(groups, named, tensors));
      } finally {
        disposeAll(groups, named);
      }
    },
  };
}
