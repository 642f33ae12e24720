/**
 * Runs test files one after another in one process, so that each need not load TensorFlow and the
 * sources again. Receives the paths of the test files as lines on file descriptor 3. After each
 * file it prints a line: the text of its first argument, followed by what the file left behind
 * (JSON). The second argument is the folder for temporary files.
 */
import { Socket } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [, , endOfFile = '', folder = ''] = process.argv;
// Set only now, because tsx, which is loaded already, keeps its cache in the machine's own folder.
process.env.TMPDIR = folder;

// With this, uvu waits for `exec` instead of running each suite by itself.
globalThis.UVU_DEFER = 1;
const { exec } = await import('uvu');

/** The events for which the WebAssembly of tfjs adds listeners that end the process. */
const FATAL = ['uncaughtException', 'unhandledRejection'];

/** Variables that are set once, when TensorFlow is loaded into the process. */
const OF_TENSORFLOW = /^(TF|NVIDIA_TF32)_/;

/** Returns what a test file must leave as it was, and the listeners before the file runs. */
const readSurroundings = () => ({
  env: { ...process.env },
  folder: process.cwd(),
  listeners: FATAL.map((event) => process.listeners(event)),
});

/**
 * Restores the surroundings. Returns the names of what a test file changed but must leave as it
 * was.
 */
function restore({ env, folder, listeners }) {
  for (const [index, event] of FATAL.entries())
    for (const listener of process.listeners(event))
      if (!listeners[index].includes(listener)) process.removeListener(event, listener);
  const changed = Object.keys({ ...env, ...process.env }).filter(
    (name) => env[name] !== process.env[name] && !OF_TENSORFLOW.test(name),
  );
  for (const name of changed)
    if (env[name] === undefined) delete process.env[name];
    else process.env[name] = env[name];
  if (process.cwd() === folder) return changed;
  process.chdir(folder);
  return [...changed, 'the working folder'];
}

/**
 * Runs a test file. Returns what it did not restore, and whether it could not be run (`broken`).
 */
async function runFile(file) {
  globalThis.UVU_INDEX = 0;
  globalThis.UVU_QUEUE.splice(0, Infinity, [null]);
  const before = readSurroundings();
  try {
    await import(pathToFileURL(resolve(file)).href);
    await exec(false);
    return { changed: restore(before) };
  } catch (error) {
    console.error(error);
    return { changed: restore(before), broken: true };
  } finally {
    process.exitCode = undefined;
  }
}

for await (const file of createInterface({ input: new Socket({ fd: 3 }) })) {
  const left = JSON.stringify(await runFile(file));
  process.stdout.write(`\n${endOfFile} ${left}\n`);
}
