/**
 * `runs/ID/progress.json`: how far the running stages are, `{ "stages": { ID: [done, total, unit]
 * }}`. It is replaced at most once a second. The journal keeps no progress, since it would grow by
 * every step of every training.
 */
import path from 'node:path';
import type { Json } from '../api.ts';
import { writeSealed } from '../store/sealed.ts';
import type { RunEvent } from './events.ts';

export const PROGRESS_FILE = 'progress.json';

const EVERY_MS = 1000;

/**
 * Returns a function that notes events and writes the file when it is due.
 * @param write passes a write on, or leaves it out where the disk refuses it
 */
export function openRunProgress(
  dir: string,
  write: (save: () => void) => void,
  now: () => number = () => performance.now(),
): (event: RunEvent) => void {
  const stages = new Map<string, Json>();
  let next = Number.NEGATIVE_INFINITY;
  return (event) => {
    if (event.type === 'stage-ended') stages.delete(event.stage.id);
    if (event.type !== 'stage-progress') return;
    stages.set(event.stage.id, [event.done, event.total, event.unit]);
    if (now() < next) return;
    write(() => writeSealed(path.join(dir, PROGRESS_FILE), { stages: Object.fromEntries(stages) }));
    next = now() + EVERY_MS;
  };
}
