/**
 * Loads plugins from outside the repository. They are bundled at load, so that the code that runs
 * is exactly the code that the digest covers.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import type { BuildFailure, Plugin } from 'esbuild';
import { type AnyPlugin, type Digest, type StageDescriptor, UserFault } from '../../api.ts';
import { replaceFile } from '../../base/replace-file.ts';
import { makeCacheFolder } from '../../base/untrusted/paths.ts';
import { closureVersions, sha256 } from '../../setup/closure.mjs';
import { cacheDir } from '../../setup/paths.mjs';
import { apiModule, buildDir, importFile, readJson, scienceModule } from './build.ts';
import { checkDescriptor } from './descriptor.ts';
import type { LoadedPlugin, RegistryFile } from './types.ts';

const scienceUrl = (): string => pathToFileURL(scienceModule()).href;

/** Makes `dosimeter` and tfjs resolve to this process's own instances, wherever the plugin is. */
function sharedModules(): Plugin {
  const api = pathToFileURL(apiModule()).href;
  const require = createRequire(import.meta.url);
  return {
    name: 'shared',
    setup(build) {
      build.onResolve({ filter: /^dosimeter$/ }, () => ({ path: api, external: true }));
      build.onResolve({ filter: /^dosimeter\/science$/ }, () => ({
        path: scienceUrl(),
        external: true,
      }));
      build.onResolve({ filter: /^@tensorflow\// }, ({ path }) => ({
        path: pathToFileURL(require.resolve(path)).href,
        external: true,
      }));
    },
  };
}

/**
 * Keeps the bytes that esbuild reads: the version must cover them, even if a file is edited
 * meanwhile.
 */
function recordSources(sources: Map<string, Uint8Array>): Plugin {
  return {
    name: 'reading',
    setup(build) {
      build.onLoad({ filter: /.*/, namespace: 'file' }, ({ path }) => {
        const contents = readFileSync(path);
        sources.set(path, contents);
        return { contents, loader: 'default' };
      });
    },
  };
}

/**
 * Adds to a plugin's version the version of `dosimeter/science`, if the plugin imports it, and the
 * version of what loads a backend, if the plugin computes.
 */
function fullVersion(
  { code, closure, usesScience }: Bundle,
  computes: boolean,
): Pick<LoadedPlugin, 'code' | 'closure'> {
  if (!usesScience && !computes) return { code, closure }; // for speed
  const versions = readJson<RegistryFile>(join(buildDir(), 'registry.json'));
  let version: Pick<LoadedPlugin, 'code' | 'closure'> = { code, closure };
  for (const part of ['science', 'compute'] as const) {
    if (!(part === 'science' ? usesScience : computes)) continue;
    const preimage = JSON.stringify([`dosimeter.with-${part}/1`, version.code, versions[part]]);
    version = {
      code: `sha256:${sha256(preimage)}` as Digest,
      closure: { ...version.closure, [`dosimeter/${part}`]: String(versions[part]) },
    };
  }
  return version;
}

/** How many open files are enough to start esbuild, a program with three pipes. */
const ESBUILD_HANDLES = 8;

/** Throws EMFILE or ENFILE where esbuild, which starts a program, would throw an unclear error. */
function checkFileHandles(): void {
  const handles: number[] = [];
  try {
    for (let i = 0; i < ESBUILD_HANDLES; i++) handles.push(openSync(process.execPath, 'r'));
  } finally {
    handles.forEach((handle) => closeSync(handle));
  }
}

