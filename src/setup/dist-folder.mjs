/**
 * Writes the folder `dist`, with a folder for each build. In a build, `registry.json` lists every
 * plugin with the version of the code that it executes, and `closures.json` lists the sources and
 * packages that this version covers.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { BuildFault, builtFile, bundle, pluginModule } from './bundle.mjs';
import { combinedVersion, sha256 } from './closure.mjs';
import { replaceFile } from './current-build.mjs';
import { isAlive } from './lock.mjs';

/** @typedef {Awaited<ReturnType<typeof import('./closure.mjs').closureVersions>>} Versions */

/**
 * The text of `cli.js`. It exits as soon as the command has ended: Node would otherwise spend some
 * milliseconds on taking its heap apart.
 */
const CLI = `import { main } from './program.js';
export const ended = main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  process.once('beforeExit', () => process.exit());
});
`;

/**
 * Writes the outputs as `dist/<digest>/`; the folder appears whole or not at all. The digest is
 * over the outputs and over the versions of the plugins' code, since a new release of a package
 * that is not bundled changes only the versions.
 * @returns {string} the build's name
 */
export function writeBuild(project, outputs, versions, plugins) {
  const dist = join(project, 'dist');
  const files = outputs
    .map(({ path, contents }) => ({ path: relative(dist, path), contents }))
    .concat(
      plugins.map((source) => ({
        path: builtFile(source),
        contents: Buffer.from(pluginModule(source)),
      })),
      { path: 'cli.js', contents: Buffer.from(CLI) },
    )
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  const name = sha256(
    JSON.stringify([
      files.map(({ path, contents }) => [path, sha256(contents)]),
      [...versions].map(([source, { code }]) => [source, code]),
    ]),
  ).slice(0, 12);
  const target = join(dist, name);
  if (!existsSync(target)) {
    const temporary = join(dist, `.tmp-${process.pid}`);
    rmSync(temporary, { recursive: true, force: true });
    for (const { path, contents } of files) {
      mkdirSync(dirname(join(temporary, path)), { recursive: true });
      writeFileSync(join(temporary, path), contents);
    }
    renameSync(temporary, target);
  }
  return name;
}

/**
 * Writes the schema that `dosimeter schema` prints, for editors: the first line of a spec names its
 * file.
 */
export function writeSchema(dist, name) {
  const { stdout } = spawnSync(process.execPath, [join(dist, name, 'cli.js'), 'schema'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (!stdout?.startsWith('{')) return; // a program without that command
  replaceFile(join(dist, 'pipeline.schema.json'), stdout);
}

/**
 * Deletes old builds. Keeps the current one, the newest other one, those that a live process uses,
 * and those of the last hour.
 */
export function prune(dist, current) {
  const builds = readdirSync(dist)
    .filter((name) => /^[0-9a-f]{12}$/.test(name) && name !== current)
    .map((name) => ({ name, time: statSync(join(dist, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { name, time } of builds.slice(1)) {
    const users = existsSync(join(dist, name, 'users'))
      ? readdirSync(join(dist, name, 'users'))
      : [];
    // Builds of the last hour stay, because a process on another host may use them.
    if (!users.map(Number).some(isAlive) && Date.now() - time > 3_600_000)
      rmSync(join(dist, name), { recursive: true, force: true });
  }
}

/**
 * The part of the science that outside plugins may import. Its version is part of the versions of
 * such plugins.
 */
export const SCIENCE = 'src/science.ts';

/**
 * The module that a worker loads before a stage that computes. It loads our own kernels, among
 * others. The module is part of the version of such a stage, although the stage does not import it.
 */
const COMPUTE = 'src/tensor/load.ts';

/** The parts of the program that have their own version, as plugins do. */
export const PROGRAM = [SCIENCE, COMPUTE];

/**
 * Returns the descriptors of a build's plugins, by source.
 * @throws {BuildFault} naming the first plugin that throws when it is loaded
 */
async function loadDescriptors(project, dir, sources) {
  try {
    return (await import(pathToFileURL(join(dir, 'plugins.js')).href)).default;
  } catch (error) {
    const which = (await firstThrowing(project, sources)) ?? 'a plugin';
    const message = error instanceof Error ? error.message : String(error);
    throw new BuildFault(`${which} throws when it is loaded: ${message}`);
  }
}

/**
 * Returns the source of the first plugin that throws when it is loaded by itself; null if none
 * does.
 */
async function firstThrowing(project, sources) {
  const dir = join(project, 'dist', `.tmp-alone-${process.pid}`);
  try {
    for (const [i, source] of sources.entries()) {
      const { outputFiles } = await bundle(project, { [source]: `alone-${i}` }, []);
      mkdirSync(dir, { recursive: true });
      for (const { path, contents } of outputFiles)
        writeFileSync(join(dir, basename(path)), contents);
      const loads = await import(pathToFileURL(join(dir, `alone-${i}.js`)).href).then(
        () => true,
        () => false,
      );
      if (!loads) return source;
    }
    return null;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Returns a plugin's entry in `registry.json`, without its version. @throws {BuildFault} */
function pluginRecord(descriptor, source) {
  const { kind, name } = descriptor ?? {};
  if (typeof kind !== 'string' || typeof name !== 'string') {
    throw new BuildFault(
      `${source} exports no plugin as default: ` +
        'write `export default defineAttack({ … })`, or another define function',
    );
  }
  return { kind, name, source, file: builtFile(source) };
}

/**
 * Writes `closures.json`, then `registry.json`, whose presence shows that the build is whole.
 * @throws {BuildFault} if a source throws when it is loaded, exports no plugin, or exports one with
 *   a name that is taken
 */
export async function writeRegistry(project, dir, versions) {
  const parts = {};
  const names = new Map();
  const plugins = [];
  const closures = {};
  const sources = [...versions.keys()].filter((source) => !PROGRAM.includes(source));
  const descriptors = await loadDescriptors(project, dir, sources);
  const compute = versions.get(COMPUTE);
  for (const [source, own] of versions) {
    if (PROGRAM.includes(source)) continue;
    const plugin = pluginRecord(descriptors[source], source);
    const key = `${plugin.kind} "${plugin.name}"`;
    const taken = names.get(key);
    if (taken !== undefined)
      throw new BuildFault(
        `two plugins are the ${key}: ${taken} and ${source}; rename one of them`,
      );
    names.set(key, source);
    const computes = plugin.kind === 'stage' && descriptors[source].compute === true;
    const { code, closure } = computes && compute ? combinedVersion(own, compute) : own;
    for (const [part, digest] of closure) parts[part] = digest;
    plugins.push({ ...plugin, code });
    closures[source] = [...closure.keys()];
  }
  const registry = {
    format: 1,
    science: versions.get(SCIENCE)?.code ?? null,
    compute: compute?.code ?? null,
    plugins,
  };
  replaceFile(join(dir, 'closures.json'), JSON.stringify({ parts, closures }));
  replaceFile(join(dir, 'registry.json'), JSON.stringify(registry));
}
