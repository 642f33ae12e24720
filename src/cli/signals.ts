/** Ctrl-C and its like. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `handle` instead of ending the process.
 * @returns a function that gives the signals back
 */
export function onInterrupt(handle: () => void): () => void {
  for (const signal of SIGNALS) process.on(signal, handle);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
