/** Whether an error has one of these codes, such as `EEXIST`. */
export const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  codes.includes((error as NodeJS.ErrnoException | null)?.code ?? '');

/** Whether a file, or a folder on the way to it, is missing. */
export const isMissing = (error: unknown): boolean => hasCode(error, 'ENOENT', 'ENOTDIR');

/** Returns what `look` returns; `fallback` if a file that it looks at is missing. */
export function orIfMissing<T>(fallback: T, look: () => T): T {
  try {
    return look();
  } catch (error) {
    if (isMissing(error)) return fallback;
    throw error;
  }
}
