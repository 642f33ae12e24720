/** State that one process shares although each plugin's bundle has a copy of this module of its own. */
export function processWide<T>(name: string, make: () => T): T {
  const store = globalThis as unknown as Record<symbol, T | undefined>;
  return (store[Symbol.for(`dosimeter.${name}`)] ??= make());
}
