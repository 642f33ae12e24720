/**
 * Keeps pushes and a sweep of one remote out of each other's way. A push relies on objects that it
 * finds and that no entry needs yet. Each side writes its own sign before it looks for the other's,
 * so the two never proceed at once: `gc` gives up, and a push waits. It needs a remote whose
 * listings show what was written before, as S3's do and those of most network file systems.
 *
 * A sign is renewed every minute, and counts no longer when it has not been for a quarter of an
 * hour, by the remote's own clock. Whoever was stopped for so long notices it.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserFault } from '../../api.ts';
import type { Objects } from './objects.ts';
import { sendText } from './send.ts';

const RENEW_MS = 60_000,
  STALE_MS = 15 * 60_000;
/** The time between two looks for the end of a sweep. */
const POLL_MS = 2_000;

type Kind = 'gc' | 'push';

export interface Sign {
  /** The remote's clock, in milliseconds since 1970, when the others' signs were looked at last. */
  readonly now: number;
  /** Whether it has counted all the time since it was made. */
  stands(): boolean;
  end(): Promise<void>;
}

interface Raised {
  readonly name: string;
  readonly stands: Sign['stands'];
  readonly end: Sign['end'];
}

async function raise(objects: Objects, kind: Kind): Promise<Raised> {
  const name = `v1/signs/${kind}-${randomUUID()}`;
  let renewed = performance.now(),
    wasLate = false;
  const stands = (): boolean => {
    wasLate ||= performance.now() - renewed > STALE_MS / 2;
    return !wasLate;
  };
  const write = async (): Promise<void> => {
    const at = performance.now();
    await sendText(objects, name, `${kind}\n`);
    stands();
    renewed = at;
  };
  await write();
  // A renewal that fails is tried again; `stands` tells if none succeeds.
  const timer = setInterval(() => void write().catch(() => undefined), RENEW_MS);
  timer.unref();
  return {
    name,
    stands,
    async end() {
      clearInterval(timer);
      await objects.remove(name);
    },
  };
}

/** Returns the signs of others that count, and the remote's clock. */
async function look(
  objects: Objects,
  own: string,
): Promise<{ readonly others: readonly string[]; readonly now: number }> {
  const signs: { readonly name: string; readonly modified: number }[] = [];
  for await (const sign of objects.list('signs')) signs.push(sign);
  const now = signs.find(({ name }) => name === own)?.modified;
  if (now === undefined)
    throw new UserFault(
      `${objects.uri}: an object that was just written does not show in its listing`,
      'try again; on a network file system, mount it with a shorter time for its caches',
    );
  const others = signs.filter(({ name, modified }) => name !== own && now - modified < STALE_MS);
  return { others: others.map(({ name }) => name), now };
}

const isOf = (kind: Kind, name: string): boolean => name.startsWith(`v1/signs/${kind}-`);

/**
 * Marks the remote as being swept.
 * @throws UserFault while it is pushed to, or swept by another
 */
export async function beginSweep(objects: Objects): Promise<Sign> {
  const sign = await raise(objects, 'gc');
  try {
    const { others, now } = await look(objects, sign.name);
    const gc = others.some((name) => isOf('gc', name));
    if (others.length > 0)
      throw new UserFault(
        `${gc ? 'another gc sweeps' : 'a push sends to'} ${objects.uri}`,
        'wait for it to end; one that was killed counts for 15 minutes',
      );
    return { ...sign, now };
  } catch (error) {
    await sign.end();
    throw error;
  }
}

/**
 * Marks the remote as being pushed to. Waits while it is swept.
 * @param tell called once if it has to wait
 */
export async function beginPush(objects: Objects, tell: (message: string) => void): Promise<Sign> {
  const sign = await raise(objects, 'push');
  try {
    for (let told = false; ; told = true) {
      const { others, now } = await look(objects, sign.name);
      if (!others.some((name) => isOf('gc', name))) return { ...sign, now };
      if (!told) tell(`gc is sweeping ${objects.uri}; waiting`);
      await sleep(POLL_MS);
    }
  } catch (error) {
    await sign.end();
    throw error;
  }
}
