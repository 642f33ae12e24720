/**
 * Content-addressed entries: `<store>/<aa>/<key>/{manifest.json, …}`. There is no list of them
 * beside the folders themselves.
 */
import type { BackendName, Digest, JsonObject, OutputFile } from '../api.ts';
import type { ActionKey, KeyComponents } from '../plan/types.ts';

export type ManifestFile = OutputFile;

export interface Manifest {
  readonly format: 1;
  readonly key: ActionKey;
  readonly kind: string;
  readonly components: KeyComponents;
  readonly files: readonly ManifestFile[];
  /**
   * The digest of the files that are not volatile, which is what the keys of later stages contain.
   */
  readonly content: Digest;
  readonly seconds: number;
  /** ISO 8601, UTC. */
  readonly created: string;
  readonly backend: BackendName | null;
  /** Where and on what the stage ran: versions, threads, processor, the run's id. */
  readonly facts: JsonObject;
}

/**
 * The part of a manifest that a look-up returns. A manifest that is in the index need not be opened
 * for it.
 */
export type ManifestHead = Pick<Manifest, 'content' | 'files' | 'seconds' | 'created' | 'backend'>;

export interface Entry {
  readonly key: ActionKey;
  readonly dir: string;
  readonly manifest: ManifestHead;
  /**
   * What a look-up saw of each file, in the manifest's order: inode, size, mtime and ctime, one
   * after another, because there are thousands. Absent if a file was so young that a later write
   * might leave the same numbers.
   */
  readonly seen?: readonly number[];
}
