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
export const paint = pc.createColors(pc.isColorSupported && process.stdout.isTTY === true);
export const paintErr = pc.createColors(pc.isColorSupported && process.stderr.isTTY === true);

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

/** Columns padded to their widest cell; the first row is the head. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((text, i) => Math.max(most[i] ?? 0, text.length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((text, i) => (i === row.length - 1 ? text : text.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
