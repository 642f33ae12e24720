/** The process's value of a name: in `globalThis`, since each bundle has a copy of this module. */
export function processWide<T>(name: string, make: () => T): T {
  const key = Symbol.for(`dosimeter.${name}`);
  const known = Reflect.get(globalThis, key) as T | undefined;
  if (known !== undefined) return known;
  const made = make();
  Reflect.set(globalThis, key, made);
  return made;
}

/** The ids of child processes that outlive their stage. All others are ended with theirs. */
export const lastingChildren = (): Set<number> => processWide('lasting-children', () => new Set());
