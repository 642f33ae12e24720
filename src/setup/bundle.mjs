import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import * as esbuild from 'esbuild';
import { findPackage, REQUIRING } from './closure.mjs';

/** A fault in a source file. The message says where it is. */
export class BuildFault extends Error {
  name = 'BuildFault';
}

/**
 * Packages that stay in node_modules, because they are native or large or load files beside
 * themselves. All other packages are bundled, since a start that opens few files is fast.
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

/**
 * A plugin of esbuild that leaves dynamic imports of packages to Node: a bundled CommonJS package
 * would lose its named exports.
 */
const lateImports = {
  name: 'late imports',
  setup({ onResolve }) {
    onResolve({ filter: /^[^./]/ }, ({ kind, path }) =>
      kind === 'dynamic-import' && !isAbsolute(path) ? { path, external: true } : null,
    );
  },
};

/**
 * Packages that a build loads with `require`, even where a source imports them: Node reads a
 * CommonJS package three times if it is imported.
 */
const REQUIRED = /^@tensorflow\/tfjs-(core|backend-cpu|backend-wasm)$/;

/**
 * Returns a plugin of esbuild that bundles what a worker needs of tfjs, because the packages' own
 * entries load much more: `src/tensor/tfjs.ts` (gradients and tensor methods) in place of
 * `@tensorflow/tfjs`, and the backend of tfjs-node without the rest. tfjs-core itself stays
 * outside, since plugins share it.
 */
const leanTfjs = (project) => ({
  name: 'lean tfjs',
  setup({ onResolve, onLoad }) {
    const gradients = join(project, 'src', 'tensor', 'tfjs.ts');
    onResolve({ filter: /^@tensorflow\/tfjs$/ }, ({ kind }) => {
      // The caller is tfjs-node, whose kernels need no gradients.
      if (kind === 'require-call') return { path: '@tensorflow/tfjs-core', external: true };
      return existsSync(gradients) ? { path: gradients } : null;
    });
    onResolve({ filter: /^@tensorflow\/tfjs-(core|node-gpu)\/dist\/.+\.js$/ }, ({ path }) => {
      const [scope = '', name = '', ...file] = path.split('/');
      // tfjs-node-gpu is optional and may be missing. Sources check that before they import it.
      const dir = findPackage(`${scope}/${name}`, project);
      return dir === null ? null : { path: join(dir, ...file) };
    });
    onResolve({ filter: REQUIRED }, ({ kind, path }) =>
      kind === 'require-call' ? { path, external: true } : { path, namespace: REQUIRING },
    );
    onLoad({ filter: /.*/, namespace: REQUIRING }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
});

/** The name of a made-up module that imports every plugin, so that a start opens one file. */
export const ALL_PLUGINS = 'dosimeter:plugins';

/**
 * Returns a plugin of esbuild that makes `plugins.js`, which exports the descriptor of every plugin
 * of ours, by its source.
 */
const allPlugins = (project, plugins) => ({
  name: 'all plugins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: new RegExp(`^${ALL_PLUGINS}$`) }, () => ({
      path: ALL_PLUGINS,
      namespace: 'virtual',
    }));
    onLoad({ filter: /.*/, namespace: 'virtual' }, () => {
      const imports = plugins.map(
        (source, i) => `import * as p${i} from ${JSON.stringify(`./${source}`)};`,
      );
      const entries = plugins.map((source, i) => `${JSON.stringify(source)}: p${i}.default`);
      return {
        resolveDir: project,
        contents: [...imports, `export default { ${entries.join(', ')} };`].join('\n'),
      };
    });
  },
});

/** Returns the path in a build of the plugin with this source: `plugins/attacks/badnets.js`. */
export const builtFile = (source) => `${source.replace(/\.tsx?$/, '')}.js`;

/** Returns the text of a plugin's own file in a build. Workers load such a file. */
export const pluginModule = (source) => {
  const root = '../'.repeat(source.split('/').length - 1);
  return `import all from '${root}plugins.js';\nexport default all[${JSON.stringify(source)}];\n`;
};

/**
 * Builds all modules. Returns esbuild's result, with the outputs in memory: no file is written.
 * @param entries for each source to build, the name of its output
 * @throws {BuildFault}
 */
export async function bundle(project, entries, plugins) {
  try {
    return await esbuild.build({
      entryPoints: Object.entries(entries).map(([source, out]) => ({ in: source, out })),
      chunkNames: 'chunk-[hash]',
      splitting: true,
      format: 'esm',
      sourcemap: true,
      sourcesContent: false,
      // Else winston's dependencies would load a library that colours their debugging output.
      define: { 'process.env.NODE_ENV': '"production"' },
      // Bundled CommonJS packages call `require` for Node's own modules, and ES modules have none.
      banner: {
        js:
          "import { createRequire as __createRequire } from 'node:module'; " +
          'const require = __createRequire(import.meta.url);',
      },
      absWorkingDir: project,
      outdir: join(project, 'dist'),
      outbase: project,
      bundle: true,
      platform: 'node',
      target: 'node20',
      // Named here, because esbuild does not look for a tsconfig.json inside a node_modules.
      tsconfig: join(project, 'tsconfig.json'),
      external: EXTERNAL,
      logLevel: 'silent',
      plugins: [allPlugins(project, plugins), leanTfjs(project), lateImports],
      metafile: true,
      write: false,
    });
  } catch (error) {
    const { errors } = error;
    if (!Array.isArray(errors)) throw error;
    const lines = await esbuild.formatMessages(errors, {
      kind: 'error',
      color: process.stderr.isTTY === true,
    });
    throw new BuildFault(lines.join('').trimEnd());
  }
}
