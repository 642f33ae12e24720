/**
 * `index/DIGEST.json`, by the digest of a spec's path: what look-ups of the spec's entries need
 * from their manifests, so that the next run need not open thousands of manifests. As in git's
 * index, a manifest is not read again while its inode, size and times are those that were recorded.
 * The entry's files are checked in any case. The index is only a cache: if it is missing, damaged
 * or in another format, the manifests are read.
 */
import type { Stats } from 'node:fs';
import path from 'node:path';
import { sha256 } from '../base/sha256.ts';
import type { ActionKey } from '../plan/types.ts';
import { MANIFEST_FORMAT, type ManifestFile, type ManifestHead } from './manifest.ts';
import { readSealed, writeSealed } from './sealed.ts';

export type Seen = Pick<Stats, 'ino' | 'size' | 'mtimeMs' | 'ctimeMs'>;

export type ManifestIndex = ReturnType<typeof openManifestIndex>;

/**
 * The stats and the head of a manifest. A line is a flat list, because there are thousands; `files`
 * is (path, size, digest) of each file, one after another.
 */
type Line = readonly [
  key: ActionKey,
  ino: number,
  size: number,
  mtimeMs: number,
  ctimeMs: number,
  content: ManifestHead['content'],
  seconds: number,
  created: string,
  backend: ManifestHead['backend'],
  files: readonly (string | number)[],
  letGo: readonly string[] | null,
];

type IndexFile = {
  readonly format: number;
  /** MANIFEST_FORMAT of the version that wrote the index. */
  readonly manifests: number;
  readonly lines: readonly Line[];
};

/** Changes with what a `Line` holds or its fields mean. */
const FORMAT = 2;

export const INDEX = 'index';

/** Returns the path of the file of a spec's index. @param spec the path of the spec's file */
export const indexFile = (root: string, spec: string): string =>
  path.join(root, INDEX, `${sha256(spec).slice(0, 16)}.json`);

/**
 * A manifest that was changed less than this many ms ago is not indexed: a second change within a
 * tick of the kernel's clock would leave no mark in the times.
 */
const SETTLED_MS = 2000;
/**
 * The index is written only if more than this share of its lines is new: it is cheaper to read a
 * few manifests again.
 */
const READ_AGAIN = 1 / 8;

/** Opens the index of a spec. @param spec the path of the spec's file */
export function openManifestIndex(root: string, spec: string) {
  const file = indexFile(root, spec);
  let known: Map<ActionKey, Line> | null = null;
  /** The lines of the manifests that this run has looked up. A key may occur twice. */
  const asked: Line[] = [];
  /** How many of these lines are new. */
  let fresh = 0;
  /**
   * Returns the lines of the index's file by key; none if it is missing, damaged or in another
   * format.
   */
  const load = (): Map<ActionKey, Line> => {
    try {
      const found = readSealed<IndexFile>(file, { lines: 'list' });
      const isOurs =
        typeof found === 'object' &&
        found?.format === FORMAT &&
        found.manifests === MANIFEST_FORMAT;
      return new Map(isOurs ? found.lines.map((line) => [line[0], line]) : []);
    } catch {
      // A disk that can't give the index can't give the manifests, whose readers report that.
      return new Map();
    }
  };
  return {
    /** Returns the recorded head of a manifest; null if the manifest has to be read. */
    get(key: ActionKey, { ino, size, mtimeMs, ctimeMs }: Seen): ManifestHead | null {
      const line = (known ??= load()).get(key);
      if (
        !line ||
        line[1] !== ino ||
        line[2] !== size ||
        line[3] !== mtimeMs ||
        line[4] !== ctimeMs
      )
        return null;
      asked.push(line);
      return parseHead(line);
    },
    /** Records a manifest that was read. @param seen the stats of its file before the read */
    note(key: ActionKey, seen: Seen, head: ManifestHead): void {
      const { ino, size, mtimeMs, ctimeMs } = seen;
      const { content, files, letGo, seconds, created, backend } = head;
      if (Date.now() - ctimeMs <= SETTLED_MS) return;
      asked.push([
        key,
        ino,
        size,
        mtimeMs,
        ctimeMs,
        content,
        seconds,
        created,
        backend,
        files.flatMap((file) => [file.path, file.size, file.sha256]),
        letGo ?? null,
      ]);
      fresh++;
    },
    /** Writes the lines of the manifests that this run has looked up, if enough are new. */
    save(): void {
      if (fresh === 0) return;
      const lines = [...new Map(asked.map((line) => [line[0], line])).values()];
      if (fresh <= READ_AGAIN * lines.length) return;
      writeSealed(file, { format: FORMAT, manifests: MANIFEST_FORMAT, lines } satisfies IndexFile);
    },
  };
}

function parseHead(line: Line): ManifestHead {
  // By position, because destructuring a list steps through all of it.
  const content = line[5],
    seconds = line[6],
    created = line[7],
    backend = line[8],
    flat = line[9],
    letGo = line[10];
  const files: ManifestFile[] = [];
  for (let i = 0; i < flat.length; i += 3)
    files.push({
      path: flat[i] as string,
      size: flat[i + 1] as number,
      sha256: flat[i + 2] as string,
    });
  return { content, files, seconds, created, backend, ...(letGo === null ? {} : { letGo }) };
}
