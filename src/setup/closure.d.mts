import type { Metafile, transform } from 'esbuild';

export function sha256(content: string | Uint8Array): string;

/**
 * Returns the folder of the package that a bundled file belongs to, or null for a source of the
 * program's own.
 */
export function packageOf(path: string, root: string): string | null;

/**
 * Returns the folder of a package as Node would find it from the folder `from`; null if there is
 * none.
 */
export function findPackage(name: string, from: string): string | null;

/**
 * Returns the version of the code that each entry executes, from its import closure; see
 * closure.mjs.
 */
export function closureVersions(
  metafile: Metafile,
  entries: readonly string[],
  options: {
    readonly root: string;
    readonly transform: typeof transform;
    readonly skip?: (specifier: string) => boolean;
    readonly read?: (path: string) => Uint8Array;
  },
): Promise<Map<string, { readonly code: string; readonly closure: ReadonlyMap<string, string> }>>;
