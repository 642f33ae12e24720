/** JSON from outside: a regular file of a bounded size and depth, or a UserFault that names it. */
import { open } from 'node:fs/promises';
import { UserFault } from '../api.ts';
import { inWords, MB } from './limits.ts';

/** The largest tokenizer.json in use has some 35 MB. */
const FILE_BYTES = 128 * MB;
/** Real files are some ten deep; what walks a value must not run out of stack. */
const DEEPEST = 100;

/** A value in a message. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** @param name as the message calls it. @throws UserFault where it is not JSON, or nested deeper than 100 */
export function parseJson(text: string, name: string): unknown {
  if (tooDeep(text)) throw new UserFault(`${name} is nested more than ${DEEPEST} deep.`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserFault(`${name} is not JSON: ${shortened((error as Error).message)}`);
  }
}

/** V8 quotes the text around a fault. */
const shortened = (message: string): string =>
  message.length > 200 ? `${message.slice(0, 200)}…` : message;

function tooDeep(text: string): boolean {
  let depth = 0,
    inString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === 92)
        i++; // a backslash and what it escapes
      else if (code === 34) inString = false;
    } else if (code === 34) inString = true;
    else if (code === 91 || code === 123) {
      if (++depth > DEEPEST) return true;
    } else if (code === 93 || code === 125) depth--;
  }
  return false;
}

/** @throws UserFault where the path is not a regular file that can be read, or is larger than `bytes` */
async function readRegularFile(path: string, bytes: number, hint?: string): Promise<Uint8Array> {
  // Without O_NONBLOCK the opening of a named pipe waits for a writer.
  const { O_RDONLY, O_NONBLOCK = 0 } = (await import('node:fs')).constants;
  const file = await open(path, O_RDONLY | O_NONBLOCK).catch(() => {
    throw new UserFault(`${path} can't be read`, hint);
  });
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new UserFault(`${path} is not a regular file`, hint);
    if (stats.size > bytes)
      throw new UserFault(
        `${path} has ${inWords(stats.size)}; at most ${inWords(bytes)} of such a file are read`,
      );
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** A file's JSON. @throws UserFault as readRegularFile and parseJson */
export async function readJsonFile(path: string, hint?: string): Promise<unknown> {
  const bytes = await readRegularFile(path, FILE_BYTES, hint);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new UserFault(`${path} is not JSON: it is not UTF-8 text`);
  }
  return parseJson(text, path);
}

/** An object that is neither null nor a list. */
export const isRecord = (value: unknown): value is { readonly [name: string]: unknown } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
