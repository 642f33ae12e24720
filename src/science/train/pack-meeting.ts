/**
 * Where the members of a pack meet: each comes by its own way to the point where it would train by itself, and there they
 * train together. Who can't be a member after all trains by itself, one after another.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { packable } from '../nn/packed-network.ts';
import { train } from './loop.ts';
import { packSettings, trainPack } from './pack.ts';

type Train = typeof train;

export interface Meeting {
  /** In place of `train`, for one who was expected. */
  readonly train: Train;
  /** One who was expected does not come (any more). */
  leave(): void;
}

interface Guest {
  readonly call: Parameters<Train>;
  readonly resolve: (trained: Promise<Map<string, Tensor>>) => void;
}

/** Whether a guest has what only training by itself has; a state to go on from is such a thing. */
async function isPlain({ call: [, , settings, hooks] }: Guest): Promise<boolean> {
  return packSettings(settings) !== null && (await hooks?.resume?.load() ?? null) === null;
}

/** @param expected how many come or leave */
export function openMeeting(expected: number): Meeting {
  const guests: Guest[] = [];
  let open = expected;
  const arrived = (): void => { if (--open === 0) void begin(guests); };
  return {
    train: (...call) => new Promise((resolve) => {
      guests.push({ call, resolve });
      arrived();
    }),
    leave: arrived,
  };
}

async function begin(guests: readonly Guest[]): Promise<void> {
  const packs: Guest[][] = [], alone: Guest[] = [];
  for (const guest of guests) {
    if (!await isPlain(guest)) { alone.push(guest); continue; }
    const pack = packs.find(([first]) => packSettings(first!.call[2]) === packSettings(guest.call[2]) && packable(first!.call[0], guest.call[0]));
    if (pack) pack.push(guest); else packs.push([guest]);
  }
  for (const pack of packs) {
    if (pack.length === 1) { alone.push(pack[0]!); continue; }
    const promises = trainPack(pack.map(({ call: [network, rows, settings, hooks] }) => ({
      network, rows, settings,
      onStep: async (record, batch) => {
        await hooks?.onStep?.(record, batch);
        hooks?.signal?.throwIfAborted();
      },
    })));
    pack.forEach(({ resolve }, i) => resolve(promises[i]!));
    await Promise.allSettled(promises);
  }
  for (const { call, resolve } of alone) {
    const promise = train(...call);
    resolve(promise);
    await promise.catch(() => undefined); // its own to report
  }
}
