/** What a flush makes durable, by the calls that it makes. */
import fs, { mkdirSync, mkdtempSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createGroupCommit } from '../../src/store/sync.ts';
import { rejects } from '../rig/rejects.ts';

type Callback = (error: NodeJS.ErrnoException | null) => void;

/** The paths that were flushed one by one, and the error that each of these flushes gives. */
let flushed: string[] = [];
let code: string | null = null;
const real = fs.fsync;
const watched = ((handle: number, done: Callback) => {
  flushed.push(readlinkSync(`/proc/self/fd/${handle}`));
  if (code === null) real(handle, done);
  else done(Object.assign(new Error(code), { code }));
}) as typeof fs.fsync;

/** Replaces `fsync` in the modules that are loaded already, too. */
function useFsync(fsync: typeof fs.fsync): void {
  fs.fsync = fsync;
  syncBuiltinESMExports();
}

const test = suite<{ root: string }>('group commit');
test.before(() => {
  useFsync(watched);
});
test.after(() => {
  useFsync(real);
});
test.before.each((context) => {
  context.root = path.join(
    realpathSync(mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'))),
    'store',
  );
  flushed = [];
  code = null;
});

/** Makes an entry with this many files, and one more in a folder. Returns its files and folders. */
function makeEntry(root: string, name: string, files: number): string[] {
  const dir = path.join(root, name.slice(0, 2), name),
    inner = path.join(dir, 'inner');
  mkdirSync(inner, { recursive: true });
  const made = Array.from({ length: files }, (_, i) => path.join(dir, `file-${i}`));
  for (const file of [...made, path.join(inner, 'file')]) writeFileSync(file, 'text');
  return [...made, dir, inner, path.join(inner, 'file')];
}

test('the files of a few entries are flushed, and the folders that name them', async ({ root }) => {
  const commit = createGroupCommit(root);
  const first = makeEntry(root, 'aa1', 2);
  commit.add(path.join(root, 'aa', 'aa1'));
  await commit.flush();
  const above = [path.join(root, 'aa'), root, path.dirname(root), '/'];
  for (const file of [...first, ...above]) assert.ok(flushed.includes(file), file);

  flushed = [];
  const second = makeEntry(root, 'bb2', 1);
  commit.add(path.join(root, 'bb', 'bb2'));
  await commit.flush();
  assert.equal(flushed.sort(), [...second, path.join(root, 'bb'), root].sort());

  flushed = [];
  await commit.flush();
  assert.equal(flushed, [], 'nothing was added');
});

test('many files are not flushed one by one', async ({ root }) => {
  const commit = createGroupCommit(root);
  makeEntry(root, 'aa1', 100);
  commit.add(path.join(root, 'aa', 'aa1'));
  await commit.flush();
  assert.equal(flushed, []);
});

test('many files are flushed one by one where `sync` is missing, with the folders above', async ({
  root,
}) => {
  const commit = createGroupCommit(root);
  const entry = makeEntry(root, 'aa1', 100);
  commit.add(path.join(root, 'aa', 'aa1'));
  const { PATH } = process.env;
  process.env['PATH'] = '';
  try {
    await commit.flush();
  } finally {
    process.env['PATH'] = PATH;
  }
  const above = [path.join(root, 'aa'), root, path.dirname(root), '/'];
  for (const file of [...entry, ...above]) assert.ok(flushed.includes(file), file);
});

test('a disk that fails fails the flush', async ({ root }) => {
  const commit = createGroupCommit(root);
  makeEntry(root, 'aa1', 1);
  commit.add(path.join(root, 'aa', 'aa1'));
  code = 'EIO';
  await rejects(commit.flush(), /EIO/);
});

test('a folder that can not be flushed by itself, or an entry that is gone, is not a fault', async ({
  root,
}) => {
  const commit = createGroupCommit(root);
  makeEntry(root, 'aa1', 1);
  commit.add(path.join(root, 'aa', 'aa1'));
  code = 'EINVAL';
  await commit.flush();
  assert.ok(flushed.length > 0);

  code = null;
  flushed = [];
  commit.add(path.join(root, 'aa', 'gone'));
  await commit.flush();
  assert.equal(flushed, []);
});

test.run();
