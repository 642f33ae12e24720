import type { Metafile, transform } from 'esbuild';

export function sha256(content: string | Uint8Array): string;

/** The version of the code that each entry executes, from its import closure; see closure.mjs. */
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
