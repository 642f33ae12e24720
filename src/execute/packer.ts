/**
 * The waiting room of stages that may run together. When a place is free for one of them it takes others along that are
 * ready by then, its even share of them; nothing waits for a stage that is not ready.
 */
import type { Asset, BackendName, RunContext } from '../api.ts';
import type { PlannedStage } from '../plan/types.ts';
import type { StageQueue } from './queue.ts';
import type { Machine, Need } from './resources.ts';
import { needOf, placesFor } from './resources.ts';
import type { Assets } from './survey.ts';

/** How far packing goes. */
export interface PackLimits {
  /** Stages in a pack at most; 1: none is packed. */
  readonly most: number;
  /** Megabytes that a pack may take, by the stages' own estimates. */
  readonly memoryMB: number;
}

/** The stages that may share a job. */
export const packId = (kind: string, pack: string): string => JSON.stringify([kind, pack]);

/**
 * How many stages go into the next pack: an even share of those that wait, for each worker that has no pack of theirs yet,
 * in as few turns as the limits allow. The first always goes.
 * @param memory what each of those that wait would add, in MB, the first being the one whose turn it is
 * @param free workers without a pack of theirs, this one included
 */
export function packSize(
  memory: readonly number[],
  free: number,
  { most, memoryMB }: PackLimits,
): number {
  const turns = Math.ceil(memory.length / (free * most));
  const share = Math.ceil(memory.length / (free * turns));
  let taken = 1;
  for (let sum = memory[0] ?? 0; taken < share; taken++) {
    sum += memory[taken]!;
    if (sum > memoryMB) break;
  }
  return taken;
}

/** What a stage would add to a pack, in MB; null while one of its sources is not there. @param inputs once they are made */
export async function packMemory(
  { descriptor, params, assets }: PlannedStage,
  found: Assets,
  inputs?: RunContext['inputs'],
): Promise<number | null> {
  const here: { [name: string]: Asset } = {};
  for (const [name, uri] of Object.entries(assets)) {
    const asset = found.get(uri);
    if (!asset) return null;
    here[name] = asset;
  }
  const given = { params, assets: here, ...(inputs === undefined ? {} : { inputs }) };
  return (await descriptor.pack?.memoryMB?.(given)) ?? 0;
}

/**
 * The packs that come about if all of these stages are ready at once: for a plan. What runs alone is left out; memory that
 * can't be told yet counts as none.
 */
export async function foreseePacks(
  stages: readonly PlannedStage[],
  backend: BackendName,
  machine: Machine,
  limits: PackLimits,
  found: Assets,
): Promise<PlannedStage[][]> {
  const rooms = new Map<string, { readonly stage: PlannedStage; readonly memoryMB: number }[]>();
  for (const stage of limits.most > 1 ? stages : []) {
    if (stage.pack === null) continue;
    const id = packId(stage.kind, stage.pack),
      room = rooms.get(id) ?? [];
    room.push({ stage, memoryMB: (await packMemory(stage, found)) ?? 0 });
    rooms.set(id, room);
  }
  const packs: PlannedStage[][] = [];
  for (const room of rooms.values()) {
    for (
      let free = placesFor(needOf(room[0]!.stage, backend, machine), machine);
      room.length > 0;
      free = Math.max(1, free - 1)
    ) {
      const pack = room.splice(
        0,
        packSize(
          room.map(({ memoryMB }) => memoryMB),
          free,
          limits,
        ),
      );
      if (pack.length > 1) packs.push(pack.map(({ stage }) => stage));
    }
  }
  return packs;
}

export interface Waiting {
  /** `packId`. */
  readonly id: string;
  readonly need: Need;
  readonly priority: number;
  readonly memoryMB: Promise<number>;
}

export interface Packer<Member extends Waiting, Result> {
  /** Resolves with the member's own result; rejects where its memory can't be told. */
  add(member: Member): Promise<Result>;
}

export function createPacker<Member extends Waiting, Result>(
  queue: StageQueue,
  machine: Machine,
  limits: PackLimits,
  runTogether: (members: readonly Member[], gpus: readonly string[]) => readonly Promise<Result>[],
): Packer<Member, Result> {
  interface Entry {
    readonly member: Member;
    readonly settle: (result: Promise<Result>) => void;
  }
  interface Room {
    waiting: readonly Entry[];
    /** Packs of theirs that run. */ packs: number;
  }
  const rooms = new Map<string, Room>();

  /** Whom the pack of `first` consists of; none where another has taken it along meanwhile. */
  const take = async (first: Entry, room: Room): Promise<readonly Entry[]> => {
    // What became ready by the same event is here by the next turn.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    const memory = new Map<Entry, number>();
    for (const entry of room.waiting) {
      try {
        memory.set(entry, await entry.member.memoryMB);
      } catch (error) {
        room.waiting = room.waiting.filter((one) => one !== entry);
        entry.settle(Promise.reject(error));
      }
    }
    if (!room.waiting.includes(first)) return [];
    const ordered = [
      first,
      ...room.waiting.filter((entry) => entry !== first && memory.has(entry)),
    ];
    const free = Math.max(1, placesFor(first.member.need, machine) - room.packs);
    const taken = ordered.slice(
      0,
      packSize(
        ordered.map((entry) => memory.get(entry)!),
        free,
        limits,
      ),
    );
    room.waiting = room.waiting.filter((entry) => !taken.includes(entry));
    room.packs++;
    return taken;
  };

  return {
    add: (member) =>
      new Promise<Result>((resolve, reject) => {
        const entry: Entry = { member, settle: resolve };
        const room = rooms.get(member.id) ?? { waiting: [], packs: 0 };
        rooms.set(member.id, room);
        room.waiting = [...room.waiting, entry];
        member.memoryMB.catch(() => undefined); // told when its turn comes
        queue
          .add(
            async (gpus) => {
              if (!room.waiting.includes(entry)) return; // another took it along
              const taken = await take(entry, room);
              if (taken.length === 0) return;
              const results = runTogether(
                taken.map((one) => one.member),
                gpus,
              );
              taken.forEach(({ settle }, i) => settle(results[i]!));
              await Promise.allSettled(results);
              room.packs--;
            },
            { need: member.need, priority: member.priority },
          )
          .catch(reject);
      }),
  };
}
