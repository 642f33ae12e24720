/**
 * The Python of `test/peers`, with the packages of test/peers/requirements.txt. It is made once, in
 * `.cache/`.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { firstWorking, run, tail } from './run.mjs';

/**
 * @param {readonly string[]} lines of requirements.txt
 * @returns {string[]} the names of the packages
 */
const namesOf = (lines) =>
  lines
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.replace(/[^\w.-].*$/, ''));

/**
 * A Python script that exits with 0 if each package is installed. It looks them up instead of
 * importing them, because importing torch takes seconds.
 */
const LOOK = 'import sys, importlib.metadata as m\nfor name in sys.argv[1:]: m.version(name)';

/**
 * @param {NodeJS.ProcessEnv} [env] DOSIMETER_PEERS_PYTHON names a Python that has the packages
 *   already
 * @returns {Promise<string>} the command that starts it
 * @throws {Error} that says what is missing
 */
export async function peersPython(project, env = process.env) {
  const file = join(project, 'test', 'peers', 'requirements.txt');
  const requirements = readFileSync(file, 'utf8');
  const names = namesOf(requirements.split('\n'));
  const given = env.DOSIMETER_PEERS_PYTHON;
  if (given !== undefined && given !== '') {
    if (firstWorking([given], ['--version']) === null)
      throw new Error(`DOSIMETER_PEERS_PYTHON names ${given}, which does not run`);
    if (firstWorking([given], ['-c', LOOK, ...names]) === null)
      throw new Error(
        `DOSIMETER_PEERS_PYTHON names ${given}, which lacks one of ${names.join(', ')}`,
      );
    return given;
  }
  const dir = join(project, '.cache', 'peers-python');
  const log = join(project, '.cache', 'peers-python.log');
  const python = join(dir, 'bin', 'python');
  const ready = join(dir, 'ready');
  if (existsSync(ready) && readFileSync(ready, 'utf8') === requirements) return python;
  const base = firstWorking(['python3', 'python'], ['--version']);
  if (base === null)
    throw new Error(
      'no Python was found: install Python 3 with its venv module, ' +
        'or name one with DOSIMETER_PEERS_PYTHON',
    );
  mkdirSync(dirname(dir), { recursive: true });
  rmSync(dir, { recursive: true, force: true });
  console.log('setup: installing the peers of test/peers/requirements.txt, once');
  for (const [command, args] of [
    [base, ['-m', 'venv', dir]],
    [python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '-r', file]],
  ]) {
    if ((await run(command, args, { log })) !== 0)
      throw new Error(`${command} ${args.join(' ')} failed (${log}):\n${tail(log)}`);
  }
  writeFileSync(ready, requirements);
  return python;
}
