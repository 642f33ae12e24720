/** The command line's words: facts to stdout, everything else to stderr. */
import pc from 'picocolors';
import prettyMs from 'pretty-ms';

export const out = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
export const say = (text: string): void => {
  process.stderr.write(`${text}\n`);
};
export const json = (value: unknown): void => out(JSON.stringify(value, null, 2));

/** NO_COLOR and pipes give plain text. */
export const paint = pc.createColors(pc.isColorSupported && process.stdout.isTTY);
export const paintErr = pc.createColors(pc.isColorSupported && process.stderr.isTTY);

/** `2 h 10 min`, `3.4 s`. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return prettyMs(
    Math.round(seconds / (seconds < 600 ? 1 : 60)) * (seconds < 600 ? 1 : 60) * 1000,
    { unitCount: 2 },
  )
    .replaceAll(/(\d)([a-z])/g, '$1 $2')
    .replaceAll(/\bm\b/g, 'min');
}

export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? '' : 's'}`;

/** Columns of the terminal that facts go to; a file or a pipe has no end of a line. */
export const columns = (): number =>
  process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;

export interface TableLayout {
  /** Wider tables are cut into several, one under the other. */
  readonly width?: number;
  /** How many columns name a row, and stand in each part again. */
  readonly names?: number;
  /** What a cell without anything holds: a row of such cells alone is left out of its part. */
  readonly nothing?: string;
}

/** Columns padded to their widest cell; the first row is the head. */
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
      .map((i) => row[i]!.padEnd(widths[i]!))
      .join(GAP)
      .trimEnd();
  return parts(widths, width, names)
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

/** What `plan` and `explain` say of stages, for whoever reads it first. */
export const STATES =
  'cached: its result is in the store; ready: can run now; pending: waits for the results of others, or for a source to be fetched';

const GAP = '  ';

/** Which columns stand beside each other. Those that name a row come again. */
function parts(widths: readonly number[], width: number, names: number): number[][] {
  const across = (shown: readonly number[]): number =>
    shown.reduce((sum, i) => sum + widths[i]! + GAP.length, -GAP.length);
  const all = widths.map((_, i) => i);
  if (across(all) <= width) return [all];
  const naming = all.slice(0, names),
    found: number[][] = [];
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

/** The end of a text, where the whole is too long for `width` characters. */
export const tail = (text: string, width: number): string =>
  text.length <= width ? text : `…${text.slice(text.length - Math.max(8, width) + 1)}`;

/** Words in lines of at most `width` characters; a longer word has its own. Lines after the first are indented. */
export function wrap(text: string, width: number, indent = ''): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].join('\n');
}
