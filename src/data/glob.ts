import picomatch from 'picomatch';

export const isGlob = (path: string): boolean => /[*?[\]{}]/.test(path);

/** Returns the names that match a glob. */
export function matching(names: readonly string[], glob: string): string[] {
  const matches = picomatch(glob);
  return names.filter((name) => matches(name)); // the second parameter of `matches` is not an index
}
