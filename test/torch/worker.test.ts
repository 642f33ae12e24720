import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endChildren } from '../../src/base/processes.ts';
import { torchVersion } from '../../src/torch/python.ts';
import { type TorchWorker, torchWorker } from '../../src/torch/worker.ts';
import { rejects } from '../rig/rejects.ts';
import { script, standInPython, watchedLife } from './rig.ts';

const test = suite('torch/worker');
const named = process.env['DOSIMETER_PYTHON'];
const python = standInPython();

test.before(() => {
  process.env['DOSIMETER_PYTHON'] = python;
});
test.after(async () => {
  await (await torchWorker()).end();
  process.env['DOSIMETER_PYTHON'] = named;
});

interface Done {
  readonly model: number;
  readonly parameters: number;
  readonly trained: number;
}

/** Has the stand-in do something; `model` in its answer is the process's id. */
const open = (worker: TorchWorker, what: string, signal?: AbortSignal): Promise<Done> =>
  worker.ask('open', { class: what } as never, signal);

const thrown = async (promise: Promise<unknown>): Promise<Error> => {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error('it was not rejected');
  return error;
};

test('one process says what it is, and is kept', async () => {
  const worker = await torchWorker({ threads: 1 });
  const { device, gpu, threads, deterministic, packages } = worker.facts;
  assert.equal([device, gpu, threads, deterministic], ['cpu', null, 1, true]);
  assert.match(packages.torch, /^2\./);
  const { model } = await open(worker, 'nothing');
  assert.is((await open(await torchWorker(), 'nothing')).model, model);
});

test('a process with other releases than those of the keys is refused', async () => {
  const version = torchVersion((await torchWorker()).facts);
  await torchWorker({ version });
  const { message } = await thrown(torchWorker({ version: 'torch 2.0.0' }));
  assert.is(message, `PyTorch's process has ${version}, and this run began with torch 2.0.0`);
  await thrown(torchWorker());
  await torchWorker({ version });
});

test('requests are answered in turn', async () => {
  const worker = await torchWorker();
  const answered: number[] = [];
  await Promise.all(
    [0, 1, 2].map((i) => open(worker, 'nothing').then(() => void answered.push(i))),
  );
  assert.equal(answered, [0, 1, 2]);
});

