/**
 * Returns the absolute path of the folder of downloads: the one that DOSIMETER_CACHE names, or else
 * the user's cache folder.
 */
export function cacheDir(env?: Readonly<Record<string, string | undefined>>): string;
/** Returns the folder of the Python environment that `npm run setup -- --torch` makes. */
export function torchPythonDir(env?: Readonly<Record<string, string | undefined>>): string;
