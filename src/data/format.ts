/**
 * Which reader `format: auto` means. It is told from the source alone, because plans are made
 * before anything is fetched.
 */
import { parseUri } from './source-uri.ts';

const ending =
  (pattern: RegExp) =>
  (uri: string, path = ''): boolean => {
    const { scheme, rest, fragment } = parseUri(uri);
    // The name of a package or repository says nothing about its files.
    return pattern.test(scheme === 'file' ? rest : fragment) || pattern.test(path);
  };

/**
 * The readers that can be told from a source; the first match counts. A plugin from outside is
 * chosen by `format: NAME`.
 */
export const formats = {
  'spam-assassin': (uri: string): boolean => /^npm:@stdlib\/datasets-spam-assassin(@|$)/.test(uri),
  tsv: ending(/\.tsv$/i),
  csv: ending(/\.csv$/i),
  jsonl: ending(/\.(jsonl|ndjson|json)$/i),
  parquet: ending(/\.parquet$/i),
} as const;

/** The name of the reader. `files` looks into the folder when it is there. */
export function chooseFormat(uri: string): string {
  for (const [name, matches] of Object.entries(formats)) if (matches(uri)) return name;
  return 'files';
}
