/**
 * Records the sources of an outside plugin's bundle, so that it is made again only when one of them
 * has changed. The launcher keeps a similar record of this program's own sources.
 */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Digest } from '../../api.ts';
import { sha256 } from '../../setup/closure.mjs';

export interface Bundle {
  /** The absolute path of the module to load. */
  readonly module: string;
  /** The SHA-256 of the module's text. */
  readonly digest: string;
  /** The version of the plugin's own code. */
  readonly code: Digest;
  readonly closure: { readonly [part: string]: string };
  /** Whether the plugin imports `dosimeter/science`. */
  readonly usesScience: boolean;
}

/**
 * The path of a source, its mtime and ctime in ms, and its size, or -1 for these if nothing is
 * there. The ctime changes even if an edit keeps size and mtime, as `cp -p` may. A folder is listed
 * with its times, because an import may resolve to a file that was added.
 */
type Source = readonly [path: string, mtime: number, ctime: number, size: number];

interface BundleRecord extends Bundle {
  readonly format: 2;
  /** The plugin API that the bundle imports, which belongs to a build. */
  readonly api: string;
  readonly sources: readonly Source[];
}

/**
 * One tick of the clock. A file that changes within a tick after it was read looks unchanged later.
 */
const TICK_MS = 20;

function look(path: string): Source {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined
    ? [path, -1, -1, -1]
    : [path, stat.mtimeMs, stat.ctimeMs, stat.isDirectory() ? 0 : stat.size];
}

/**
 * Returns the files and folders that decide how imports resolve and are read, besides the sources.
 */
function surroundings(folders: Iterable<string>): Set<string> {
  const around = new Set<string>();
  for (const folder of folders) {
    if (!folder.includes('/node_modules/')) around.add(folder);
    for (let dir = folder; ; dir = dirname(dir)) {
      for (const name of ['package.json', 'tsconfig.json', 'node_modules'])
        around.add(join(dir, name));
      if (dir === dirname(dir)) break;
    }
  }
  return around;
}

const recordFile = (dir: string, plugin: string): string =>
  join(dir, `${sha256(plugin).slice(0, 16)}.json`);

/**
 * Returns the bundle of a plugin, or null if anything that it was made from has changed.
 * @param dir the folder of the bundles
 * @param plugin the absolute path of the plugin's source
 */
export function findBundle(dir: string, plugin: string, api: string): Bundle | null {
  const file = recordFile(dir, plugin);
  if (!existsSync(file)) return null;
  let record: Omit<BundleRecord, 'format'> & { readonly format: number };
  try {
    record = JSON.parse(readFileSync(file, 'utf8')) as typeof record;
  } catch {
    return null; // torn by a power cut: it is made again
  }
  if (record.format !== 2 || record.api !== api) return null;
  const isUnchanged = record.sources.every((source) => {
    const now = look(source[0]);
    return source.every((value, i) => value === now[i]);
  });
  // What is loaded must be what was built, but the file may be torn or overwritten.
  return isUnchanged &&
    existsSync(record.module) &&
    sha256(readFileSync(record.module)) === record.digest
    ? record
    : null;
}

/**
 * Records what a bundle was made from, unless one of the sources is too young to tell.
 * @param inputs the absolute paths of all files that were read
 * @param started when the build began, in ms since 1970
 */
export function rememberBundle(
  dir: string,
  plugin: string,
  api: string,
  bundle: Bundle,
  inputs: readonly string[],
  started: number,
): void {
  const sources = [
    ...new Set([...inputs, ...surroundings(new Set(inputs.map((path) => dirname(path))))]),
  ].map(look);
  if (sources.some(([, mtime, ctime]) => Math.max(mtime, ctime) > started - TICK_MS)) return;
  const file = recordFile(dir, plugin),
    draft = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(dir, { recursive: true });
    writeFileSync(
      draft,
      JSON.stringify({ format: 2, api, ...bundle, sources } satisfies BundleRecord),
    );
    renameSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    rmSync(draft, { force: true }); // the disk refuses it: the bundle is made again next time
  }
}
