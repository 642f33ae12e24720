/**
 * The owner of a lease: a process, named so that other processes can tell whether it is still
 * alive. A process id may be used again, but never with the same start time. The host part of the
 * name covers the boot and the namespace of process ids, because ids mean nothing outside these.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import os from 'node:os';

export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** The process's start, in the kernel's own unit; `0` if the system does not tell. */
  readonly start: string;
  /** Counts the stores that this process has opened. */
  readonly opening: number;
}

function readOr(fallback: string, read: () => string): string {
  try {
    return read();
  } catch {
    return fallback; // not Linux: the host name alone
  }
}

const bootId = (): string =>
  readOr('', () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());

let host: string | undefined;
/**
 * Returns the host part of owners' names. `DOSIMETER_HOST` tells apart what looks the same here,
 * such as two virtual machines that were resumed from one image.
 */
function thisHost(): string {
  const named = process.env['DOSIMETER_HOST'] ?? '',
    namespace = readOr('', () => readlinkSync('/proc/self/ns/pid'));
  host ??= createHash('sha256')
    .update(JSON.stringify([os.hostname(), bootId(), namespace, ...(named === '' ? [] : [named])]))
    .digest('hex')
    .slice(0, 12);
  return host;
}

/**
 * Returns field 22 of /proc/PID/stat, or null if there is no such process. The command's name,
 * field 2, may contain spaces and brackets.
 */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie no longer runs.
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
/** Returns a new owner in this process. @param like an owner whose host the new one shares */
export const newOwner = (like?: Owner): Owner => ({
  host: like?.host ?? thisHost(),
  pid: process.pid,
  start: startOf(process.pid) ?? '0',
  opening: ++openings,
});

export const isOnThisHost = ({ host: name }: Owner): boolean => name === thisHost();

/** Returns an owner's name as it is used in file names. */
export const ownerName = (owner: Owner): string =>
  `${owner.host}-${owner.pid}-${owner.start}-${owner.opening}`;

export function parseOwner(name: string): Owner | null {
  const [, host, pid, start, opening] = /^([0-9a-f]{12})-(\d+)-(\d+)-(\d+)$/.exec(name) ?? [];
  return host === undefined || start === undefined
    ? null
    : { host, pid: Number(pid), start, opening: Number(opening) };
}

/** This process, as named in a record that may outlive the boot. */
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

/** Like `ownerState`, except that a process of an earlier boot of this host is dead. */
export function processState({
  owner,
  hostname,
  boot,
}: Partial<Process>): 'alive' | 'dead' | 'unknown' {
  const parsed = parseOwner(String(owner)),
    state = parsed === null ? 'unknown' : ownerState(parsed);
  return state === 'unknown' && hostname === os.hostname() && boot !== bootId() ? 'dead' : state;
}

/**
 * Whether an owner is alive. Returns `unknown` for another host, where only its heartbeat can tell.
 */
export function ownerState(owner: Owner): 'alive' | 'dead' | 'unknown' {
  if (!isOnThisHost(owner)) return 'unknown';
  const start = startOf(owner.pid);
  return start !== null && (start === owner.start || start === '0' || owner.start === '0')
    ? 'alive'
    : 'dead';
}
