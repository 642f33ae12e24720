/** Shortens file sources for display, so that a page shows no folders of this machine. */
const FILE = 'file:';
const partsOf = (source: string): string[] => source.slice(FILE.length).split('/').filter(Boolean);

/**
 * Returns a function that shortens a file source to as many folders as tell it from the others:
 * `file:…/rows.tsv`, or `file:…/a/rows.tsv` if there is a `b/rows.tsv` too. It returns any other
 * source as it is.
 * @param sources all sources that are shown together
 */
export function sourceNames(sources: readonly string[]): (source: string) => string {
  const ends = new Map<string, number>();
  for (const source of new Set(sources.filter((one) => one.startsWith(FILE)))) {
    const parts = partsOf(source);
    for (let i = 0; i < parts.length; i++) {
      const end = parts.slice(i).join('/');
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
  }
  return (source) => {
    if (!source.startsWith(FILE)) return source;
    const parts = partsOf(source);
    const endAt = (i: number): string => parts.slice(i).join('/');
    let start = parts.length - 1;
    while (start > 0 && (ends.get(endAt(start)) ?? 0) > 1) start--;
    return `${FILE}…/${endAt(start)}`;
  };
}

/** Returns a copy of a JSON value in which every text that is a file source is shortened. */
export function withShownSources<T>(value: T): T {
  const texts: string[] = [];
  const written = JSON.stringify(value, (_, one: unknown) => {
    if (typeof one === 'string') texts.push(one);
    return one;
  });
  const name = sourceNames(texts);
  return JSON.parse(written, (_, one: unknown) => (typeof one === 'string' ? name(one) : one)) as T;
}
