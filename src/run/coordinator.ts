/**
 * What other processes know of a run and ask of it, by files in its folder alone: `beat.json` shows
 * that it is alive, `cancel` asks it to stop.
 */
import { existsSync, lstatSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BEAT_FILE } from './log/run-folder.ts';

const CANCEL = 'cancel';

/** How often a run shows that it is alive, and checks whether it is asked to stop. */
const BEAT_MS = 2_000;
/** How long a run may be silent before others take it for dead. */
const SILENT_MS = 20_000;
/**
 * A heartbeat whose file is older than this is not watched. Hosts' clocks differ by far less, which
 * is all that time stamps of files are trusted with.
 */
const LONG_AGO_MS = 3600_000;

export interface Coordinator {
  /** Aborted once another process asks the run to stop. */
  readonly signal: AbortSignal;
  close(): void;
}

export function openCoordinator(dir: string): Coordinator {
  const cancelled = new AbortController();
  const beat = path.join(dir, BEAT_FILE);
  let count = 0;
  const tick = (): void => {
    if (existsSync(path.join(dir, CANCEL))) cancelled.abort();
    try {
      // Written in place and never cut short: a network file system shows other hosts a replaced
      // file late.
      const text = `${JSON.stringify({ count: ++count }).padEnd(40)}\n`;
      writeFileSync(beat, text, { flag: existsSync(beat) ? 'r+' : 'w' });
    } catch {
      // The disk is full, or the folder is gone: the run goes on, and seems to be silent.
    }
  };
  tick();
  const timer = setInterval(tick, BEAT_MS);
  timer.unref();
  return { signal: cancelled.signal, close: () => clearInterval(timer) };
}

/** Asks a run to stop. It does so within a few seconds if its process is alive. */
export const askToStop = (dir: string): void => writeFileSync(path.join(dir, CANCEL), '');

function beatOf(dir: string): string | null {
  try {
    return readFileSync(path.join(dir, BEAT_FILE), 'utf8');
  } catch {
    return null;
  }
}

function isLongAgo(dir: string): boolean {
  const beat = lstatSync(path.join(dir, BEAT_FILE), { throwIfNoEntry: false });
  return beat !== undefined && Date.now() - beat.mtimeMs > LONG_AGO_MS;
}

/**
 * Whether the process of a run is alive, by its heartbeat, on any host. No two hosts' clocks are
 * compared: the file has to change while it is watched.
 * @param forMs how long it is watched if it does not change
 */
export async function isBeating(
  dir: string,
  ended: () => boolean,
  forMs = SILENT_MS,
): Promise<boolean> {
  if (isLongAgo(dir)) return false;
  const before = beatOf(dir),
    until = performance.now() + forMs;
  while (before !== null && performance.now() < until && !ended()) {
    await sleep(250);
    if (beatOf(dir) !== before) return true;
  }
  return false;
}
