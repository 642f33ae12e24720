/** Which reader `format: auto` means, from the source alone: the plan is made before anything is fetched. */
import { parseUri } from './source-uri.ts';

const ending =
  (pattern: RegExp) =>
  (uri: string, path = ''): boolean => {
    const { scheme, rest, fragment } = parseUri(uri);
    // A package's or repository's own name says nothing about its files.
    return pattern.test(scheme === 'file' ? rest : fragment) || pattern.test(path);
  };

/** The readers that can be told by a source, first match first. A plugin from outside is chosen by `format: NAME`. */
export const formats = {
  'spam-assassin': (uri: string): boolean => /^npm:@stdlib\/datasets-spam-assassin(@|$)/.test(uri),
  tsv: ending(/\.tsv$/i),
  csv: ending(/\.csv$/i),
  jsonl: ending(/\.(jsonl|ndjson|json)$/i),
  parquet: ending(/\.parquet$/i),
} as const;

/** `files` looks into the folder, once it is there. */
export function chooseFormat(uri: string): string {
  for (const [name, matches] of Object.entries(formats)) if (matches(uri)) return name;
  return 'files';
}
