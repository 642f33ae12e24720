import { existsSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { isOnProc, makeFolder } from '../../src/store/folders.ts';

const test = suite<{ dir: string }>('folders');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
});

const codeOf = (action: () => void): string | undefined => {
  try {
    action();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
};

test('a folder is made with those above it, and an existing one is kept', ({ dir }) => {
  const deep = path.join(dir, 'a', 'b', 'c');
  makeFolder(deep);
  makeFolder(deep);
  assert.ok(statSync(deep).isDirectory());
});

test("a file in a folder's place is reported as such", ({ dir }) => {
  writeFileSync(path.join(dir, 'a'), '');
  assert.is(
    codeOf(() => makeFolder(path.join(dir, 'a'))),
    'ENOTDIR',
  );
  assert.is(
    codeOf(() => makeFolder(path.join(dir, 'a', 'b'))),
    'ENOTDIR',
  );
});

test('a file system that takes no folders is reported', () => {
  if (!existsSync('/proc/self')) return;
  for (const place of ['/proc/x', '/proc/x/y'])
    assert.is(
      codeOf(() => makeFolder(place)),
      'EOPNOTSUPP',
    );
  assert.ok(isOnProc('/proc/x/y'));
  assert.not.ok(isOnProc(os.tmpdir()));
});

test.run();