/** Bundles a plugin into a module in `dir`, and records it for `findBundle`. */
async function buildBundle(path: string, dir: string): Promise<Bundle> {
  const started = Date.now();
  checkFileHandles();
  const esbuild = await import('esbuild');
  const root = dirname(path);
  const sources = new Map<string, Uint8Array>();
  const { metafile, outputFiles } = await esbuild
    .build({
      entryPoints: [path],
      absWorkingDir: root,
      bundle: true,
      write: false,
      metafile: true,
      outdir: root,
      sourcemap: 'inline',
      sourceRoot: root, // for messages about errors
      logLevel: 'silent',
      format: 'esm',
      platform: 'node',
      target: 'node20',
      plugins: [sharedModules(), recordSources(sources)],
      banner: {
        js:
          "import { createRequire as __createRequire } from 'node:module'; const require = " +
          '__createRequire(import.meta.url);',
      },
    })
    .catch((failure: unknown) => {
      // The faults are put on one line, like any diagnostic's message. The diagnostic's place is
      // where the spec names the plugin.
      const faults = (failure as BuildFailure).errors.map(({ text, location }) =>
        location === null
          ? text
          : `${text} (${location.file}:${location.line}:${location.column + 1})`,
      );
      throw new UserFault(`the plugin ${path} can't be built: ${faults.join('; ')}`);
    });
  const entry = relative(root, path);
  const version = (
    await closureVersions(metafile, [entry], {
      root,
      transform: esbuild.transform,
      skip: (specifier) => specifier.startsWith('file:'),
      read: (source) => sources.get(source) ?? readFileSync(source),
    })
  ).get(entry);
  const text = outputFiles[0]?.text;
  if (version === undefined || text === undefined)
    throw new Error(`esbuild built nothing from ${path}`);
  const digest = sha256(text),
    module = join(dir, `${pluginName(path).replace(/[^\w.-]+/g, '_')}-${digest.slice(0, 16)}.mjs`);
  // A file of that name with other content was torn or overwritten.
  if (!existsSync(module) || readFileSync(module, 'utf8') !== text) replaceFile(module, text);
  const usesScience = Object.values(metafile.inputs).some(({ imports }) =>
    imports.some(({ path: imported }) => imported === scienceUrl()),
  );
  const made: Bundle = {
    module,
    digest,
    code: version.code as Digest,
    closure: Object.fromEntries(version.closure),
    usesScience,
  };
  rememberBundle(
    dir,
    path,
    apiModule(),
    made,
    Object.keys(metafile.inputs).map((input) => resolve(root, input)),
    started,
  );
  return made;
}

const INDEXES = ['index.ts', 'index.mts', 'index.js', 'index.mjs'];

/**
 * Returns a plugin's file: the path itself, or the index of a folder. Throws UserFault if there is
 * none.
 */
function entryFile(named: string): string {
  const found = statSync(named, { throwIfNoEntry: false });
  if (found === undefined)
    throw new UserFault(
      `the plugin ${named} does not exist`,
      'paths under `plugins` are relative to the spec that writes them',
    );
  if (!found.isDirectory()) return named;
  const entry = INDEXES.map((name) => join(named, name)).find((file) => existsSync(file));
  if (entry === undefined)
    throw new UserFault(
      `the plugin ${named} is a folder without ${INDEXES.join(', ')}`,
      'a folder is one plugin, which its index exports as default',
    );
  return entry;
}

/** Returns the name of the file without its ending, or of the folder whose index it is. */
function pluginName(entry: string): string {
  const name = basename(entry).replace(/\.\w+$/, '');
  return name === 'index' ? basename(dirname(entry)) : name;
}

/** Loads one plugin. @param named the absolute path of a file or folder */
async function loadPlugin(named: string): Promise<LoadedPlugin> {
  const path = entryFile(named);
  const dir = makeCacheFolder(cacheDir(), 'plugins');
  const found = findBundle(dir, path, apiModule()) ?? (await buildBundle(path, dir));
  if (sep === '/' && found.module.includes('\\'))
    throw new UserFault(
      `${found.module}: Node loads no module from a path with a backslash in it`,
      'give another place with DOSIMETER_CACHE',
    );
  let exported: unknown;
  try {
    exported = ((await importFile(found.module)) as { default?: unknown }).default;
  } catch (error) {
    throw new UserFault(
      `the plugin ${path} throws when it is loaded: ` +
        (error instanceof Error ? error.message : String(error)),
    );
  }
  const { kind, name } = checkDescriptor(exported, path);
  const computes = kind === 'stage' && (exported as StageDescriptor).compute;
  return {
    kind,
    name,
    descriptor: exported as AnyPlugin as LoadedPlugin['descriptor'],
    ...fullVersion(found, computes),
    file: path,
    module: found.module,
  };
}

