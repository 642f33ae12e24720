import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { repository } from './project.ts';

const test = suite<{ dir: string }>('setup/lock');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-lock-'));
});

const lockModule = pathToFileURL(join(repository, 'src/setup/lock.mjs')).href;

/**
 * A program that adds one to a number in a file, under the lock; without the lock, increments get
 * lost.
 */
const increment = (dir: string, times: number): string => `
  import { readFileSync, writeFileSync } from 'node:fs';
  import { withLock } from ${JSON.stringify(lockModule)};
  const [lock, count] = ${JSON.stringify([join(dir, 'lock'), join(dir, 'count')])};
  for (let i = 0; i < ${times}; i++)
    await withLock(lock, async () => {
      const value = Number(readFileSync(count, 'utf8'));
      await new Promise((resolve) => setImmediate(resolve));
      writeFileSync(count, String(value + 1));
    });
`;

test('processes take turns', async ({ dir }) => {
  writeFileSync(join(dir, 'count'), '0');
  const codes = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise((resolve) => {
          spawn(process.execPath, ['--input-type=module', '-e', increment(dir, 20)], {
            stdio: 'inherit',
          }).on('close', resolve);
        }),
    ),
  );
  assert.equal(codes, [0, 0, 0]);
  assert.is(readFileSync(join(dir, 'count'), 'utf8'), '60');
  assert.not.ok(existsSync(join(dir, 'lock')));
});

test('the lock of a process that died is taken over', ({ dir }) => {
  writeFileSync(join(dir, 'count'), '0');
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  writeFileSync(join(dir, 'lock'), `${pid}\n`);
  assert.is(
    spawnSync(process.execPath, ['--input-type=module', '-e', increment(dir, 1)], {
      timeout: 20_000,
    }).status,
    0,
  );
  assert.is(readFileSync(join(dir, 'count'), 'utf8'), '1');
});

test.run();
