/** The parts of a source as a spec writes it: `scheme:rest#fragment`. */

export interface SourceUri {
  readonly scheme: string;
  readonly rest: string;
  /** A file or folder in a package, or a glob; '' where there is none. A `file:` path may hold `#` and has none. */
  readonly fragment: string;
}

export function parseUri(uri: string): SourceUri {
  const colon = uri.indexOf(':');
  const scheme = uri.slice(0, colon),
    rest = uri.slice(colon + 1);
  const hash = scheme === 'file' ? -1 : rest.indexOf('#');
  return hash < 0
    ? { scheme, rest, fragment: '' }
    : { scheme, rest: rest.slice(0, hash), fragment: rest.slice(hash + 1) };
}

/** Models and data sets of one name are apart on the hub; what a split names is a data set. */
export function datasetUri(uri: string): string {
  return /^hf:(?!datasets\/|models\/)/.test(uri) ? `hf:datasets/${uri.slice('hf:'.length)}` : uri;
}
