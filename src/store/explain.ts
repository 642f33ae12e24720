/**
 * Explains why a key differs from one in the store: the differences of their components, in words.
 * Pure.
 */
import type { Json } from '../api.ts';
import { canonical } from '../plan/keys.ts';
import type { KeyComponents } from '../plan/types.ts';

export interface Difference {
  readonly part: 'code' | 'param' | 'input' | 'asset' | 'backend';
  /** `adapter.rank 8 → 16`. */
  readonly text: string;
}

/**
 * Returns the parts of a code version, given its digest: the digest of each source file and
 * package. Returns null if they are not known.
 */
export type ClosureOf = (code: string) => { readonly [part: string]: string } | null;

export function differences(
  before: KeyComponents,
  after: KeyComponents,
  closureOf: ClosureOf,
): Difference[] {
  const found: Difference[] = [];
  for (const [plugin, old, now] of pairs(before.code, after.code)) {
    if (old === undefined || now === undefined)
      found.push({
        part: 'code',
        text: `${plugin} is ${old === undefined ? 'now' : 'no longer'} used`,
      });
    else found.push(...codeChanges(closureOf(old), closureOf(now), plugin));
  }
  const flatBefore = flatten(before.params),
    flatAfter = flatten(after.params);
  for (const [path, old, now] of pairs(flatBefore, flatAfter))
    found.push({ part: 'param', text: `${path} ${old ?? '(absent)'} → ${now ?? '(absent)'}` });
  const fate = (old: string | undefined, now: string | undefined): string =>
    old === undefined ? 'is new' : now === undefined ? 'is gone' : 'has other content';
  for (const [name, old, now] of pairs(before.inputs, after.inputs))
    found.push({ part: 'input', text: `input ${name} ${fate(old, now)}` });
  for (const [name, old, now] of pairs(before.assets, after.assets))
    found.push({ part: 'asset', text: `${name} ${fate(old, now)}` });
  if (before.backend !== after.backend)
    found.push({
      part: 'backend',
      text: `backend ${before.backend ?? 'none'} → ${after.backend ?? 'none'}`,
    });
  return found;
}

function codeChanges(
  old: ReturnType<ClosureOf>,
  now: ReturnType<ClosureOf>,
  plugin: string,
): Difference[] {
  if (!old || !now) return [{ part: 'code', text: `the code of ${plugin} changed` }];
  return pairs(old, now).map(([part, a, b]) => ({
    part: 'code' as const,
    text: `${part} ${a === undefined ? 'is new' : b === undefined ? 'is gone' : 'changed'}`,
  }));
}

/** Returns the names whose values differ, each with both values. */
function pairs(
  before: { readonly [name: string]: string },
  after: { readonly [name: string]: string },
): [string, string | undefined, string | undefined][] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => before[name] !== after[name])
    .map((name) => [name, before[name], after[name]]);
}

/** Returns the leaves of a value by dotted path. */
function flatten(
  value: Json,
  path = '',
  into: { [path: string]: string } = {},
): { [path: string]: string } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    for (const [key, child] of Object.entries(value))
      flatten(child, path === '' ? key : `${path}.${key}`, into);
  else into[path] = typeof value === 'string' ? value : canonical(value);
  return into;
}

/** Returns the number of differences; files of changed code are not counted one by one. */
export const distance = (before: KeyComponents, after: KeyComponents): number =>
  differences(before, after, () => null).length;

/**
 * Returns the candidate with the fewest differences. Among several, one that is not another's comes
 * first, and then the newest.
 * @param isOthers whether something else is nearer to a candidate than these differences
 */
export function nearest<T extends { readonly components: KeyComponents; readonly created: string }>(
  after: KeyComponents,
  candidates: readonly T[],
  isOthers: (candidate: T, differences: number) => boolean = () => false,
): T | null {
  let equals: T[] = [],
    fewest = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const n = distance(candidate.components, after);
    if (n < fewest) equals = [];
    if (n <= fewest) equals.push(candidate);
    fewest = Math.min(n, fewest);
  }
  const own = equals.filter((candidate) => !isOthers(candidate, fewest));
  return (own.length > 0 ? own : equals).reduce<T | null>(
    (newest, one) => (newest === null || one.created > newest.created ? one : newest),
    null,
  );
}
