/** Shortens file sources for display, so that a page shows no folders of this machine. */
const FILE = 'file:';
const partsOf = (source: string): string[] => source.slice(FILE.length).split('/').filter(Boolean);

/**
 * Returns a function that shortens a file source to its name and as many folders as tell it from
 * the others: `file:…/rows.tsv`, or `file:…/a/rows.tsv` if there is a `b/rows.tsv` too.
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

/** Returns a copy of a value in which every text that is a file source is shortened. */
export function withShownSources<T>(value: T): T {
  return renameTexts(value, sourceNames(textsIn(value))) as T;
}

const textsIn = (value: unknown): readonly string[] =>
  typeof value === 'string'
    ? [value]
    : value !== null && typeof value === 'object'
      ? Object.values(value).flatMap(textsIn)
      : [];

function renameTexts(value: unknown, name: (text: string) => string): unknown {
  if (typeof value === 'string') return name(value);
  if (Array.isArray(value)) return value.map((one: unknown) => renameTexts(one, name));
  return value !== null && typeof value === 'object'
    ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, renameTexts(one, name)]))
    : value;
}