/**
 * Loads plugins from outside the repository.
 * @param paths absolute, or relative to the working folder: TypeScript or JavaScript files, or
 *   folders with an index
 * @returns what `Registry.with` takes
 * @throws UserFault that names the file if it is missing, can't be built, throws at load, or has
 *   the wrong shape
 */
export async function loadOutsidePlugins(
  paths: readonly (string | URL)[],
): Promise<LoadedPlugin[]> {
  return Promise.all(
    paths.map((path) => loadPlugin(path instanceof URL ? fileURLToPath(path) : resolve(path))),
  );
}

export interface Bundle {
  /** The absolute path of the module to load. */
  readonly module: string;
  /** The SHA-256 of its text. */
  readonly digest: string;
  /** The version of the plugin's own code, without science and backends. */
  readonly code: Digest;
  /** What `code` covers: the digests of sources and the releases of packages. */
  readonly closure: { readonly [part: string]: string };
  readonly usesScience: boolean;
}

/**
 * The path of a source, its mtime and ctime in ms, and its size; −1 for these if nothing is there.
 * The ctime changes even if an edit keeps size and mtime, as `cp -p` may. A folder has size 0; its
 * times count, since an import may resolve to a file that was added to it.
 */
type Source = readonly [path: string, mtime: number, ctime: number, size: number];

interface BundleRecord extends Bundle {
  readonly format: 2;
  /** The module of `apiModule` that the bundle imports, which belongs to one build. */
  readonly api: string;
  readonly sources: readonly Source[];
}

/**
 * One tick of the file system's clock, in ms. A file that changes within a tick of being read looks
 * unchanged.
 */
const TICK_MS = 20;

function statSource(path: string): Source {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined
    ? [path, -1, -1, -1]
    : [path, stat.mtimeMs, stat.ctimeMs, stat.isDirectory() ? 0 : stat.size];
}

/**
 * Returns the files and folders that decide, besides the sources, how imports resolve.
 * @param folders the folders of the sources
 */
function resolutionFiles(folders: Iterable<string>): Set<string> {
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
 * Returns the recorded bundle of a plugin; null if there is none or its sources have changed.
 * @param dir the folder of the bundles
 * @param plugin the absolute path of the plugin's source
 * @param api what the bundle must import (`apiModule`)
 */
export function findBundle(dir: string, plugin: string, api: string): Bundle | null {
  const file = recordFile(dir, plugin);
  if (!existsSync(file)) return null;
  let record: Omit<BundleRecord, 'format'> & { readonly format: number };
  try {
    record = readJson<typeof record>(file);
  } catch {
    return null; // torn by a power cut: it is made again
  }
  if (record.format !== 2 || record.api !== api) return null;
  const isUnchanged = record.sources.every((source) =>
    isDeepStrictEqual(source, statSource(source[0])),
  );
  // What is loaded must be what was built, but the file may be torn or overwritten.
  return isUnchanged &&
    existsSync(record.module) &&
    sha256(readFileSync(record.module)) === record.digest
    ? record
    : null;
}

/**
 * Records what a bundle was made from, unless one of the sources is so young that a change of it
 * might not show.
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
    ...new Set([...inputs, ...resolutionFiles(new Set(inputs.map((path) => dirname(path))))]),
  ].map(statSource);
  if (sources.some(([, mtime, ctime]) => Math.max(mtime, ctime) > started - TICK_MS)) return;
  const record: BundleRecord = { format: 2, api, ...bundle, sources };
  try {
    mkdirSync(dir, { recursive: true });
    replaceFile(recordFile(dir, plugin), JSON.stringify(record));
  } catch (error) {
    // If the disk refuses it, the bundle is made again next time.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
  }
}
