/** Finds TCP ports for the servers that tests start. */
import { existsSync, readFileSync } from 'node:fs';

/** The TCP ports of this machine that a socket has as its own, in whatever state. */
function usedPorts(): ReadonlySet<number> {
  const used = new Set<number>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    if (!existsSync(table)) continue;
    for (const line of readFileSync(table, 'utf8').split('\n').slice(1)) {
      const local = line.trim().split(/\s+/)[1]?.split(':')[1];
      if (local !== undefined) used.add(parseInt(local, 16));
    }
  }
  return used;
}

/**
 * Returns the first of 100 ports that no socket uses. They lie below the ports that Linux gives to
 * outgoing connections (from 32,768 on), which could take the port of a server before it starts.
 * Where the search begins depends on the process, so that servers of several processes differ.
 */
export function freePorts(): number {
  const used = usedPorts(),
    ranges = 100;
  for (let tried = 0; tried < ranges; tried++) {
    const first = 20_000 + 100 * ((process.pid + tried) % ranges);
    if (![...used].some((port) => port >= first && port < first + 100)) return first;
  }
  throw new Error('no 100 TCP ports in a row are free between 20,000 and 30,000');
}
