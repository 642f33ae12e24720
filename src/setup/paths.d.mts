/** Where downloads go: DOSIMETER_CACHE, or the user's cache folder. An absolute path. */
export function cacheDir(env?: Readonly<Record<string, string | undefined>>): string;
/** The clone's root; right only for source files run from `src/setup/`, not from a bundle. */
export function projectDir(): string;
