/**
 * Describes the failures of stages for people, with the place in a plugin's own sources where an
 * error was thrown.
 */
import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { JobResult } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { memoized } from '../../base/memoized.ts';
import type { Failed } from '../log/events.ts';

/** Longer messages are cut: one may quote a whole row of a data set. */
const MESSAGE_LENGTH = 1000;

/**
 * Cuts a long message, and replaces control characters except line breaks: data that a message
 * quotes may have them.
 */
export function terminalSafe(message: string): string {
  const text = message.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, '\ufffd');
  return text.length > MESSAGE_LENGTH ? `${text.slice(0, MESSAGE_LENGTH)}…` : text;
}

/**
 * Returns a failure.
 * @param error what happened, for people
 * @param log see `Failed.log`
 */
export function failure(
  error: string,
  log: string | null,
  { internal = false, hint }: { readonly internal?: boolean; readonly hint?: string } = {},
): Failed {
  return { state: 'failed', error, internal, log, ...defined({ hint }) };
}

/**
 * Returns the failure of a stage whose input or source changed while it ran.
 * @param change what changed, a sentence
 */
export const changeFailure = (change: string, log: string): Failed =>
  failure(terminalSafe(change), log, {
    hint:
      'what a stage reads must stay as it is until the stage ends: ' +
      'copy what you want to change, and run again; nothing was kept',
  });

export const overtimeFailure = (seconds: number, log: string): Failed =>
  failure(`it ran for more than ${seconds} s and was ended`, log, {
    hint: '--timeout sets how long a stage may run',
  });

/**
 * Returns the failure for an error that is no `UserFault`: of an outside plugin if `thrownAt` is
 * given, else of this program.
 */
export const errorFailure = (
  { message, thrownAt }: { readonly message: string; readonly thrownAt?: string },
  log: string | null,
): Failed =>
  thrownAt === undefined
    ? failure(`internal error: ${terminalSafe(message)}`, log, { internal: true })
    : failure(terminalSafe(`${thrownAt} threw: ${message}`), log, {
        hint: "this is a fault of the plugin's code, not of the spec; the log has the stack",
      });

export function resultFailure(result: Exclude<JobResult, { type: 'done' }>, log: string): Failed {
  switch (result.type) {
    case 'fault':
      return failure(
        terminalSafe(result.message),
        log,
        defined({ hint: result.hint && terminalSafe(result.hint) }),
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

/** Matches a place in a line of a stack: `file:///…/own-5d4be5db.mjs:13:38`. */
const PLACE = /(file:\/\/[^\s()]+\.mjs):(\d+):(\d+)/g;
/**
 * Matches the source map at the end of an outside plugin's bundle. This program's modules have none
 * there.
 */
const INLINE_MAP = /\n\/\/# sourceMappingURL=data:application\/json;base64,([\w+/=]+)\s*$/;

/**
 * Replaces the places in plugin bundles that a stack names by places in the plugins' sources. If
 * code of an outside plugin threw, returns also where: `thrownAt`, as `FILE:LINE:COLUMN`.
 */
export function mapToSources(stack: string) {
  const lookupIn = memoized(sourceMapLookup);
  /** Turns a place in a bundle into the place in its sources; null without a source map. */
  const placeIn = (module: string, line = '', column = ''): string | null =>
    lookupIn(module)?.(Number(line), Number(column)) ?? null;
  const mapped = stack.replace(
    PLACE,
    (place, module: string, line: string, column: string) => placeIn(module, line, column) ?? place,
  );
  // The first frame of the stack outside Node. If Node threw the error, as in JSON.parse, this is
  // the frame of the code that called it.
  const frame = stack
    .split('\n')
    .find((line) => /^ +at .*:\d+:\d+\)?$/.test(line) && !/\bnode:/.test(line));
  const [, module, line, column] = new RegExp(PLACE.source).exec(frame ?? '') ?? [];
  const thrownAt = module === undefined ? null : placeIn(module, line, column);
  return { stack: mapped, ...defined({ thrownAt: thrownAt ?? undefined }) };
}

/**
 * Returns a function that turns a place in a bundle into `FILE:LINE:COLUMN` of its sources. Returns
 * null if the bundle has no source map.
 */
function sourceMapLookup(module: string): ((line: number, column: number) => string | null) | null {
  try {
    const [, encoded] = INLINE_MAP.exec(readFileSync(fileURLToPath(module), 'utf8')) ?? [];
    if (encoded === undefined) return null;
    const payload = JSON.parse(Buffer.from(encoded, 'base64').toString()) as SourceMapPayload;
    const map = new SourceMap(payload);
    return (line, column) => {
      const found = map.findEntry(line - 1, column - 1);
      if (!('originalSource' in found)) return null;
      const { originalSource, originalLine, originalColumn } = found;
      const file = path.resolve(payload.sourceRoot, originalSource);
      return `${file}:${originalLine + 1}:${originalColumn + 1}`;
    };
  } catch {
    return null; // the bundle is gone or damaged, so the place in it has to do
  }
}
