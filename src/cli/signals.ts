/** How a run is interrupted, by Ctrl-C and other signals, and the exit codes of a run. */
export const DONE = 0;
export const FAILED = 1;
/** The run stopped by itself, since `stopWhen` held. */
export const STOPPED = 3;
export const INTERRUPTED = 130;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `handle` on a signal, instead of ending the process.
 * @returns a function that restores the signals
 */
export function onInterrupt(handle: (signal: NodeJS.Signals) => void): () => void {
  for (const signal of SIGNALS) process.on(signal, handle);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
