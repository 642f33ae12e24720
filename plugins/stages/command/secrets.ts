/** A command's secrets: environment variables of this process that are passed to the program. */
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import { secretLines } from '../../../src/base/secret.ts';
import type { Params } from './params.ts';

export interface Secret {
  /** The program's variable. */
  readonly variable: string;
  /** The variable of this process from which the value is taken. */
  readonly from: string;
  readonly value: string;
}

export const unsetMessage = (variable: string): string =>
  `the environment variable ${variable} is not set`;
export const SECRET_HINT = 'set it where dosimeter is started; a secret has no default';

/** @throws UserFault if one of the variables is not set */
export function readSecrets({ secrets }: Params): Secret[] {
  return Object.entries(secrets).map(([variable, from]) => {
    const value = process.env[from];
    if (value === undefined) throw new UserFault(unsetMessage(from), SECRET_HINT);
    return { variable, from, value };
  });
}

/** Throws a `UserFault` if a file of the output contains a secret. */
export async function checkLeaks(outDir: string, secrets: readonly Secret[]): Promise<void> {
  for (const { from, value } of secrets) {
    const leak = await fileWith(outDir, value);
    if (leak !== null)
      throw new UserFault(
        `the program wrote the secret ${from} into ${leak}`,
        'outputs are stored and may be shared: leave the secret out of them',
      );
  }
}

/**
 * Returns the path, relative to `dir`, of the first file that contains the secret or one line of
 * it, in any format, because a secret must not be stored. Returns null if there is none, or if the
 * secret is too short to tell.
 */
export async function fileWith(dir: string, secret: string): Promise<string | null> {
  const wanted = secretLines(secret).map((line) => Buffer.from(line));
  if (wanted.length === 0) return null;
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    if (await holds(file, wanted)) return relative(dir, file);
  }
  return null;
}

async function holds(file: string, wanted: readonly Buffer[]): Promise<boolean> {
  const longest = Math.max(...wanted.map(({ length }) => length));
  // A secret may begin in one chunk and end in the next.
  let before: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(file)) {
    const both = Buffer.concat([before, chunk as Buffer]);
    if (wanted.some((text) => both.includes(text))) return true;
    before = both.subarray(Math.max(0, both.length - longest + 1));
  }
  return false;
}
