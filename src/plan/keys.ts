/**
 * Keys, and the digests of structures: SHA-256 over RFC 8785 JSON under a tag, so that structures
 * of two kinds never share a pre-image. Whoever changes a pre-image must change its tag; the
 * digests of fixed structures are pinned in test/plan/keys.test.ts.
 */
import canonicalize from 'canonicalize';
import type { Cell, Digest, JsonObject } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import type { ActionKey, DefinitionKey, KeyComponents } from './types.ts';

/**
 * Returns RFC 8785 JSON: sorted keys, no spaces, and one form for each number. Throws if the value
 * contains NaN, an infinity or anything else that is not JSON.
 */
export function canonical(value: unknown): string {
  const text = canonicalPlain(value) ?? canonicalize(value);
  if (text === undefined) throw new TypeError('not JSON: undefined');
  return text;
}

/**
 * The most quoted keys that are remembered. Field names are few and recur in every stage; further
 * keys are data, such as the inputs of a stage that joins the grid.
 */
const QUOTED = 1000;
const quoted = new Map<string, string>();

/** Returns a key as JSON with a colon: `"rank":`. */
function quote(key: string): string {
  const known = quoted.get(key);
  if (known !== undefined) return known;
  const text = `${JSON.stringify(key)}:`;
  if (quoted.size < QUOTED) quoted.set(key, text);
  return text;
}

/**
 * Returns the RFC 8785 JSON of plain data, which is most of what a plan hashes, faster than the
 * package does. Returns null if the value contains something that only the package can judge.
 */
function canonicalPlain(value: unknown): string | null {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) ? String(value) : null;
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      return Array.isArray(value) ? canonicalList(value) : canonicalObject(value);
    case 'bigint':
    case 'symbol':
    case 'undefined':
    case 'function':
      return null;
  }
}

/** As `canonicalPlain`, for a list. */
function canonicalList(items: readonly unknown[]): string | null {
  let text = '';
  for (const item of items) {
    const one = canonicalPlain(item);
    if (one === null) return null;
    text += text === '' ? one : `,${one}`;
  }
  return `[${text}]`;
}

/** Returns the keys sorted, in the same array: `sort` is skipped where they are, as most are. */
function sortedKeys(keys: string[]): readonly string[] {
  for (let i = 1; i < keys.length; i++)
    if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return keys.sort();
  return keys;
}

/** As `canonicalPlain`, for an object. */
function canonicalObject(value: object): string | null {
  const object = value as { readonly [key: string]: unknown };
  if (object['toJSON'] !== undefined) return null;
  let text = '';
  for (const key of sortedKeys(Object.keys(object))) {
    const one = canonicalPlain(object[key]);
    if (one === null) return null;
    text += text === '' ? quote(key) + one : `,${quote(key)}${one}`;
  }
  return `{${text}}`;
}

/** Returns the SHA-256 of `[tag, value]` in hex. The tag names the structure and its version. */
export function hashOf(tag: string, value: unknown): string {
  return sha256(canonical([tag, value]));
}

/** The results of `canonicalOfShared`, by object. */
const sharedTexts = new WeakMap<object, string>();

/** Like `canonical`, for an object that is never changed and that many structures share. */
function canonicalOfShared(value: object): string {
  let text = sharedTexts.get(value);
  if (text === undefined) sharedTexts.set(value, (text = canonical(value)));
  return text;
}

export function digestOf(tag: string, value: unknown): Digest {
  return `sha256:${hashOf(tag, value)}` as Digest;
}

// ---- the contents of keys ----------------------------------------------------------------------

interface DefinitionComponents {
  readonly kind: string;
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: DefinitionKey };
  /** The source URI of each asset, by name. */
  readonly assets: { readonly [name: string]: string };
}

/** Returns the key of what a stage is asked to do, which is known before any input is read. */
export function definitionKey(components: DefinitionComponents): DefinitionKey {
  return hashOfStage(DEFINITION, components) as DefinitionKey;
}

