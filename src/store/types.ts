/** Content-addressed entries: `<store>/<aa>/<key>/{manifest.json, …}`. The directories are authoritative. */
import type { BackendName, Digest, JsonObject, OutputFile } from '../api.ts';
import type { ActionKey, KeyComponents } from '../plan/types.ts';

export type ManifestFile = OutputFile;

export interface Manifest {
  readonly format: 1;
  readonly key: ActionKey;
  readonly kind: string;
  readonly components: KeyComponents;
  readonly files: readonly ManifestFile[];
  /** Digest of the files that are not volatile: what downstream keys see. */
  readonly content: Digest;
  readonly seconds: number;
  /** ISO 8601, UTC. */
  readonly created: string;
  readonly backend: BackendName | null;
  /** Where and on what it ran: versions, threads, CPU, run id. */
  readonly facts: JsonObject;
}

/** What a look-up tells of a manifest: it need not open one that it has seen before. */
export type ManifestHead = Pick<Manifest, 'content' | 'files' | 'seconds' | 'created' | 'backend'>;

export interface Entry {
  readonly key: ActionKey;
  readonly dir: string;
  readonly manifest: ManifestHead;
}
