import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { UserFault } from '../../../src/api.ts';
import { runCommand } from '../../../src/base/command/run.ts';

const test = suite<{ dir: string }>('command');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-command-test-'));
});

interface Limits {
  readonly seconds?: number;
  readonly outputBytes?: number;
}
interface Surroundings extends Limits {
  readonly args?: readonly string[];
  readonly env?: { readonly [name: string]: string };
  readonly pass?: readonly string[];
}

/** Runs a script with Node, and gathers the lines that it logs. */
function node(
  dir: string,
  script: string,
  { args = [], env = {}, pass = [], seconds = 30, outputBytes = 10_000 }: Surroundings = {},
): { readonly lines: readonly string[]; readonly done: Promise<void> } {
  const lines: string[] = [];
  const done = runCommand({
    argv: [process.execPath, '-e', script, ...args],
    cwd: dir,
    env,
    pass,
    limits: { seconds, outputBytes },
    log: (line) => lines.push(line),
  });
  return { lines, done };
}

/** A script that writes its process id to the file `pid` and never ends. */
const ENDLESS = `
  require('fs').writeFileSync('pid', String(process.pid));
  setInterval(() => undefined, 1000);
`;
const pidOf = (dir: string): number => Number(readFileSync(path.join(dir, 'pid'), 'utf8'));

async function faultOf(done: Promise<void>): Promise<UserFault> {
  try {
    await done;
  } catch (error) {
    assert.is((error as Error).name, 'UserFault', String((error as Error).stack));
    return error as UserFault;
  }
  throw new Error('it did not fail');
}

test('arguments reach the program as they are: no shell reads them', async ({ dir }) => {
  const args = ['$HOME', '; touch pwned', '`id`', '"'];
  const { lines, done } = node(
    dir,
    'console.log(JSON.stringify(process.argv.slice(1))); console.log(process.cwd())',
    { args },
  );
  await done;
  const [given = '', cwd = ''] = lines;
  assert.equal(JSON.parse(given), args);
  assert.is(path.basename(cwd), path.basename(dir));
  assert.not.ok(existsSync(path.join(dir, 'pwned')));
});

test('the environment is what is listed and nothing else', async ({ dir }) => {
  process.env['COMMAND_TEST_SECRET'] = 'x';
  process.env['COMMAND_TEST_WANTED'] = 'y';
  try {
    const { lines, done } = node(
      dir,
      `const own = Object.entries(process.env).filter(([name]) => name.startsWith('COMMAND_TEST'));
       console.log(own.map(([name, value]) => name + '=' + value).sort().join());`,
      { env: { COMMAND_TEST_SET: 'z' }, pass: ['COMMAND_TEST_WANTED'] },
    );
    await done;
    assert.equal(lines, ['COMMAND_TEST_SET=z,COMMAND_TEST_WANTED=y']);
  } finally {
    delete process.env['COMMAND_TEST_SECRET'];
    delete process.env['COMMAND_TEST_WANTED'];
  }
});

test('a failure quotes the exit code and the end of what was printed, if anything', async ({
  dir,
}) => {
  const failure = async (script: string): Promise<string> =>
    (await faultOf(node(dir, script).done)).message;
  assert.match(
    await failure('console.error("no rows today"); process.exit(3)'),
    /exit code 3: no rows today$/,
  );
  assert.match(await failure('process.exit(4)'), /exit code 4, and printed nothing$/);
  assert.match(await failure('process.kill(process.pid, "SIGKILL")'), /by SIGKILL/);
});

test('a program that does not exist is named', async ({ dir }) => {
  const fault = await faultOf(
    runCommand({
      argv: ['no-such-program-here'],
      cwd: dir,
      env: {},
      pass: [],
      limits: { seconds: 1, outputBytes: 1 },
      log: () => undefined,
    }),
  );
  assert.match(fault.message, /there is no program "no-such-program-here"/);
});

test('past the time limit it is ended, and what it forked too', async ({ dir }) => {
  const { done } = node(
    dir,
    `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(ENDLESS)}]);
     setInterval(() => undefined, 1000);`,
    { seconds: 3 },
  );
  assert.match((await faultOf(done)).message, /ran for more than 3 s and was ended/);
  const pid = pidOf(dir);
  for (let tries = 0; tries < 50 && alive(pid); tries++)
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  assert.not.ok(alive(pid));
});

/** Whether a process is alive. A zombie counts as dead. */
function alive(pid: number): boolean {
  const file = `/proc/${pid}/stat`;
  if (existsSync('/proc/self/stat'))
    return existsSync(file) && !/\) Z /.test(readFileSync(file, 'utf8'));
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('what it leaves running does not hold it up; a line in two writes is one line', async ({
  dir,
}) => {
  const started = performance.now();
  const { lines, done } = node(
    dir,
    `require('child_process').spawn('sleep', ['20'], { stdio: 'inherit' }).unref();
     process.stdout.write('half ä');
     setTimeout(() => process.stdout.write(' line\\nlast'), 100);`,
  );
  await done;
  assert.ok(performance.now() - started < 15_000);
  assert.is(lines[0], 'half ä line');
});

test('what it leaves running ends with it, even a daemon in a session of its own', async ({
  dir,
}) => {
  const { lines, done } = node(
    dir,
    `require('child_process')
       .spawn(process.execPath, ['-e', ${JSON.stringify(ENDLESS)}], {
         detached: true,
         stdio: 'ignore',
       })
       .unref();
     const wait = setInterval(() => {
       if (require('fs').existsSync('pid')) clearInterval(wait);
     }, 10);`,
  );
  await done;
  assert.not.ok(alive(pidOf(dir)));
  assert.equal(lines, ['it left a process, which was ended']);
});

test('a gigabyte of output is not waited for', async ({ dir }) => {
  const { done } = node(
    dir,
    `const line = 'x'.repeat(65536);
     const more = () => {
       while (process.stdout.write(line));
       process.stdout.once('drain', more);
     };
     more();`,
    { outputBytes: 200_000 },
  );
  assert.match((await faultOf(done)).message, /printed more than 200000 bytes and was ended/);
});

test.run();
