/**
 * Runs readers over many inputs in a thread that can be ended; the current input is in shared
 * memory.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import { drawn, inputOf } from './mutations.ts';
import type { Reader } from './reader.ts';
import { READERS } from './readers/index.ts';

export interface Job {
  readonly reader: string;
  readonly runs: number;
  readonly seed: number;
}
export interface Settings {
  /** The bound for one input. */
  readonly seconds: number;
  /** Two integers, the number of inputs begun and the current input's length; then its bytes. */
  readonly current: SharedArrayBuffer;
}
export interface Done {
  readonly runs: number;
  /** The first failure; null where each input gave a value or a user's fault. */
  readonly failure: {
    readonly input: Uint8Array;
    readonly why: string;
    readonly shrinks: number;
  } | null;
}

/** The names that may be in the parent of a reader's folder after an input. */
const PLACES = new Set(['dir']);

const { seconds, current } = workerData as Settings;
const state = new Int32Array(current, 0, 2),
  bytes = new Uint8Array(current, 8);

async function check(reader: Reader, root: string, input: Uint8Array): Promise<void> {
  bytes.set(input);
  Atomics.store(state, 1, input.length);
  Atomics.add(state, 0, 1);
  const start = performance.now();
  try {
    await reader.read(input, join(root, 'dir'));
  } catch (error) {
    if ((error as Error | null)?.name !== 'UserFault') throw error;
    if ((error as Error).message.length > 4000)
      throw new Error('its message is longer than 4000 characters');
  }
  if (performance.now() - start > seconds * 1000) throw new Error(`it took more than ${seconds} s`);
  const beside = readdirSync(root).filter((entry) => !PLACES.has(entry));
  if (beside.length > 0) throw new Error(`it wrote ${beside.join(', ')} outside its folder`);
}

async function fuzz({ reader: name, runs, seed }: Job): Promise<Done> {
  const reader = READERS.find((one) => one.name === name)!;
  const root = mkdtempSync(join(tmpdir(), 'dosimeter-fuzz-'));
  mkdirSync(join(root, 'dir'));
  try {
    const result = await fc.check(
      fc.asyncProperty(drawn, (value) => check(reader, root, inputOf(value, reader.seeds))),
      { numRuns: runs, seed, endOnFailure: false },
    );
    const { counterexample, errorInstance } = result;
    return {
      runs: result.numRuns,
      failure:
        counterexample === null
          ? null
          : {
              input: inputOf(counterexample[0], reader.seeds),
              why: String((errorInstance as Error | null)?.stack ?? errorInstance),
              shrinks: result.numShrinks,
            },
    };
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

parentPort!.on('message', (job: Job) => {
  void fuzz(job).then((done) => {
    parentPort!.postMessage(done);
  });
});
