/** A source: where the bytes of models and data sets come from. */
import type { Digest, JsonObject } from '../base/json.ts';
import type { Plugin } from './plugin.ts';

/** A file or folder on this machine, with the digest of its content. */
export interface Asset {
  /** The source as the spec writes it. */
  readonly uri: string;
  /** Absolute. */
  readonly path: string;
  readonly digest: Digest;
  /** What a paper would cite: package, version, integrity, revision, … */
  readonly provenance: JsonObject;
}

export interface SourceContext {
  /** The download cache: DOSIMETER_CACHE, or a folder in the user's cache folder. */
  readonly cacheDir: string;
  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes a line to the run's log. */
  readonly log: (message: string) => void;
}

/** One URI scheme. The plugin's name is the scheme: `npm` for `npm:NAME@VERSION`. */
export interface SourceDescriptor extends Plugin<'source'> {
  /**
   * Looks for the asset on this machine, without using the network. Returns null if it has to be
   * fetched. Throws `UserFault` if it can't exist, for example because a local file is missing.
   */
  locate(uri: string, context: SourceContext): Promise<Asset | null>;
  /** Fetches the asset. Throws `UserFault` if it can't be obtained. */
  fetch(uri: string, context: SourceContext): Promise<Asset>;
  /**
   * Returns the text of one small file of the source, such as a model's config.json, before the
   * whole source is fetched. Reads it from this machine or, if `fetch` is true, from the source's
   * origin. Returns null if the file can't be obtained. Absent if this source can't read one file
   * without fetching everything.
   */
  peek?(uri: string, file: string, context: SourceContext, fetch: boolean): Promise<string | null>;
}

/** Makes a descriptor out of a source's fields. Export it as the module's default. */
export const defineSource = (source: Omit<SourceDescriptor, 'kind'>): SourceDescriptor => ({
  kind: 'source',
  ...source,
});
