/** A registry of plugins that a test writes down. */
import { basename } from 'node:path';
import type { AnyPlugin, Digest } from '../../src/api.ts';
import { checkDescriptor } from '../../src/run/registry/descriptor.ts';
import { makeRegistry } from '../../src/run/registry/registry.ts';
import type { LoadedPlugin, Registry } from '../../src/run/registry/types.ts';

interface InMemoryPlugin {
  readonly descriptor: AnyPlugin;
  readonly code?: Digest;
  readonly module?: string;
}

/**
 * Returns a registry of these descriptors. A plugin's code version is a fixed digest unless it is
 * given.
 */
export function createRegistry(plugins: readonly (AnyPlugin | InMemoryPlugin)[]): Registry {
  return makeRegistry(
    plugins.map((plugin): LoadedPlugin => {
      const {
        descriptor,
        code,
        module = '',
      } = 'descriptor' in plugin ? plugin : { descriptor: plugin, code: undefined, module: '' };
      const file = module === '' ? `${descriptor.kind}s/${descriptor.name}` : basename(module);
      checkDescriptor(descriptor, file);
      return {
        kind: descriptor.kind,
        name: descriptor.name,
        descriptor: descriptor as LoadedPlugin['descriptor'],
        code: code ?? (`sha256:${'0'.repeat(64)}` as Digest),
        closure: {},
        file,
        module,
      };
    }),
  );
}
