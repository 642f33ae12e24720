/**
 * The owner of a lease: a process, named so that other processes can tell whether it is still
 * alive. A process id may be used again, but never with the same start time. The host part of the
 * name covers the boot and the namespace of process ids, because ids mean nothing outside these.
 *
 * Other hosts tell by heartbeats whether a process is alive. A process writes a sequence number
 * into its file `leases/OWNER` again and again. Another host reads the number and counts, by its
 * own clock, how long it has stayed the same. No time stamp is compared: hosts' clocks differ, a
 * network file system may stamp files by any of them, and its attribute cache shows old stamps. The
 * content is up to date: opening a file makes a network file system ask the server what the file
 * holds now.
 */
import {
  closeSync,
  constants,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { isAlive } from '../base/processes.ts';
import { sha256 } from '../base/sha256.ts';
import { hasCode } from '../base/system-error.ts';
import { diskFault, isDiskFault } from './faults.ts';
import { isUnreadable, openRegular } from './regular.ts';

export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** The process's start, in the kernel's own unit; `0` if the system does not tell. */
  readonly start: string;
  /** The owner's number in its process, from 1: a process may have several owners. */
  readonly opening: number;
}

/** Returns what `read` returns; '' if it throws, as it does where the system lacks the file. */
function readOrEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

/** Returns the kernel's id of this boot; '' where the system has none. */
const bootId = (): string =>
  readOrEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());

let host: string | undefined;
/**
 * Returns the host part of owners' names. `DOSIMETER_HOST` tells apart hosts that look the same,
 * such as two virtual machines that were resumed from one image.
 */
function thisHost(): string {
  const named = process.env['DOSIMETER_HOST'] ?? '',
    namespace = readOrEmpty(() => readlinkSync('/proc/self/ns/pid'));
  host ??= sha256(
    JSON.stringify([os.hostname(), bootId(), namespace, ...(named === '' ? [] : [named])]),
  ).slice(0, 12);
  return host;
}

/**
 * Returns the start of a process, field 22 of /proc/PID/stat; `0` where the system does not tell,
 * null if no such process runs. Field 2, the command's name, may contain spaces and brackets.
 */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie no longer runs. The list starts with field 3.
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? '0');
  } catch (error) {
    if (hasCode(error, 'ENOENT') && process.platform === 'linux') return null;
    return isAlive(pid) ? '0' : null;
  }
}

let openings = 0;
export const newOwner = (): Owner => ({
  host: thisHost(),
  pid: process.pid,
  start: processStart(process.pid) ?? '0',
  opening: ++openings,
});

export const isOnThisHost = ({ host: name }: Owner): boolean => name === thisHost();

export const ownerName = (owner: Owner): string =>
  `${owner.host}-${owner.pid}-${owner.start}-${owner.opening}`;

/** Returns the owner whose `ownerName` this is; null for any other text. */
export function parseOwner(name: string): Owner | null {
  const [, host, pid, start, opening] = /^([0-9a-f]{12})-(\d+)-(\d+)-(\d+)$/.exec(name) ?? [];
  return host === undefined || start === undefined
    ? null
    : { host, pid: Number(pid), start, opening: Number(opening) };
}

/** Returns the owner in the name of a claim, marker or heartbeat; null for any other name. */
export const ownerIn = (name: string): Owner | null =>
  parseOwner(name.slice(name.indexOf('.') + 1));

/** A process, as named in a record that may be read after the host was started again. */
export interface Process {
  /** Its `ownerName`. */
  readonly owner: string;
  readonly hostname: string;
  /** The kernel's id of the boot in which it ran; '' where the system has none. */
  readonly boot: string;
}

export const thisProcess = (): Process => ({
  owner: ownerName(newOwner()),
  hostname: os.hostname(),
  boot: bootId(),
});

/**
 * Like `ownerState`, except that a process of an earlier boot of this host is dead. `unknown` if
 * `owner` is not an owner's name and the boot tells nothing.
 */
export function processState({
  owner,
  hostname,
  boot,
}: Partial<Process>): 'alive' | 'dead' | 'unknown' {
  const parsed = parseOwner(String(owner)),
    state = parsed === null ? 'unknown' : ownerState(parsed);
  return state === 'unknown' && hostname === os.hostname() && boot !== bootId() ? 'dead' : state;
}

/** Returns whether an owner's process runs; `unknown` on another host, where heartbeats tell. */
export function ownerState(owner: Owner): 'alive' | 'dead' | 'unknown' {
  if (!isOnThisHost(owner)) return 'unknown';
  const start = processStart(owner.pid);
  return start !== null && (start === owner.start || start === '0' || owner.start === '0')
    ? 'alive'
    : 'dead';
}

/** How long another host's heartbeat may be silent before its claims no longer count. */
const TIMEOUT_SECONDS = 30;
/** The least and the most silence that a setting or another process's heartbeat may allow. */
const LEAST_MS = 100,
  MOST_MS = 3600_000;
/** The number of heartbeats within the allowed silence. */
const BEATS = 6;

