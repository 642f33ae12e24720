/** Hubs, indexes and archives that lie: what they name stays in the cache, and what they send has a bound. */
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as tar from 'tar';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import hf from '../../../plugins/sources/hf.ts';
import npm from '../../../plugins/sources/npm.ts';
import pypi from '../../../plugins/sources/pypi.ts';
import { untar, unzip } from '../../../src/data/fetch/archive.ts';
import { wheelVersion } from '../../../src/data/fetch/simple-index.ts';
import { GB, unpackedLimit } from '../../../src/untrusted/limits.ts';
import type { Hostile } from './hostile-server.ts';
import { sendForEver, sendJson, startHostile } from './hostile-server.ts';
import { faultOf, wheel, zip } from './registry.ts';

const test = suite<Hostile>('hostile servers');
test.before.each(async (hostile) => {
  Object.assign(hostile, await startHostile());
});
test.after.each((hostile) => hostile.close());

const commit = 'a'.repeat(40);
const gitOid = (text: string): string =>
  createHash('sha1')
    .update(`blob ${Buffer.byteLength(text)}\0${text}`)
    .digest('hex');
const entry = (path: string, text: string): { [field: string]: unknown } => ({
  type: 'file',
  path,
  size: Buffer.byteLength(text),
  oid: gitOid(text),
});
const model: { readonly [path: string]: string } = {
  'config.json': '{"model_type":"bert"}',
  'model.safetensors': 'weights',
  'tokenizer.json': '{}',
};
const honest = Object.entries(model).map(([path, text]) => entry(path, text));

/** A hub that answers honestly but for the list of files and the bytes of them. */
function hub(
  hostile: Hostile,
  list: unknown,
  bytes: (path: string) => string | null = (path) => model[path] ?? '',
): void {
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else if (path.includes('/tree/')) sendJson(response, list);
    else {
      const text = bytes(path.split('/').at(-1)!);
      if (text === null) sendForEver(response, 'x'.repeat(65_536));
      else response.end(text);
    }
  };
}
const fetchModel = (hostile: Hostile, env = {}): Promise<{ message: string; hint: string }> =>
  faultOf(hf.fetch('hf:lab/tiny', hostile.context(env)));

test("a hub's digests and names never lead out of its cache", async (hostile) => {
  for (const oid of [
    '../../../../../../escaped',
    '/tmp/escaped',
    '..',
    'x'.repeat(40),
    '',
    null,
    7,
  ]) {
    hub(hostile, [{ ...honest[0], oid }, ...honest.slice(1)]);
    assert.match(
      (await fetchModel(hostile)).message,
      'of config.json it says the digest',
      String(oid),
    );
    hub(hostile, [{ ...honest[0], lfs: { oid, size: 3 } }, ...honest.slice(1)]);
    assert.match(
      (await fetchModel(hostile)).message,
      'of config.json it says the digest',
      String(oid),
    );
  }
  for (const path of [
    '../../escaped',
    '/tmp/escaped',
    'a/../../escaped',
    'a\\..\\b',
    'C:x',
    'a//b',
    '',
    'a\0b',
    null,
  ]) {
    hub(hostile, [...honest, { ...honest[0], path }]);
    assert.match((await fetchModel(hostile)).message, 'it lists a file named', String(path));
  }
  assert.equal(hostile.beside(), []);
});

test('what is no list of files is a fault, not a crash', async (hostile) => {
  for (const list of [
    'null',
    '7',
    '{}',
    '[null]',
    '["x"]',
    '[{"type":"file"}]',
    '<html>',
    '[',
    '',
    '['.repeat(9999),
  ]) {
    hub(hostile, list);
    await fetchModel(hostile);
  }
  for (const size of [-1, 1.5, '9', null, 1e300]) {
    hub(hostile, [{ ...honest[0], size }]);
    assert.match((await fetchModel(hostile)).message, 'it says the size', String(size));
  }
  hostile.script.answer = (_path, response) => sendJson(response, 'null');
  assert.match((await fetchModel(hostile)).message, 'names no commit');
  hub(hostile, [entry('config.json', ''), entry('config.json/x', ''), ...honest.slice(1)]);
  await faultOf(
    hf
      .fetch('hf:lab/tiny#config.json/**', hostile.context())
      .then(() => hf.fetch('hf:lab/tiny', hostile.context())),
  );
});

