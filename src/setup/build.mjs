/**
 * `npm run build`: sources → `dist/<build>/`, named by its content, and `dist/build.json`, which points to the newest
 * one and lists what it was made from. A running program keeps its own build, whatever is edited meanwhile.
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
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as esbuild from 'esbuild';
import { changedSources, describeBuild, readRecord, writeRecord } from './build-record.mjs';
import { closureVersions, packageOf, sha256, together } from './closure.mjs';
import { generateTypes } from './generate-types.mjs';
import { withLock } from './lock.mjs';

/** A user's fault in a source file; the message has file:line. */
export class BuildFault extends Error {
  name = 'BuildFault';
}

/**
 * Imported from node_modules when they are needed: native, large, or loading files beside themselves. Everything else
 * is bundled, because a start that opens few files is a fast one.
 */
const EXTERNAL = [
  '@tensorflow/*',
  '@huggingface/*',
  'esbuild',
  'vega',
  'vega-*',
  'node-gyp',
  'json-schema-to-typescript',
  'html-to-text',
];

/** What plugins from outside may use of the science; its version is part of theirs. */
const SCIENCE = 'src/science/api.ts';

/** What a worker loads before a stage that computes, our own kernels among it: part of that stage's version, which doesn't import it. */
const COMPUTE = 'src/compute/load.ts';

/** Parts of the program that have a version beside the plugins'. */
const PROGRAM = [SCIENCE, COMPUTE];

/** @param {string} project @param {string} dir @returns {string[]} paths from `project`, sorted */
function filesUnder(project, dir) {
  if (!existsSync(join(project, dir))) return [];
  return readdirSync(join(project, dir), { withFileTypes: true })
    .flatMap((entry) =>
      entry.isDirectory() ? filesUnder(project, `${dir}/${entry.name}`) : [`${dir}/${entry.name}`],
    )
    .sort();
}

/** @param {string} project */
function entryPoints(project) {
  const program = Object.fromEntries(
    Object.entries({
      'src/cli.ts': 'cli',
      'src/execute/worker.ts': 'worker',
      'src/api.ts': 'api',
      [SCIENCE]: 'science',
      'src/engine/library.ts': 'library',
    }).filter(([source]) => existsSync(join(project, source))),
  );
  return { program, plugins: pluginSources(project), all: { ...program, [ALL_PLUGINS]: 'plugins' } };
}

/**
 * The sources of the built-in plugins. A plugin is a file, `plugins/KIND/NAME.ts`, or a folder whose
 * `index.ts` is the plugin, `plugins/KIND/NAME/index.ts`; the folder's other files are its own.
 * @param {string} project @returns {string[]} paths from `project`, sorted
 * @throws {BuildFault} where a folder has source files and no index
 */
function pluginSources(project) {
  /** @type {string[]} */
  const plugins = [];
  /** @type {Set<string>} */
  const folders = new Set();
  for (const file of filesUnder(project, 'plugins')) {
    if (!/\.tsx?$/.test(file) || file.endsWith('.d.ts')) continue;
    const [root, kind, name, ...below] = file.split('/');
    if (below.length > 0) folders.add(`${root}/${kind}/${name}`);
    if (below.length === 0 || (below.length === 1 && /^index\.tsx?$/.test(below[0] ?? '')))
      plugins.push(file);
  }
  for (const folder of folders) {
    if (!plugins.some((plugin) => plugin.startsWith(`${folder}/`)))
      throw new BuildFault(
        `${folder} has no index.ts: a folder is one plugin, which its index exports as default`,
      );
  }
  return plugins;
}

/**
 * A package that code imports when it needs it is left to Node: bundled, a CommonJS one would lose its named exports.
 * @type {import('esbuild').Plugin}
 */
const lateImports = {
  name: 'late imports',
  setup({ onResolve }) {
    onResolve({ filter: /^[^./]/ }, ({ kind, path }) =>
      kind === 'dynamic-import' && !isAbsolute(path) ? { path, external: true } : null,
    );
  },
};

/** Stands for a module that imports every plugin: one file to open at a start instead of one a plugin. */
const ALL_PLUGINS = 'dosimeter:plugins';

/** `plugins.js`: every descriptor, by its source. @param {string} project @param {readonly string[]} plugins @returns {import('esbuild').Plugin} */
const allPlugins = (project, plugins) => ({
  name: 'all plugins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^${ALL_PLUGINS}$`) }, () => ({
      path: ALL_PLUGINS,
      namespace: 'virtual',
    }));
    onLoad({ filter: /.*/, namespace: 'virtual' }, () => ({
      resolveDir: project,
      contents: [
        ...plugins.map((source, i) => `import * as p${i} from ${JSON.stringify(`./${source}`)};`),
        `export default { ${plugins.map((source, i) => `${JSON.stringify(source)}: p${i}.default`).join(', ')} };`,
      ].join('\n'),
    }));
  },
});

