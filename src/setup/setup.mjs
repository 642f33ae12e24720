/**
 * `npm run setup` in a clone, `dosimeter setup` anywhere: installs everything that is needed, in
 * one explicit step that can be interrupted and run again. It does not rely on packages' install
 * scripts, which may be disabled or may have failed.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { dependenciesAreCurrent } from './dependencies.mjs';
import { run } from './run.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

const say = (line) => console.log(`setup: ${line}`);

/** Returns the npm that started this script, or the one on the path. */
function npmCommand() {
  const script = process.env.npm_execpath;
  if (script !== undefined && /npm-cli\.c?js$/.test(script) && existsSync(script))
    return { command: process.execPath, args: [script] };
  return { command: process.platform === 'win32' ? 'npm.cmd' : 'npm', args: [] };
}

/**
 * Whether this is a clone of the repository: a package that npm has installed lacks its lock file.
 */
const isClone = () => existsSync(join(project, 'package-lock.json'));

/** Whether tfjs-node-gpu is installed. npm leaves it out if its install script fails. */
function hasTfjs() {
  try {
    createRequire(import.meta.url).resolve('@tensorflow/tfjs-node-gpu/package.json');
    return true;
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return false;
    throw error;
  }
}

/**
 * Installs what is missing: dependencies in a clone, and TensorFlow.
 * @param {{ tensorflow?: string, quiet?: boolean }} [options] `tensorflow`: `cpu`, `cuda`, `wheel`,
 * or a path; `quiet`: whether to print nothing if there is nothing to do
 * @returns {Promise<boolean>} whether TensorFlow computes; otherwise WebAssembly does
 */
export async function setup({
  tensorflow = process.env.DOSIMETER_TENSORFLOW || undefined,
  quiet = false,
} = {}) {
  const sayUnavailable = (reason, remedy) => {
    say(`TensorFlow is not available: ${reason}.`);
    say(
      'Everything works on WebAssembly instead, several times slower; ' +
        `to get TensorFlow: ${remedy}`,
    );
  };
  if (isClone() && !dependenciesAreCurrent(project)) {
    say('installing dependencies with npm ci, install scripts off');
    const { command, args } = npmCommand();
    const code = await run(
      command,
      [...args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'],
      { cwd: project },
    );
    if (code !== 0) throw new Error('npm ci failed; its message is above');
  } else if (isClone() && !quiet) {
    say('dependencies are what package-lock.json says');
  }
  if (!hasTfjs()) {
    sayUnavailable(
      'npm has left out @tensorflow/tfjs-node-gpu, whose own install script failed',
      'install dosimeter again with `npm install --ignore-scripts`, then `npx dosimeter setup`',
    );
    return false;
  }
  const { setUpTensorflow } = await import('./tensorflow.mjs');
  const stamp = await setUpTensorflow({ tensorflow, say });
  if (stamp.tensorflow === null) {
    sayUnavailable(String(stamp.reason), String(stamp.remedy));
  } else if (!quiet) {
    const which =
      stamp.variant === 'own'
        ? `in ${stamp.libraries}`
        : `${stamp.tensorflow} for ${stamp.variant === 'cuda' ? 'CUDA' : 'the CPU'}`;
    say(`compute backend is TensorFlow ${which}`);
  }
  return stamp.tensorflow !== null;
}

/** Makes the Python of `--backend torch` in the cache folder, unless DOSIMETER_PYTHON names one. */
async function setUpTorch() {
  const named = process.env.DOSIMETER_PYTHON;
  if (named) {
    say(`DOSIMETER_PYTHON names ${named}, which \`--backend torch\` uses; no other is made`);
    return;
  }
  const [{ torchPythonDir }, { pythonWith }] = await Promise.all([
    import('./paths.mjs'),
    import('./python.mjs'),
  ]);
  const file = join(project, 'src', 'torch', 'python', 'requirements.txt');
  const what = `PyTorch and what ${file} lists, which takes minutes`;
  const python = await pythonWith(file, torchPythonDir(), what, 'DOSIMETER_PYTHON');
  say(`\`--backend torch\` uses ${python}`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: { tensorflow: { type: 'string' }, torch: { type: 'boolean', default: false } },
  });
  try {
    await setup(values);
    if (values.torch) await setUpTorch();
  } catch (error) {
    console.error(`setup: ${error instanceof Error ? error.message : String(error)}`);
    const { code } = error ?? {};
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
      console.error(
        `  ${project} can't be written by this user: ` +
          'whoever installed it runs `dosimeter setup` once, for all users',
      );
    process.exitCode = 1;
  }
}
