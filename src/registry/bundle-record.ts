/**
 * A record of what the bundle of an outside plugin was made from, so that it is made again only
 * when one of these has changed. The launcher keeps a like record of our own sources.
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
import type { Digest } from '../api.ts';
import { sha256 } from '../setup/closure.mjs';

export interface Bundle {
  /** The absolute path of the module to load. */
  readonly module: string;
  /** The SHA-256 of the module's text. */
  readonly digest: string;
  /** The version of the plugin's own code. */
  readonly code: Digest;
  readonly closure: { readonly [part: string]: string };
  /** Whether it imports `dosimeter/science`. */
  readonly usesScience: boolean;
}

/**
 * Path, mtime in ms and size; the last two are -1 if nothing is there. A folder counts by its
 * mtime: an import may resolve to a file that was added.
 */
type Source = readonly [path: string, mtime: number, size: number];

interface BundleRecord extends Bundle {
  readonly format: 1;
  /** The plugin API that the bundle imports: that of a build. */
  readonly api: string;
  readonly sources: readonly Source[];
}

/** A file that changes within one tick of the clock after it was read looks unchanged later. */
const TICK_MS = 20;

function look(path: string): Source {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined
    ? [path, -1, -1]
    : [path, stat.mtimeMs, stat.isDirectory() ? 0 : stat.size];
}

/** What decides how imports resolve and are read, beside the files themselves. */
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
 * The bundle of a plugin, if nothing that it was made from has changed; else null.
 * @param dir where bundles lie
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
  if (record.format !== 1 || record.api !== api) return null;
  const isUnchanged = record.sources.every(([path, mtime, size]) => {
    const [, now, nowSize] = look(path);
    return now === mtime && nowSize === size;
  });
  // What is loaded must be what was built: the file may be torn or overwritten.
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
  if (sources.some(([, mtime]) => mtime > started - TICK_MS)) return;
  const file = recordFile(dir, plugin),
    draft = `${file}.${process.pid}.tmp`;
  try {
    mkdirSync(dir, { recursive: true });
    writeFileSync(
      draft,
      JSON.stringify({ format: 1, api, ...bundle, sources } satisfies BundleRecord),
    );
    renameSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    rmSync(draft, { force: true }); // the disk refuses it: the bundle is made again next time
  }
}
