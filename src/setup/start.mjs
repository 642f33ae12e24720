/**
 * `dist/<build>/cli.cjs`: loads the command line, `program.cjs` beside it, and runs it with the
 * process's arguments. Exports the promise of its end. It is built as CommonJS, which Node loads
 * faster than a module.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optimiseLater, runCompiled } from './code-cache.mjs';

const require = createRequire(import.meta.url);
const dir = fileURLToPath(new URL('.', import.meta.url));
const file = join(dir, 'program.cjs');

/**
 * Returns the program's exports. Like any CommonJS module, it is loaded once in a process.
 * @returns {{ main: (argv: readonly string[]) => Promise<number> }}
 */
function program() {
  const loaded = require.cache[file];
  if (loaded !== undefined) return loaded.exports;
  // A command has code of its own, because what another one has compiled would only be read in
  // vain.
  const command = /^[a-z]+(-[a-z]+)*$/.exec(process.argv[2] ?? '')?.[0] ?? 'none';
  const name = `${command}-${process.version}-${process.arch}`;
  const module = { exports: /** @type {any} */ ({}) };
  require.cache[file] = /** @type {any} */ (module);
  runCompiled(file, join(dir, 'code', name))(
    module.exports,
    require,
    module,
    import.meta.url,
    (/** @type {string} */ specifier) => import(specifier),
  );
  optimiseLater();
  return module.exports;
}

async function run() {
  process.exitCode = await program().main(process.argv.slice(2));
  // Nothing is left to do then. Node would first take its heap apart, which takes milliseconds.
  process.once('beforeExit', () => process.exit());
}

export const ended = run();
