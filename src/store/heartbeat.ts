/**
 * Heartbeats: how a process shows other hosts that it is alive, and how they watch it.
 *
 * A process writes a sequence number into its file `leases/OWNER` again and again. Another host
 * reads the number and counts, by its own clock, how long it has not changed. No time stamp is
 * compared: hosts' clocks differ, a network file system may stamp files by any of them, and its
 * attribute cache shows old stamps. The content is not affected: opening a file makes a network
 * file system ask the server what the file holds now.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { diskFault, isDiskFault } from './faults.ts';
import type { Owner } from './owner.ts';
import { ownerName } from './owner.ts';
import { isUnreadable, openRegular } from './regular.ts';

/** How long another host's heartbeat may be silent before its claims no longer count. */
const SILENT_SECONDS = 30;
/** The shortest and longest silence that is honoured, whatever a heartbeat's file says. */
const LEAST_MS = 100,
  MOST_MS = 3600_000;
/** How many heartbeats fall into the time after which silence counts. */
const BEATS = 6;

/**
 * Returns the silence in milliseconds after which this process's claims no longer count, from
 * `DOSIMETER_LEASE_SECONDS`. Each heartbeat says it, so hosts need not agree. Throws `UserFault` if
 * the variable is out of range.
 */
export function silenceOf(env: Readonly<Record<string, string | undefined>>): number {
  const text = env['DOSIMETER_LEASE_SECONDS']?.trim() ?? '';
  const ms = 1000 * (text === '' ? SILENT_SECONDS : Number(text));
  if (!(ms >= LEAST_MS && ms <= MOST_MS))
    throw new UserFault(
      `DOSIMETER_LEASE_SECONDS is ${JSON.stringify(text.slice(0, 40))}; it must be a number of ` +
        'seconds from 0.1 to 3600',
      `without it, it is ${SILENT_SECONDS}`,
    );
  return Math.round(ms);
}

/** A process's monotonic clock, in milliseconds. Tests replace it. */
export type Clock = () => number;

/**
 * Milliseconds that also pass while the machine sleeps, which the monotonic clock leaves out. A
 * wall clock that is set forward only makes a process check its leases once more.
 */
function createAwakeClock(): Clock {
  let at = performance.now(),
    wall = Date.now(),
    sum = 0;
  return () => {
    const now = performance.now(),
      wallNow = Date.now();
    sum += Math.max(now - at, wallNow - wall);
    at = now;
    wall = wallNow;
    return sum;
  };
}

export interface Heart {
  /** How often `beat` should be called, in milliseconds. */
  readonly everyMs: number;
  /** Writes the next sequence number; a file that is missing is made. Ignores disk faults. */
  beat(): void;
  /** Makes another name of this process beat as well. */
  alsoAs(owner: Owner): void;
  /**
   * Whether a beat has been late by half of the silence that others allow, since `fresh` was last
   * called: the process was stopped, or the disk took no writes. Others may think it is gone.
   */
  isLate(): boolean;
  /** Forgets that beats were late. */
  fresh(): void;
  /** Counts as a beat, but writes nothing. */
  rest(): void;
  /** The files that hold the sequence number. */
  files(): readonly string[];
}

/** @param dir the folder of leases */
export function createHeart(
  dir: string,
  me: Owner,
  silentMs: number,
  clock: Clock = createAwakeClock(),
): Heart {
  const files = [path.join(dir, ownerName(me))];
  let sequence = 0,
    last = clock(),
    wasLate = false;
  const isOverdue = (): boolean => clock() - last > silentMs / 2;
  return {
    everyMs: silentMs / BEATS,
    beat() {
      wasLate ||= isOverdue();
      sequence++;
      if (files.map((file) => writeBeat(file, beatText(sequence, silentMs))).every(Boolean))
        last = clock();
    },
    alsoAs(owner) {
      files.push(path.join(dir, ownerName(owner)));
    },
    isLate: () => (wasLate ||= isOverdue()),
    fresh() {
      wasLate = false;
    },
    rest() {
      last = clock();
    },
    files: () => files,
  };
}

