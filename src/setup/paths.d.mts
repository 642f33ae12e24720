/**
 * Returns the absolute path of the folder of downloads: DOSIMETER_CACHE, or the user's cache
 * folder.
 */
export function cacheDir(env?: Readonly<Record<string, string | undefined>>): string;
/** Returns the folder of the Python that `npm run setup -- --torch` makes. */
export function torchPythonDir(env?: Readonly<Record<string, string | undefined>>): string;
