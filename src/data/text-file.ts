import { createReadStream } from 'node:fs';
import { UserFault } from '../api.ts';
import { inWords, MB } from '../base/untrusted/limits.ts';

/** The longest record of a table, in characters. A book has a few million. */
export const LONGEST_RECORD = 32 * MB;

/** Yields the file's text in pieces, without a byte-order mark. Throws `UserFault` if not UTF-8. */
export async function* decoded(path: string, name: string): AsyncGenerator<string, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let before = 0; // line breaks in what was decoded
  /** Returns the text of the next bytes or, without bytes, what is left at the end. */
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new UserFault(
        `${name} is not UTF-8 text: it holds other bytes after line ${before + 1}.`,
        'Convert it to UTF-8.',
      );
    }
  };
  for await (const bytes of createReadStream(path) as AsyncIterable<Uint8Array>) {
    const text = decode(bytes);
    yield text;
    before += text.split('\n').length - 1;
  }
  yield decode();
}

/**
 * Yields the lines of a file, without line ends (LF or CRLF), and their numbers, from 1. Empty
 * lines are skipped, but counted. Throws `UserFault` if a line is longer than `LONGEST_RECORD`.
 */
export async function* lines(
  path: string,
  name: string,
): AsyncGenerator<readonly [line: string, number: number], void> {
  let rest = '',
    number = 0;
  for await (const text of decoded(path, name)) {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > LONGEST_RECORD)
      throw new UserFault(
        `${name}:${number + parts.length + 1} is longer than ${inWords(LONGEST_RECORD)}, ` +
          'the most that a line of a table may have.',
      );
    for (const part of parts) {
      number++;
      const line = withoutReturn(part);
      if (line !== '') yield [line, number];
    }
  }
  const last = withoutReturn(rest);
  if (last !== '') yield [last, number + 1];
}

const withoutReturn = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line);
