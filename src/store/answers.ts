/**
 * Answers of services, in `answers/DIGEST.json` by the digest of the question, so that no stage
 * asks a question again.
 */
import { lstatSync, utimesSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject, KeptAnswers, RunContext } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import { ownNames } from '../base/untrusted/paths.ts';
import type { ActionKey } from '../plan/types.ts';
import { makeFolder } from './folders.ts';
import { Leases } from './lease.ts';
import { newOwner } from './owner.ts';
import { readSealed, writeSealed } from './sealed.ts';

export const ANSWERS = 'answers';

const POLL_MS = 250;

/** Opens the answers in `dir`. Makes no folder before something is written. */
export function openAnswers(
  dir: string,
  { log, signal }: Pick<RunContext, 'log'> & Partial<Pick<RunContext, 'signal'>>,
): KeptAnswers {
  const fileOf = (digest: string): string => path.join(dir, `${digest}.json`);
  return {
    /** Returns null if the answer is missing or damaged. Notes that it was used now. */
    get(digest) {
      const shape = { answer: 'object' } as const;
      const found = readSealed<{ readonly answer: JsonObject }>(fileOf(digest), shape);
      if (found === null || found === 'damaged') return null;
      try {
        utimesSync(fileOf(digest), new Date(), new Date());
      } catch {
        // The store may be read-only.
      }
      return found.answer;
    },
    keep: (digest, answer) => writeSealed(fileOf(digest), { answer }),
    async alone(name, ask) {
      const folder = path.join(path.dirname(dir), 'leases');
      makeFolder(folder);
      // A new owner for each call, so that stages of one process also wait for each other.
      const leases = new Leases(folder, newOwner());
      try {
        for (let told = false; !('held' in leases.take(sha256(name) as ActionKey)); told = true) {
          if (!told) log('waits for another stage that asks the same service');
          await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal });
        }
        return await ask();
      } finally {
        leases.close();
      }
    },
  };
}

/**
 * Returns the files of the answers in a store, for `gc`. `key` is null, since an answer is no
 * entry. `used` is when the answer was last used, in ms since 1970.
 */
export const answersIn = (root: string) =>
  ownNames(root, ANSWERS).flatMap((name) => {
    const place = path.join(root, ANSWERS, name),
      stat = lstatSync(place, { throwIfNoEntry: false });
    return name.endsWith('.json') && stat?.isFile() === true
      ? [{ key: null, place, bytes: stat.size, used: stat.mtimeMs }]
      : [];
  });
