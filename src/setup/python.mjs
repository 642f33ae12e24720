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

/** Returns the packages that requirements.txt names: `torch` for `torch==2.13.0`. */
const packageNames = (requirements) =>
  [...requirements.matchAll(/^\s*([\w.-]+)/gm)].map(([, name]) => name);

/**
 * A Python program that exits with 0 if each package that its arguments name is installed. It
 * imports none of them: torch alone would take seconds.
 */
const CHECK_INSTALLED =
  'import sys, importlib.metadata as m\nfor name in sys.argv[1:]: m.version(name)';

/**
 * Returns the path of the Python of `test/peers` and `test/torch`: the one that
 * DOSIMETER_PEERS_PYTHON names, or one that is made once, in `.cache/`. Throws if the named one
 * does not run or lacks a package.
 */
export async function peersPython(project, env = process.env) {
  const file = join(project, 'test', 'peers', 'requirements.txt');
  const names = packageNames(readFileSync(file, 'utf8'));
  const given = env.DOSIMETER_PEERS_PYTHON;
  if (given !== undefined && given !== '') {
    if (firstWorking([given], ['--version']) === null)
      throw new Error(`DOSIMETER_PEERS_PYTHON names ${given}, which does not run`);
    if (firstWorking([given], ['-c', CHECK_INSTALLED, ...names]) === null)
      throw new Error(
        `DOSIMETER_PEERS_PYTHON names ${given}, which lacks one of ${names.join(', ')}`,
      );
    return given;
  }
  return pythonWith(
    file,
    join(project, '.cache', 'peers-python'),
    'the peers of test/peers/requirements.txt',
    'DOSIMETER_PEERS_PYTHON',
  );
}
