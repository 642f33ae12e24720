import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import file from '../../../plugins/sources/file.ts';
import type { SourceContext } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { faultOf } from './registry.ts';

const test = suite<{ dir: string; context: SourceContext }>('file source');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-file-'));
  context.context = { cacheDir: join(context.dir, 'cache'), env: {}, log: () => undefined };
});

test("a file's digest is that of its bytes, as sha256sum prints it", async ({ dir, context }) => {
  writeFileSync(join(dir, 'a.tsv'), 'abc');
  const asset = present(await file.locate(`file:${dir}/a.tsv`, context));
  assert.is(
    asset.digest,
    'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
  assert.equal(
    [asset.path, asset.provenance],
    [join(dir, 'a.tsv'), { kind: 'file', name: 'a.tsv', bytes: 3, digest: asset.digest }],
  );
  assert.equal(await file.fetch(`file:${dir}/a.tsv`, context), asset);
  assert.is(present(await file.locate(`file://${dir}/a.tsv`, context)).digest, asset.digest);
});

test("a folder's digest is that of its files' names and contents, wherever it lies", async ({
  dir,
  context,
}) => {
  for (const name of ['one', 'two']) {
    mkdirSync(join(dir, name, 'sub'), { recursive: true });
    writeFileSync(join(dir, name, 'config.json'), '{}');
    writeFileSync(join(dir, name, 'sub/a'), 'a');
  }
  const digest = async (name: string) =>
    present(await file.locate(`file:${join(dir, name)}`, context)).digest;
  const first = await digest('one');
  assert.is(await digest('two'), first);
  writeFileSync(join(dir, 'two/.hidden'), 'x');
  assert.is(await digest('two'), first);
  symlinkSync('..', join(dir, 'two/sub/loop'));
  assert.is(await digest('two'), first);
  renameSync(join(dir, 'two/sub/a'), join(dir, 'two/sub/b'));
  assert.is.not(await digest('two'), first);
});

test('an edit is noticed even if it keeps size and modification time', async ({ dir, context }) => {
  const path = join(dir, 'a.tsv'),
    digest = async () => present(await file.locate(`file:${path}`, context)).digest;
  writeFileSync(path, 'one');
  utimesSync(path, 1000, 1000);
  const before = await digest();
  assert.is(await digest(), before);
  writeFileSync(path, 'two');
  utimesSync(path, 1000, 1000);
  assert.is(statSync(path).size, 3);
  assert.is.not(await digest(), before);
});

test('a known digest is not computed again', async ({ context }) => {
  // A digest is remembered only for a file that has not just changed, such as LICENSE.
  const old = new URL('../../../LICENSE', import.meta.url).pathname;
  const digest = present(await file.locate(`file:${old}`, context)).digest,
    memos = join(context.cacheDir, 'digests');
  const memo = join(memos, present(readdirSync(memos)[0])),
    text = readFileSync(memo, 'utf8'),
    planted = '0'.repeat(64);
  assert.match(text, digest.slice('sha256:'.length));
  writeFileSync(memo, text.replace(digest.slice('sha256:'.length), planted));
  assert.is(present(await file.locate(`file:${old}`, context)).digest, `sha256:${planted}`);
  writeFileSync(memo, '{"cut');
  assert.is(present(await file.locate(`file:${old}`, context)).digest, digest);
});

test('a missing file is reported with the nearest name', async ({ dir, context }) => {
  writeFileSync(join(dir, 'train.tsv'), '');
  const near = await faultOf(file.locate(`file:${dir}/trian.tsv`, context));
  assert.equal(
    [near.message, near.hint],
    [`There is no file ${dir}/trian.tsv.`, `Did you mean ${dir}/train.tsv?`],
  );
  assert.match(
    (await faultOf(file.locate(`file:${dir}/no/where.tsv`, context))).message,
    'its folder is missing too',
  );
  assert.match(
    (await faultOf(file.locate(`file:${dir}/train.tsv/x`, context))).message,
    'There is no file',
  );
});

test.run();