test('errors that leave the process as it was are told apart', async () => {
  const worker = await torchWorker();
  const { model } = await open(worker, 'nothing');
  const fault = await thrown(open(worker, 'fault'));
  assert.equal(
    [fault.name, fault.message, (fault as { hint?: string }).hint],
    ['UserFault', 'no such checkpoint', 'name another'],
  );
  const error = await thrown(open(worker, 'error'));
  assert.equal([error.name, error.message], ['Error', "KeyError: 'absent'"]);
  assert.match(error.stack ?? '', /stand_in\.py", line \d+, in do/);
  await rejects(open(worker, 'infinite'), /^ValueError: Out of range float values/);
  assert.is((await open(await torchWorker(), 'nothing')).model, model);
});

for (const [what, name, message] of [
  ['device', 'Error', /^RuntimeError: CUDA error: an illegal memory access/],
  ['no memory for Python', 'UserFault', /^memory ran out: MemoryError/],
  ['garbage', 'Error', /^PyTorch's process wrote what is no answer: no answer$/],
  ['exit', 'Error', /^PyTorch's process ended by itself \(exit code 3\)/],
] as const)
  test(`a process is replaced after this: ${what}`, async () => {
    const worker = await torchWorker();
    const { model } = await open(worker, 'nothing');
    const error = await thrown(open(worker, what));
    assert.is(error.name, name);
    assert.match(error.message, message);
    // A rerun goes on from the saved state: a fault of the user's would discard it.
    assert.is('cutOff' in error, name === 'UserFault');
    assert.is(await thrown(open(worker, 'nothing')), error);
    const next = await open(await torchWorker(), 'nothing');
    assert.is.not(next.model, model);
    assert.throws(() => process.kill(model, 0), /ESRCH/);
  });

test('a process that is killed while it computes is replaced', async () => {
  const worker = await torchWorker();
  const { model } = await open(worker, 'nothing');
  const asked = open(worker, 'compute');
  process.kill(model, 'SIGKILL');
  const error = await thrown(asked);
  assert.equal([error.name, (error as { cutOff?: true }).cutOff], ['UserFault', true]);
  assert.match(error.message, /ended by SIGKILL, as the system does when memory runs out$/);
  assert.match((error as { hint?: string }).hint ?? '', /train\.batch_size.*train\.accumulate/);
  assert.is.not((await open(await torchWorker(), 'nothing')).model, model);
});

test('a process that is killed while it starts, is told', async () => {
  await (await torchWorker()).end();
  const { fifo, life } = watchedLife();
  Object.assign(process.env, { STAND_IN_FIFO: fifo, STAND_IN_START: 'hang' });
  const started = torchWorker();
  process.kill(await life.pid, 'SIGKILL');
  await rejects(started, /ended by SIGKILL/);
  await life.ended;
  delete process.env['STAND_IN_FIFO'];
  delete process.env['STAND_IN_START'];
  await open(await torchWorker(), 'nothing');
});

test('an abort ends what is computed, however long it takes', async () => {
  const worker = await torchWorker();
  const stop = new AbortController(),
    asked = open(worker, 'sleep', stop.signal),
    waiting = open(worker, 'nothing');
  await new Promise(setImmediate); // the first has begun
  stop.abort(new Error('enough'));
  await rejects(asked, /^enough$/);
  await rejects(waiting, /^enough$/);
  const next = await torchWorker();
  // One that was aborted before its turn leaves the process as it is.
  await rejects(open(next, 'nothing', stop.signal), /^enough$/);
  const { model } = await open(next, 'nothing');
  assert.is((await open(await torchWorker(), 'nothing')).model, model);
});

test('what a stage left behind is ended, and this process is not', async () => {
  const { model } = await open(await torchWorker(), 'nothing');
  const left = spawn('sleep', ['600'], { stdio: 'ignore' });
  const ended = new Promise((resolve) => left.once('exit', (_, signal) => resolve(signal)));
  assert.ok((await endChildren()) > 0);
  assert.is(await ended, 'SIGKILL');
  assert.is((await open(await torchWorker(), 'nothing')).model, model);
});

test('its children have no end of its pipes', async () => {
  assert.is((await open(await torchWorker(), 'child')).parameters, 0);
});

test('a thousand requests leave nothing open, and no memory taken', async () => {
  const worker = await torchWorker();
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  for (let i = 0; i < 50; i++) await open(worker, 'nothing');
  const before = await open(worker, 'usage'),
    open_ = descriptors();
  for (let i = 0; i < 1000; i++) await open(worker, 'nothing');
  const after = await open(worker, 'usage');
  assert.is(after.parameters, before.parameters);
  assert.ok(after.trained - before.trained < 1024, `${after.trained - before.trained} kB more`);
  assert.is(descriptors(), open_);
});

test('what is printed comes to stderr, and answers are whole', async () => {
  const { stdout, stderr, code } = await script(
    `const worker = await torchWorker();
     await open(worker, 'print');
     console.log((await open(worker, 'nothing')).trained);`,
    {},
  ).ended;
  assert.equal([code, stdout], [0, '0\n']);
  for (const line of ['by Python', 'by the descriptor', 'by C'])
    assert.ok(stderr.includes(`${line}\n`), stderr);
});

test('a package that fails to load is named, and starts have a limit', async () => {
  const { stdout } = await script(
    `for (let i = 0; i < 4; i++)
       await torchWorker().catch(({ name, message, hint }) => console.log(name, message, hint));`,
    { STAND_IN_START: 'import-error' },
  ).ended;
  const fault =
    `UserFault ${python} (DOSIMETER_PYTHON) can't load PyTorch: ModuleNotFoundError: import of ` +
    `peft halted; None in sys.modules see what \`${python} -c 'import torch, transformers, peft'\` ` +
    'says\n';
  const limit =
    "UserFault PyTorch's process has ended 3 times before it had computed anything see what " +
    '`npx dosimeter doctor --backend torch` says\n';
  assert.is(stdout, fault.repeat(3) + limit);
});

test.run();
