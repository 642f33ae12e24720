/** Files that a program is given by source URI: in parameters stand their own names alone, their content is read as assets. */
import { UserFault } from '../api.ts';
import type { JsonObject } from '../api.ts';

export interface NamedFiles {
  readonly names: readonly string[];
  /** URI by name. */
  readonly assets: { readonly [name: string]: string };
}

/** An attack's parameters with its `files` by name alone: where they lie is no part of a key, what is in them is. */
export function filesApart<P extends JsonObject>(poisoning: P): { readonly poisoning: P; readonly assets: NamedFiles['assets'] } {
  const { files } = poisoning;
  if (!Array.isArray(files)) return { poisoning, assets: {} };
  const { names, assets } = namedFiles(files as readonly string[], 'the attack\'s `files`');
  return { poisoning: { ...poisoning, files: names }, assets };
}

/** @param field as the spec names the list. @throws UserFault where two have one name */
export function namedFiles(uris: readonly string[], field: string): NamedFiles {
  const names = uris.map((uri) => uri.replace(/^\w+:/, '').replace(/\/+$/, '').split('/').at(-1)!);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new UserFault(`two of ${field} are named ${twice}`, 'they lie in one folder when it runs: rename one');
  return { names, assets: Object.fromEntries(names.map((name, i) => [name, uris[i]!])) };
}
