/** Plugins as they were built: a descriptor, the module it came from, and the version of the code it executes. */
import type {
  AdapterDescriptor,
  AnyPlugin,
  AttackDescriptor,
  DatasetDescriptor,
  Digest,
  ExecutorDescriptor,
  ModelDescriptor,
  SourceDescriptor,
  StageDescriptor,
} from '../api.ts';

export type PluginKind = AnyPlugin['kind'];

/** The descriptor of each kind. */
export interface Descriptors {
  readonly attack: AttackDescriptor;
  readonly source: SourceDescriptor;
  readonly dataset: DatasetDescriptor;
  readonly model: ModelDescriptor;
  readonly adapter: AdapterDescriptor;
  readonly stage: StageDescriptor;
  readonly executor: ExecutorDescriptor;
}

export interface LoadedPlugin<K extends PluginKind = PluginKind> {
  readonly kind: K;
  readonly name: string;
  readonly descriptor: Descriptors[K];
  /** Of everything it executes: its import closure, comments and types aside, package versions included. */
  readonly code: Digest;
  /** What `code` is made of: source files by path from the project, and `npm:NAME` for packages. */
  readonly closure: { readonly [part: string]: string };
  /** The source, as a person would name it: `plugins/attacks/badnets.ts`. */
  readonly file: string;
  /** The module whose default export is the descriptor, an absolute path: what a worker imports. */
  readonly module: string;
}

export interface Registry {
  get<K extends PluginKind>(kind: K, name: string): LoadedPlugin<K> | undefined;
  /** In order of name. */
  all<K extends PluginKind>(kind: K): readonly LoadedPlugin<K>[];
  names(kind: PluginKind): readonly string[];
  /** This registry and more plugins. @throws UserFault on a name that is taken */
  with(plugins: readonly LoadedPlugin[]): Registry;
}

/** `dist/<build>/registry.json`, written by src/setup/registry-file.mjs. Paths are relative: to the project for sources, to the build for modules. */
export interface RegistryFile {
  readonly format: 1;
  /** Code version of `dosimeter/science`. */
  readonly science?: Digest | null;
  /** Code version of what loads a backend; a built-in stage that computes has it in its own. */
  readonly compute?: Digest | null;
  /** Digests of all parts; a plugin's closure names some of them. */
  readonly parts: { readonly [part: string]: string };
  readonly plugins: readonly {
    readonly kind: PluginKind;
    readonly name: string;
    readonly source: string;
    readonly file: string;
    readonly code: Digest;
    readonly closure: readonly string[];
  }[];
}
