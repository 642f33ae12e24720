/**
 * The waiting room of stages that may share a job. When the queue has a place for one of them, that
 * stage forms a pack with an even share of the stages that are ready by then. Nothing waits for a
 * stage that is not ready.
 */
import type { Asset, BackendName, RunContext } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { PlannedStage } from '../../plan/types.ts';
import type { StageQueue, Turn } from './queue.ts';
import { byTurn } from './queue.ts';
import type { Machine, Need } from './resources.ts';
import { formsPacks, isScheduled, needOf, placesFor } from './resources.ts';
import type { Assets } from './survey.ts';

export interface PackLimits {
  /** The most stages in a pack; with 1, none is packed. */
  readonly most: number;
  /** The megabytes that a pack may take, by the stages' own estimates. */
  readonly memoryMB: number;
}

/** Returns the id of a pack. Stages with the same id may share a job. */
export const packId = (kind: string, pack: string): string => JSON.stringify([kind, pack]);

/**
 * Returns how many stages go into the next pack, which is at least one. The waiting stages are
 * shared out evenly among the workers that have no pack of them yet, in as few turns as the limits
 * allow.
 * @param memory what each waiting stage would add, in MB; the first is the one whose turn it is
 * @param free the number of workers without a pack of these stages, this one included
 */
export function packSize(
  memory: readonly number[],
  free: number,
  { most, memoryMB }: PackLimits,
): number {
  const turns = Math.ceil(memory.length / (free * most));
  const share = Math.ceil(memory.length / (free * turns));
  let sum = 0;
  const tooMuch = memory.findIndex((estimate) => (sum += estimate) > memoryMB);
  return Math.max(1, Math.min(share, tooMuch < 0 ? memory.length : tooMuch));
}

/**
 * Returns among how many workers packs are shared out. Where a scheduler has the workers, each pack
 * takes as many stages as it may.
 */
const placesOfPacks = (need: Need, machine: Machine): number =>
  isScheduled(machine) ? 1 : placesFor(need, machine);

/**
 * Returns what a stage would add to a pack, in MB, or null while one of its sources is missing.
 * @param inputs the stage's inputs, once they are made
 */
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
  const given = { params, assets: here, ...defined({ inputs }) };
  return (await descriptor.pack?.memoryMB?.(given)) ?? 0;
}

/**
 * Returns the packs that would form if all of these stages were ready at once, as `plan` shows
 * them. Stages that run alone are left out. Memory that can't be estimated yet counts as none.
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
    if (stage.pack === null || !formsPacks(stage, machine)) continue;
    const id = packId(stage.kind, stage.pack),
      room = rooms.get(id) ?? [];
    room.push({ stage, memoryMB: (await packMemory(stage, found)) ?? 0 });
    rooms.set(id, room);
  }
  const packs: PlannedStage[][] = [];
  for (const room of rooms.values()) {
    const [first] = room;
    if (first === undefined) continue;
    let free = placesOfPacks(needOf(first.stage, backend, machine), machine);
    while (room.length > 0) {
      const memory = room.map(({ memoryMB }) => memoryMB);
      const pack = room.splice(0, packSize(memory, free, limits));
      if (pack.length > 1) packs.push(pack.map(({ stage }) => stage));
      free = Math.max(1, free - 1);
    }
  }
  return packs;
}

export interface Waiting extends Turn {
  /** The stage's `packId`. */
  readonly id: string;
  readonly memoryMB: Promise<number>;
}

export interface Packer<Member extends Waiting, Result> {
  /**
   * Adds a member. Resolves with the member's own result, and rejects if its memory can't be
   * estimated.
   */
  add(member: Member): Promise<Result>;
}

/** A member that waits, and the function that resolves its promise. */
interface Entry<Member, Result> {
  readonly member: Member;
  readonly settle: (result: Promise<Result>) => void;
}

/** The members that may share a job. */
interface Room<Member, Result> {
  waiting: readonly Entry<Member, Result>[];
  /** How many packs of this room are running. */
  packs: number;
}

/** @param runTogether runs the members of a pack as one job, and returns a result for each */
export function createPacker<Member extends Waiting, Result>(
  queue: StageQueue,
  machine: Machine,
  limits: PackLimits,
  runTogether: (members: readonly Member[], gpus: readonly string[]) => readonly Promise<Result>[],
): Packer<Member, Result> {
  type OwnEntry = Entry<Member, Result>;
  type OwnRoom = Room<Member, Result>;
  const rooms = new Map<string, OwnRoom>();

  const runPack = async (
    first: OwnEntry,
    room: OwnRoom,
    gpus: readonly string[],
  ): Promise<void> => {
    if (!room.waiting.includes(first)) return; // another pack has taken it along
    // Waits until the other stages that the same event has made ready have been added.
    await new Promise((resolve) => {
      if (machine.gatherMs === undefined) setImmediate(resolve);
      else setTimeout(resolve, machine.gatherMs);
    });
    const memory = await memoryOf(room);
    if (!room.waiting.includes(first)) return;
    const free = Math.max(1, placesOfPacks(first.member.need, machine) - room.packs);
    const inOrder = [...room.waiting].sort((a, b) => byTurn(a.member, b.member));
    const pack = choosePack(first, inOrder, memory, free, limits);
    room.waiting = room.waiting.filter((entry) => !pack.includes(entry));
    room.packs++;
    const results = runTogether(
      pack.map(({ member }) => member),
      gpus,
    );
    pack.forEach(({ settle }, i) => {
      settle(results[i] ?? Promise.reject(new Error('a member of a pack has no result')));
    });
    await Promise.allSettled(results);
    room.packs--;
  };

  return {
    add: (member) =>
      new Promise<Result>((resolve, reject) => {
        const entry: OwnEntry = { member, settle: resolve };
        const room = rooms.get(member.id) ?? { waiting: [], packs: 0 };
        rooms.set(member.id, room);
        room.waiting = [...room.waiting, entry];
        member.memoryMB.catch(() => undefined); // rejects `add` when its turn comes
        queue.add((gpus) => runPack(entry, room, gpus), member).catch(reject);
      }),
  };
}

/** Returns the memory of each waiting entry. An entry whose estimate fails leaves the room. */
async function memoryOf<Member extends Waiting, Result>(
  room: Room<Member, Result>,
): Promise<ReadonlyMap<Entry<Member, Result>, number>> {
  const memory = new Map<Entry<Member, Result>, number>();
  for (const entry of room.waiting) {
    try {
      memory.set(entry, await entry.member.memoryMB);
    } catch (error) {
      room.waiting = room.waiting.filter((one) => one !== entry);
      entry.settle(Promise.reject(error instanceof Error ? error : new Error(String(error))));
    }
  }
  return memory;
}

/**
 * Returns the pack of `first`, which is always in it. Entries that came too late to have an
 * estimate wait.
 */
function choosePack<E>(
  first: E,
  waiting: readonly E[],
  memory: ReadonlyMap<E, number>,
  free: number,
  limits: PackLimits,
): readonly E[] {
  const ordered = [first, ...waiting.filter((entry) => entry !== first)].flatMap((entry) => {
    const memoryMB = memory.get(entry);
    return memoryMB === undefined ? [] : [{ entry, memoryMB }];
  });
  const estimates = ordered.map(({ memoryMB }) => memoryMB);
  return ordered.slice(0, packSize(estimates, free, limits)).map(({ entry }) => entry);
}
