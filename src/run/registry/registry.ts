/** The registry of plugins: the built-in ones, and those that a spec brings from outside. */
import { join } from 'node:path';
import { type AnyPlugin, UserFault } from '../../api.ts';
import { projectDir } from '../../base/project-dir.ts';
import { asSource, buildDir, builtPlugins, importFile, readJson } from './build.ts';
import { checkDescriptor } from './descriptor.ts';
import type { ClosuresFile, LoadedPlugin, PluginKind, Registry, RegistryFile } from './types.ts';

/**
 * Makes a registry of these plugins.
 * @throws UserFault if two plugins of a kind have the same name
 */
export function makeRegistry(plugins: readonly LoadedPlugin[]): Registry {
  const byKind = new Map<PluginKind, Map<string, LoadedPlugin>>();
  for (const plugin of [...plugins].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const named = byKind.get(plugin.kind) ?? new Map<string, LoadedPlugin>();
    byKind.set(plugin.kind, named);
    const taken = named.get(plugin.name);
    if (taken !== undefined)
      throw new UserFault(
        `two ${plugin.kind} plugins are named "${plugin.name}": ${taken.file} and ${plugin.file}`,
        'rename one of them',
      );
    named.set(plugin.name, plugin);
  }
  return {
    get: <K extends PluginKind>(kind: K, name: string) =>
      byKind.get(kind)?.get(name) as LoadedPlugin<K> | undefined,
    all: <K extends PluginKind>(kind: K) =>
      [...(byKind.get(kind)?.values() ?? [])] as LoadedPlugin[] as LoadedPlugin<K>[],
    names: (kind) => [...(byKind.get(kind)?.keys() ?? [])],
    with: (more) => makeRegistry([...plugins, ...more]),
  };
}

/** Returns this build's plugins. Throws `UserFault` if a module exports the wrong shape. */
export async function loadRegistry(): Promise<Registry> {
  const dir = buildDir();
  const { plugins } = readJson<RegistryFile>(join(dir, 'registry.json'));
  let file: ClosuresFile | null = null;
  const readClosures = (): ClosuresFile =>
    (file ??= readJson<ClosuresFile>(join(dir, 'closures.json')));
  const built = asSource ? null : await builtPlugins();
  return makeRegistry(
    await Promise.all(
      plugins.map(async (entry): Promise<LoadedPlugin> => {
        const module = asSource ? join(projectDir(), entry.source) : join(dir, entry.file);
        const descriptor: unknown = built
          ? built[entry.source]
          : ((await importFile(module)) as { default: AnyPlugin }).default;
        checkDescriptor(descriptor, entry.source);
        return {
          kind: entry.kind,
          name: entry.name,
          descriptor: descriptor as LoadedPlugin['descriptor'],
          code: entry.code,
          get closure() {
            const { parts, closures } = readClosures();
            return Object.fromEntries(
              (closures[entry.source] ?? []).map((part) => [part, parts[part] ?? '']),
            );
          },
          file: entry.source,
          module,
        };
      }),
    ),
  );
}
