import picomatch from 'picomatch';

export const isGlob = (path: string): boolean => /[*?[\]{}]/.test(path);

/** The names that a glob means. */
export function matching(names: readonly string[], glob: string): string[] {
  const matches = picomatch(glob);
  return names.filter((name) => matches(name)); // not `filter(matches)`: its second argument asks for more than a truth value
}
