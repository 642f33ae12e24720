import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { repository } from './project.ts';

const test = suite<{ dir: string }>('setup/code-cache');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-code-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

const module = pathToFileURL(join(repository, 'src/setup/code-cache.mjs')).href;
const codeFile = (dir: string): string => join(dir, 'code', 'x');

/** Runs `script.cjs` of a folder in a process of its own, and returns what its function returns. */
function run(dir: string, ...flags: readonly string[]): string {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [
      ...flags,
      '--input-type=module',
      '-e',
      `import { existsSync } from 'node:fs';
       import { runCompiled } from '${module}';
       console.log(runCompiled('${join(dir, 'script.cjs')}', '${codeFile(dir)}')(existsSync));`,
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  return stdout + stderr;
}

const write = (dir: string, source: string): void => writeFileSync(join(dir, 'script.cjs'), source);

/** The file with the compiled code is replaced when it is written, so its inode tells. */
const inode = (dir: string): number => statSync(codeFile(dir)).ino;

test('the first process writes the compiled code, and the next one uses it', ({ dir }) => {
  write(dir, '(() => 6 * 7)');
  assert.is(run(dir), '42\n');
  const before = inode(dir);
  assert.is(run(dir), '42\n');
  assert.is(inode(dir), before);
  assert.equal(readdirSync(join(dir, 'code')), ['x']);
});

test('a source that was edited is compiled again, also one of the same length', ({ dir }) => {
  write(dir, '(() => "old")');
  assert.is(run(dir), 'old\n');
  write(dir, '(() => "new")');
  assert.is(run(dir), 'new\n');
  assert.is(run(dir), 'new\n');
});

test('damaged code is never run', ({ dir }) => {
  write(dir, '(() => "whole")');
  run(dir);
  const whole = readFileSync(codeFile(dir));
  for (const at of [0, 32, 40, Math.floor(whole.length / 2), whole.length - 1]) {
    const damaged = Buffer.from(whole);
    damaged.writeUInt8((damaged.readUInt8(at) + 1) % 256, at);
    writeFileSync(codeFile(dir), damaged);
    const before = inode(dir);
    assert.is(run(dir), 'whole\n');
    assert.is.not(inode(dir), before, `a changed byte at ${at} was not noticed`);
  }
  for (const length of [0, 16, 32, whole.length - 1]) {
    writeFileSync(codeFile(dir), whole.subarray(0, length));
    assert.is(run(dir), 'whole\n');
  }
});

test('code that V8 refuses, here of other flags, is written anew', ({ dir }) => {
  write(dir, '(() => "kept")');
  run(dir);
  const before = inode(dir);
  assert.is(run(dir, '--no-opt', '--max-lazy'), 'kept\n');
  assert.is.not(inode(dir), before);
});

test('a process that does much more writes the code anew, with what it has called', ({ dir }) => {
  write(
    dir,
    '(() => { while (process.env.BUSY && process.cpuUsage().user < 1e6); return "done"; })',
  );
  run(dir);
  const before = inode(dir);
  process.env['BUSY'] = '1';
  try {
    assert.is(run(dir), 'done\n');
    assert.is.not(inode(dir), before);
  } finally {
    delete process.env['BUSY'];
  }
});

test('a process that goes on writes the code before it ends', ({ dir }) => {
  write(
    dir,
    `((exists) => {
      const look = () => exists('${codeFile(dir)}') ? console.log("written") : setTimeout(look, 50);
      look();
      return "begun";
    })`,
  );
  assert.is(run(dir), 'begun\nwritten\n');
});

test('text beyond ASCII is decoded', ({ dir }) => {
  write(dir, '(() => String(/±🦄/u.test("±🦄") && "€".length))');
  assert.is(run(dir), '1\n');
  assert.is(run(dir), '1\n');
});

test('a place that can not be written to is passed over', ({ dir }) => {
  write(dir, '(() => "still")');
  mkdirSync(codeFile(dir), { recursive: true });
  assert.is(run(dir), 'still\n');
  assert.equal(readdirSync(join(dir, 'code')), ['x']);
});

test.run();
