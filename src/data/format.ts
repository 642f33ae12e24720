/**
 * Splits `scheme:rest#fragment`. The fragment is a file, folder or glob in a package, and '' if
 * none is given. In a `file:` URI, `#` is part of the path.
 */
export function parseUri(uri: string): { scheme: string; rest: string; fragment: string } {
  const colon = uri.indexOf(':');
  const scheme = uri.slice(0, colon),
    rest = uri.slice(colon + 1);
  const hash = scheme === 'file' ? -1 : rest.indexOf('#');
  return hash < 0
    ? { scheme, rest, fragment: '' }
    : { scheme, rest: rest.slice(0, hash), fragment: rest.slice(hash + 1) };
}

/** Turns `hf:NAME` into `hf:datasets/NAME`, because on the hub a name alone is a model's. */
export function datasetUri(uri: string): string {
  return /^hf:(?!datasets\/|models\/)/.test(uri) ? `hf:datasets/${uri.slice('hf:'.length)}` : uri;
}

/**
 * Returns a function that tells whether the path in a URI matches the pattern: the file of a
 * `file:` URI, or the fragment of another.
 */
const hasExtension =
  (pattern: RegExp) =>
  (uri: string): boolean => {
    const { scheme, rest, fragment } = parseUri(uri);
    // The name of a package or repository says nothing about its files.
    return pattern.test(scheme === 'file' ? rest : fragment);
  };

/** By the name of a reader: whether `format: auto` may choose it for a source. The first wins. */
const formats = {
  'spam-assassin': (uri: string): boolean => /^npm:@stdlib\/datasets-spam-assassin(@|$)/.test(uri),
  tsv: hasExtension(/\.tsv$/i),
  csv: hasExtension(/\.csv$/i),
  jsonl: hasExtension(/\.(jsonl|ndjson|json)$/i),
  parquet: hasExtension(/\.parquet$/i),
} as const;

/**
 * Returns the name of the reader for `format: auto`: the first of `formats` that matches, or else
 * `files`, which looks into the folder.
 */
export function chooseFormat(uri: string): string {
  for (const [name, matches] of Object.entries(formats)) if (matches(uri)) return name;
  return 'files';
}
