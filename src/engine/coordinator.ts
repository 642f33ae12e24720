/**
 * What other processes know of a run and ask of it, by files in its folder alone: `beat.json` shows
 * that it lives, `cancel` asks it to stop.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const BEAT = 'beat.json',
  CANCEL = 'cancel';

/** How often a run shows that it lives, and looks whether it is asked to stop. */
const BEAT_MS = 2_000;
/** How long a run may be silent before others take it for dead. */
const SILENT_MS = 20_000;

export interface Coordinator {
  /** Aborted once another process asks the run to stop. */
  readonly signal: AbortSignal;
  close(): void;
}

export function openCoordinator(dir: string): Coordinator {
  const cancelled = new AbortController();
  const beat = path.join(dir, BEAT);
  let count = 0;
  const tick = (): void => {
    if (existsSync(path.join(dir, CANCEL))) cancelled.abort();
    try {
      writeFileSync(`${beat}.tmp`, JSON.stringify({ count: ++count }));
      renameSync(`${beat}.tmp`, beat);
    } catch {
      // The disk is full, or the folder is gone: the run goes on, and seems to be silent.
    }
  };
  tick();
  const timer = setInterval(tick, BEAT_MS);
  timer.unref();
  return { signal: cancelled.signal, close: () => clearInterval(timer) };
}

/** Asks a run to stop. It does so within a few seconds if its process lives. */
export const askToStop = (dir: string): void => writeFileSync(path.join(dir, CANCEL), '');

function beatOf(dir: string): string | null {
  try {
    return readFileSync(path.join(dir, BEAT), 'utf8');
  } catch {
    return null;
  }
}

/**
 * Whether the process of a run lives, by its heartbeat, on whatever host. No two hosts' clocks are
 * compared: the file has to change while it is watched, which takes up to 20 s.
 */
export async function isBeating(dir: string, ended: () => boolean): Promise<boolean> {
  const before = beatOf(dir),
    until = performance.now() + SILENT_MS;
  while (before !== null && performance.now() < until && !ended()) {
    await sleep(250);
    if (beatOf(dir) !== before) return true;
  }
  return false;
}
