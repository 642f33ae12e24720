/**
 * A short name for a cell's content, so that `define` runs once for each distinct (kind, cell,
 * with). Cells of a grid share most of their sub-structures as objects: each of these is
 * canonicalised once and known by a number from then on.
 */
import type { Cell } from '../api.ts';
import { canonical } from './canonical.ts';

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