/** The file of a plugin in a build. @param {string} source */
const builtFile = (source) => `${source.replace(/\.tsx?$/, '')}.js`;

/** A plugin by itself, as a worker loads it. @param {string} source */
const shim = (source) =>
  `import all from '${'../'.repeat(source.split('/').length - 1)}plugins.js';\nexport default all[${JSON.stringify(source)}];\n`;

/** @param {string} project @param {Record<string, string>} entries @param {readonly string[]} plugins */
async function bundle(project, entries, plugins) {
  try {
    return await esbuild.build({
      absWorkingDir: project,
      entryPoints: Object.entries(entries).map(([source, out]) => ({ in: source, out })),
      outdir: join(project, 'dist'),
      outbase: project,
      chunkNames: 'chunk-[hash]',
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      target: 'node20',
      // Named, because esbuild looks for none where the program lies in a node_modules.
      tsconfig: join(project, 'tsconfig.json'),
      external: EXTERNAL,
      plugins: [allPlugins(project, plugins), lateImports],
      sourcemap: true,
      sourcesContent: false,
      metafile: true,
      write: false,
      logLevel: 'silent',
      // Bundled CommonJS calls require() for Node's own modules.
      banner: {
        js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
      },
    });
  } catch (error) {
    const { errors } = /** @type {import('esbuild').BuildFailure} */ (error);
    if (!Array.isArray(errors)) throw error;
    const lines = await esbuild.formatMessages(errors, {
      kind: 'error',
      color: process.stderr.isTTY === true,
    });
    throw new BuildFault(lines.join('').trimEnd());
  }
}

/** @typedef {Awaited<ReturnType<typeof closureVersions>>} Versions */

/**
 * Writes the outputs as `dist/<digest>/`; the folder appears whole or not at all. The digest is over the outputs and
 * the plugins' code versions: a new release of a package that is not bundled changes the second only.
 * @param {string} project @param {readonly import('esbuild').OutputFile[]} outputs @param {Versions} versions @param {readonly string[]} plugins
 */
