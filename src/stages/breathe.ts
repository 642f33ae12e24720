/**
 * Lets the worker send its messages and hear an abort, in the middle of a long computation.
 * @param signal throws its reason once it is aborted
 */
export async function breathe(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  signal?.throwIfAborted();
}
