/**
 * Digests of structures: SHA-256 over RFC 8785 JSON under a tag, so that structures of two kinds
 * never share a pre-image.
 */
import canonicalize from 'canonicalize';
import type { Digest } from '../api.ts';
import { sha256 } from '../base/sha256.ts';

/**
 * RFC 8785 JSON: sorted keys, no spaces, and one form for each number. Throws if the value contains
 * NaN, an infinity or anything else that is not JSON.
 */
export function canonical(value: unknown): string {
  return plain(value) ?? byLibrary(value);
}

function byLibrary(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not JSON: undefined');
  return text;
}

/**
 * The most quoted keys that are remembered. Field names are few and recur in every stage. Keys
 * beyond this number are data, such as the inputs of a joining stage.
 */
const QUOTED = 1000;
const quoted = new Map<string, string>();

function quote(key: string): string {
  const known = quoted.get(key);
  if (known !== undefined) return known;
  const text = `${JSON.stringify(key)}:`;
  if (quoted.size < QUOTED) quoted.set(key, text);
  return text;
}

/**
 * Returns the same text as the library, but faster, for plain data, which is most of what a plan
 * hashes. Returns null if the value contains something that only the library can judge.
 */
function plain(value: unknown): string | null {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) ? String(value) : null;
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? plainList(value) : plainObject(value);
    case 'bigint':
    case 'symbol':
    case 'undefined':
    case 'function':
      return null;
  }
}

function plainList(items: readonly unknown[]): string | null {
  let text = '';
  for (const item of items) {
    const one = plain(item);
    if (one === null) return null;
    text += text === '' ? one : `,${one}`;
  }
  return `[${text}]`;
}

/** Sorts keys, most of which are in order already. */
function sorted(keys: string[]): readonly string[] {
  for (let i = 1; i < keys.length; i++)
    if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return keys.sort();
  return keys;
}

function plainObject(value: object): string | null {
  const object = value as { readonly [key: string]: unknown };
  if (object['toJSON'] !== undefined) return null;
  let text = '';
  for (const key of sorted(Object.keys(object))) {
    const one = plain(object[key]);
    if (one === null) return null;
    text += text === '' ? quote(key) + one : `,${quote(key)}${one}`;
  }
  return `{${text}}`;
}

/**
 * Returns 64 hex digits of SHA-256 over `[tag, value]`. The tag names the structure and its
 * version.
 */
export function hashOf(tag: string, value: unknown): string {
  return sha256(canonical([tag, value]));
}

/** The texts of objects that many structures share. */
const texts = new WeakMap<object, string>();

/** Like `canonical`, for an object that is never changed and that many structures share. */
export function canonicalOfShared(value: object): string {
  let text = texts.get(value);
  if (text === undefined) texts.set(value, (text = canonical(value)));
  return text;
}

/** Like `hashOf`, but returns a `Digest`. */
export function digestOf(tag: string, value: unknown): Digest {
  return `sha256:${hashOf(tag, value)}` as Digest;
}
