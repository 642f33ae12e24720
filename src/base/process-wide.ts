/**
 * State shared by the whole process, although each plugin's bundle contains its own copy of this
 * module.
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
 * The child processes, by their ids, that are meant to outlive the stage that has started them.
 * Every other one is ended with it.
 */
export const lastingChildren = (): Set<number> => processWide('lasting-children', () => new Set());
