/** Makes Python environments: PyTorch's for `--backend torch`, and those of tests and checks. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { withLock } from './lock.mjs';
import { firstWorking, run, tail } from './run.mjs';

/**
 * Returns the path of the Python in the environment `dir`. The environment is made, unless it has
 * been made with the same requirements. Throws an Error that says what failed.
 * @param file the requirements, for pip
 * @param what what is installed, in words
 * @param [variable] the environment variable that can name another Python. The message that there
 *   is no Python names it.
 */
export function pythonWith(file, dir, what, variable) {
  const requirements = readFileSync(file, 'utf8');
  const log = `${dir}.log`;
  const python = join(dir, 'bin', 'python');
  const ready = join(dir, 'ready');
  const isReady = () => existsSync(ready) && readFileSync(ready, 'utf8') === requirements;
  if (isReady()) return Promise.resolve(python);
  mkdirSync(dirname(dir), { recursive: true });
  return withLock(`${dir}.lock`, async () => {
    if (isReady()) return python;
    const base = firstWorking(['python3', 'python'], ['--version']);
    if (base === null)
      throw new Error(
        'no Python was found: install Python 3 with its venv module' +
          (variable === undefined ? '' : `, or name one with ${variable}`),
      );
    rmSync(dir, { recursive: true, force: true });
    console.log(`setup: installing ${what}, once`);
    for (const [command, args] of [
      [base, ['-m', 'venv', dir]],
      [python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '-r', file]],
    ]) {
      if ((await run(command, args, { log })) !== 0)
        throw new Error(`${command} ${args.join(' ')} failed (${log}):\n${tail(log)}`);
    }
    writeFileSync(ready, requirements);
    return python;
  });
}
