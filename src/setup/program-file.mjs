/**
 * Bundles the command line into `program.cjs`, one file. It is a CommonJS script, because Node 20
 * keeps V8's compiled code for scripts only (see code-cache.mjs).
 */
import { existsSync } from 'node:fs';
import { basename, isAbsolute, join, resolve, sep } from 'node:path';
import { ALL_PLUGINS, runEsbuild } from './bundle.mjs';

/** The made-up module that the file is built from. */
const ENTRY = 'dosimeter:program';

/** Marks, in the text that esbuild writes, what is imported at run time. */
const AT_RUN_TIME = 'dosimeter-at-run-time:';

/** Folders whose dynamic imports are no part of the file: the work of stages, and backends. */
const LATE = ['plugins', 'src/tensor'];

/**
 * Returns the plugin that decides what is imported at run time: packages that are imported
 * dynamically, and what LATE imports dynamically. The latter are modules of the build, the same
 * that workers load.
 * @param {string} project @param {import('esbuild').Metafile} modules of the build
 * @returns {import('esbuild').Plugin}
 */
const atRunTime = (project, modules) => ({
  name: 'at run time',
  setup({ onResolve }) {
    /** @type {Map<string, string>} */
    const outputs = new Map();
    for (const [output, { entryPoint }] of Object.entries(modules.outputs))
      if (entryPoint !== undefined) outputs.set(resolve(project, entryPoint), basename(output));
    onResolve({ filter: /.*/ }, ({ kind, path, importer, resolveDir }) => {
      if (kind !== 'dynamic-import' || path === ALL_PLUGINS) return null;
      if (/^[^./]/.test(path) && !isAbsolute(path))
        return { path: `${AT_RUN_TIME}${path}`, external: true };
      if (!LATE.some((folder) => importer.startsWith(join(project, folder, sep)))) return null;
      const output = outputs.get(resolve(resolveDir, path));
      return output === undefined ? null : { path: `${AT_RUN_TIME}./${output}`, external: true };
    });
  },
});

/**
 * Makes the module of ENTRY: the command line, which is told what only this file can give it.
 * @param {string} project @returns {import('esbuild').Plugin}
 */
const entry = (project) => ({
  name: 'program',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^${ENTRY}$`) }, () => ({ path: ENTRY, namespace: 'program' }));
    onLoad({ filter: /.*/, namespace: 'program' }, () => ({
      resolveDir: project,
      contents: [
        "export { main } from './src/cli.ts';",
        ...(existsSync(join(project, 'src', 'run', 'registry', 'build.ts'))
          ? [
              "import { provideProgram } from './src/run/registry/build.ts';",
              `provideProgram({ plugins: () => import('${ALL_PLUGINS}'), load: __import });`,
            ]
          : []),
      ].join('\n'),
    }));
  },
});

/**
 * Bundles what loads that file, `cli.cjs`.
 * @param {string} project @throws {BuildFault} on a fault in a source file
 */
export const bundleStart = (project) =>
  runEsbuild(project, [], [], {
    entryPoints: [{ in: 'src/setup/start.mjs', out: 'cli' }],
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    define: { 'import.meta.url': '__url' },
    banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
  });

/**
 * @param {string} project @param {readonly string[]} plugins
 * @param {import('esbuild').Metafile} modules of the build that the file will lie in
 * @returns {Promise<Awaited<ReturnType<typeof runEsbuild>>>} with the file as its only output
 * @throws {BuildFault} on a fault in a source file
 */
export async function bundleProgram(project, plugins, modules) {
  const built = await runEsbuild(project, [entry(project), atRunTime(project, modules)], plugins, {
    entryPoints: [{ in: ENTRY, out: 'program' }],
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    sourcemap: false,
    // A text in ASCII need not be decoded, and has no comments, which esbuild leaves as they are.
    charset: 'ascii',
    legalComments: 'none',
    minifyWhitespace: true,
    lineLimit: 160,
    // Winston would load what colours its debugging.
    define: { 'import.meta.url': '__url', 'process.env.NODE_ENV': '"production"' },
    banner: { js: '(function (exports, require, module, __url, __import) { "use strict";' },
    footer: { js: '})' },
  });
  const outputFiles = built.outputFiles.map((file) => {
    const text = file.text.replaceAll(`import("${AT_RUN_TIME}`, '__import("');
    return { ...file, contents: Buffer.from(text) };
  });
  return { ...built, outputFiles };
}
