/**
 * Who holds a lease: a process, named so that another process can tell whether it still lives. A process id alone comes
 * round again; with the time it started it does not. The host part holds the boot and the process-id namespace, since
 * ids mean nothing outside these.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';

export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** The process's start, in the kernel's own count; `0` where the system doesn't tell. */
  readonly start: string;
  /** One process may open a store twice. */
  readonly opening: number;
}

function readOr(fallback: string, read: () => string): string {
  try {
    return read();
  } catch {
    return fallback; // not Linux: hostname alone
  }
}

const bootId = (): string =>
  readOr('', () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());

let host: string | undefined;
export function thisHost(): string {
  host ??= createHash('sha256')
    .update(
      JSON.stringify([
        os.hostname(),
        bootId(),
        readOr('', () => readlinkSync('/proc/self/ns/pid')),
      ]),
    )
    .digest('hex')
    .slice(0, 12);
  return host;
}

/** Field 22 of /proc/PID/stat; the command's name (field 2) may hold spaces and brackets. Null: no such process. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie runs no more.
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? '0');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && process.platform === 'linux')
      return null;
    try {
      process.kill(pid, 0);
      return '0';
    } catch (gone) {
      return (gone as NodeJS.ErrnoException).code === 'EPERM' ? '0' : null;
    }
  }
}

let openings = 0;
/** A new owner within this process. */
export const newOwner = (): Owner => ({
  host: thisHost(),
  pid: process.pid,
  start: startOf(process.pid) ?? '0',
  opening: ++openings,
});

/** As it stands in file names. */
export const ownerName = (owner: Owner): string =>
  `${owner.host}-${owner.pid}-${owner.start}-${owner.opening}`;

export function parseOwner(name: string): Owner | null {
  const match = /^([0-9a-f]{12})-(\d+)-(\d+)-(\d+)$/.exec(name);
  return match
    ? { host: match[1]!, pid: Number(match[2]), start: match[3]!, opening: Number(match[4]) }
    : null;
}

/** This process as a record names it that outlives the boot. */
export interface Process {
  readonly owner: string;
  readonly hostname: string;
  readonly boot: string;
}

export const thisProcess = (): Process => ({
  owner: ownerName(newOwner()),
  hostname: os.hostname(),
  boot: bootId(),
});

/** As `ownerState`, but what ran on this host before it was started again is dead. */
export function processState({
  owner,
  hostname,
  boot,
}: Partial<Process>): 'alive' | 'dead' | 'unknown' {
  const parsed = parseOwner(String(owner)),
    state = parsed === null ? 'unknown' : ownerState(parsed);
  return state === 'unknown' && hostname === os.hostname() && boot !== bootId() ? 'dead' : state;
}

/** `unknown`: it is on another host, and only its heartbeat can tell. */
export function ownerState(owner: Owner): 'alive' | 'dead' | 'unknown' {
  if (owner.host !== thisHost()) return 'unknown';
  const start = startOf(owner.pid);
  return start !== null && (start === owner.start || start === '0' || owner.start === '0')
    ? 'alive'
    : 'dead';
}
