import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readSealed, writeSealed } from '../../src/store/sealed.ts';

const test = suite<{ dir: string; file: string }>('sealed records');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-'));
  context.file = path.join(context.dir, 'record.json');
});

test('a record is replaced as a whole and read as it was written', ({ dir, file }) => {
  assert.is(readSealed(file), null);
  for (const n of [1, 2]) writeSealed(file, { n });
  assert.equal(readSealed(file), { n: 2 });
  assert.equal(readdirSync(dir), ['record.json']);
});

test('a failed write leaves the old record and no draft', ({ dir, file }) => {
  mkdirSync(path.join(file, 'inside'), { recursive: true });
  assert.throws(
    () => writeSealed(file, { n: 1 }),
    (error: NodeJS.ErrnoException) => error.code === 'EISDIR',
  );
  assert.equal([readdirSync(dir), readdirSync(file)], [['record.json'], ['inside']]);
});

test('a draft of a process with the same id in another container is kept', ({ dir, file }) => {
  const theirs = `${file}.${process.pid}`;
  mkdirSync(theirs);
  writeSealed(file, { n: 1 });
  assert.match(readFileSync(file, 'utf8'), '"n":1');
  assert.equal(readdirSync(dir).sort(), ['record.json', path.basename(theirs)]);
});

test.run();
