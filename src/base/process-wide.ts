/**
 * Returns the value that the whole process shares under a name; the first call makes it. It is kept
 * in `globalThis`, because each plugin's bundle contains its own copy of this module.
 */
export function processWide<T>(name: string, make: () => T): T {
  const key = Symbol.for(`dosimeter.${name}`);
  const known = Reflect.get(globalThis, key) as T | undefined;
  if (known !== undefined) return known;
  const made = make();
  Reflect.set(globalThis, key, made);
  return made;
}

/**
 * Returns the ids of child processes that outlive the stage that started them. All others are ended
 * with their stage.
 */
export const lastingChildren = (): Set<number> => processWide('lasting-children', () => new Set());
