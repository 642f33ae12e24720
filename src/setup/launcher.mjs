#!/usr/bin/env node
/**
 * `dosimeter`: builds what has changed, then runs `dist/<build>/cli.js` in this process. Nearly
 * every start finds nothing changed, so this file imports little and looks at each source with one
 * stat.
 */
import { existsSync, readFileSync } from 'node:fs';
import nodeModule from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { currentBuild, isRefusal } from './current-build.mjs';

const project = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Prints the version, if nothing else is asked for; otherwise runs the current build. If the
 * dependencies are not installed or the build fails, says so and sets the exit code to 2.
 */
async function main() {
  if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
    const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
    // console.log would swallow an error of the write.
    process.stdout.on('error', (error) => {
      const { code, message } = error;
      if (code === 'EPIPE') return;
      console.error(`error: the output could not be written: ${message}`);
      process.exitCode = 2;
    });
    process.stdout.write(`${version}\n`);
    return;
  }
  if (
    !existsSync(join(project, 'node_modules', '.package-lock.json')) &&
    existsSync(join(project, 'package-lock.json'))
  ) {
    console.error('dosimeter: the dependencies are not installed; run `npm run setup`');
    process.exitCode = 2;
    return;
  }
  let dir;
  try {
    dir = await currentBuild(project, (message) => console.error(`dosimeter: ${message}`));
  } catch (error) {
    const isDisk = isRefusal(error);
    if (!(error instanceof Error) || (error.name !== 'BuildFault' && !isDisk)) throw error;
    console.error(
      isDisk
        ? `dosimeter: ${join(project, 'dist')} can't be written: ${error.message}`
        : error.message,
    );
    process.exitCode = 2;
    return;
  }
  // In Node 22 and newer, compiled code is kept between starts.
  nodeModule.enableCompileCache?.(join(project, 'dist', '.compile-cache'));
  optimiseLater();
  await (
    await import(pathToFileURL(join(dir, 'cli.js')).href)
  ).ended;
  // Streams that have just ended count as active until the next turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve));
  // Otherwise V8 would first collect garbage, which takes up to 20 ms.
  if (isDone()) process.exit();
}

/**
 * Makes V8 optimise and collect less for 0.4 s. It optimises a function that has used up a budget
 * of bytecode, and collects young garbage whenever the program waits: most commands end before
 * either pays off. These are flags of Node 20's V8; later releases have others.
 */
function optimiseLater() {
  if (!process.versions.v8.startsWith('11.3.')) return;
  setFlagsFromString('--interrupt-budget=270336');
  setFlagsFromString('--no-minor-gc-task');
  setTimeout(() => {
    setFlagsFromString('--interrupt-budget=67584');
    setFlagsFromString('--minor-gc-task');
  }, 400).unref();
}

/**
 * The names that Node gives to open output streams. Files are not among them, since they are
 * written at once.
 */
const STREAMS = ['PipeWrap', 'TTYWrap', 'TCPSocketWrap'];

/** Whether all output is written, and nothing but the output streams keeps Node running. */
function isDone() {
  const output = [process.stdout, process.stderr],
    streams = output.filter((stream) => 'connecting' in stream),
    resources = process.getActiveResourcesInfo();
  return (
    output.every((stream) => stream.writableLength === 0) &&
    resources.length <= streams.length &&
    resources.every((kind) => STREAMS.includes(kind))
  );
}

try {
  await main();
} catch (error) {
  const { code } = error;
  if (code !== 'EMFILE' && code !== 'ENFILE' && !project.includes('\\')) throw error;
  console.error(
    code === 'EMFILE' || code === 'ENFILE'
      ? `dosimeter: too many files are open (${code}) to start; raise the limit (ulimit -n)`
      : `dosimeter: Node loads no module from a path with a backslash in it; move ${project}`,
  );
  process.exitCode = 2;
}
