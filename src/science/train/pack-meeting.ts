/**
 * Where the members of a pack meet: each comes by its own way to the point where it would train by itself, and there they
 * train together. Who can't be a member after all trains by itself, one after another.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { packable } from '../nn/packed-network.ts';
import { train } from './loop.ts';
import { type PackMember, packSettings, trainPack } from './pack.ts';
import { memberSaves, memberStart, restoreGathered } from './pack-resume.ts';
import type { SavedState } from './resume.ts';

type Train = typeof train;

export interface Meeting {
  /** In place of `train`, for one who was expected. Rounding follows the order of the seats, never that in which they come. */
  readonly train: (seat: number, ...call: Parameters<Train>) => ReturnType<Train>;
  /** One who was expected does not come (any more). */
  leave(): void;
}

interface Guest {
  readonly seat: number;
  readonly call: Parameters<Train>;
  /** What it goes on from, where it was cut off. */
  readonly saved: SavedState | null;
  readonly resolve: (trained: Promise<Map<string, Tensor>>) => void;
}

/** @param expected how many come or leave */
export function openMeeting(expected: number): Meeting {
  const guests: Guest[] = [];
  let open = expected;
  const arrived = (): void => {
    if (--open > 0) return;
    const begun = begin(guests.sort((a, b) => a.seat - b.seat));
    begun.catch(() => {
      guests.forEach(({ resolve }) => resolve(begun as Promise<never>));
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
      return new Promise<Map<string, Tensor>>((resolve) => {
        guests.push({ seat, call, saved, resolve });
        arrived();
      });
    },
    leave: arrived,
  };
}

/** Who can train together: of one kind, over one base, and from one step. */
interface Party {
  readonly key: string;
  readonly guests: Guest[];
}

async function begin(guests: readonly Guest[]): Promise<void> {
  const parties: Party[] = [],
    alone: Guest[] = [];
  for (const guest of guests) {
    const {
      call: [network, , settings],
      saved,
    } = guest;
    const kind = packSettings(settings);
    if (kind === null || (saved?.step ?? 0) >= settings.steps) {
      alone.push(guest);
      continue;
    }
    const key = JSON.stringify([kind, saved?.step ?? 0]);
    const party = parties.find(
      (some) => some.key === key && packable(some.guests[0]!.call[0], network),
    );
    if (party) party.guests.push(guest);
    else parties.push({ key, guests: [guest] });
  }
  for (const { guests: some } of parties) {
    if (some.length === 1) {
      alone.push(some[0]!);
      continue;
    }
    const promises = trainPack(some.map(memberOf));
    some.forEach(({ resolve }, i) => resolve(promises[i]!));
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
      ...(resume === undefined ? {} : { resume: { ...resume, load: async () => saved } }),
    });
    resolve(promise);
    await promise.catch(() => undefined); // its own to report
  }
}

function memberOf({ call: [network, rows, settings, hooks], saved }: Guest): PackMember {
  const { resume, onStep, signal } = hooks ?? {};
  if (saved !== null) restoreGathered(resume!, saved);
  return {
    network,
    rows,
    settings,
    ...(onStep === undefined ? {} : { onStep }),
    ...(signal === undefined ? {} : { signal }),
    ...(saved === null ? {} : { from: memberStart(network, rows, saved) }),
    ...(resume === undefined ? {} : { saves: memberSaves(network, rows, resume) }),
  };
}