/** Returns the key that identifies a stage by its inputs' content: its address in the store. */
export function actionKey(components: KeyComponents): ActionKey {
  return hashOfStage(ACTION, components) as ActionKey;
}

type StageComponents = Omit<DefinitionComponents | KeyComponents, 'backend'> &
  Partial<Pick<KeyComponents, 'backend'>>;

/** The tags of the two kinds of keys, as JSON strings. */
const DEFINITION = '"dosimeter.definition/1"',
  ACTION = '"dosimeter.action/1"';

/**
 * Returns `hashOf(tag, components)`. Writes the JSON itself, with the fields in alphabetical order,
 * which is faster: every stage has such a key, and most share one object as `code`.
 * @param tag as a JSON string
 */
function hashOfStage(
  tag: string,
  { assets, backend, code, inputs, kind, params }: StageComponents,
): string {
  const computedBy = backend === undefined ? '' : `"backend":${canonical(backend)},`;
  return sha256(
    `[${tag},{"assets":${canonical(assets)},${computedBy}` +
      `"code":${canonicalOfShared(code)},"inputs":${canonical(inputs)},` +
      `"kind":${JSON.stringify(kind)},"params":${canonical(params)}}]`,
  );
}

/**
 * The file of a store entry with the warnings from before and during its stage's run. No key
 * depends on it.
 */
export const WARNINGS = 'warnings.json';

/**
 * Returns the digest of a stage's output, which the keys of later stages contain. It covers the
 * path and digest of each file except `WARNINGS` and those that are volatile.
 */
export function contentDigest(
  files: readonly { readonly path: string; readonly sha256: string }[],
  volatile: readonly string[] = [],
): Digest {
  // Built with `fromEntries`, not by assignment: a file may be named `__proto__`.
  const seen = Object.fromEntries(
    files
      .filter(({ path }) => path !== WARNINGS && !volatile.includes(path))
      .map(({ path, sha256 }) => [path, sha256]),
  );
  return digestOf('dosimeter.content/1', seen);
}

/**
 * Returns a function that gives a short name to a cell's content, so that `define` runs once for
 * each distinct (kind, cell, with). Cells of a grid share most of their sub-structures as objects:
 * each of these is canonicalised once and known by a number from then on.
 */
export function cellFingerprints(): (cell: Cell) => string {
  const byObject = new WeakMap<object, number>();
  const byText = new Map<string, number>();
  const known = new WeakMap<Cell, string>(),
    byParts = new Map<string, string>();

  /** Returns a number that equal values share. */
  const intern = (value: unknown): number => {
    const object = typeof value === 'object' && value !== null ? value : null;
    const seen = object && byObject.get(object);
    if (typeof seen === 'number') return seen;
    const text = canonical(value);
    let id = byText.get(text);
    if (id === undefined) byText.set(text, (id = byText.size));
    if (object) byObject.set(object, id);
    return id;
  };

  /** The keys of the cell before this, and the same sorted: most cells have the same keys. */
  let last: readonly (keyof Cell)[] = [],
    sorted = last;
  const sortedFields = (keys: readonly (keyof Cell)[]): readonly (keyof Cell)[] => {
    if (keys.length !== last.length || !keys.every((key, i) => key === last[i])) {
      last = keys;
      sorted = [...keys].sort();
    }
    return sorted;
  };

  return (cell) => {
    let fingerprint = known.get(cell);
    if (fingerprint === undefined) {
      const parts: string[] = [];
      for (const key of sortedFields(Object.keys(cell) as (keyof Cell)[])) {
        const value = cell[key];
        if (value !== undefined) parts.push(`${key}=${intern(value)}`);
      }
      // `join` makes one flat string; V8 keeps the pieces of a string built by `+=` in memory.
      const text = parts.join(' ');
      // The text is long; every stage of the cell is looked up by its number instead.
      fingerprint = byParts.get(text);
      if (fingerprint === undefined) byParts.set(text, (fingerprint = String(byParts.size)));
      known.set(cell, fingerprint);
    }
    return fingerprint;
  };
}
