/** JSON that tells when it was torn or a byte of it flipped: its last field is a checksum of the text before it. */
import { randomUUID } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { JsonObject } from '../api.ts';
import { sha256 } from '../plan/sha256.ts';
import { makeFolder } from './folders.ts';
import { isUnreadable, readRegularText } from './regular.ts';

/** Hex digits of the checksum; a short one serves a line of a log. */
type Digits = 8 | 64;

const sealOf = (body: string, digits: Digits): string =>
  `,"checksum":"${sha256(body).slice(0, digits)}"}`;

/** One line, without its end. @param value not empty, and without a `checksum` */
export function seal(value: JsonObject, digits: Digits = 64): string {
  const body = JSON.stringify(value).slice(0, -1);
  return body + sealOf(body, digits);
}

/** Null: it is not what was sealed. */
export function unseal<T = JsonObject>(text: string, digits: Digits = 64): T | null {
  const body = text.slice(0, -sealOf('', digits).length);
  if (text !== body + sealOf(body, digits)) return null;
  try {
    return JSON.parse(`${body}}`) as T;
  } catch {
    return null; // sealed by someone else: the checksum is no secret
  }
}

/** Replaces `file` as a whole, or leaves it as it is. */
export function writeSealed(file: string, value: JsonObject): void {
  makeFolder(path.dirname(file));
  // Two containers may have one process number, and one store. The number comes last: by it leftovers are swept.
  const draft = `${file}.${randomUUID().slice(0, 8)}.${process.pid}`;
  try {
    writeFileSync(draft, `${seal(value)}\n`);
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true }); // on a full disk there would be one more with every run
    throw error;
  }
}

/** Fields that a record must have, by the type of each. */
type RecordShape = { readonly [field: string]: 'string' | 'number' | 'list' | 'object' };

function hasShape(value: unknown, shape: RecordShape): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(shape).every(([field, type]) => {
    const found = (value as { readonly [field: string]: unknown })[field];
    if (type === 'list') return Array.isArray(found);
    if (type === 'object') return typeof found === 'object' && found !== null;
    return typeof found === type;
  });
}

/**
 * Null: it isn't there. `damaged`: it is not what was written, or the system will not give it (a folder, a FIFO, no permission).
 * @param shape what the reader relies on
 */
export function readSealed<T>(
  file: string,
  shape: RecordShape = {},
): { readonly value: T } | 'damaged' | null {
  let text: string;
  try {
    text = readRegularText(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    if (isUnreadable(error)) return 'damaged';
    throw error;
  }
  const value = text.endsWith('\n') ? unseal<T>(text.slice(0, -1)) : null;
  return value === null || !hasShape(value, shape) ? 'damaged' : { value };
}
