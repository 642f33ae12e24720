/**
 * State shared by the whole process, although each plugin's bundle contains its own copy of this
 * module.
 */
export function processWide<T>(name: string, make: () => T): T {
  const store = globalThis as unknown as Record<symbol, T | undefined>;
  return (store[Symbol.for(`dosimeter.${name}`)] ??= make());
}
