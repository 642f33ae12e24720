/** Returns what `read` returns, or null if it asks for a source that is not on this machine yet. */
export function ifFetched<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if ((error as Error).name === 'NotFetched') return null;
    throw error;
  }
}
