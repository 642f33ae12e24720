/**
 * The waiting room of stages that may share a job of a scheduler. When the queue has a place for
 * one of them, that stage forms a pack with an even share of the stages that are ready by then.
 * Nothing waits for a stage that is not ready.
 */
import type { Asset, RunContext } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { PlannedStage } from '../../plan/types.ts';
import type { StageQueue, Turn } from './queue.ts';
import { byTurn } from './queue.ts';
import type { Assets } from './survey.ts';

export interface PackLimits {
  /** The most stages in a pack; with 1, none is packed. */
  readonly most: number;
  /** The megabytes that a pack may take, by the stages' own estimates. */
  readonly memoryMB: number;
}

/** Returns a name that is equal for stages that may share a job; null for one that runs alone. */
export const packId = ({ descriptor, kind, resources }: PlannedStage): string | null =>
  descriptor.pack === undefined ? null : JSON.stringify([kind, resources]);

/**
 * Returns how many stages go into the next pack, which is at least one. The waiting stages are
 * shared out evenly among as few packs as the limits allow.
 * @param memory what each waiting stage would add, in MB; the first is the one whose turn it is
 */
export function packSize(memory: readonly number[], { most, memoryMB }: PackLimits): number {
  const share = Math.ceil(memory.length / Math.ceil(memory.length / most));
  let sum = 0;
  const tooMuch = memory.findIndex((estimate) => (sum += estimate) > memoryMB);
  return Math.max(1, Math.min(share, tooMuch < 0 ? memory.length : tooMuch));
}

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
 * Returns the packs that would form if all of these stages were ready at once. Stages that run
 * alone are left out. Memory that can't be estimated yet counts as none.
 */
export async function foreseePacks(
  stages: readonly PlannedStage[],
  limits: PackLimits,
  found: Assets,
): Promise<PlannedStage[][]> {
  const rooms = new Map<string, { readonly stage: PlannedStage; readonly memoryMB: number }[]>();
  for (const stage of limits.most > 1 ? stages : []) {
    const id = packId(stage);
    if (id === null) continue;
    const room = rooms.get(id) ?? [];
    room.push({ stage, memoryMB: (await packMemory(stage, found)) ?? 0 });
    rooms.set(id, room);
  }
  const packs: PlannedStage[][] = [];
  for (const room of rooms.values()) {
    while (room.length > 0) {
      const memory = room.map(({ memoryMB }) => memoryMB);
      const pack = room.splice(0, packSize(memory, limits));
      if (pack.length > 1) packs.push(pack.map(({ stage }) => stage));
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
}

/**
 * @param gatherMs how long members wait for each other
 * @param runTogether runs the members of a pack as one job, and returns a result for each
 */
export function createPacker<Member extends Waiting, Result>(
  queue: StageQueue,
  gatherMs: number,
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
      setTimeout(resolve, gatherMs);
    });
    const memory = await memoryOf(room);
    if (!room.waiting.includes(first)) return;
    const inOrder = [...room.waiting].sort((a, b) => byTurn(a.member, b.member));
    const pack = choosePack(first, inOrder, memory, limits);
    room.waiting = room.waiting.filter((entry) => !pack.includes(entry));
    const results = runTogether(
      pack.map(({ member }) => member),
      gpus,
    );
    pack.forEach(({ settle }, i) => {
      settle(results[i] ?? Promise.reject(new Error('a member of a pack has no result')));
    });
    await Promise.allSettled(results);
  };

  return {
    add: (member) =>
      new Promise<Result>((resolve, reject) => {
        const entry: OwnEntry = { member, settle: resolve };
        const room = rooms.get(member.id) ?? { waiting: [] };
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
  limits: PackLimits,
): readonly E[] {
  const ordered = [first, ...waiting.filter((entry) => entry !== first)].flatMap((entry) => {
    const memoryMB = memory.get(entry);
    return memoryMB === undefined ? [] : [{ entry, memoryMB }];
  });
  const estimates = ordered.map(({ memoryMB }) => memoryMB);
  return ordered.slice(0, packSize(estimates, limits)).map(({ entry }) => entry);
}
