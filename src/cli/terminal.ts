/**
 * Prints facts to stdout and everything else to stderr. Has the exit codes of runs too, and handles
 * signals.
 */
import path from 'node:path';
import pc from 'picocolors';
import prettyMs from 'pretty-ms';
import { wrap } from '../report/format.ts';

export { wrap };

export const out = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
export const json = (value: unknown): void => out(JSON.stringify(value, null, 2));

/** Colours text, except in a pipe or with NO_COLOR. */
export const paint = pc.createColors(pc.isColorSupported && process.stdout.isTTY);
export const paintErr = pc.createColors(pc.isColorSupported && process.stderr.isTTY);

export const warn = (text: string): void => say(paintErr.yellow(text));
/** Prints a text that a reader may skip. */
export const remark = (text: string): void => say(paintErr.dim(text));

/** Formats a time: `2 h 10 min`, `3.4 s`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const unit = seconds < 600 ? 1 : 60;
  return prettyMs(Math.round(seconds / unit) * unit * 1000, { unitCount: 2 })
    .replaceAll(/(\d)([a-z])/g, '$1 $2')
    .replaceAll(/\bm\b/g, 'min');
}

export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;
export const entries = (n: number): string => (n === 1 ? '1 entry' : `${n} entries`);
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** Returns the width of stdout, ∞ unless it is a terminal. */
export const columns = (): number =>
  process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;

/** Returns the width of sentences, which people read with ease up to 100 columns. */
export const proseWidth = (): number => Math.min(columns(), 100);

interface TableLayout {
  /** The greatest width. A wider table is cut into several, one below the other. */
  readonly width?: number;
  /** The number of columns that name a row. Each part of the table repeats them. */
  readonly names?: number;
  /** The text of an empty cell. A part of the table leaves out rows that have only such cells. */
  readonly nothing?: string;
}

/**
 * Returns rows as lines with padded columns. If they are wider than `width`, returns them in
 * several parts, one below the other.
 */
export function table(
  rows: readonly (readonly string[])[],
  { width = Number.POSITIVE_INFINITY, names = 0, nothing }: TableLayout = {},
): string {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((text, i) => Math.max(most[i] ?? 0, text.length)),
    [],
  );
  const line = (row: readonly string[], shown: readonly number[]): string =>
    shown
      .map((i) => (row[i] ?? '').padEnd(widths[i] ?? 0))
      .join(GAP)
      .trimEnd();
  return columnParts(widths, width, names)
    .map((shown) =>
      rows
        .filter(
          (row) => nothing === undefined || shown.some((i) => i >= names && row[i] !== nothing),
        )
        .map((row) => line(row, shown))
        .join('\n'),
    )
    .join('\n\n');
}

/** Explains the states of stages that `plan` and `explain` print. */
export const STATES =
  'cached: its result is in the store; ready: can run now; ' +
  'pending: waits for the results of others, or for a source to be fetched';

export const GAP = '  ';

/** Returns the columns’ indexes in parts of at most `width`; each repeats the naming columns. */
function columnParts(widths: readonly number[], width: number, names: number): number[][] {
  const across = (shown: readonly number[]): number =>
    shown.reduce((sum, i) => sum + (widths[i] ?? 0) + GAP.length, -GAP.length);
  const all = widths.map((_, i) => i);
  if (across(all) <= width) return [all];
  const naming = all.slice(0, names);
  const found: number[][] = [];
  let part = [...naming];
  for (const i of all.slice(names)) {
    if (part.length > naming.length && across([...part, i]) > width) {
      found.push(part);
      part = [...naming];
    }
    part.push(i);
  }
  return [...found, part];
}

/**
 * Returns a path or, if it is longer than `width` characters, only its file's name, which is cut if
 * it is too long as well.
 */
export function shortPath(file: string, width: number): string {
  if (file.length <= width) return file;
  const name = path.basename(file),
    most = Math.max(8, width);
  if (name.length > most) return `${name.slice(0, most - 1)}…`;
  return name.length + 2 <= most ? `…/${name}` : name;
}

/** In a terminal, wraps each line of a message at its own indent. Elsewhere, lines stay whole. */
export const wrapLines = (text: string): string =>
  process.stdout.isTTY
    ? text.replaceAll(
        /^( *)(.*)$/gm,
        (_, indent: string, line: string) =>
          `${indent}${wrap(line, proseWidth() - indent.length, indent)}`,
      )
    : text;

/** `warn` and `remark` for sentences: they are wrapped to `proseWidth`. */
export const warnProse = (text: string): void => warn(wrap(text, proseWidth()));
export const remarkProse = (text: string): void => remark(wrap(text, proseWidth()));

/** `warn` for a message of several lines. */
export const warnLines = (text: string): void => warn(wrapLines(text));

export const DONE = 0;
export const FAILED = 1;
/** The run stopped by itself, since `stopWhen` held. */
export const STOPPED = 3;
export const INTERRUPTED = 130;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Calls `handle` on a signal instead of ending the process. Returns a function that undoes this.
 */
export function onInterrupt(handle: (signal: NodeJS.Signals) => void): () => void {
  for (const signal of SIGNALS) process.on(signal, handle);
  return () => {
    for (const signal of SIGNALS) process.off(signal, handle);
  };
}
