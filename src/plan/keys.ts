/** What the keys are made of. A change to a pre-image is a change of tag; digests of fixed structures are pinned in test/plan/keys.test.ts. */
import type { Digest, JsonObject } from '../api.ts';
import { digestOf, hashOf } from './canonical.ts';
import type { ActionKey, DefinitionKey, KeyComponents } from './types.ts';

export interface DefinitionComponents {
  readonly kind: string;
  readonly code: { readonly [plugin: string]: Digest };
  readonly params: JsonObject;
  readonly inputs: { readonly [name: string]: DefinitionKey };
  /** Source URIs. */
  readonly assets: { readonly [name: string]: string };
}

/** Of what a stage is asked to do: known without a disk. */
export function definitionKey(components: DefinitionComponents): DefinitionKey {
  return hashOf('dosimeter.definition/1', components) as DefinitionKey;
}

/** Of what a stage reads, by content: the address of its outputs in the store. */
export function actionKey(components: KeyComponents): ActionKey {
  return hashOf('dosimeter.action/1', components) as ActionKey;
}

/** One digest for the code of a stage and of the plugins it uses. */
export function codeVersion(code: { readonly [plugin: string]: Digest }): Digest {
  return digestOf('dosimeter.code/1', code);
}

/** What downstream keys see of an output: its files that are not volatile, by path and digest. Sizes follow from digests. */
export function contentDigest(
  files: readonly { readonly path: string; readonly sha256: string }[],
  volatile: readonly string[] = [],
): Digest {
  // Not by assignment: a file may be named `__proto__`.
  const seen = Object.fromEntries(
    files.filter(({ path }) => !volatile.includes(path)).map(({ path, sha256 }) => [path, sha256]),
  );
  return digestOf('dosimeter.content/1', seen);
}
