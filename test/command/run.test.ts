import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { UserFault } from '../../src/api.ts';
import { runCommand } from '../../src/command/run.ts';

const test = suite<{ dir: string }>('command');
test.before.each((context) => {
  context.dir = mkdtempSync(path.join(os.tmpdir(), 'dosimeter-command-test-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true, force: true }));

const node = (
  dir: string,
  text: string,
  more: {
    args?: readonly string[];
    seconds?: number;
    outputBytes?: number;
    env?: { [name: string]: string };
    pass?: readonly string[];
  } = {},
) => {
  const lines: string[] = [];
  const { args = [], seconds = 30, outputBytes = 10_000, env = {}, pass = [] } = more;
  return {
    lines,
    done: runCommand({
      argv: [process.execPath, '-e', text, ...args],
      cwd: dir,
      env,
      pass,
      limits: { seconds, outputBytes },
      log: (line) => lines.push(line),
    }),
  };
};

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
  assert.equal(JSON.parse(lines[0]!), args);
  assert.is(path.basename(lines[1]!), path.basename(dir));
  assert.not.ok(existsSync(path.join(dir, 'pwned')));
});

test('the environment is what is listed and nothing else', async ({ dir }) => {
  process.env['COMMAND_TEST_SECRET'] = 'x';
  process.env['COMMAND_TEST_WANTED'] = 'y';
  try {
    const { lines, done } = node(
      dir,
      'console.log(Object.keys(process.env).filter((name) => name.startsWith("COMMAND_TEST")).map((name) => name + "=" + process.env[name]).sort().join())',
      { env: { COMMAND_TEST_SET: 'z' }, pass: ['COMMAND_TEST_WANTED'] },
    );
    await done;
    assert.equal(lines, ['COMMAND_TEST_SET=z,COMMAND_TEST_WANTED=y']);
  } finally {
    delete process.env['COMMAND_TEST_SECRET'];
    delete process.env['COMMAND_TEST_WANTED'];
  }
});

test('a failure says the exit code and the end of what was printed; one without a word says so', async ({
  dir,
}) => {
  assert.match(
    (await faultOf(node(dir, 'console.error("no rows today"); process.exit(3)').done)).message,
    /exit code 3: no rows today$/,
  );
  assert.match(
    (await faultOf(node(dir, 'process.exit(4)').done)).message,
    /exit code 4, without a word$/,
  );
  assert.match(
    (await faultOf(node(dir, 'process.kill(process.pid, "SIGKILL")').done)).message,
    /by SIGKILL/,
  );
  assert.match(
    (
      await faultOf(
        runCommand({
          argv: ['no-such-program-here'],
          cwd: dir,
          env: {},
          pass: [],
          limits: { seconds: 1, outputBytes: 1 },
          log: () => undefined,
        }),
      )
    ).message,
    /there is no program "no-such-program-here"/,
  );
});

test('past the time limit it is ended, and what it forked too', async ({ dir }) => {
  const child =
    'require("fs").writeFileSync("pid", String(process.pid)); setInterval(() => {}, 1000)';
  const { done } = node(
    dir,
    `require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(child)}]); setInterval(() => {}, 1000)`,
    { seconds: 3 },
  );
  assert.match((await faultOf(done)).message, /ran for more than 3 s and was ended/);
  const pid = Number(readFileSync(path.join(dir, 'pid'), 'utf8'));
  for (let tries = 0; tries < 50 && alive(pid); tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.not.ok(alive(pid));
});

/** A zombie that nobody has waited for yet is dead. */
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
    'require("child_process").spawn("sleep", ["20"], { stdio: "inherit" }).unref(); process.stdout.write("half ä"); setTimeout(() => process.stdout.write(" line\\nlast"), 100)',
  );
  await done;
  assert.ok(performance.now() - started < 15_000);
  assert.is(lines[0], 'half ä line');
});

test('what it leaves running ends with it, a daemon of its own session too', async ({ dir }) => {
  const daemon =
    'require("fs").writeFileSync("pid", String(process.pid)); setInterval(() => {}, 1000)';
  const { lines, done } = node(
    dir,
    `require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(daemon)}], { detached: true, stdio: "ignore" }).unref(); const wait = setInterval(() => { if (require("fs").existsSync("pid")) clearInterval(wait); }, 10)`,
  );
  await done;
  assert.not.ok(alive(Number(readFileSync(path.join(dir, 'pid'), 'utf8'))));
  assert.equal(lines, ['it left a process, which was ended']);
});

test('a gigabyte of output is not waited for', async ({ dir }) => {
  const { done } = node(
    dir,
    'const line = "x".repeat(65536); const more = () => { while (process.stdout.write(line)); process.stdout.once("drain", more); }; more();',
    { outputBytes: 200_000 },
  );
  assert.match((await faultOf(done)).message, /printed more than 200000 bytes and was ended/);
});

test.run();
