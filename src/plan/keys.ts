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
 * RFC 8785 JSON: sorted keys, no spaces, and one form for each number. Throws if the value contains
 * NaN, an infinity or anything else that is not JSON.
 */
export function canonical(value: unknown): string {
  return canonicalPlain(value) ?? canonicalByLibrary(value);
}

/** Like `canonical`, always by the package canonicalize. */
function canonicalByLibrary(value: unknown): string {
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

function canonicalList(items: readonly unknown[]): string | null {
  let text = '';
  for (const item of items) {
    const one = canonicalPlain(item);
    if (one === null) return null;
    text += text === '' ? one : `,${one}`;
  }
  return `[${text}]`;
}

/** Sorts keys, most of which are in order already. */
function sortedKeys(keys: string[]): readonly string[] {
  for (let i = 1; i < keys.length; i++)
    if ((keys[i - 1] ?? '') > (keys[i] ?? '')) return keys.sort();
  return keys;
}

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
function canonicalOfShared(value: object): string {
  let text = texts.get(value);
  if (text === undefined) texts.set(value, (text = canonical(value)));
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

/**
 * Returns the key of a stage with the content of its inputs: the address of its outputs in the
 * store.
 */
export function actionKey(components: KeyComponents): ActionKey {
  return hashOfStage(ACTION, components) as ActionKey;
}

type StageComponents = Omit<DefinitionComponents | KeyComponents, 'backend'> &
  Partial<Pick<KeyComponents, 'backend'>>;

/** The tags in JSON. */
const DEFINITION = '"dosimeter.definition/1"',
  ACTION = '"dosimeter.action/1"';

/**
 * Returns `hashOf(tag, components)`. The text is put together here, field by field in their order,
 * because there is one for each stage, and the code is the same object in most of them.
 * @param tag in JSON
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

/** Returns one digest for the code of a stage and of the plugins that it uses. */
export function codeVersion(code: { readonly [plugin: string]: Digest }): Digest {
  return digestOf('dosimeter.code/1', code);
}

/**
 * The file of an entry that holds what was warned of before and while its stage ran. No key depends
 * on it.
 */
export const WARNINGS = 'warnings.json';

/**
 * Returns the digest of an output that the keys of later stages contain. It covers the path and
 * digest of each file that is not volatile. Sizes follow from digests.
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

  /** The keys of the last cell, and these keys sorted: most cells have the same keys. */
  let last: readonly (keyof Cell)[] = [],
    sorted = last;
  const inOrder = (keys: readonly (keyof Cell)[]): readonly (keyof Cell)[] => {
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
      for (const key of inOrder(Object.keys(cell) as (keyof Cell)[])) {
        const value = cell[key];
        if (value !== undefined) parts.push(`${key}=${intern(value)}`);
      }
      // `join` makes one flat string; V8 keeps the pieces of a string built by `+=` in memory.
      const text = parts.join(' ');
      // A short name, because every stage of the cell is found by it.
      fingerprint = byParts.get(text);
      if (fingerprint === undefined) byParts.set(text, (fingerprint = String(byParts.size)));
      known.set(cell, fingerprint);
    }
    return fingerprint;
  };
}
