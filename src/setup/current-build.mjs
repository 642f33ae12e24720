/**
 * Finds the build to run, for the launcher and the library, and makes a new one if sources have
 * changed. `dist/build.json` says which build is current, and what it was made from. Every start
 * reads it, so this file imports only Node's own modules.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';

/**
 * Returns the folder of the current build, after building if sources have changed. The folder is
 * kept while this process is alive, so that a long run keeps its code.
 * @param tell called with a message before building
 * @throws {Error} named BuildFault on a fault in a source file
 */
export async function currentBuild(project, tell) {
  const dir = join(project, 'dist', await buildName());
  const mark = join(dir, 'users', String(process.pid));
  ifWritable(() => {
    mkdirSync(join(dir, 'users'), { recursive: true });
    writeFileSync(mark, '');
    process.on('exit', () => rmSync(mark, { force: true }));
  });
  return dir;

  /**
   * Returns the name of the current build, after building if there is none or sources have changed.
   */
  async function buildName() {
    const record = readRecord(project);
    // Without sources nothing can have changed.
    if (!existsSync(join(project, 'src', 'cli.ts')) && record !== null) return record.build;
    const built =
      record !== null && existsSync(join(project, 'dist', record.build, 'registry.json'));
    const changed = built ? changedSources(project, record) : [];
    if (built && changed.length === 0) return record.build;
    const rest = changed.length > 2 ? ` and ${changed.length - 2} more` : '';
    tell(built ? `building again, ${changed.slice(0, 2).join(', ')}${rest} changed` : 'building');
    const { build } = await import('./build.mjs');
    return build(project);
  }
}

const require = createRequire(import.meta.url);

/**
 * What a build was made from. `sources` lists path, mtime and ctime in ms, size and digest; the
 * ctime changes even if an edit keeps size and mtime, as `cp -p` may. The folders of plugins and of
 * Python files are listed too, so that a new file is noticed. A folder has size -1 and the digest
 * of its entries' names.
 * @typedef {{
 *   format: 2, build: string, sources: [string, number, number, number, string][]
 * }} BuildRecord
 */

/** Files that a build depends on, although no source imports them. */
const EXTRA = [
  'package.json',
  'package-lock.json',
  'node_modules/.package-lock.json',
  '../.package-lock.json', // of the node_modules that the program is itself installed in
  'tsconfig.json',
  'schemas/pipeline.schema.json',
  'schemas/slurm-profile.schema.json',
  'src/setup/build.mjs',
  'src/setup/bundle.mjs',
  'src/setup/closure.mjs',
  'src/setup/dist-folder.mjs',
];

const recordFile = (project) => join(project, 'dist', 'build.json');

/** Returns a source as in `BuildRecord`: path, mtime, ctime, size, digest. */
function describeSource(project, path) {
  const absolute = join(project, path);
  const stat = statSync(absolute);
  // Loaded only here, because most starts need no digest.
  const { createHash } = require('node:crypto');
  const content = stat.isDirectory()
    ? JSON.stringify(readdirSync(absolute).sort())
    : readFileSync(absolute);
  return [
    path,
    stat.mtimeMs,
    stat.ctimeMs,
    stat.isDirectory() ? -1 : stat.size,
    createHash('sha256').update(content).digest('hex'),
  ];
}

/**
 * Returns a folder and all folders below it, as paths from `project`; an empty list if there is no
 * such folder.
 */
function foldersUnder(project, dir) {
  if (!existsSync(join(project, dir))) return [];
  const inner = readdirSync(join(project, dir), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  return [dir, ...inner.flatMap((entry) => foldersUnder(project, `${dir}/${entry.name}`))];
}

/**
 * Replaces a file at once: whoever reads it meanwhile finds the whole old text or the whole new
 * one.
 */
export function replaceFile(file, text) {
  const draft = `${file}.${process.pid}.tmp`;
  writeFileSync(draft, text);
  renameSync(draft, file);
}

export function writeRecord(project, record) {
  mkdirSync(join(project, 'dist'), { recursive: true });
  replaceFile(recordFile(project), JSON.stringify(record));
}

/** Returns the record of a build. @param {readonly string[]} inputs paths from `project` */
export function describeBuild(project, build, inputs) {
  const paths = new Set([
    ...inputs,
    ...EXTRA.filter((path) => existsSync(join(project, path))),
    ...foldersUnder(project, 'plugins'),
    ...foldersUnder(project, 'src/torch/python'),
  ]);
  return {
    format: 2,
    build,
    sources: [...paths].sort().map((path) => describeSource(project, path)),
  };
}

/** @returns {BuildRecord | null} null if there is no usable record */
export function readRecord(project) {
  try {
    const record = JSON.parse(readFileSync(recordFile(project), 'utf8'));
    return record.format === 2 ? record : null;
  } catch (error) {
    if (error instanceof SyntaxError || error.code === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Whether an error means that the disk refuses writes, is full, or fails. Node has no name for
 * EDQUOT, only a number.
 */
export function isRefusal(error) {
  const { code, errno } = error ?? {};
  return (
    ['EACCES', 'EROFS', 'EPERM', 'ENOSPC', 'EIO'].includes(code ?? '') ||
    errno === -constants.errno.EDQUOT
  );
}

/** Runs a write that only saves time later. If the disk refuses the write, that is ignored. */
function ifWritable(write) {
  try {
    write();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}

/** Returns the sources whose content has changed. If only times differ, updates the record. */
export function changedSources(project, record) {
  // Each start looks at hundreds of sources, so nothing is computed twice here.
  const options = { throwIfNoEntry: false };
  const root = join(project, '/');
  const touched = record.sources.filter(([path, mtime, ctime, size]) => {
    const stat = statSync(root + path, options);
    return (
      stat === undefined ||
      stat.mtimeMs !== mtime ||
      stat.ctimeMs !== ctime ||
      (size >= 0 && stat.size !== size)
    );
  });
  if (touched.length === 0) return [];
  const changed = touched
    .filter(
      ([path, , , , digest]) =>
        !existsSync(join(project, path)) || describeSource(project, path)[4] !== digest,
    )
    .map(([path]) => path);
  if (changed.length === 0) {
    const sources = record.sources.map((source) =>
      touched.includes(source) ? describeSource(project, source[0]) : source,
    );
    ifWritable(() => writeRecord(project, { ...record, sources }));
  }
  return changed;
}
