/**
 * A process that performs one command line after another, each as the built `dosimeter` would in a
 * process of its own, but without loading the program anew. Gets the program as its argument and
 * the commands as messages; see warm.ts.
 */
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import process from 'node:process';
import { pathToFileURL } from 'node:url';

const [, , program = ''] = process.argv;
const home = process.cwd();
let commands = 0;

// A run has one worker unless the test asks for more, because a worker's start takes more processor
// time than the stages of most tests.
os.availableParallelism = () => 1;
syncBuiltinESMExports();

/**
 * Gathers what is written to a stream. Returns a function that restores it and returns the text.
 */
function gather(stream) {
  const { write } = stream;
  const chunks = [];
  stream.write = (chunk, encoding, callback) => {
    chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk);
    const done = typeof encoding === 'function' ? encoding : callback;
    if (done !== undefined) process.nextTick(done);
    return true;
  };
  return () => {
    stream.write = write;
    return Buffer.concat(chunks).toString();
  };
}

/** Returns a function that removes the listeners which were added to the process since. */
function listeners() {
  const emitters = [process, process.stdout, process.stderr];
  const before = emitters.map(
    (emitter) => new Map(emitter.eventNames().map((name) => [name, emitter.listeners(name)])),
  );
  return () =>
    emitters.forEach((emitter, i) => {
      for (const name of emitter.eventNames())
        for (const listener of emitter.listeners(name))
          if (before[i].get(name)?.includes(listener) !== true)
            emitter.removeListener(name, listener);
    });
}

function setEnvironment(env) {
  for (const name of Object.keys(process.env)) if (!(name in env)) delete process.env[name];
  Object.assign(process.env, env);
}

process.on('message', async ({ dir, env, args }) => {
  process.chdir(dir);
  setEnvironment(env);
  process.argv = [process.execPath, program, ...args];
  process.exitCode = undefined;
  const restore = listeners();
  const stdout = gather(process.stdout);
  const stderr = gather(process.stderr);
  let fault = '';
  try {
    // Node runs the program's entry again, with all that it imports still loaded.
    await (
      await import(`${pathToFileURL(program).href}?${commands++}`)
    ).ended;
  } catch (error) {
    fault = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.exitCode = 1;
  }
  const said = { code: process.exitCode ?? 0, stdout: stdout(), stderr: stderr() + fault };
  restore();
  process.exitCode = undefined;
  process.chdir(home);
  process.send(said);
});
// The process that sends the commands has ended.
process.on('disconnect', () => process.exit());
process.send('ready');
