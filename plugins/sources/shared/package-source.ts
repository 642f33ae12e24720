/**
 * Sources whose URIs name packages of a registry. Planning loads this file, so the modules that
 * look up and fetch packages are imported only when they are used.
 */
import type { Asset, SourceContext, SourceDescriptor } from '../../../src/api.ts';
import type { CachedPackage, Fetched, PackageEntry } from './package-store.ts';

export interface NamedPackage {
  readonly name: string;
  /** The version as the spec writes it; empty if it gives none. */
  readonly asked: string;
  /** A file, folder or glob in the package; empty if the spec gives none. */
  readonly fragment: string;
}

interface PackageRegistry {
  readonly registry: CachedPackage['registry'];
  /** The registry in a log, such as `the npm registry`. */
  readonly title: string;
  /** What the registry's client expects between a package's name and its version. */
  readonly separator: string;
  /** Throws `UserFault` if the URI does not name a package. */
  parse(uri: string): NamedPackage;
  /**
   * Returns the version to look for in the cache; null if only the registry can tell it.
   * @param remembered returns the version that `asked` resolved to when it was first fetched
   */
  versionOf(asked: string, remembered: () => Promise<string | null>): Promise<string | null>;
  /**
   * Downloads a package into one folder and unpacks it into another; both are empty.
   * @param wanted the package; its `version` is '' for the newest
   */
  download(
    wanted: { readonly name: string; readonly version: string },
    download: string,
    files: string,
    context: SourceContext,
  ): Promise<Fetched>;
}

export function packageSource(
  registry: PackageRegistry,
): Pick<SourceDescriptor, 'locate' | 'fetch'> {
  const readUri = async (uri: string, { cacheDir }: SourceContext) => {
    const store = await import('./package-store.ts');
    const { name, asked } = registry.parse(uri),
      key = { cacheDir, registry: registry.registry, name };
    const version = await registry.versionOf(asked, () => store.rememberedVersion(key, asked));
    return { store, name, asked, key, version };
  };
  const toAsset = async (
    uri: string,
    { dir, archive, facts }: PackageEntry,
    { cacheDir }: SourceContext,
  ): Promise<Asset> => {
    const { assetWithin } = await import('./within.ts');
    return assetWithin(uri, dir, registry.parse(uri).fragment, cacheDir, archive, facts);
  };
  return {
    async locate(uri, context) {
      const { store, key, version } = await readUri(uri, context);
      const entry =
        version === null ? null : await store.findPackage({ ...key, version }, context.log);
      return entry === null ? null : toAsset(uri, entry, context);
    },
    async fetch(uri, context) {
      const { store, name, asked, key, version: known } = await readUri(uri, context);
      // A damaged entry is fetched again in the version that the request first resolved to.
      const version = known ?? asked;
      const named = version === '' ? name : `${name}${registry.separator}${version}`;
      context.log(`fetching ${named} from ${registry.title}`);
      const entry = await store.fetchPackage(key, asked, (download, files) =>
        registry.download({ name, version }, download, files, context),
      );
      return toAsset(uri, entry, context);
    },
  };
}
