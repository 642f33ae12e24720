/**
 * The contents of keys. Whoever changes a pre-image must change its tag; the digests of fixed
 * structures are pinned in test/plan/keys.test.ts.
 */
import type { Cell, Digest, JsonObject } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import { canonical, canonicalOfShared, digestOf } from './canonical.ts';
import type { ActionKey, DefinitionKey, KeyComponents } from './types.ts';

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

  /** The keys of the last cell, and the same sorted: cells mostly have the same. */
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
      // Joined, a text is in one piece; the pieces of one that grows would stay in memory.
      const text = parts.join(' ');
      // A short name, because every stage of the cell is found by it.
      fingerprint = byParts.get(text);
      if (fingerprint === undefined) byParts.set(text, (fingerprint = String(byParts.size)));
      known.set(cell, fingerprint);
    }
    return fingerprint;
  };
}
