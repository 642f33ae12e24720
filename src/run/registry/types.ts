/**
 * Plugins as they were built: each has its descriptor, the module that exports it, and the version
 * of its code.
 */
import type {
  AdapterDescriptor,
  AnyPlugin,
  AttackDescriptor,
  DatasetDescriptor,
  DefenceDescriptor,
  Digest,
  ExecutorDescriptor,
  ModelDescriptor,
  ScorerDescriptor,
  SourceDescriptor,
  StageDescriptor,
} from '../../api.ts';

export type PluginKind = AnyPlugin['kind'];

export interface Descriptors {
  readonly attack: AttackDescriptor;
  readonly defence: DefenceDescriptor;
  readonly source: SourceDescriptor;
  readonly dataset: DatasetDescriptor;
  readonly model: ModelDescriptor;
  readonly adapter: AdapterDescriptor;
  readonly stage: StageDescriptor;
  readonly executor: ExecutorDescriptor;
  readonly scorer: ScorerDescriptor;
}

export interface LoadedPlugin<K extends PluginKind = PluginKind> {
  readonly kind: K;
  readonly name: string;
  readonly descriptor: Descriptors[K];
  /**
   * The version of all code that the plugin executes: its import closure with package versions,
   * without comments and types.
   */
  readonly code: Digest;
  /**
   * The versions of what `code` covers: source files by path from the project, packages as
   * `npm:NAME`.
   */
  readonly closure: { readonly [part: string]: string };
  /** The source as a person would name it: `plugins/attacks/badnets.ts`. */
  readonly file: string;
  /** The absolute path of the module whose default export is the descriptor. Workers import it. */
  readonly module: string;
}

export interface Registry {
  get<K extends PluginKind>(kind: K, name: string): LoadedPlugin<K> | undefined;
  /** Returns the plugins of a kind, sorted by name. */
  all<K extends PluginKind>(kind: K): readonly LoadedPlugin<K>[];
  names(kind: PluginKind): readonly string[];
  /** Returns a registry that has these plugins too. Throws `UserFault` if a name is taken. */
  with(plugins: readonly LoadedPlugin[]): Registry;
}

/**
 * `dist/<build>/registry.json`, which src/setup/dist-folder.mjs writes. The paths of sources are
 * relative to the project, those of modules to the build.
 */
export interface RegistryFile {
  readonly format: 1;
  /** The code version of `dosimeter/science`. */
  readonly science?: Digest | null;
  /**
   * The code version of what loads a backend. Built-in stages that compute have it in their own
   * versions.
   */
  readonly compute?: Digest | null;
  readonly plugins: readonly {
    readonly kind: PluginKind;
    readonly name: string;
    readonly source: string;
    readonly file: string;
    readonly code: Digest;
  }[];
}

/** `dist/<build>/closures.json`, apart because it is long and seldom needed. */
export interface ClosuresFile {
  /** The digests of all parts. */
  readonly parts: { readonly [part: string]: string };
  /** The parts of each plugin's code, by the plugin's source. */
  readonly closures: { readonly [source: string]: readonly string[] };
}
