/** Puts the failures of a stage into words for people. */
import { defined } from '../../base/defined.ts';
import type { JobResult } from './protocol.ts';
import type { Failed } from './types.ts';

/** The length at which a message is cut: it may quote a whole row of a data set. */
const MESSAGE_LENGTH = 1000;

/**
 * Returns a message that is safe for a terminal. It may quote a data set's text, so control
 * characters are replaced.
 */
export function plain(message: string): string {
  const text = message.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '\ufffd');
  return text.length > MESSAGE_LENGTH ? `${text.slice(0, MESSAGE_LENGTH)}…` : text;
}

function failure(
  error: string,
  log: string | null,
  { internal = false, hint }: { readonly internal?: boolean; readonly hint?: string } = {},
): Failed {
  return { state: 'failed', error, internal, log, ...defined({ hint }) };
}

/** @param change what changed while the stage read it, as a sentence */
export const changeFailure = (change: string, log: string): Failed =>
  failure(plain(change), log, {
    hint:
      'what a stage reads must stay as it is until the stage ends: ' +
      'copy what you want to change, and run again; nothing was kept',
  });

export const overtimeFailure = (seconds: number, log: string): Failed =>
  failure(`it ran for more than ${seconds} s and was ended`, log, {
    hint: '--timeout sets how long a stage may run',
  });

/** Returns the failure of a stage whose code, or the program's, threw what is not a `UserFault`. */
export const errorFailure = (
  { message, thrownAt }: { readonly message: string; readonly thrownAt?: string },
  log: string | null,
): Failed =>
  thrownAt === undefined
    ? failure(`internal error: ${plain(message)}`, log, { internal: true })
    : failure(plain(`${thrownAt} threw: ${message}`), log, {
        hint: "this is a fault of the plugin's code, not of the spec; the log has the stack",
      });

export function resultFailure(result: Exclude<JobResult, { type: 'done' }>, log: string): Failed {
  switch (result.type) {
    case 'fault':
      return failure(
        plain(result.message),
        log,
        result.hint === undefined ? {} : { hint: plain(result.hint) },
      );
    case 'error':
      return errorFailure(result, log);
    case 'exit': {
      const how =
        result.signal === null ? `exit code ${String(result.code)}` : `ended by ${result.signal}`;
      return failure(`its process ended without reporting a result (${how})`, log, {
        internal: true,
        ...(result.signal === 'SIGKILL' ? { hint: OUT_OF_MEMORY } : {}),
      });
    }
  }
}

const OUT_OF_MEMORY =
  'the system kills a process when memory runs out; try --jobs 1, or a smaller batch';
