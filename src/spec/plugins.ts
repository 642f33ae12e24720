/**
 * Loads the plugins that a spec may name: the built-in ones, and those that it brings under
 * `plugins`.
 */
import type { JsonObject } from '../api.ts';
import { UserFault } from '../api.ts';
import type { Report } from './faults.ts';
import type { MapNode } from './node.ts';
import type { LoadOptions, SpecRegistry } from './types.ts';

/**
 * Returns the registry with the spec's own plugins added. Returns undefined, after reporting it, if
 * one of them can't be loaded.
 * @param modules the absolute paths of the spec's own plugins
 */
export async function registryFor(
  root: MapNode,
  modules: readonly string[],
  { registry }: LoadOptions,
  report: Report,
): Promise<SpecRegistry | undefined> {
  const entry = root.entries.get('plugins'),
    at = entry?.key ?? null;
  if (typeof registry !== 'function') {
    if (modules.length > 0)
      report('not-supported', at, "plugins from outside can't be loaded here");
    return registry;
  }
  try {
    return await registry(modules);
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    const { message, hint } = error;
    const items = entry?.value.kind === 'list' ? entry.value.items : [];
    // If the message names two modules that clash, the later one is to blame.
    const named = items.findLast(
      (item) => item.kind === 'scalar' && message.includes(String(item.value)),
    );
    report('bad-plugin', named?.span ?? at, message, hint);
    return undefined;
  }
}

/** Returns a function that brings an adapter (`type` and parameters) into its canonical form. */
export const canonicalOf =
  ({ adapters }: SpecRegistry) =>
  (adapter: JsonObject): JsonObject => {
    const { type = null, ...params } = adapter;
    try {
      const canonical = adapters.find(({ name }) => name === type)?.canonical;
      return canonical === undefined ? adapter : { ...canonical(params), type };
    } catch {
      return adapter; // the train stage calls it again when it is planned, and reports the error
    }
  };
