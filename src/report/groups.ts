/** Grouping by content, in the order of first appearance. Pure. */
import canonicalize from 'canonicalize';

export type NonEmpty<T> = readonly [T, ...T[]];

/** Returns a key that is equal for values of equal content, whatever the order of their fields. */
export const contentKey = (value: unknown): string => canonicalize(value) ?? '';

export const distinct = <T>(items: readonly T[]): T[] => [...new Set(items)];

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
