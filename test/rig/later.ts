/**
 * Does `work` as if some seconds had passed, so that files written a moment ago count as settled.
 */
export function later<T>(work: () => T): T {
  const { now } = Date;
  Date.now = () => now() + 5000;
  try {
    return work();
  } finally {
    Date.now = now;
  }
}
