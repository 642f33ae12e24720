import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { peersPython } from '../../src/setup/python.mjs';

const test = suite<{ project: string }>('setup/peers');
test.before.each((context) => {
  context.project = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
  mkdirSync(join(context.project, 'test', 'peers'), { recursive: true });
  writeFileSync(
    join(context.project, 'test', 'peers', 'requirements.txt'),
    '# what they need\npip>=1\nno.such-package>=2\n',
  );
});

const said = async (project: string, python: string): Promise<string> =>
  peersPython(project, { DOSIMETER_PEERS_PYTHON: python }).then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  );

/** A stand-in for Python that answers `--version`, and anything else with this exit code. */
function python(project: string, code: number): string {
  const file = join(project, 'python');
  writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && exit 0\nexit ${code}\n`);
  chmodSync(file, 0o755);
  return file;
}

test('a named Python that is missing, or lacks a package, is refused', async ({ project }) => {
  assert.is(
    await said(project, '/no/python'),
    'DOSIMETER_PEERS_PYTHON names /no/python, which does not run',
  );
  const lacking = python(project, 1);
  assert.is(
    await said(project, lacking),
    `DOSIMETER_PEERS_PYTHON names ${lacking}, which lacks one of pip, no.such-package`,
  );
});

test('a named Python that has the packages is used', async ({ project }) => {
  const whole = python(project, 0);
  assert.is(await peersPython(project, { DOSIMETER_PEERS_PYTHON: whole }), whole);
});

test.run();