test('files that are not large files are checked against their Git object id', async (hostile) => {
  hub(hostile, honest, (path) =>
    path === 'config.json' ? model[path]!.replace('bert', 'treb') : model[path]!,
  );
  const { message } = await fetchModel(hostile);
  assert.match(message, 'config.json of lab/tiny arrived damaged: its size or git-sha1');
  hub(hostile, honest);
  const asset = await hf.fetch('hf:lab/tiny', hostile.context());
  // A blob of the same size that another client, or a disk, left damaged is not taken for the file either.
  writeFileSync(join(asset.path, 'config.json'), model['config.json']!.replace('bert', 'treb'));
  assert.is(await hf.locate('hf:lab/tiny', hostile.context()), null);
  assert.is((await hf.fetch('hf:lab/tiny', hostile.context())).digest, asset.digest);
});

test('a file is read no further than the bytes that it is listed with', async (hostile) => {
  hub(hostile, honest, (path) => (path === 'config.json' ? null : model[path]!));
  const { message, hint } = await fetchModel(hostile);
  assert.match(
    `${message} ${hint}`,
    /config\.json of lab\/tiny is larger than 21 bytes.*sends more/,
  );
  assert.equal(
    readdirSync(join(hostile.dir, 'a/b/hf/hub/models--lab--tiny/blobs')).filter((name) =>
      name.includes('incomplete'),
    ),
    [],
  );
});

test('lists without an end, and pages without an end, are cut off', async (hostile) => {
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) return void sendJson(response, { sha: commit });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('[');
    sendForEver(response, '{},'.repeat(10_000));
  };
  const list = await fetchModel(hostile, { DOSIMETER_LIST_MB: '1' });
  assert.match(`${list.message} ${list.hint}`, /larger than 1 MB.*raise DOSIMETER_LIST_MB/);

  const paged = (files: (page: number) => unknown[]): void => {
    let page = 0;
    hostile.script.answer = (path, response) => {
      if (path.includes('/revision/')) return void sendJson(response, { sha: commit });
      sendJson(response, files(page++), {
        link: `<${hostile.origin}/api/models/lab/tiny/tree/${page}>; rel="next"`,
      });
    };
  };
  paged(() => []);
  assert.match((await fetchModel(hostile)).message, 'on more than 1000 pages');
  paged((page) => Array.from({ length: 40 }, (_, i) => entry(`${page}/${i}`, '')));
  const files = await fetchModel(hostile, { DOSIMETER_FETCH_FILES: '100' });
  assert.match(
    `${files.message} ${files.hint}`,
    /more than 100 files.*raise DOSIMETER_FETCH_FILES/,
  );
  // The token would go along.
  hostile.script.answer = (path, response) =>
    path.includes('/revision/')
      ? sendJson(response, { sha: commit })
      : sendJson(response, [], { link: '<http://127.0.0.1:9/next>; rel="next"' });
  assert.match(
    (await fetchModel(hostile)).message,
    'its list goes on at "http://127.0.0.1:9/next"',
  );
});

