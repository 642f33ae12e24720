/** A lock between processes, so that no two set-ups or launchers write the same files at once. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Returns the process id of the lock's holder; null if the file is gone or half-written. */
function readHolder(file) {
  try {
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
    return Number.isNaN(pid) ? null : pid;
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/**
 * Runs `work` while holding the lock `file`. The lock of a process that died is taken over: the
 * stale file is renamed, which only one waiter can do.
 * @param onWait called once with the holder's process id, if another process holds the lock
 */
export async function withLock(file, work, onWait) {
  mkdirSync(dirname(file), { recursive: true });
  let told = false;
  let unreadable = 0;
  for (;;) {
    try {
      writeFileSync(file, `${process.pid}\n`, { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = readHolder(file);
    // If the file can't be read for a second, its holder died before it wrote its process id.
    unreadable = pid === null ? unreadable + 1 : 0;
    if (pid === process.pid || (pid !== null && !isAlive(pid)) || unreadable > 10) {
      const stale = `${file}.stale-${process.pid}`;
      try {
        renameSync(file, stale);
        // Another waiter may have taken the lock over meanwhile. The renamed file is then that
        // waiter's, and is put back.
        const renamed = readHolder(stale);
        if (renamed !== null && renamed !== pid && isAlive(renamed)) linkSync(stale, file);
        rmSync(stale, { force: true });
      } catch (error) {
        if (error.code !== 'ENOENT') throw error;
      }
      continue;
    }
    if (pid !== null && !told) {
      told = true;
      onWait?.(pid);
    }
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    rmSync(file, { force: true });
  }
}
