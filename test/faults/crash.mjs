/**
 * Loaded before the program (`node --import`): kills the process with SIGKILL right before its nth
 * call that changes the disk, or in the middle of that call.
 *
 *     CRASH_IN     `run` (the scheduler) or `worker`
 *     CRASH_AT     n; 0 kills no process
 *     CRASH_COUNT  a file to which each of these calls appends a byte
 *     CRASH_ONCE   a file that the first process to be killed makes, so that the others are not
 *     CRASH_TORN   1: half of a write is written first
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const role = process.send === undefined ? 'run' : 'worker';
const at = Number(process.env.CRASH_AT),
  torn = process.env.CRASH_TORN === '1';
const { closeSync, openSync, writeSync } = fs;
const count =
  role === process.env.CRASH_IN
    ? openSync(/** @type {string} */ (process.env.CRASH_COUNT), 'a')
    : null;
let calls = 0;

/** @param {'write' | 'other'} kind @param {readonly unknown[]} args */
function point(kind, args) {
  calls++;
  if (count !== null) writeSync(count, '.');
  if (calls !== at) return;
  try {
    closeSync(openSync(/** @type {string} */ (process.env.CRASH_ONCE), 'wx'));
  } catch {
    return;
  }
  const [file, data] = args;
  if (torn && kind === 'write' && typeof data !== 'undefined') {
    const bytes = Buffer.from(/** @type {string} */ (data));
    const handle = typeof file === 'number' ? file : openSync(/** @type {string} */ (file), 'w');
    writeSync(handle, bytes.subarray(0, Math.floor(bytes.length / 2)));
  }
  process.kill(process.pid, 'SIGKILL');
}

if (isMainThread && role === process.env.CRASH_IN) {
  const wrapped = /** @type {Record<string, (...args: unknown[]) => unknown>} */ (
    /** @type {unknown} */ (fs)
  );
  for (const name of [
    'writeFileSync',
    'appendFileSync',
    'writeSync',
    'mkdirSync',
    'renameSync',
    'rmSync',
    'unlinkSync',
    'utimesSync',
    'copyFileSync',
    'linkSync',
    'symlinkSync',
    'rename',
    'mkdir',
    'rm',
    'unlink',
    'fsync',
    'fdatasync',
  ]) {
    const original = wrapped[name];
    if (original === undefined) throw new Error(`node:fs has no ${name}`);
    wrapped[name] = (...args) => {
      point(name === 'writeFileSync' || name === 'writeSync' ? 'write' : 'other', args);
      return original(...args);
    };
  }
  syncBuiltinESMExports();
}
