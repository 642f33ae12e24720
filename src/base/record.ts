import type { Json } from './json.ts';

/** From this many fields on, V8 is made to keep a record as a dictionary (a hash table). */
const MANY = 64;

/**
 * Returns an empty record, which is to get `size` fields. If they are many, it is a dictionary: on
 * `{}`, V8 would need microseconds for each new name.
 */
export function emptyRecord<T>(size: number): { [name: string]: T } {
  return size < MANY
    ? {}
    : (Object.setPrototypeOf(Object.create(null), Object.prototype) as { [name: string]: T });
}

/** Returns the record with `change(value)` in the place of each value. */
export const mapValues = <A, B>(
  values: { readonly [name: string]: A },
  change: (value: A) => B,
): { readonly [name: string]: B } =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]));

/** `T` with writable fields, for code that puts a record together. */
export type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Returns the part of a JSON value that a path leads to; undefined if the path leads nowhere. */
export function valueAt(value: unknown, path: readonly (string | number)[]): Json | undefined {
  let found = value;
  for (const step of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, step))
      return undefined;
    found = (found as { readonly [step: string | number]: unknown })[step];
  }
  return found as Json | undefined;
}
