/** Reads the lines of a growing file, each byte once. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Inside } from './inside.ts';
import { openInside } from './inside.ts';

export interface Tail {
  /** Reads what was added since the last call. Calls must not overlap. */
  read(): Promise<void>;
}

export interface TailOptions {
  readonly file: Inside;
  /** Called with each whole line, without its line break. */
  readonly onLine: (line: string) => void;
  /** Called if the file was replaced or cut short, before it is read again from its start. */
  readonly onRestart: () => void;
  /** Called for each line that is left out because it is longer than `longest` bytes. */
  readonly onLong?: () => void;
  readonly longest: number;
  /** Only this many of the last bytes of a larger file are read. */
  readonly most?: number;
  /** Called if the beginning of the file is left out. */
  readonly onCut?: () => void;
  /** What comes after this many lines is left out. */
  readonly mostLines?: number;
  /** Called if the file has more lines. */
  readonly onFull?: () => void;
}

const CHUNK = 256 * 1024;
/** So many lines are taken before others have their turn. */
const LINES_AT_ONCE = 2000;
const NEWLINE = 10;

export function openTail({
  file,
  onLine,
  onRestart,
  onLong,
  longest,
  most,
  onCut,
  mostLines = Infinity,
  onFull,
}: TailOptions): Tail {
  let identity = '',
    offset = 0,
    /** The beginning of a line whose end has not been read. */
    rest: Buffer = Buffer.alloc(0),
    /** Whether the bytes up to the next line break belong to a line that is left out. */
    passing = false,
    /** The number of line breaks that have been read. */
    lines = 0;
  const restart = (size: number): void => {
    const from = most === undefined ? 0 : Math.max(0, size - most);
    offset = from;
    rest = Buffer.alloc(0);
    lines = 0;
    passing = from > 0; // the first line is cut
    if (from > 0) onCut?.();
  };
  const take = async (bytes: Buffer): Promise<void> => {
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, start);
      if (end < 0) break;
      if (lines >= mostLines) {
        lines = Infinity;
        onFull?.();
        return;
      }
      if (++lines % LINES_AT_ONCE === 0) await nextTurn();
      const line = bytes.subarray(start, end);
      start = end + 1;
      if (passing) passing = false;
      else if (rest.length + line.length > longest) onLong?.();
      else onLine(Buffer.concat([rest, line]).toString('utf8'));
      rest = Buffer.alloc(0);
    }
    if (passing) return;
    rest = Buffer.concat([rest, bytes.subarray(start)]);
    if (rest.length <= longest) return;
    rest = Buffer.alloc(0);
    passing = true;
    onLong?.();
  };
  return {
    async read() {
      const handle = await openInside(file);
      if (handle === null) return;
      try {
        const { dev, ino, size } = await handle.stat();
        const found = `${dev}:${ino}`;
        if (found !== identity || size < offset) {
          if (identity !== '') onRestart();
          identity = found;
          restart(size);
        }
        const buffer = Buffer.alloc(Math.min(CHUNK, Math.max(0, size - offset)));
        while (offset < size && lines < Infinity) {
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset);
          if (bytesRead === 0) break;
          offset += bytesRead;
          await take(buffer.subarray(0, bytesRead));
        }
      } finally {
        await handle.close();
      }
    },
  };
}
