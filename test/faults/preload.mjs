/**
 * Loaded before the program (`node --import`), workers included. DISK_FULL: the nth write and every one after it fails,
 * as on a full disk; QUOTA: every write to a path that holds this text, as where a quota is used up. CLOCK: the wall clock jumps a day forward or two back at every nth reading. PEAK: a file that takes
 * the scheduler's largest memory, in kilobytes. STOP_AT_RENAME: the first rename makes this file and never returns.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const { DISK_FULL, QUOTA, CLOCK, PEAK, STOP_AT_RENAME } = process.env;

/** @param {unknown} flags as `openSync` takes them; the two lowest bits of a number are the access mode */
const isForReading = (flags) =>
  flags === undefined || (typeof flags === 'number' ? (flags & 3) === 0 : /^r/.test(String(flags)));

if ((DISK_FULL ?? QUOTA) !== undefined && isMainThread) {
  let left = Number(DISK_FULL ?? Infinity);
  const wrapped = /** @type {Record<string, (...args: unknown[]) => unknown>} */ (
    /** @type {unknown} */ (fs)
  );
  for (const name of [
    'writeFileSync',
    'appendFileSync',
    'writeSync',
    'openSync',
    'mkdirSync',
    'renameSync',
    'copyFileSync',
    'linkSync',
  ]) {
    const original = /** @type {(...args: unknown[]) => unknown} */ (wrapped[name]);
    wrapped[name] = (...args) => {
      // What is opened to be read needs no room, and the terminal is on no disk.
      const free =
        (name === 'openSync' && isForReading(args[1])) ||
        (name === 'writeSync' && Number(args[0]) <= 2);
      if (
        QUOTA !== undefined &&
        !free &&
        args.some((arg) => typeof arg === 'string' && arg.includes(QUOTA) && arg.startsWith('/'))
      )
        throw Object.assign(new Error(`EDQUOT: disk quota exceeded, write '${String(args[0])}'`), {
          code: 'EDQUOT',
          errno: -122,
          syscall: 'write',
        });
      if (!free && --left < 0)
        throw Object.assign(
          new Error(`ENOSPC: no space left on device, write '${String(args[0])}'`),
          { code: 'ENOSPC', errno: -28, syscall: 'write' },
        );
      return original(...args);
    };
  }
  syncBuiltinESMExports();
}

if (STOP_AT_RENAME !== undefined) {
  fs.renameSync = () => {
    fs.writeFileSync(STOP_AT_RENAME, '');
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
  };
  syncBuiltinESMExports();
}

if (CLOCK !== undefined) {
  const every = Number(CLOCK),
    day = 24 * 3600 * 1000,
    Real = Date;
  let readings = 0,
    offset = 0;
  const now = () => {
    if (++readings % every === 0) offset += (readings / every) % 2 === 1 ? day : -2 * day;
    return Real.now() + offset;
  };
  globalThis.Date = class extends Real {
    /** @param {unknown[]} args */
    constructor(...args) {
      if (args.length === 0) super(now());
      else super(.../** @type {[number]} */ (args));
    }
    static now() {
      return now();
    }
  };
}

if (PEAK !== undefined && isMainThread && process.send === undefined) {
  const { writeFileSync } = fs;
  process.on('exit', () => writeFileSync(PEAK, String(process.resourceUsage().maxRSS)));
}
