/**
 * Package indexes and an npm that lie: what they name stays in the cache, and what they send is
 * limited.
 */
import { createHash } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import npm from '../../../plugins/sources/npm.ts';
import pypi from '../../../plugins/sources/pypi/index.ts';
import { wheelVersion } from '../../../plugins/sources/pypi/simple-index.ts';
import { type Hostile, sendForever, sendJson, startHostile } from './hostile-server.ts';
import { faultOf, wheel } from './registry.ts';

const test = suite<Hostile>('hostile package indexes');
test.before.each(async (hostile) => {
  Object.assign(hostile, await startHostile());
});
test.after.each((hostile) => hostile.close());

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
function index(
  hostile: Hostile,
  files: unknown,
  bytes: Uint8Array | null = new Uint8Array(),
): void {
  hostile.script.answer = (path, response) => {
    if (path.startsWith('/simple/'))
      sendJson(response, { files }, { 'content-type': 'application/vnd.pypi.simple.v1+json' });
    else if (bytes === null) sendForever(response, 'x'.repeat(65_536));
    else response.end(bytes);
  };
}
const fetchWheel = (hostile: Hostile, env = {}): Promise<{ message: string; hint: string }> =>
  faultOf(pypi.fetch('pypi:tiny', hostile.context(env)));

test("a package index's names and versions never lead out of the cache", async (hostile) => {
  const { archive } = wheel('tiny', '1.0.0', { 'tiny/x': 'x' });
  for (const filename of [
    '../../../escaped-1.0.0-py3-none-any.whl',
    '/tmp/escaped-1.0.0-py3-none-any.whl',
    'tiny-..-py3-none-any.whl',
    'tiny-.-py3-none-any.whl',
    'tiny-1/../../../../escaped-py3-none-any.whl',
    `tiny-${'9'.repeat(300)}-py3-none-any.whl`,
    null,
    7,
  ]) {
    index(hostile, [{ filename, url: '/files/x', hashes: { sha256: sha(archive) } }], archive);
    assert.match((await fetchWheel(hostile)).message, 'has no wheel', String(filename));
  }
  for (const version of ['..', '.', '...', '-1', '%2e%2e'])
    assert.is(wheelVersion(`tiny-${version}-py3-none-any.whl`), null, version);
  assert.equal(hostile.beside(), []);
});

test('answers that are not an index are faults, and lists are limited', async (hostile) => {
  for (const files of [
    null,
    7,
    {},
    [null],
    [{}],
    [{ filename: 'tiny-1.0-py3-none-any.whl', hashes: null }],
  ]) {
    index(hostile, files);
    await fetchWheel(hostile);
  }
  hostile.script.answer = (_path, response) => {
    sendJson(response, 'null');
  };
  assert.match((await fetchWheel(hostile)).message, 'it has no files');
  const file = {
    filename: 'tiny-1.0.0-py3-none-any.whl',
    url: '/files/x',
    hashes: { sha256: 'a'.repeat(64) },
  };
  index(hostile, [file], null);
  const wheelFault = await fetchWheel(hostile, { DOSIMETER_ARCHIVE_GB: '0.001' });
  assert.match(
    `${wheelFault.message} ${wheelFault.hint}`,
    /tiny-1\.0\.0-py3-none-any\.whl is larger than 1.*raise DOSIMETER_ARCHIVE_GB/,
  );
  index(hostile, [{ ...file, url: 'file:///etc/passwd' }]);
  assert.match((await fetchWheel(hostile)).message, 'is not an HTTP address');
  index(
    hostile,
    Array.from({ length: 9 }, () => file),
  );
  assert.match(
    (await fetchWheel(hostile, { DOSIMETER_FETCH_FILES: '8' })).message,
    'more than 8 wheels',
  );
  hostile.script.answer = (_path, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    sendForever(response, '<a '.repeat(10_000));
  };
  assert.match(
    (await fetchWheel(hostile, { DOSIMETER_LIST_MB: '1' })).message,
    "index's list of tiny is larger than 1 MB",
  );
  // Escapes that are not UTF-8, and a link without an end.
  hostile.script.answer = (_path, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<a href="%ff%fe#sha256=${'a'.repeat(64)}">${'<a'.repeat(300_000)}`);
  };
  assert.match((await fetchWheel(hostile)).message, 'has no wheel');
});

/**
 * Puts an npm of the test's own on the PATH, which acts as the real one might at a hostile
 * registry.
 */
function npmThat(hostile: Hostile, body: string): void {
  const file = join(hostile.dir, 'bin/npm');
  writeFileSync(
    file,
    `#!${process.execPath}\nconst fs = require('fs'); const into = process.argv.at(-1);\n${body}\n`,
  );
  chmodSync(file, 0o755);
}
const fetchPackage = (hostile: Hostile, env = {}): Promise<{ message: string; hint: string }> =>
  faultOf(
    npm.fetch(
      'npm:tiny',
      hostile.context({
        PATH: [join(hostile.dir, 'bin'), dirname(process.execPath)].join(delimiter),
        ...env,
      }),
    ),
  );

test("npm's answer is checked, and an npm that does not end is ended", async (hostile) => {
  const say = (value: unknown): string =>
    `fs.writeFileSync(into + '/x.tgz', ''); console.log(${JSON.stringify(JSON.stringify(value))});`;
  const integrity = `sha512-${createHash('sha512').update('').digest('base64')}`;
  for (const value of [
    null,
    7,
    [],
    [null],
    [{}],
    [{ version: '1.0.0', integrity: 'rot13-x' }],
    [{ version: '..', integrity }],
    [{ version: '../../escaped', integrity }],
  ]) {
    npmThat(hostile, say(value));
    await fetchPackage(hostile);
  }
  npmThat(hostile, `setInterval(() => {}, 1000);`);
  const silent = await fetchPackage(hostile, { DOSIMETER_FETCH_SECONDS: '1' });
  assert.match(
    `${silent.message} ${silent.hint}`,
    /has done nothing for 1 s.*raise DOSIMETER_FETCH_SECONDS/,
  );
  npmThat(hostile, `setInterval(() => fs.appendFileSync('tmp', 'x'.repeat(1e6)), 5);`);
  const large = await fetchPackage(hostile, { DOSIMETER_ARCHIVE_GB: '0.01' });
  assert.match(`${large.message} ${large.hint}`, /fetches more than .*raise DOSIMETER_ARCHIVE_GB/);
  assert.equal(hostile.beside(), []);
});

test.run();
