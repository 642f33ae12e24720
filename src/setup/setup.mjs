/**
 * `npm run setup`: everything a fresh clone needs, in one explicit step that can be interrupted and run again.
 * Install scripts of third parties are off (.npmrc); what they would have done is done here, in the open.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { dependenciesAreCurrent } from './dependencies.mjs';
import { run } from './run.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

/** npm as it was started, or the one beside this Node. */
function npmCommand() {
  const script = process.env.npm_execpath;
  if (script !== undefined && /npm-cli\.c?js$/.test(script) && existsSync(script))
    return { command: process.execPath, args: [script] };
  return { command: process.platform === 'win32' ? 'npm.cmd' : 'npm', args: [] };
}

/**
 * @param {{ tensorflow?: string, quiet?: boolean }} [options] `tensorflow`: a TensorFlow of the user's own (a path), or
 *   `cpu`, `cuda`, `wheel`. `quiet`: say nothing where nothing is to be done.
 */
export async function setup({
  tensorflow = process.env.DOSIMETER_TENSORFLOW || undefined,
  quiet = false,
} = {}) {
  const say = (/** @type {string} */ line) => console.log(`setup: ${line}`);
  if (!dependenciesAreCurrent(project)) {
    say('installing dependencies with npm ci, install scripts off');
    const { command, args } = npmCommand();
    const code = await run(
      command,
      [...args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund'],
      { cwd: project },
    );
    if (code !== 0) throw new Error('npm ci failed; its message is above');
  } else if (!quiet) {
    say('dependencies are what package-lock.json says');
  }
  const { setUpTensorflow } = await import('./tensorflow.mjs');
  const stamp = await setUpTensorflow({ ...(tensorflow === undefined ? {} : { tensorflow }), say });
  if (stamp.tensorflow === null) {
    say(`TensorFlow is not available: ${stamp.reason}.`);
    say(
      `Everything works on WebAssembly instead, several times slower; to have TensorFlow: ${stamp.remedy}`,
    );
  } else if (!quiet) {
    say(
      `compute backend is TensorFlow${stamp.variant === 'own' ? ` in ${stamp.libraries}` : ` ${stamp.tensorflow} for ${stamp.variant === 'cuda' ? 'CUDA' : 'the CPU'}`}`,
    );
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { tensorflow: { type: 'string' } } });
  try {
    await setup(values.tensorflow === undefined ? {} : { tensorflow: values.tensorflow });
  } catch (error) {
    console.error(`setup: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
