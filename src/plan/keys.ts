/**
 * Makes keys, and digests of structures. Each is the SHA-256 of a tag and a structure, written as
 * RFC 8785 JSON. Every kind of structure has its own tag, so that two kinds never give the same
 * text to hash. Whoever changes the form of such a text must change its tag; test/plan/keys.test.ts
 * pins the digests of fixed structures.
 */
import type { Cell, Digest } from '../api.ts';
import { canonical } from '../base/canonical.ts';
import { sha256 } from '../base/sha256.ts';
import type { ActionKey, DefinitionKey, KeyComponents } from './types.ts';

/** Returns the SHA-256 of `[tag, value]` in hex. The tag names the structure and its version. */
export function hashOf(tag: string, value: unknown): string {
  return sha256(canonical([tag, value]));
}

const sharedTexts = new WeakMap<object, string>();

/** Returns `canonical(value)`, computed once for each object. The object must never be changed. */
function canonicalOfShared(value: object): string {
  let text = sharedTexts.get(value);
  if (text === undefined) sharedTexts.set(value, (text = canonical(value)));
  return text;
}

/** Returns `hashOf(tag, value)` in the form of a digest: `sha256:…`. */
export function digestOf(tag: string, value: unknown): Digest {
  return `sha256:${hashOf(tag, value)}` as Digest;
}

// ---- the contents of keys ----------------------------------------------------------------------

type DefinitionComponents = Omit<KeyComponents, 'backend' | 'inputs' | 'assets'> & {
  readonly inputs: { readonly [name: string]: DefinitionKey };
  /** The source URI of each asset, by name. */
  readonly assets: { readonly [name: string]: string };
};

/** Returns the key of what a stage is asked to do, which is known before any input is read. */
export const definitionKey = (components: DefinitionComponents): DefinitionKey =>
  hashOfStage('dosimeter.definition/1', components) as DefinitionKey;

/**
 * Returns the address of a stage's outputs in the store: a key that identifies each input by its
 * content.
 */
export const actionKey = (components: KeyComponents): ActionKey =>
  hashOfStage('dosimeter.action/1', components) as ActionKey;

/** Returns `hashOf(tag, components)`, but faster: most stages share one object as `code`. */
function hashOfStage(tag: string, components: DefinitionComponents | KeyComponents): string {
  const { assets, code, inputs, kind, params } = components;
  const computedBy = 'backend' in components ? `"backend":${canonical(components.backend)},` : '';
  return sha256(
    `["${tag}",{"assets":${canonical(assets)},${computedBy}` +
      `"code":${canonicalOfShared(code)},"inputs":${canonical(inputs)},` +
      `"kind":${JSON.stringify(kind)},"params":${canonical(params)}}]`,
  );
}

/** The file of a store entry that holds the warnings of its stage. No key depends on it. */
export const WARNINGS = 'warnings.json';

/**
 * Returns the digest of an output, for the keys of the stages that read it. It covers the paths and
 * contents of all files but `WARNINGS` and those whose path is in `volatile`.
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
 * Returns a function that returns a short name for a cell. Cells of equal content have the same
 * name. Cells of a grid share sections as objects: each object is canonicalised once.
 */
export function cellFingerprints(): (cell: Cell) => string {
  const byObject = new WeakMap<object, number>();
  const byText = new Map<string, number>();
  const known = new WeakMap<Cell, string>(),
    byParts = new Map<string, string>();

  /** Returns a number for the value: the same for equal values, another for any other value. */
  const numberOf = (value: unknown): number => {
    const object = typeof value === 'object' && value !== null ? value : null;
    const seen = object && byObject.get(object);
    if (typeof seen === 'number') return seen;
    const text = canonical(value);
    let id = byText.get(text);
    if (id === undefined) byText.set(text, (id = byText.size));
    if (object) byObject.set(object, id);
    return id;
  };

  // The keys of the previous cell, and these keys sorted. Most cells have the same keys, so that
  // they need not be sorted again.
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
        if (value !== undefined) parts.push(`${key}=${numberOf(value)}`);
      }
      // `join` makes one flat string; V8 keeps the pieces of a string built by `+=` in memory.
      const text = parts.join(' ');
      // The text is long, and every stage of the cell is looked up by the fingerprint. So a number
      // stands for the text.
      fingerprint = byParts.get(text);
      if (fingerprint === undefined) byParts.set(text, (fingerprint = String(byParts.size)));
      known.set(cell, fingerprint);
    }
    return fingerprint;
  };
}
