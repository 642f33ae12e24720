/**
 * A process that performs one command line after another, each as the built `dosimeter` would in a
 * process of its own, but without loading the program anew. Gets the program as its argument and
 * the commands as messages; see warm.ts.
 */
import childProcess from 'node:child_process';
import { EventEmitter } from 'node:events';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';

const [, , program = ''] = process.argv;
const home = process.cwd();
let commands = 0;

// A run has one worker unless the test asks for more, because a worker's start takes more processor
// time than the stages of most tests.
os.availableParallelism = () => 1;

const { fork } = childProcess,
  { kill } = process;
/** Workers, of which those without a `lease` are idle. */
const workers = new Set();

/** Starts a worker that may outlive its run, under a mark by which the run does not end it. */
function startWorker(module, args, options, key) {
  const env = { ...options.env, DOSIMETER_WORKER: `${options.env.DOSIMETER_WORKER} kept` };
  const child = fork(module, args, { ...options, env });
  const worker = { child, key, busy: 0, spent: false, lease: null };
  workers.add(worker);
  child.on('message', (message) => {
    if (message.type === 'result') worker.busy--;
    if (message.leaving) worker.spent = true;
    worker.lease?.emit('message', message);
  });
  for (const event of ['exit', 'error'])
    child.on(event, (...how) => {
      workers.delete(worker);
      worker.lease?.emit(event, ...how);
    });
  return worker;
}

// A run that kills a worker which has done all its jobs leaves it to the next run of the same
// folder and environment: a new one would load and compile TensorFlow.js and Vega again.
childProcess.fork = (module, args, options) => {
  if (path.basename(module) !== 'worker.js') return fork(module, args, options);
  const env = Object.entries(options.env).filter(([name]) => name !== 'DOSIMETER_WORKER');
  const key = JSON.stringify([module, process.cwd(), env.sort()]);
  const idle = [...workers].filter(({ lease, spent }) => lease === null && !spent);
  const known = idle.find((worker) => worker.key === key);
  for (const other of idle.filter((one) => one.key !== key)) {
    other.spent = true;
    other.child.kill('SIGKILL');
  }
  const worker = known ?? startWorker(module, args, options, key);
  const { child } = worker,
    { pid, stdout, stderr } = child;
  const send = (message, then) => {
    worker.busy += message.jobs?.length ?? 0;
    return child.send(message, then);
  };
  const lease = Object.assign(new EventEmitter(), { pid, stdout, stderr, send });
  Object.defineProperty(lease, 'connected', { get: () => child.connected });
  if (known) setImmediate(() => lease.emit('message', { type: 'ready' }));
  worker.lease = lease;
  return lease;
};
process.kill = (pid, signal) => {
  const own = [...workers].find(({ child }) => child.pid === -pid);
  const { lease = null } = own ?? {};
  if (lease === null || own.busy > 0 || own.spent) return kill.call(process, pid, signal);
  own.lease = null;
  setImmediate(() => lease.emit('exit', null, signal));
  return true;
};
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
