/** Digests of structures: SHA-256 over RFC 8785 JSON under a tag, so that no two kinds of structure share a pre-image. */
import canonicalize from 'canonicalize';
import type { Digest } from '../api.ts';
import { sha256 } from './sha256.ts';

/** RFC 8785 JSON: keys sorted, no spaces, one form for every number. Throws on NaN, infinities and values that are not JSON. */
export function canonical(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not JSON: undefined');
  return text;
}

/** 64 hex digits of SHA-256 over `[tag, value]`. The tag names the structure and its version. */
export function hashOf(tag: string, value: unknown): string {
  return sha256(canonical([tag, value]));
}

export function digestOf(tag: string, value: unknown): Digest {
  return `sha256:${hashOf(tag, value)}` as Digest;
}
