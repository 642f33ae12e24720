/** Digests of structures: SHA-256 over RFC 8785 JSON under a tag, so that no two kinds of structure share a pre-image. */
import canonicalize from 'canonicalize';
import type { Digest } from '../api.ts';
import { sha256 } from './sha256.ts';

/** RFC 8785 JSON: keys sorted, no spaces, one form for every number. Throws on NaN, infinities and values that are not JSON. */
export function canonical(value: unknown): string {
  return plain(value) ?? byLibrary(value);
}

function byLibrary(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not JSON: undefined');
  return text;
}

/** Names of fields are few and come again with every stage; beyond this many they are data (a joining stage's inputs). */
const QUOTED = 1000;
const quoted = new Map<string, string>();

function quote(key: string): string {
  const known = quoted.get(key);
  if (known !== undefined) return known;
  const text = `${JSON.stringify(key)}:`;
  if (quoted.size < QUOTED) quoted.set(key, text);
  return text;
}

/** Most of what a plan hashes is plain data, and there is much of it; null: something in it is for the library to judge. */
function plain(value: unknown): string | null {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) ? String(value) : null;
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      break;
    default:
      return null;
  }
  if (value === null) return 'null';
  let text = '';
  if (Array.isArray(value)) {
    for (const item of value) {
      const one = plain(item);
      if (one === null) return null;
      text += text === '' ? one : `,${one}`;
    }
    return `[${text}]`;
  }
  const object = value as { readonly [key: string]: unknown };
  if (object['toJSON'] !== undefined) return null;
  for (const key of Object.keys(object).sort()) {
    const one = plain(object[key]);
    if (one === null) return null;
    text += text === '' ? quote(key) + one : `,${quote(key)}${one}`;
  }
  return `{${text}}`;
}

/** 64 hex digits of SHA-256 over `[tag, value]`. The tag names the structure and its version. */
export function hashOf(tag: string, value: unknown): string {
  return sha256(canonical([tag, value]));
}

export function digestOf(tag: string, value: unknown): Digest {
  return `sha256:${hashOf(tag, value)}` as Digest;
}
