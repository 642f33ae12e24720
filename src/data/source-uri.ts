/** The parts of a source as a spec writes it: `scheme:rest#fragment`. */

export interface SourceUri {
  readonly scheme: string;
  readonly rest: string;
  /**
   * A file or folder in a package, or a glob; empty if there is none. A `file:` path may contain
   * `#` and has no fragment.
   */
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

/**
 * The hub keeps models and data sets of the same name apart. A split's source is a data set there.
 */
export function datasetUri(uri: string): string {
  return /^hf:(?!datasets\/|models\/)/.test(uri) ? `hf:datasets/${uri.slice('hf:'.length)}` : uri;
}
