/** What the heartbeat of a run says: whether it has changed while it was watched. */

/** How long a heartbeat may stand still. A run beats every two seconds. */
const SILENT_MS = 20_000;

export interface Pulse {
  /**
   * Takes the content of the heartbeat's file as it is now; null if there is none.
   * @returns null if it has not been watched for long enough
   */
  look(beat: string | null): 'beating' | 'silent' | null;
}

/** Times are of this process's monotonic clock alone: other machines' clocks may differ. */
export function createPulse(now: () => number = () => performance.now()): Pulse {
  let last: string | null | undefined,
    since = 0,
    hasChanged = false;
  return {
    look(beat) {
      if (beat !== last) {
        hasChanged = last !== undefined && beat !== null;
        last = beat;
        since = now();
      }
      if (now() - since >= SILENT_MS) return 'silent';
      return hasChanged ? 'beating' : null;
    },
  };
}
