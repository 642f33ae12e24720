/**
 * Entries and their manifests. An entry is a folder `<store>/<aa>/<key>/`, with the key's first two
 * digits as `aa`; there is no list of entries beside the folders. Its `manifest.json` is JSON whose
 * last field is a checksum of the text before it, so that any flipped byte is detected.
 */
import type { BackendName, Digest, JsonObject, OutputFile } from '../api.ts';
import { sha256 } from '../base/sha256.ts';
import type { ActionKey, KeyComponents } from '../plan/types.ts';

export type ManifestFile = OutputFile;

export interface Manifest {
  readonly format: 1;
  readonly key: ActionKey;
  readonly kind: string;
  readonly components: KeyComponents;
  readonly files: readonly ManifestFile[];
  /**
   * The paths of files that were removed because of the spec's `keep`; absent if none. Their
   * digests are still part of `content`.
   */
  readonly letGo?: readonly string[];
  /** The digest of the files that are not volatile, which the keys of later stages contain. */
  readonly content: Digest;
  readonly seconds: number;
  /** When the entry was made: ISO 8601, UTC. */
  readonly created: string;
  readonly backend: BackendName | null;
  /** Where the stage ran, and on what: versions, threads, processor, the run's id. */
  readonly facts: JsonObject;
}

/** The part of a manifest that look-ups return and the index holds. */
export type ManifestHead = Pick<
  Manifest,
  'content' | 'files' | 'letGo' | 'seconds' | 'created' | 'backend'
>;

export const keptFiles = ({
  files,
  letGo,
}: Pick<ManifestHead, 'files' | 'letGo'>): readonly ManifestFile[] =>
  letGo === undefined ? files : files.filter(({ path }) => !letGo.includes(path));

/** Returns the size of all the files together, in bytes. */
export const bytesOf = (files: readonly ManifestFile[]): number =>
  files.reduce((sum, { size }) => sum + size, 0);

export interface Entry {
  readonly key: ActionKey;
  readonly dir: string;
  readonly manifest: ManifestHead;
}

export const MANIFEST_FILE = 'manifest.json';
export const MANIFEST_FORMAT = 1;

const CHECKSUM = ',\n  "checksum": "';

export function printManifest(manifest: Manifest): string {
  const body = JSON.stringify(manifest, null, 2).slice(0, -2); // without "\n}"
  return `${body}${CHECKSUM}${sha256(body)}"\n}\n`;
}

/** Parses the manifest of `key`. Returns what is wrong with the text as `fault`. */
export function parseManifest(
  text: string,
  key: ActionKey,
): { readonly manifest: Manifest } | { readonly fault: string } {
  const at = text.lastIndexOf(CHECKSUM);
  if (at < 0 || !text.endsWith('"\n}\n')) return { fault: 'its manifest is cut short' };
  const body = text.slice(0, at),
    checksum = text.slice(at + CHECKSUM.length, -4);
  if (sha256(body) !== checksum) return { fault: 'its manifest was changed' };
  let manifest: Omit<Manifest, 'format'> & { readonly format: unknown };
  try {
    manifest = JSON.parse(`${body}\n}`) as typeof manifest;
  } catch {
    return { fault: 'its manifest is not JSON' }; // anyone can compute the checksum
  }
  if (manifest.format !== MANIFEST_FORMAT)
    return {
      fault:
        `its manifest has the format ${String(manifest.format)}; ` +
        `this version reads ${MANIFEST_FORMAT}`,
    };
  return manifest.key === key
    ? { manifest: { ...manifest, format: MANIFEST_FORMAT } }
    : { fault: 'its manifest is of another entry' };
}
