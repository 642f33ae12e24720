/** What an outside plugin's bundle was made from, so that it is made again only when one of these has changed: as the launcher's record of our own sources. */
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
  /** The absolute path of what is loaded. */
  readonly module: string;
  /** SHA-256 of its text. */
  readonly digest: string;
  /** Of the plugin's own code. */
  readonly code: Digest;
  readonly closure: { readonly [part: string]: string };
  /** Whether it imports this program's science as well. */
  readonly usesScience: boolean;
}

/** Path, mtime in ms, size; both -1 where there is nothing. A folder counts by its mtime: what is added to it may be found instead. */
type Source = readonly [path: string, mtime: number, size: number];

interface BundleRecord extends Bundle {
  readonly format: 1;
  /** The build whose plugin API the bundle imports. */
  readonly api: string;
  readonly sources: readonly Source[];
}

/** A file that changes within a clock's tick of being read looks unchanged later. */
const TICK_MS = 20;

function look(path: string): Source {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined
    ? [path, -1, -1]
    : [path, stat.mtimeMs, stat.isDirectory() ? 0 : stat.size];
}

/** What resolves and reads the imports, beside the files themselves. */
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

/** @param dir where bundles lie @param plugin the absolute path of its source @returns null where it must be made */
export function findBundle(dir: string, plugin: string, api: string): Bundle | null {
  const file = recordFile(dir, plugin);
  if (!existsSync(file)) return null;
  let record: BundleRecord;
  try {
    record = JSON.parse(readFileSync(file, 'utf8')) as BundleRecord;
  } catch {
    return null; // torn by a power cut: it is made again
  }
  if (record.format !== 1 || record.api !== api) return null;
  const isUnchanged = record.sources.every(([path, mtime, size]) => {
    const [, now, nowSize] = look(path);
    return now === mtime && nowSize === size;
  });
  // Torn, or written over: what is loaded must be what was built.
  return isUnchanged &&
    existsSync(record.module) &&
    sha256(readFileSync(record.module)) === record.digest
    ? record
    : null;
}

/** @param inputs absolute paths of every file that was read @param started when, in ms since 1970 */
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
    rmSync(draft, { force: true }); // the disk won't have it: the bundle is made again next time
  }
}