/**
 * Returns the content of a heartbeat's file. Its length is fixed, so that it can be overwritten.
 */
const beatText = (sequence: number, silentMs: number): string =>
  `${String(sequence).padStart(12, '0')} ${String(silentMs).padStart(8, '0')}\n`;

/**
 * Writes a heartbeat and closes the file, which makes a network file system send it. Returns
 * whether it was written.
 */
function writeBeat(file: string, text: string): boolean {
  try {
    let handle: number;
    try {
      handle = openSync(file, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      handle = openSync(file, 'w');
    }
    try {
      writeSync(handle, text, 0);
    } finally {
      closeSync(handle);
    }
    return true;
  } catch (error) {
    // Missed heartbeats mean at worst that work is done twice.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || isUnreadable(error) || isDiskFault(diskFault(error, file)))
      return false;
    throw error;
  }
}

export interface Watch {
  /**
   * Looks at the heartbeat of a process of another host. Returns whether it has been silent for as
   * long as it said it may be. So the first look at a process never finds it silent.
   */
  isSilent(owner: Owner): boolean;
  /** Whether a heartbeat has been seen to change since the first look. */
  hasBeaten(owner: Owner): boolean;
  /**
   * Looks at every process that was asked about. Silence counts only while it is watched, so this
   * must be called more often than the silence is long.
   */
  look(): void;
}

interface Seen {
  readonly beat: string | null;
  /** When this beat was first seen, and when the file was last looked at. */
  readonly since: number;
  readonly looked: number;
  readonly silentMs: number;
  readonly changed: boolean;
}

/**
 * @param dir the folder of leases
 * @param defaultMs the silence of a process without a heartbeat
 * @param read returns the heartbeat in a file, null if there is no file, or undefined if that can't
 *   be told now
 */
export function createWatch(
  dir: string,
  defaultMs: number,
  clock: Clock = () => performance.now(),
  read: (file: string) => string | null | undefined = readBeat,
): Watch {
  const seen = new Map<string, Seen>();
  const look = (name: string): Seen => {
    const before = seen.get(name),
      now = clock(),
      beat = read(path.join(dir, name));
    // While nobody looked, as when this process was stopped, any number of beats may have been
    // missed, and the other process may have been stopped as well.
    const watched = before !== undefined && now - before.looked <= before.silentMs;
    const known = beat === undefined ? (before?.beat ?? null) : beat;
    const same = watched && beat !== undefined && beat === before.beat;
    const after: Seen = {
      beat: known,
      since: same ? before.since : now,
      looked: now,
      silentMs: silenceIn(known) ?? defaultMs,
      changed: before !== undefined && (before.changed || known !== before.beat),
    };
    seen.set(name, after);
    return after;
  };
  return {
    isSilent(owner) {
      const { since, looked, silentMs } = look(ownerName(owner));
      return looked - since > silentMs;
    },
    hasBeaten: (owner) => seen.get(ownerName(owner))?.changed ?? false,
    look() {
      for (const name of seen.keys()) look(name);
    },
  };
}

/** Returns the silence that a heartbeat allows itself, within limits; null if it says none. */
function silenceIn(beat: string | null): number | null {
  const [, ms] = /^\d{12} (\d{8})\n$/.exec(beat ?? '') ?? [];
  return ms === undefined ? null : Math.min(MOST_MS, Math.max(LEAST_MS, Number(ms)));
}

function readBeat(file: string): string | null | undefined {
  const bytes = Buffer.alloc(64);
  try {
    const handle = openRegular(file);
    try {
      return bytes.toString('latin1', 0, readSync(handle, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    if (isUnreadable(error) || (error as NodeJS.ErrnoException).code === 'ESTALE') return undefined;
    throw error;
  }
}
