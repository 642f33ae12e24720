/**
 * Chooses the reader for `format: auto`. The choice depends on the source alone, because plans are
 * made before anything is fetched.
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
 * The readers that `format: auto` can choose; the first match counts. An outside plugin is chosen
 * by `format: NAME`.
 */
export const formats = {
  'spam-assassin': (uri: string): boolean => /^npm:@stdlib\/datasets-spam-assassin(@|$)/.test(uri),
  tsv: ending(/\.tsv$/i),
  csv: ending(/\.csv$/i),
  jsonl: ending(/\.(jsonl|ndjson|json)$/i),
  parquet: ending(/\.parquet$/i),
} as const;

/**
 * Returns the name of the reader. The reader `files` looks into the folder once it has been
 * fetched.
 */
export function chooseFormat(uri: string): string {
  for (const [name, matches] of Object.entries(formats)) if (matches(uri)) return name;
  return 'files';
}
