/**
 * `runs/ID/progress.json`: how far the running stages are, and where a scheduler has their jobs:
 *
 *     { "stages": { ID: [done, total, unit] }, "places": { ID: [job, node, waits] } }
 *
 * It is replaced at most once a second. The journal keeps neither, since it would grow by every
 * step of every training.
 */
import path from 'node:path';
import type { Json } from '../../api.ts';
import { writeSealed } from '../../store/sealed.ts';
import type { RunEvent } from './events.ts';

export const PROGRESS_FILE = 'progress.json';

const EVERY_MS = 1000;

/**
 * Returns a function that notes events and writes the file: at once, or when a second has passed
 * since it was written last.
 * @param write passes a write on, or leaves it out where the disk refuses it
 */
export function openRunProgress(
  dir: string,
  write: (save: () => void) => void,
): (event: RunEvent) => void {
  const stages = new Map<string, Json>(),
    places = new Map<string, Json>();
  let last = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | null = null;
  const save = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    last = performance.now();
    write(() =>
      writeSealed(path.join(dir, PROGRESS_FILE), {
        stages: Object.fromEntries(stages),
        places: Object.fromEntries(places),
      }),
    );
  };
  const saveSoon = (): void => {
    const left = last + EVERY_MS - performance.now();
    if (left <= 0) save();
    else timer ??= setTimeout(save, left).unref();
  };
  return (event) => {
    switch (event.type) {
      case 'stage-progress':
        stages.set(event.stage.id, [event.done, event.total, event.unit]);
        saveSoon();
        break;
      case 'stage-place':
        places.set(event.stage.id, [event.place.job, event.place.node, event.place.waits]);
        saveSoon();
        break;
      case 'stage-ended':
        stages.delete(event.stage.id);
        places.delete(event.stage.id);
        break;
      case 'run-ended':
        if (timer !== null) clearTimeout(timer);
        timer = null;
        break;
      case 'run-started':
      case 'stage-started':
      case 'note':
        break;
    }
  };
}
