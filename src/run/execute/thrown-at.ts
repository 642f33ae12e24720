/** Tells where in a plugin's own sources an error was thrown, although its bundle was executed. */
import { readFileSync } from 'node:fs';
import type { SourceMapPayload } from 'node:module';
import { SourceMap } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The place in a frame, `file:///…/own-5d4be5db.mjs:13:38`. */
const PLACE = /(file:\/\/[^\s()]+\.mjs):(\d+):(\d+)/g;
/** Only bundles of plugins from outside end so: the program's own maps are files. */
const INLINE_MAP = /\n\/\/# sourceMappingURL=data:application\/json;base64,([\w+/=]+)\s*$/;

export interface Traced {
  /** The stack, with the plugin's own files and lines. */
  readonly stack: string;
  /** `FILE:LINE:COLUMN` if code of a plugin from outside has thrown the error. */
  readonly thrownAt?: string;
}

export function traced(stack: string): Traced {
  const maps = new Map<string, ((line: number, column: number) => string | null) | null>();
  const placeIn = (module: string, line: number, column: number): string | null => {
    let find = maps.get(module);
    if (find === undefined) maps.set(module, (find = finderOf(module)));
    return find?.(line, column) ?? null;
  };
  const mapped = stack.replace(PLACE, (place, module: string, line: string, column: string) => {
    return placeIn(module, Number(line), Number(column)) ?? place;
  });
  // What Node itself has thrown, as JSON.parse does, is its caller's fault.
  const frame = stack
    .split('\n')
    .find((line) => /^ +at .*:\d+:\d+\)?$/.test(line) && !/\bnode:/.test(line));
  const [, module, line, column] = new RegExp(PLACE.source).exec(frame ?? '') ?? [];
  const thrownAt = module === undefined ? null : placeIn(module, Number(line), Number(column));
  return { stack: mapped, ...(thrownAt === null ? {} : { thrownAt }) };
}

/** Returns a function that finds the source of a place in a bundle; null for another module. */
function finderOf(module: string): ((line: number, column: number) => string | null) | null {
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
    return null; // the bundle is gone or damaged: its own place has to do
  }
}
