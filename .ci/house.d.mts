export interface SourceFile {
  readonly path: string;
  readonly room: string;
  readonly lines: {
    readonly code: number;
    readonly imports: number;
    readonly comments: number;
    readonly lines: number;
  };
  readonly imports: readonly string[];
  readonly late: readonly string[];
}

/** Returns the tracked sources of src and plugins, without generated ones. */
export function sources(): readonly SourceFile[];

/** Returns the files under 80 lines that one other file alone imports, with that file. */
export function fragments(
  files: readonly SourceFile[],
): readonly { readonly path: string; readonly reader: string; readonly lines: number }[];

/** ARCHITECTURE.md's table: each row's rooms, and what its last column allows them to import. */
export const roomTable: readonly { readonly rooms: readonly string[]; readonly allowed: string }[];

/**
 * Returns the innermost room of the table that holds a file: `src/run/log/run-log.ts` → `run/log`;
 * the path of a file of src or plugins that is in none, and null for any other.
 */
export function roomOf(path: string): string | null;
