/** Does `work` as if some seconds had gone by: what was written a moment ago has settled. */
export function later<T>(work: () => T): T {
  const { now } = Date;
  Date.now = () => now() + 5000;
  try {
    return work();
  } finally {
    Date.now = now;
  }
}
