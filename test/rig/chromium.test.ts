/** The browser of the tests comes with npm, whatever the machine has. */
import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { LaunchOptions } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createProject, repository } from '../setup/project.ts';
import { present } from './present.ts';

const test = suite('the browser of the tests');
const run = promisify(execFile);
const HELPER = 'test/rig/chromium.mjs';

/** What `launchOptions` returns in a process that has `before` done first. */
async function optionsIn(
  dir: string,
  env: Readonly<Record<string, string>> = {},
  before = '',
): Promise<LaunchOptions> {
  const code = `${before};
    const { launchOptions } = await import('./${HELPER}');
    console.log(JSON.stringify(await launchOptions()));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
    cwd: dir,
    env: { HOME: dir, ...env },
  });
  return JSON.parse(stdout) as LaunchOptions;
}

const once = 'it is unpacked once by processes that start at once, and none of the machine is used';
const unpacking = async (): Promise<void> => {
  const { dir } = createProject();
  cpSync(join(repository, HELPER), join(dir, HELPER));
  const env = { PATH: '/usr/bin', CHROMIUM: '/usr/bin/chromium' };
  const [one, other] = await Promise.all([optionsIn(dir, env), optionsIn(dir, env)]);
  assert.is(one.executablePath, join(dir, '.cache/chromium/chromium'));
  assert.equal(one, other);
  const from = { env: one.env as NodeJS.ProcessEnv };
  const { stdout } = await run(present(one.executablePath), ['--version'], from);
  assert.match(stdout, /Chrom\w+ \d+\./);
  // Nothing but what every Debian and compiler has comes from the machine.
  const { stdout: libraries } = await run('ldd', [present(one.executablePath)], from);
  const ofMachine = libraries
    .split('\n')
    .filter((line) => line.includes('=>') && !line.includes(dir))
    .map((line) => line.trim().split(' ')[0]);
  assert.equal(ofMachine.sort(), [
    ...['libc.so.6', 'libdl.so.2', 'libgcc_s.so.1', 'libm.so.6', 'libpthread.so.0'],
  ]);
};
if (process.platform === 'linux' && process.arch === 'x64') test(once, unpacking);

test('where npm has none, one is named', async () => {
  const arm = "Object.defineProperty(process, 'arch', { value: 'arm64' })";
  const failed = await optionsIn(repository, {}, arm).then(
    () => '',
    (error: unknown) => String(error),
  );
  assert.match(
    failed,
    `npm has no Chromium for ${process.platform} on arm64, only for linux on x64: ` +
      'install one, and name it as in `DOSIMETER_CHROMIUM=/usr/bin/chromium npm test`',
  );
  const named = await optionsIn(repository, { DOSIMETER_CHROMIUM: '/opt/chromium' }, arm);
  assert.is(named.executablePath, '/opt/chromium');
});

test.run();
