/** The Python of `test/peers` and `test/torch`. It is made once, in `.cache/`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pythonWith } from './python.mjs';
import { firstWorking } from './run.mjs';

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
 * Returns the path of the tests' Python: the one that DOSIMETER_PEERS_PYTHON names, or one that is
 * made if it is not there yet. Throws if the named one does not run or lacks a package.
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
