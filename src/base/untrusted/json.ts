/** Reads JSON from outside, from regular files of limited size and depth. */
import { constants, open } from 'node:fs/promises';
import { UserFault } from '../fault.ts';
import { inWords, MB } from './limits.ts';

/** The largest file that is read. The largest tokenizer.json in use has about 35 MB. */
const FILE_BYTES = 128 * MB;
/** The deepest nesting, so that walks don't exhaust the stack. Real files are about ten deep. */
const DEEPEST = 100;

/** Returns a value as messages show it: as JSON, cut to 80 characters. */
export function shown(value: unknown): string {
  const text = (JSON.stringify(value) as string | undefined) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

interface JsonLimits {
  /** The most values in lists and objects, all together. */
  readonly values?: number;
  /** The most lists and objects, all together. */
  readonly lists?: number;
  /** The most names in objects, all together. V8 takes some microseconds for each new name. */
  readonly names?: number;
}

/**
 * Parses a JSON text. Throws `UserFault` if it is not JSON, or exceeds DEEPEST or the limits.
 * @param name names the text in messages
 */
export function parseJson(text: string, name: string, limits: JsonLimits = {}): unknown {
  const excess = findExcess(text, limits);
  if (excess !== null) throw new UserFault(`${name} ${excess}.`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserFault(`${name} is not JSON: ${shortened((error as Error).message)}`);
  }
}

const AS_WRITTEN = 'number as written: ';

/**
 * Returns the text of a JSON object after a change, with numbers as they were written: to Python,
 * `2.0` is not `2`. Throws as `parseJson` does, and if the text is no JSON object.
 * @param change returns the changed object; it is given the object with an opaque string for each
 *   number that JavaScript would write differently
 */
export function changedJson(
  text: string,
  name: string,
  change: (value: { readonly [name: string]: unknown }) => object,
): string {
  parseJson(text, name);
  // Finds each string, which stays, and each number, such as `-2.0e5`.
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) =>
    token.startsWith('"') || String(Number(token)) === token
      ? token
      : JSON.stringify(AS_WRITTEN + token),
  );
  const value: unknown = JSON.parse(marked);
  if (!isRecord(value)) throw new UserFault(`${name} is not an object`);
  const written = JSON.stringify(change(value), null, 2);
  return `${written.replace(/"number as written: (-?\d[\d.eE+-]*)"/g, '$1')}\n`;
}

/** Shortens V8's message, which quotes the text around the fault and may be long. */
export const shortened = (message: string): string =>
  message.length > 200 ? `${message.slice(0, 200)}…` : message;

/**
 * Returns which limit a JSON text exceeds, in words that follow the text's name; null if none. Does
 * not parse the text.
 */
export function findExcess(
  text: string,
  { values = Infinity, lists = Infinity, names = Infinity }: JsonLimits = {},
): string | null {
  let depth = 0,
    opened = 0,
    commas = 0,
    colons = 0,
    inString = false;
  // Character codes: 34 `"`, 44 `,`, 58 `:`, 91 `[`, 92 `\`, 93 `]`, 123 `{`, 125 `}`.
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === 92)
        i++; // a backslash and the character that it escapes
      else if (code === 34) inString = false;
    } else if (code === 34) inString = true;
    else if (code === 91 || code === 123) {
      if (++depth > DEEPEST) return `is nested more than ${DEEPEST} deep`;
      if (++opened > lists) return `holds more than ${lists} lists`;
    } else if (code === 93 || code === 125) depth--;
    else if (code === 44) {
      if (++commas >= values) return `holds more than ${values} values`;
    } else if (code === 58 && ++colons > names) return `holds more than ${names} names`;
  }
  return null;
}

/** Reads a file. Throws `UserFault` unless it is readable, regular and of at most FILE_BYTES. */
async function readRegularFile(path: string, hint?: string): Promise<Uint8Array> {
  // Without O_NONBLOCK, opening a named pipe waits for a writer. Windows has no such flag.
  const nonBlocking = (constants.O_NONBLOCK as number | undefined) ?? 0;
  const file = await open(path, constants.O_RDONLY | nonBlocking).catch(() => {
    throw new UserFault(`${path} can't be read`, hint);
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new UserFault(`${path} is not a regular file`, hint);
    if (stats.size > FILE_BYTES)
      throw new UserFault(
        `${path} has ${inWords(stats.size)}; ` +
          `a file of this kind may have at most ${inWords(FILE_BYTES)}`,
      );
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** Returns the value in a JSON file. Throws `UserFault` if it can't be read, or not as JSON. */
export async function readJsonFile(path: string, hint?: string): Promise<unknown> {
  return parseJson(await readText(path, `${path} is not JSON`, hint), path);
}

/** Returns a file's text. Throws `UserFault` if it is unreadable, too large or not UTF-8. */
export const readTextFile = (path: string): Promise<string> =>
  readText(path, `${path} can't be read`);

/** Like `readTextFile`. @param fault begins the message if the file is not UTF-8 */
async function readText(path: string, fault: string, hint?: string): Promise<string> {
  const bytes = await readRegularFile(path, hint);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UserFault(`${fault}: it is not UTF-8 text`);
  }
}

/** Whether a value is an object that is neither null nor a list. */
export const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
