import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tar from 'tar';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { untar, unzip } from '../../plugins/sources/shared/archive.ts';
import { faultOf, zip } from '../plugins/sources/registry.ts';

const test = suite<{ dir: string; into: string }>('archives');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-archive-'));
  context.into = join(context.dir, 'into');
  mkdirSync(context.into);
});

test('a zip file is unpacked with its files and folders', async ({ dir, into }) => {
  writeFileSync(
    join(dir, 'a.whl'),
    zip({ 'a/b/c.txt': 'deep', 'top.txt': 'top', '..dots.txt': 'fine' }),
  );
  await unzip(join(dir, 'a.whl'), into);
  assert.equal(readdirSync(into).sort(), ['..dots.txt', 'a', 'top.txt']);
  assert.is(readFileSync(join(into, 'a/b/c.txt'), 'utf8'), 'deep');
});

/** An archive with a name in it replaced by one as long. */
function renamed(archive: Uint8Array, from: string, to: string): Uint8Array {
  return Buffer.from(Buffer.from(archive).toString('latin1').replaceAll(from, to), 'latin1');
}

for (const [what, archive] of [
  ['a path upwards', zip({ '../evil.txt': 'x' })],
  ['a path upwards within', zip({ 'a/../../evil.txt': 'x' })],
  ['an absolute path', zip({ '/tmp/dosimeter-evil.txt': 'x' })],
  ['a link', zip({ link: '/etc/passwd' }, { link: 0o120777 })],
  ['the same file twice', renamed(zip({ 'a.txt': '1', 'b.txt': '2' }), 'b.txt', 'a.txt')],
  ['another name for a file', zip({ './a.txt': '2' })],
  ['a cut file', zip({ 'a.txt': 'x'.repeat(100) }).subarray(0, 60)],
] as const) {
  test(`a zip file with ${what} is refused`, async ({ dir, into }) => {
    writeFileSync(join(dir, 'evil.whl'), archive);
    assert.match(
      (await faultOf(unzip(join(dir, 'evil.whl'), into))).message,
      /The archive evil\.whl can't be unpacked|An entry of evil\.whl is named/,
    );
    assert.not.ok(
      existsSync(join(dir, 'evil.txt')) ||
        existsSync('/tmp/dosimeter-evil.txt') ||
        existsSync(join(into, 'link')),
    );
  });
}

test("a tar file's one top folder is unpacked, without links and nothing outside", async ({
  dir,
  into,
}) => {
  mkdirSync(join(dir, 'package/sub'), { recursive: true });
  writeFileSync(join(dir, 'package/sub/a.txt'), 'a');
  symlinkSync('/etc/passwd', join(dir, 'package/link'));
  tar.create({ file: join(dir, 'good.tgz'), cwd: dir, gzip: true, sync: true }, ['package']);
  await untar(join(dir, 'good.tgz'), into);
  assert.equal((readdirSync(into, { recursive: true }) as string[]).sort(), ['sub', 'sub/a.txt']);

  writeFileSync(join(dir, 'evil.txt'), 'x');
  tar.create(
    {
      file: join(dir, 'evil.tgz'),
      cwd: join(dir, 'package'),
      gzip: true,
      sync: true,
      preservePaths: true,
    },
    ['../evil.txt'],
  );
  rmSync(join(dir, 'evil.txt'));
  await untar(join(dir, 'evil.tgz'), into).catch(() => undefined);
  assert.not.ok(existsSync(join(dir, 'evil.txt')));
});

test('nothing is written any more once a tar file has been refused', async ({ dir, into }) => {
  mkdirSync(join(dir, 'package'));
  for (let i = 0; i < 300; i++) writeFileSync(join(dir, `package/${i}.txt`), 'some text');
  tar.create({ file: join(dir, 'many.tar'), cwd: dir, sync: true }, ['package']);
  const refused = untar(join(dir, 'many.tar'), into, { DOSIMETER_FETCH_FILES: '200' });
  assert.match((await faultOf(refused)).message, 'holds more than 200 files');
  const then = readdirSync(into).length;
  await new Promise((resolve) => {
    setTimeout(resolve, 200);
  });
  assert.is(readdirSync(into).length, then);
});

test('a file that is not an archive is reported', async ({ dir, into }) => {
  writeFileSync(join(dir, 'no.tgz'), 'no archive at all, but some text that is long enough');
  assert.match(
    (await faultOf(untar(join(dir, 'no.tgz'), into))).message,
    "The archive no.tgz can't be unpacked",
  );
});

test.run();
