/** A command's secrets: environment variables of this process that are passed to the program. */
import { UserFault } from '../../../src/api.ts';
import { fileWith } from './leak.ts';
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
