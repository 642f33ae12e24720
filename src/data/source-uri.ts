/** The parts of a source as a spec writes it: `scheme:rest#fragment`. */

export interface SourceUri {
  readonly scheme: string;
  readonly rest: string;
  /**
   * A file, folder or glob in a package; empty if none is given. A `file:` path may contain `#` and
   * has no fragment.
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
 * Returns the URI of a split's source. On the hub, where models and data sets are named separately,
 * that is a data set.
 */
export function datasetUri(uri: string): string {
  return /^hf:(?!datasets\/|models\/)/.test(uri) ? `hf:datasets/${uri.slice('hf:'.length)}` : uri;
}
