import { setImmediate } from 'node:timers/promises';

/**
 * Yields in the middle of a long computation, so that the worker can send its messages and receive
 * an abort. Throws the reason of `signal` once that is aborted.
 */
export async function yieldToEventLoop(signal?: AbortSignal): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
