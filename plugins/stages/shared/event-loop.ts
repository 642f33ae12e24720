import { setImmediate } from 'node:timers/promises';

/**
 * Yields in the middle of a long computation, so that the worker can send its messages and receive
 * an abort. If `signal` is aborted, throws its reason.
 */
export async function yieldToEventLoop(signal?: AbortSignal): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}
