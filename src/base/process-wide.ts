/**
 * Returns the value of a name, which `make` makes at the first call in a process. The value is kept
 * in `globalThis`, because each bundle has its own copy of this module.
 */
export function processWide<T>(name: string, make: () => T): T {
  const key = Symbol.for(`dosimeter.${name}`);
  const known = Reflect.get(globalThis, key) as T | undefined;
  if (known !== undefined) return known;
  const made = make();
  Reflect.set(globalThis, key, made);
  return made;
}

/** The ids of child processes that may outlive their stage. All others are ended when it ends. */
export const lastingChildren = (): Set<number> => processWide('lasting-children', () => new Set());
