/** `dosimeter plugins` and `dosimeter schema`. */
import { loadRegistry } from '../registry/registry.ts';
import type { PluginKind } from '../registry/types.ts';
import { specRegistry } from '../engine/prepare.ts';
import { json, out, paint, table } from './terminal.ts';

const KINDS: readonly PluginKind[] = [
  'attack',
  'adapter',
  'stage',
  'model',
  'dataset',
  'source',
  'executor',
];

export async function pluginsCommand(options: { readonly json?: boolean }): Promise<number> {
  const registry = await loadRegistry();
  const plugins = KINDS.flatMap((kind) =>
    registry.all(kind).map(({ name, descriptor, code, file }) => ({
      kind,
      name,
      summary: descriptor.summary,
      file,
      code,
    })),
  );
  if (options.json) json(plugins);
  else
    for (const kind of KINDS)
      out(
        `${paint.bold(`${kind}s`)}\n${table(plugins.filter((plugin) => plugin.kind === kind).map(({ name, summary, file }) => [`  ${name}`, file, summary]))}`,
      );
  return 0;
}

export async function schemaCommand(): Promise<number> {
  const { composeSchema } = await import('../spec/editor.ts');
  json(composeSchema(specRegistry(await loadRegistry())));
  return 0;
}