test('a server that falls silent, before its answer or in it, is given up', async (hostile) => {
  const env = { DOSIMETER_FETCH_SECONDS: '0.3' };
  const silences: Hostile['script']['answer'][] = [
    () => undefined,
    (_path, response) => response.write('{'),
    (path, response) => {
      if (path.includes('/revision/')) sendJson(response, { sha: commit });
      else if (path.includes('/tree/')) sendJson(response, honest);
      else response.write('{'); // of 21 bytes
    },
    // A byte now and then is silence too: what counts is how many came in the time.
    (_path, response) => {
      const drip = setInterval(() => response.write(' '), 50);
      response.on('close', () => clearInterval(drip));
    },
  ];
  for (const answer of silences) {
    hostile.script.answer = answer;
    const { message, hint } = await fetchModel(hostile, env);
    assert.match(
      `${message} ${hint}`,
      /has sent nothing, or less than 10 kB a second, for 0\.3 s.*DOSIMETER_FETCH_SECONDS/,
    );
  }
  hostile.script.answer = (path, response) => {
    if (path.includes('/revision/')) sendJson(response, { sha: commit });
    else {
      response.write('[');
      response.destroy();
    }
  };
  assert.match((await fetchModel(hostile)).message, /broke off|can't be reached/);
});

test('more than may be fetched, or than there is room for, is told before anything is', async (hostile) => {
  const large = (size: number): unknown[] => [
    ...honest.slice(0, 2),
    { ...honest[2], lfs: { oid: 'b'.repeat(64), size } },
  ];
  hub(hostile, large(300 * GB));
  const { message, hint } = await fetchModel(hostile);
  assert.match(
    `${message} ${hint}`,
    /has 300 GB of files; at most 200 GB .*raise DOSIMETER_FETCH_GB \(now 200\)/,
  );
  hub(hostile, large(2 ** 52));
  assert.match((await fetchModel(hostile, { DOSIMETER_FETCH_GB: '1e9' })).message, 'has room for');
  assert.match(
    (await fetchModel(hostile, { DOSIMETER_FETCH_GB: 'much' })).message,
    'DOSIMETER_FETCH_GB is "much"',
  );
  assert.not.ok(existsSync(join(hostile.dir, 'a/b/hf/hub/models--lab--tiny/blobs')));
});

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
function index(
  hostile: Hostile,
  files: unknown,
  bytes: Uint8Array | null = new Uint8Array(),
): void {
  hostile.script.answer = (path, response) => {
    if (path.startsWith('/simple/'))
      sendJson(response, { files }, { 'content-type': 'application/vnd.pypi.simple.v1+json' });
    else if (bytes === null) sendForEver(response, 'x'.repeat(65_536));
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

test('an index that is no index is a fault, and what it lists has a bound', async (hostile) => {
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
  hostile.script.answer = (_path, response) => sendJson(response, 'null');
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
  assert.match((await fetchWheel(hostile)).message, 'is not an address of HTTP');
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
    sendForEver(response, '<a '.repeat(10_000));
  };
  assert.match(
    (await fetchWheel(hostile, { DOSIMETER_LIST_MB: '1' })).message,
    "index's list of tiny is larger than 1 MB",
  );
  // Escapes that are no UTF-8, and links without an end.
  hostile.script.answer = (_path, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<a href="%ff%fe#sha256=${'a'.repeat(64)}">${'<a'.repeat(300_000)}`);
  };
  assert.match((await fetchWheel(hostile)).message, 'has no wheel');
});

test('an archive unpacks into its folder, and to no more than is allowed', async (hostile) => {
  const unpack = async (
    files: Parameters<typeof zip>[0],
    env = {},
  ): Promise<{ message: string; hint: string }> => {
    const path = join(hostile.dir, 'bin', 'x.whl'),
      into = join(hostile.dir, 'a', String(hostile.seen.requests++));
    mkdirSync(into, { recursive: true });
    writeFileSync(path, zip(files));
    return faultOf(unzip(path, into, env));
  };
  // 2.9 MB may not become 3 GB; a large package may become larger, and who knows better may say so.
  assert.is(unpackedLimit(2.9e6, {}).value, GB);
  assert.is(unpackedLimit(GB / 10, {}).value, 5 * GB);
  assert.is(unpackedLimit(4 * GB, {}).value, 16 * GB);
  assert.is(unpackedLimit(1, { DOSIMETER_UNPACK_GB: '3' }).value, 3 * GB);
  const large = await unpack(
    { a: 'x'.repeat(600_000), b: 'x'.repeat(600_000) },
    { DOSIMETER_UNPACK_GB: '0.001' },
  );
  assert.match(
    `${large.message} ${large.hint}`,
    /unpacks to more than .*raise DOSIMETER_UNPACK_GB/,
  );
  const many = await unpack({ a: '', b: '', c: '', d: '' }, { DOSIMETER_FETCH_FILES: '3' });
  assert.match(`${many.message} ${many.hint}`, /more than 3 files.*raise DOSIMETER_FETCH_FILES/);
  for (const name of [
    '../escaped',
    '/tmp/escaped',
    'a/../../escaped',
    'a\\..\\escaped',
    'a//b',
    'x'.repeat(256),
  ])
    await unpack({ [name]: 'x' });
  await unpack({ a: 'x', 'a/b': 'x' });
  assert.equal(
    hostile.beside().filter((name) => !/^a\/\d/.test(name)),
    [],
  );
});

test('an npm archive likewise: names, sizes, numbers, and what unzips to nothing', async (hostile) => {
  const dir = join(hostile.dir, 'bin'),
    archive = join(dir, 'x.tgz');
  let runs = 0;
  const unpack = (env = {}): Promise<{ message: string; hint: string }> => {
    const into = join(hostile.dir, 'a', `t${runs++}`);
    mkdirSync(into, { recursive: true });
    return faultOf(untar(archive, into, env));
  };
  const pack = (name: string, content: string): Buffer => {
    const header = new tar.Header({ path: name, size: content.length, type: 'File', mode: 0o644 });
    header.encode();
    return Buffer.concat([
      header.block!,
      Buffer.from(content.padEnd(Math.ceil(content.length / 512) * 512, '\0')),
    ]);
  };
  const end = Buffer.alloc(1024);
  for (const name of [
    'package/../../escaped',
    'package/a/../../../escaped',
    '../../escaped',
    'package/a\\..\\..\\escaped',
  ]) {
    writeFileSync(archive, gzipSync(Buffer.concat([pack(name, 'x'), end])));
    await unpack();
  }
  writeFileSync(archive, gzipSync(Buffer.concat([pack('package/a', 'x'.repeat(2_000_000)), end])));
  assert.match((await unpack({ DOSIMETER_UNPACK_GB: '0.001' })).hint, 'raise DOSIMETER_UNPACK_GB');
  writeFileSync(
    archive,
    gzipSync(
      Buffer.concat([...['a', 'b', 'c', 'd'].map((name) => pack(`package/${name}`, '')), end]),
    ),
  );
  assert.match((await unpack({ DOSIMETER_FETCH_FILES: '3' })).hint, 'raise DOSIMETER_FETCH_FILES');
  writeFileSync(archive, gzipSync(Buffer.alloc(64_000_000)));
  assert.match((await unpack({ DOSIMETER_UNPACK_GB: '0.01' })).message, 'unpacks to more than');
  assert.equal(
    hostile.beside().filter((name) => !/^a\/t\d/.test(name)),
    [],
  );
});

/** An npm of the test's own: what the real one would do against a hostile registry. */
function client(hostile: Hostile, body: string): void {
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

test("npm's answer is believed no more than a server's, and npm is ended where it does not end", async (hostile) => {
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
    client(hostile, say(value));
    await fetchPackage(hostile);
  }
  client(hostile, `setInterval(() => {}, 1000);`);
  const silent = await fetchPackage(hostile, { DOSIMETER_FETCH_SECONDS: '1' });
  assert.match(
    `${silent.message} ${silent.hint}`,
    /has done nothing for 1 s.*raise DOSIMETER_FETCH_SECONDS/,
  );
  client(hostile, `setInterval(() => fs.appendFileSync('tmp', 'x'.repeat(1e6)), 5);`);
  const large = await fetchPackage(hostile, { DOSIMETER_ARCHIVE_GB: '0.01' });
  assert.match(`${large.message} ${large.hint}`, /fetches more than .*raise DOSIMETER_ARCHIVE_GB/);
  assert.equal(hostile.beside(), []);
});

test.run();
