/** Grouping by content, in the order of first appearance. Pure. */
import type { JsonObject } from '../api.ts';
import { canonical } from '../base/canonical.ts';

export type NonEmpty<T> = readonly [T, ...T[]];

/** Returns a key that is equal for values of equal content, whatever the order of their fields. */
export const contentKey = (value: unknown): string => (value === undefined ? '' : canonical(value));

export const distinct = <T>(items: readonly T[]): T[] => [...new Set(items)];

/** Returns all items whose distance is the least one, in their order. */
export function nearest<T>(items: readonly T[], distance: (item: T) => number): T[] {
  const distances = items.map(distance),
    least = Math.min(...distances);
  return items.filter((_, i) => distances[i] === least);
}

/** Counts the axes `train.*` in which two cells differ. An axis that one lacks is a difference. */
export const trainingDistance = (a: JsonObject, b: JsonObject): number =>
  distinct([...Object.keys(a), ...Object.keys(b)]).filter(
    (path) => path.startsWith('train.') && contentKey(a[path]) !== contentKey(b[path]),
  ).length;

/** Returns a key of a cell's values on all axes but those of its adapter and training. */
export const settingKey = (axes: JsonObject): string =>
  contentKey(
    Object.fromEntries(Object.entries(axes).filter(([path]) => !/^(?:adapter|train)\./.test(path))),
  );

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
