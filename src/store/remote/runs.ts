/** The keys of a run's entries, kept in a remote under the run's id. */
import { UserFault } from '../../api.ts';
import { isRecord, parseJson } from '../../base/untrusted/json.ts';
import { limitOf } from '../../base/untrusted/limits.ts';
import type { ActionKey } from '../../plan/types.ts';
import { seal, unseal } from '../sealed.ts';
import type { Objects } from './objects.ts';
import { runObject } from './objects.ts';
import { receiveText, refusalOf } from './receive.ts';
import { sendText } from './send.ts';

const KEY = /^[0-9a-f]{64}$/;

export const sendRun = (objects: Objects, id: string, keys: readonly ActionKey[]): Promise<void> =>
  sendText(objects, runObject(id), `${seal({ keys })}\n`);

/** @throws UserFault if the remote has no such run, or what it has is not a run's record */
export async function receiveRun(objects: Objects, id: string): Promise<readonly ActionKey[]> {
  const what = `the record of the run ${id}`;
  try {
    const text = await receiveText(objects, runObject(id), limitOf('list').value, what);
    if (text === null)
      throw new UserFault(
        `${objects.uri} has no run ${id}`,
        'pull its spec, or push the run from where it is',
      );
    return runKeys(text, what);
  } catch (error) {
    const why = refusalOf(error);
    throw why === null ? error : new UserFault(`${objects.uri}: ${why}`);
  }
}

/** Returns the keys in a run's record. Throws `UserFault` if the text is not one. */
export function runKeys(text: string, what: string): readonly ActionKey[] {
  parseJson(text, what);
  const record = unseal(text.replace(/\n$/, ''));
  const keys = isRecord(record) ? record['keys'] : undefined;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string' && KEY.test(key)))
    throw new UserFault(`${what} is damaged`, 'push the run again');
  return [...new Set(keys as ActionKey[])];
}