/**
 * Returns the silence (ms) after which this process's claims no longer count. Each heartbeat of the
 * process states this time, which may differ between hosts. Throws `UserFault` if
 * DOSIMETER_LEASE_SECONDS is out of range.
 */
export function leaseTimeout(env: Readonly<Record<string, string | undefined>>): number {
  const text = env['DOSIMETER_LEASE_SECONDS']?.trim() ?? '';
  const ms = 1000 * (text === '' ? TIMEOUT_SECONDS : Number(text));
  if (!(ms >= LEAST_MS && ms <= MOST_MS))
    throw new UserFault(
      `DOSIMETER_LEASE_SECONDS is ${JSON.stringify(text.slice(0, 40))}; it must be a number of ` +
        'seconds from 0.1 to 3600',
      `without it, it is ${TIMEOUT_SECONDS}`,
    );
  return Math.round(ms);
}

/** Makes the heartbeat of an owner. @param dir the folder of leases */
export function createHeart(dir: string, me: Owner, timeoutMs: number) {
  const file = path.join(dir, ownerName(me));
  let sequence = 0;
  return {
    file,
    /** How often `beat` should be called. */
    everyMs: timeoutMs / BEATS,
    /** Writes the next sequence number, into a new file if need be. Ignores disk faults. */
    beat: (): void => writeBeat(file, beatText(++sequence, timeoutMs)),
  };
}

/** Returns the content of a heartbeat. Its length is fixed, so that it can be overwritten. */
const beatText = (sequence: number, timeoutMs: number): string =>
  `${String(sequence).padStart(12, '0')} ${String(timeoutMs).padStart(8, '0')}\n`;

/**
 * Overwrites a heartbeat, and closes it, so that a network file system sends it to the server.
 * Ignores disk faults.
 */
function writeBeat(file: string, text: string): void {
  try {
    // Not truncated: a reader would find no heartbeat for a moment.
    const handle = openSync(file, constants.O_WRONLY | constants.O_CREAT);
    try {
      writeSync(handle, text, 0);
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    // Missed heartbeats mean at worst that work is done twice.
    if (!hasCode(error, 'ENOENT') && !isUnreadable(error) && !isDiskFault(diskFault(error, file)))
      throw error;
  }
}

export interface Watch {
  /**
   * Looks at a heartbeat. Returns whether it has been silent for longer than it allows itself. Only
   * time while it was watched counts, so the first look never finds it silent.
   */
  isSilent(owner: Owner): boolean;
  /** Whether a heartbeat has been seen to change since the first look. */
  hasBeaten(owner: Owner): boolean;
  /** Looks at all heartbeats asked about. Call it at shorter intervals than the allowed silence. */
  look(): void;
}

interface Seen {
  /** The heartbeat's last known content; null if there was none. */
  readonly beat: string | null;
  /** Since when this content has been seen without a gap in the watch, in ms. */
  readonly since: number;
  /** When the heartbeat was last looked at, in ms. */
  readonly looked: number;
  readonly timeoutMs: number;
  readonly changed: boolean;
}

/**
 * Makes a watch over the heartbeats of other hosts' processes.
 * @param dir the folder of leases
 * @param defaultMs the silence allowed to a process whose heartbeat is missing or states none
 * @param read as `readBeat`
 */
export function createWatch(
  dir: string,
  defaultMs: number,
  clock: () => number = () => performance.now(),
  read: (file: string) => string | null | undefined = readBeat,
): Watch {
  const seen = new Map<string, Seen>();
  /**
   * Reads a heartbeat, compares it with what was seen before, and remembers and returns the result.
   */
  const look = (name: string): Seen => {
    const before = seen.get(name),
      now = clock(),
      beat = read(path.join(dir, name));
    // While nobody looked, as when this process was stopped, any number of beats may have been
    // missed, and the other process may have been stopped as well.
    const watched = before !== undefined && now - before.looked <= before.timeoutMs;
    const known = beat === undefined ? (before?.beat ?? null) : beat;
    const same = watched && beat !== undefined && beat === before.beat;
    const after: Seen = {
      beat: known,
      since: same ? before.since : now,
      looked: now,
      timeoutMs: timeoutIn(known) ?? defaultMs,
      changed: before !== undefined && (before.changed || known !== before.beat),
    };
    seen.set(name, after);
    return after;
  };
  return {
    isSilent(owner) {
      const { since, looked, timeoutMs } = look(ownerName(owner));
      return looked - since > timeoutMs;
    },
    hasBeaten: (owner) => seen.get(ownerName(owner))?.changed ?? false,
    look() {
      for (const name of seen.keys()) look(name);
    },
  };
}

/** Returns the silence (ms) that a heartbeat states, cut to the limits; null if it states none. */
function timeoutIn(beat: string | null): number | null {
  const [, ms] = /^\d{12} (\d{8})\n$/.exec(beat ?? '') ?? [];
  return ms === undefined ? null : Math.min(MOST_MS, Math.max(LEAST_MS, Number(ms)));
}

/** Returns a heartbeat's content; null if there is none, undefined if it can't be read now. */
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
    if (hasCode(error, 'ENOENT')) return null;
    if (isUnreadable(error) || hasCode(error, 'ESTALE')) return undefined;
    throw error;
  }
}