function writeBuild(project, outputs, versions, plugins) {
  const dist = join(project, 'dist');
  const files = outputs
    .map(({ path, contents }) => ({ path: relative(dist, path), contents }))
    .concat(
      plugins.map((source) => ({ path: builtFile(source), contents: Buffer.from(shim(source)) })),
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

/** Every descriptor by its source. @param {string} project @param {string} dir @param {readonly string[]} sources @returns {Promise<Record<string, unknown>>} */
async function loadPlugins(project, dir, sources) {
  try {
    return (await import(pathToFileURL(join(dir, 'plugins.js')).href)).default;
  } catch (error) {
    throw new BuildFault(
      `${(await throwing(project, sources)) ?? 'a plugin'} throws when it is loaded: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The first plugin that throws when it is loaded by itself. @param {string} project @param {readonly string[]} sources */
async function throwing(project, sources) {
  const dir = join(project, 'dist', `.tmp-alone-${process.pid}`);
  try {
    for (const [i, source] of sources.entries()) {
      const { outputFiles } = await bundle(project, { [source]: `alone-${i}` }, []);
      mkdirSync(dir, { recursive: true });
      for (const { path, contents } of outputFiles)
        writeFileSync(join(dir, basename(path)), contents);
      if (
        !(await import(pathToFileURL(join(dir, `alone-${i}.js`)).href).then(
          () => true,
          () => false,
        ))
      )
        return source;
    }
    return null;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** @param {unknown} descriptor @param {string} source */
function identify(descriptor, source) {
  const { kind, name } = /** @type {{ kind?: unknown, name?: unknown }} */ (descriptor ?? {});
  if (typeof kind !== 'string' || typeof name !== 'string') {
    throw new BuildFault(
      `${source} exports no plugin as default: write \`export default defineAttack({ … })\` or one of its like`,
    );
  }
  return { kind, name, source, file: builtFile(source) };
}

/** @param {string} project @param {string} dir @param {Versions} versions by the plugins' sources */
async function writeRegistry(project, dir, versions) {
  /** @type {Record<string, string>} */
  const parts = {};
  /** @type {Map<string, string>} */
  const names = new Map();
  const plugins = [];
  const descriptors = await loadPlugins(
    project,
    dir,
    [...versions.keys()].filter((source) => !PROGRAM.includes(source)),
  );
  const compute = versions.get(COMPUTE);
  for (const [source, own] of versions) {
    if (PROGRAM.includes(source)) continue;
    const plugin = identify(descriptors[source], source);
    const version =
      compute &&
      plugin.kind === 'stage' &&
      /** @type {{ compute?: unknown }} */ (descriptors[source]).compute === true
        ? together(own, compute)
        : own;
    const key = `${plugin.kind} "${plugin.name}"`;
    const taken = names.get(key);
    if (taken !== undefined)
      throw new BuildFault(
        `two plugins are the ${key}: ${taken} and ${source}; rename one of them`,
      );
    names.set(key, source);
    for (const [part, digest] of version.closure) parts[part] = digest;
    plugins.push({ ...plugin, code: version.code, closure: [...version.closure.keys()] });
  }
  const file = join(dir, 'registry.json');
  writeFileSync(
    `${file}.${process.pid}.tmp`,
    JSON.stringify({
      format: 1,
      science: versions.get(SCIENCE)?.code ?? null,
      compute: compute?.code ?? null,
      parts,
      plugins,
    }),
  );
  renameSync(`${file}.${process.pid}.tmp`, file);
}

/** `dosimeter schema` in a file, for editors: a spec's modeline names it. @param {string} dist @param {string} name */
function writeSchema(dist, name) {
  const { stdout } = spawnSync(process.execPath, [join(dist, name, 'cli.js'), 'schema'], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  if (!stdout?.startsWith('{')) return; // no command line, or one without that command
  const file = join(dist, 'pipeline.schema.json');
  writeFileSync(`${file}.tmp`, stdout);
  renameSync(`${file}.tmp`, file);
}

/** Deletes builds that no live process uses; the newest two stay. @param {string} dist @param {string} current */
function prune(dist, current) {
  const builds = readdirSync(dist)
    .filter((name) => /^[0-9a-f]{12}$/.test(name) && name !== current)
    .map((name) => ({ name, time: statSync(join(dist, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { name, time } of builds.slice(1)) {
    const users = existsSync(join(dist, name, 'users'))
      ? readdirSync(join(dist, name, 'users'))
      : [];
    const used = users.some((pid) => {
      try {
        return process.kill(Number(pid), 0);
      } catch (error) {
        return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
      }
    });
    // An hour's grace: its user may run on another host.
    if (!used && Date.now() - time > 3_600_000)
      rmSync(join(dist, name), { recursive: true, force: true });
  }
}

/** The current build, if it is whole and nothing has changed since. @param {string} project @returns {string | null} */
export function unchangedBuild(project) {
  const record = readRecord(project);
  return record !== null &&
    existsSync(join(project, 'dist', record.build, 'registry.json')) &&
    changedSources(project, record).length === 0
    ? record.build
    : null;
}

/**
 * @param {string} project the clone's root
 * @param {{ force?: boolean }} [options] `force`: build even if nothing seems to have changed
 * @returns {Promise<string>} the build's name, a folder in `dist/`
 * @throws {BuildFault} on a fault in a source file
 */
export async function build(project, { force = false } = {}) {
  const dist = join(project, 'dist');
  return withLock(join(dist, '.lock'), async () => {
    // Another process may have built it while this one waited.
    const built = force ? null : unchangedBuild(project);
    if (built !== null) return built;
    for (;;) {
      const started = Date.now();
      const { plugins, all } = entryPoints(project);
      const [{ metafile, outputFiles }] = await Promise.all([
        bundle(project, all, plugins),
        generateTypes(project),
      ]);
      const versions = await closureVersions(
        metafile,
        [...plugins, ...PROGRAM.filter((source) => metafile.inputs[source] !== undefined)],
        { root: project, transform: esbuild.transform },
      );
      const name = writeBuild(project, outputFiles, versions, plugins);
      if (!existsSync(join(dist, name, 'registry.json')))
        await writeRegistry(project, join(dist, name), versions);
      const record = describeBuild(
        project,
        name,
        Object.keys(metafile.inputs).filter(
          (path) => packageOf(path, project) === null && !path.startsWith('virtual:'),
        ),
      );
      // Edited while it was read: the record would vouch for code that was not built.
      if (record.sources.some(([, mtime]) => mtime > started)) continue;
      for (const entry of ['api.js', 'science.js']) {
        if (!existsSync(join(dist, name, entry))) continue;
        const shim = join(dist, entry);
        writeFileSync(`${shim}.tmp`, `export * from './${name}/${entry}';\n`);
        renameSync(`${shim}.tmp`, shim);
      }
      writeSchema(dist, name);
      writeRecord(project, record);
      prune(dist, name);
      return name;
    }
  });
}

if (
  process.argv[1] !== undefined &&
  basename(process.argv[1]) === 'build.mjs' &&
  import.meta.url === pathToFileURL(process.argv[1]).href
) {
  const started = performance.now();
  try {
    const name = await build(fileURLToPath(new URL('../../', import.meta.url)), { force: true });
    console.log(`built dist/${name} in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  } catch (error) {
    if (!(error instanceof BuildFault)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
