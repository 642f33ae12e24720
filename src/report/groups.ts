/** Grouping by content, in the order of first appearance. Pure. */
import canonicalize from 'canonicalize';
import type { JsonObject } from '../api.ts';

export type NonEmpty<T> = readonly [T, ...T[]];

/** Returns a key that is equal for values of equal content, whatever the order of their fields. */
export const contentKey = (value: unknown): string => canonicalize(value) ?? '';

export const distinct = <T>(items: readonly T[]): T[] => [...new Set(items)];

/** Returns those items with the highest score, in their order. */
export function highest<T>(items: readonly T[], score: (item: T) => number): T[] {
  const scores = items.map(score),
    top = Math.max(...scores);
  return items.filter((_, i) => scores[i] === top);
}

/** Returns in how many of the training's axes two cells have the same value. */
export const sharedTraining = (a: JsonObject, b: JsonObject): number =>
  Object.keys(a).filter(
    (path) => path.startsWith('train.') && path in b && contentKey(a[path]) === contentKey(b[path]),
  ).length;

/** Groups the items by key. Keys and items keep the order of `items`. Takes linear time. */
export function groupBy<T>(
  items: readonly T[],
  key: (item: T) => string,
): ReadonlyMap<string, NonEmpty<T>> {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const name = key(item),
      group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
}
