/**
 * Loaded before the program and its workers (`node --import`), to imitate faults of the machine.
 *
 *     DISK_FULL        n: the nth write and all later ones fail, as on a full disk
 *     QUOTA            a text: writes to paths that contain it fail, as with a used-up quota
 *     DISK_FAILS       a text: writes to paths that contain it fail, as on a broken disk
 *     CLOCK            n: at every nth reading the clock jumps, a day forward or two days back
 *     PEAK             a file, to which the scheduler writes its peak memory in kilobytes
 *     STOP_AT_RENAME   a file, which the first rename creates instead of ever returning
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const { DISK_FULL, QUOTA, DISK_FAILS, CLOCK, PEAK, STOP_AT_RENAME } = process.env;

/**
 * @param {unknown} flags of `openSync`; the two lowest bits of a number are the access mode
 */
const isForReading = (flags) =>
  flags === undefined || (typeof flags === 'number' ? (flags & 3) === 0 : /^r/.test(String(flags)));

/** As Node 20 reports it on Linux: it has no name for this error. */
const quotaFault = () => {
  const code = 'Unknown system error -122';
  return Object.assign(new Error(`${code}: ${code}, write`), {
    code,
    errno: -122,
    syscall: 'write',
  });
};
const failure = () =>
  Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO', errno: -5, syscall: 'write' });

const refused = QUOTA ?? DISK_FAILS;
if ((DISK_FULL ?? refused) !== undefined && isMainThread) {
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
      // Reading needs no space, and the terminal is not on a disk.
      const free =
        (name === 'openSync' && isForReading(args[1])) ||
        (name === 'writeSync' && Number(args[0]) <= 2);
      if (
        refused !== undefined &&
        !free &&
        args.some((arg) => typeof arg === 'string' && arg.includes(refused) && arg.startsWith('/'))
      )
        throw QUOTA === undefined ? failure() : quotaFault();
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
