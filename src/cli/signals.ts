/** Handles Ctrl-C and the other signals that interrupt a run. */
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
