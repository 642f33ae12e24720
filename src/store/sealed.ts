/**
 * Sealed JSON: its last field is a checksum of the text before it, which reveals torn writes and
 * flipped bytes.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { replaceFile } from '../base/replace-file.ts';
import { sha256 } from '../base/sha256.ts';
import { isMissing } from '../base/system-error.ts';
import { isRecord } from '../base/untrusted/json.ts';
import { makeFolder } from './folders.ts';
import { isUnreadable, readRegularText } from './regular.ts';

/** The number of hex digits of a checksum; 8 are enough for a line of a log. */
type Digits = 8 | 64;

const FIELD = ',"checksum":"',
  END = '"}';
const computeSeal = (body: string, digits: Digits): string =>
  FIELD + sha256(body).slice(0, digits) + END;

/** Returns a value as one line of JSON. @param value not empty, and without a field `checksum` */
export function seal(value: JsonObject, digits: Digits = 64): string {
  const body = JSON.stringify(value).slice(0, -1);
  return body + computeSeal(body, digits);
}

/** Returns the value in a line of sealed JSON; null if the line is not as `seal` made it. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- what was sealed
export function unseal<T = JsonObject>(text: string, digits: Digits = 64): T | null {
  const body = text.slice(0, -(FIELD.length + digits + END.length));
  if (!text.startsWith(FIELD, body.length) || !text.endsWith(computeSeal(body, digits)))
    return null;
  try {
    // The whole text is parsed, checksum included: to cut that off would copy the text, which may
    // be a megabyte.
    const value = JSON.parse(text) as { checksum?: unknown };
    delete value.checksum;
    return value as T;
  } catch {
    return null; // sealed, but not JSON: anyone can compute the checksum
  }
}

/** Writes sealed JSON. Replaces the file as a whole, or leaves it unchanged if that fails. */
export function writeSealed(file: string, value: JsonObject): void {
  makeFolder(path.dirname(file));
  // Processes of two containers may have the same id and share a store, hence the random part.
  replaceFile(file, `${seal(value)}\n`, `${randomUUID().slice(0, 8)}.`);
}

type RecordShape = { readonly [field: string]: 'string' | 'number' | 'list' | 'object' };

function hasShape(value: unknown, shape: RecordShape): boolean {
  if (!isRecord(value)) return false;
  return Object.entries(shape).every(([field, type]) => {
    const found = value[field];
    if (type === 'list') return Array.isArray(found);
    if (type === 'object') return typeof found === 'object' && found !== null;
    return typeof found === type;
  });
}

/**
 * Returns the value in a file; null if the file does not exist, `damaged` if it is not what was
 * written or can't be read (a folder, a FIFO, no permission).
 * @param shape the fields that the reader relies on, with their types
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- what was sealed
export function readSealed<T>(file: string, shape: RecordShape = {}): T | 'damaged' | null {
  let text: string;
  try {
    text = readRegularText(file);
  } catch (error) {
    if (isMissing(error)) return null;
    if (isUnreadable(error)) return 'damaged';
    throw error;
  }
  const value: unknown = text.endsWith('\n') ? unseal<unknown>(text.slice(0, -1)) : null;
  return hasShape(value, shape) ? (value as T) : 'damaged';
}
