/**
 * `npm run fuzz -- [--runs N] [--seed S] [--only READER] [--jobs N]`: runs every reader over N
 * inputs (slow ones over fewer), made from valid ones. Each input must give a value or a user's
 * fault, in bounded time and memory, and write nothing outside its folder. The same seed makes the
 * same inputs. A failing input is shrunk and saved, and its path printed.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { Reader } from './reader.ts';
import { READERS } from './readers/index.ts';
import type { Done, Job, Settings } from './worker.ts';

/**
 * An input that takes longer than the first bound fails; at the second bound its thread is ended.
 */
const SECONDS = 5,
  HANG_SECONDS = 30;
const MEMORY_MB = 1024;
const INPUT_BYTES = 1 << 17;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '2000' },
    seed: { type: 'string' },
    only: { type: 'string' },
    jobs: { type: 'string' },
  },
});
const runs = Number(values.runs),
  seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed),
  jobs = values.jobs === undefined ? availableParallelism() : Number(values.jobs);

interface Outcome {
  readonly runs: number;
  readonly seconds: number;
  readonly failure: Done['failure'];
}

/** A thread that runs one reader at a time; one that hangs or runs out of memory is replaced. */
interface Thread {
  readonly worker: Worker;
  readonly current: SharedArrayBuffer;
}
const threads: Thread[] = [];
function idleThread(): Thread {
  const idle = threads.pop();
  if (idle !== undefined) return idle;
  const current = new SharedArrayBuffer(8 + INPUT_BYTES);
  const module = new URL('./worker.ts', import.meta.url).href;
  const worker = new Worker(
    "import('tsx/esm/api').then(({ register }) => { register(); return " +
      `import(${JSON.stringify(module)}); });`,
    {
      eval: true,
      workerData: { seconds: SECONDS, current } satisfies Settings,
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
    },
  );
  return { worker, current };
}

function fuzz({ name: reader, slow = 1 }: Reader): Promise<Outcome> {
  const thread = idleThread(),
    { worker, current } = thread,
    state = new Int32Array(current, 0, 2);
  const input = (): Uint8Array =>
    Uint8Array.from(new Uint8Array(current, 8, Atomics.load(state, 1)));
  const start = performance.now(),
    first = Atomics.load(state, 0);
  return new Promise((resolve) => {
    const finish = (made: number, failure: Done['failure']): void => {
      clearInterval(watch);
      worker.off('message', answered).off('error', broken);
      resolve({ runs: made, failure, seconds: (performance.now() - start) / 1000 });
    };
    const end = (why: string): void => {
      finish(Atomics.load(state, 0) - first, { input: input(), why, shrinks: 0 });
      void worker.terminate();
    };
    let begun = first,
      since = performance.now();
    const watch = setInterval(() => {
      const now = Atomics.load(state, 0);
      if (now !== begun) since = performance.now();
      begun = now;
      if (performance.now() - since > HANG_SECONDS * 1000)
        end(`it did not end within ${HANG_SECONDS} s`);
    }, 500);
    const answered = ({ runs: made, failure }: Done): void => {
      finish(made, failure);
      threads.push(thread);
    };
    const broken = (error: Error): void => end(String(error.stack ?? error));
    worker.on('message', answered).on('error', broken);
    worker.postMessage({ reader, runs: Math.ceil(runs / slow), seed } satisfies Job);
  });
}

const readers = READERS.filter(({ name }) => values.only === undefined || name === values.only);
if (readers.length === 0 || !(runs >= 1) || !Number.isInteger(seed) || !(jobs >= 1)) {
  console.error(
    '--runs and --jobs are numbers from 1, --seed is a whole number, --only one of ' +
      READERS.map(({ name }) => JSON.stringify(name)).join(', '),
  );
  process.exit(2);
}
console.log(`seed ${seed}, ${runs} inputs for each of ${readers.length} readers`);
let passed = 0,
  failed = 0,
  inputs = 0;
const start = performance.now();
const waiting = [...readers];
await Promise.all(
  Array.from({ length: Math.min(jobs, waiting.length) }, async () => {
    for (let reader = waiting.shift(); reader !== undefined; reader = waiting.shift()) {
      const { runs: made, seconds, failure } = await fuzz(reader);
      inputs += made;
      const line = `${reader.name}: ${made} inputs, ${seconds.toFixed(1)} s`;
      if (failure === null) {
        passed++;
        console.log(`  ok  ${line}`);
        continue;
      }
      failed++;
      const path = join(mkdtempSync(join(tmpdir(), 'dosimeter-fuzz-failure-')), 'input');
      writeFileSync(path, failure.input);
      console.log(
        `FAIL  ${line}\n      ${failure.why.split('\n').slice(0, 6).join('\n      ')}\n      ` +
          `the input, after ${failure.shrinks} steps of shrinking: ${path}\n      again: npm run ` +
          `fuzz -- --only ${JSON.stringify(reader.name)} --runs ${runs} --seed ${seed}`,
      );
    }
  }),
);
console.log(`${inputs} inputs in ${((performance.now() - start) / 1000).toFixed(1)} s`);
console.log(`${passed} passed, ${failed} failed`);
for (const { worker } of threads) void worker.terminate();
process.exitCode = failed === 0 ? 0 : 1;
