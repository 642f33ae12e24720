/**
 * Brings the members of a pack together. Each stage runs until the point where it would train
 * alone, and waits there until all have arrived; then they train together. Those that cannot be
 * members after all train alone, one after another.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { defined } from '../../base/defined.ts';
import { at } from '../../base/lookup.ts';
import type { Network } from '../models/network.ts';
import { packable } from '../models/packed-network.ts';
import { train } from './loop.ts';
import { type PackMember, packSettings, trainPack } from './pack.ts';
import { memberSaves, memberStart, restoreGathered } from './pack-resume.ts';
import type { SavedState } from './resume.ts';

type Train = typeof train;

export interface Meeting {
  /**
   * Replaces `train` for an expected member. Where rounding depends on the members' order, that is
   * the order of `seat`, not of arrival.
   */
  readonly train: (seat: number, ...call: Parameters<Train>) => ReturnType<Train>;
  /** Reports that an expected member will not arrive. */
  leave(): void;
}

/** A member that has arrived. */
interface Arrival {
  readonly seat: number;
  readonly call: Parameters<Train>;
  /** The state from which it continues after an interruption. */
  readonly saved: SavedState | null;
  readonly resolve: (trained: Promise<Map<string, Tensor>>) => void;
  readonly reject: (error: unknown) => void;
}

/** @param expected number of members, each of which either trains or leaves */
export function openMeeting(expected: number): Meeting {
  const arrivals: Arrival[] = [];
  let open = expected;
  const arrived = (): void => {
    if (--open > 0) return;
    trainAll(arrivals.sort((a, b) => a.seat - b.seat)).catch((error: unknown) => {
      for (const { reject } of arrivals) reject(error);
    });
  };
  return {
    train: async (seat, ...call) => {
      let saved: SavedState | null;
      try {
        saved = (await call[3]?.resume?.load()) ?? null;
      } catch (error) {
        arrived();
        throw error;
      }
      return new Promise<Map<string, Tensor>>((resolve, reject) => {
        arrivals.push({ seat, call, saved, resolve, reject });
        arrived();
      });
    },
    leave: arrived,
  };
}

/**
 * Members that can train together: with the same kind of training, over one base, from the same
 * step.
 */
interface Party {
  readonly key: string;
  readonly network: Network;
  readonly members: Arrival[];
}

/** Trains all of them, in packs where that is possible. */
async function trainAll(arrivals: readonly Arrival[]): Promise<void> {
  const parties: Party[] = [],
    alone: Arrival[] = [];
  for (const arrival of arrivals) {
    const {
      call: [network, , settings],
      saved,
    } = arrival;
    const kind = packSettings(settings);
    if (kind === null || (saved?.step ?? 0) >= settings.steps) {
      alone.push(arrival);
      continue;
    }
    const key = JSON.stringify([kind, saved?.step ?? 0]);
    const party = parties.find((some) => some.key === key && packable(some.network, network));
    if (party) party.members.push(arrival);
    else parties.push({ key, network, members: [arrival] });
  }
  for (const { members } of parties) {
    if (members.length === 1) {
      alone.push(...members);
      continue;
    }
    const promises = trainPack(members.map(memberOf));
    members.forEach(({ resolve }, i) => resolve(at(promises, i)));
    await Promise.allSettled(promises);
  }
  for (const {
    call: [network, rows, settings, hooks],
    saved,
    resolve,
  } of alone) {
    const { resume } = hooks ?? {};
    const promise = train(network, rows, settings, {
      ...hooks,
      ...(resume === undefined
        ? {}
        : { resume: { ...resume, load: () => Promise.resolve(saved) } }),
    });
    resolve(promise);
    await promise.catch(() => undefined); // whoever awaits the result sees the error
  }
}

function memberOf({ call: [network, rows, settings, hooks], saved }: Arrival): PackMember {
  const { resume, onStep, signal } = hooks ?? {};
  if (saved !== null && resume !== undefined) restoreGathered(resume, saved);
  return {
    network,
    rows,
    settings,
    ...defined({ onStep, signal }),
    ...(saved === null ? {} : { from: memberStart(network, rows, saved) }),
    ...(resume === undefined ? {} : { saves: memberSaves(network, rows, resume) }),
  };
}
