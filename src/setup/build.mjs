/**
 * `npm run build`: builds the sources into `dist/<build>/`, a folder named by its content. Also
 * writes `dist/build.json`, which names the newest build and lists what it was made from. A running
 * program keeps its build while sources are edited.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as esbuild from 'esbuild';
import { ALL_PLUGINS, BuildFault, bundle } from './bundle.mjs';
import { closureVersions, packageOf, sha256 } from './closure.mjs';
import {
  changedSources,
  describeBuild,
  readRecord,
  replaceFile,
  writeRecord,
} from './current-build.mjs';
import { PROGRAM, prune, SCIENCE, writeBuild, writeRegistry, writeSchema } from './dist-folder.mjs';
import { withLock } from './lock.mjs';

export async function pipelineTypes(project) {
  const { compileFromFile } = await import('json-schema-to-typescript');
  return compileFromFile(join(project, 'schemas', 'pipeline.schema.json'), {
    bannerComment: '// Made from schemas/pipeline.schema.json by `npm run build`; do not edit.',
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
    cwd: join(project, 'schemas'),
  });
}

/**
 * Writes the types again if the schema has changed. They are committed, because a checkout may lack
 * their generator, which is a development dependency. Without the generator, nothing is written.
 */
async function generateTypes(project) {
  const schema = join(project, 'schemas', 'pipeline.schema.json');
  const target = join(project, 'src', 'spec', 'pipeline.generated.ts');
  if (
    !existsSync(schema) ||
    !existsSync(join(project, 'node_modules', 'json-schema-to-typescript'))
  )
    return;
  // Compared by content, not by time, because a checkout writes files in any order.
  const digest = join(project, 'dist', '.schema');
  const wanted = sha256(readFileSync(schema));
  if (existsSync(digest) && existsSync(target) && readFileSync(digest, 'utf8') === wanted) return;
  const text = await pipelineTypes(project);
  if (!existsSync(target) || readFileSync(target, 'utf8') !== text) writeFileSync(target, text);
  writeFileSync(digest, wanted);
}

/**
 * Returns the files below a folder.
 * @returns {string[]} paths from `project`, sorted
 */
function filesUnder(project, dir) {
  if (!existsSync(join(project, dir))) return [];
  return readdirSync(join(project, dir), { withFileTypes: true })
    .flatMap((entry) =>
      entry.isDirectory() ? filesUnder(project, `${dir}/${entry.name}`) : [`${dir}/${entry.name}`],
    )
    .sort();
}

/**
 * Returns the sources of the plugins (`plugins`) and, for each source to build, the name of its
 * output (`all`).
 */
function entryPoints(project) {
  const program = Object.fromEntries(
    Object.entries({
      'src/cli.ts': 'program',
      'src/run/execute/worker.ts': 'worker',
      'src/api.ts': 'api',
      [SCIENCE]: 'science',
      'src/run/library.ts': 'library',
    }).filter(([source]) => existsSync(join(project, source))),
  );
  return {
    plugins: pluginSources(project),
    all: { ...program, [ALL_PLUGINS]: 'plugins' },
  };
}

/**
 * Returns the sources of the built-in plugins. A plugin is a file, `plugins/KIND/NAME.ts`, or a
 * folder whose `index.ts` is the plugin, `plugins/KIND/NAME/index.ts`. The folder's other files
 * belong to that plugin. `plugins/KIND/shared` is no plugin: it holds what several plugins use.
 * @returns {string[]} paths from `project`, sorted
 * @throws {BuildFault} if a folder has source files but no index
 */
function pluginSources(project) {
  const plugins = [];
  const folders = new Set();
  for (const file of filesUnder(project, 'plugins')) {
    if (!/\.tsx?$/.test(file) || file.endsWith('.d.ts')) continue;
    const [root, kind, name, ...below] = file.split('/');
    if (name === 'shared' && below.length > 0) continue;
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

/** Returns the paths of the Python code. A build has a copy of it, in `python/`. */
const pythonSources = (project) =>
  filesUnder(project, 'src/torch/python').filter((file) => file.endsWith('.py'));

/**
 * Returns the current build's name; null if it is not whole, or if sources have changed since it
 * was made.
 */
function unchangedBuild(project) {
  const record = readRecord(project);
  return record !== null &&
    existsSync(join(project, 'dist', record.build, 'registry.json')) &&
    changedSources(project, record).length === 0
    ? record.build
    : null;
}

/**
 * Builds the sources if they have changed, or if `force` is true. Returns the build's name.
 * @throws {BuildFault} on a fault in a source file
 */
export async function build(project, { force = false } = {}) {
  const dist = join(project, 'dist');
  return withLock(join(dist, '.lock'), async () => {
    // Another process may have built these sources while this one waited.
    const built = force ? null : unchangedBuild(project);
    if (built !== null) return built;
    for (;;) {
      const started = Date.now();
      const { plugins, all } = entryPoints(project);
      const [modules] = await Promise.all([bundle(project, all, plugins), generateTypes(project)]);
      const { metafile } = modules;
      const versions = await closureVersions(
        metafile,
        [...plugins, ...PROGRAM.filter((source) => metafile.inputs[source] !== undefined)],
        { root: project, transform: esbuild.transform },
      );
      const python = pythonSources(project);
      const copies = python.map((file) => ({
        path: join(dist, 'python', basename(file)),
        contents: readFileSync(join(project, file)),
      }));
      const outputs = [...modules.outputFiles, ...copies];
      const name = writeBuild(project, outputs, versions, plugins);
      if (!existsSync(join(dist, name, 'registry.json')))
        await writeRegistry(project, join(dist, name), versions);
      const record = describeBuild(project, name, [
        ...python,
        ...Object.keys(metafile.inputs).filter(
          (path) => packageOf(path, project) === null && !/^(virtual|require):/.test(path),
        ),
      ]);
      // If a source was edited during the build, the record would describe code that was not built.
      if (record.sources.some(([, mtime, ctime]) => Math.max(mtime, ctime) > started)) continue;
      for (const entry of ['api.js', 'science.js']) {
        if (!existsSync(join(dist, name, entry))) continue;
        replaceFile(join(dist, entry), `export * from './${name}/${entry}';\n`);
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
