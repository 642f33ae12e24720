/** `dosimeter plugins` and `dosimeter schema`. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { UserFault } from '../api.ts';
import { specRegistry } from '../run/prepare.ts';
import { loadOutsidePlugins, loadRegistry } from '../run/registry/registry.ts';
import type { PluginKind } from '../run/registry/types.ts';
import { cacheDir } from '../setup/paths.mjs';
import { onDisk } from '../store/faults.ts';
import type { ExampleOptions } from './attack-example.ts';
import { columns, GAP, json, out, paint, table, wrap } from './terminal.ts';

const KINDS: readonly PluginKind[] = [
  'attack',
  'defence',
  'adapter',
  'stage',
  'model',
  'dataset',
  'source',
  'scorer',
  'executor',
];

export interface PluginsOptions extends ExampleOptions {
  readonly json?: boolean;
  /** The files of outside plugins, as a spec's `plugins` names them. */
  readonly plugin?: readonly string[];
}

/**
 * Lists the plugins, or describes those of a name. An attack that is asked for by kind and name is
 * shown with an example.
 */
export async function pluginsCommand(
  kindOrName: string | undefined,
  nameOfKind: string | undefined,
  options: PluginsOptions,
): Promise<number> {
  const { json: asJson = false, plugin: outside = [], ...example } = options;
  for (const file of outside)
    if (!existsSync(file)) throw new UserFault(`--plugin ${file}: there is no such file`);
  const modules = outside.map((file) => path.resolve(file));
  const registry = (await loadRegistry()).with(
    await onDisk(cacheDir(process.env), () => loadOutsidePlugins(modules), 'cache'),
  );
  if (kindOrName !== undefined) {
    const { describePlugin } = await import('./describe.ts');
    const kinds = nameOfKind === undefined ? KINDS : [kindNamed(kindOrName)];
    await describePlugin(registry, kinds, nameOfKind ?? kindOrName, {
      asJson,
      example: nameOfKind === undefined && Object.keys(example).length === 0 ? null : example,
    });
    return 0;
  }
  const plugins = KINDS.flatMap((kind) =>
    registry.all(kind).map(({ name: own, descriptor, code, file }) => ({
      kind,
      name: own,
      summary: descriptor.summary,
      file,
      code,
    })),
  );
  if (asJson) json(plugins);
  else
    for (const kind of KINDS) {
      const rows = plugins
        .filter((plugin) => plugin.kind === kind)
        .map((plugin) => [`  ${plugin.name}`, plugin.file, plugin.summary]);
      const whole = table(rows);
      const fits = whole.split('\n').every((line) => line.length <= columns());
      const below = rows.map(([name = '', file = '', summary = '']) =>
        [`${name}${GAP}${file}`, `    ${wrap(summary, columns() - 4, '    ')}`].join('\n'),
      );
      out(`${paint.bold(`${kind}s`)}\n${fits ? whole : below.join('\n')}`);
    }
  return 0;
}

function kindNamed(name: string): PluginKind {
  const kind = KINDS.find((one) => one === name);
  if (kind !== undefined) return kind;
  throw new UserFault(`there is no kind of plugin "${name}"`, `the kinds are ${KINDS.join(', ')}`);
}

/**
 * Prints the whole schema as JSON Schema for editors and tools, or a part of it in words for
 * people.
 */
export async function schemaCommand(
  part: string | undefined,
  options: { readonly json?: boolean },
): Promise<number> {
  const registry = await loadRegistry();
  if (part === undefined) {
    const { composeSchema } = await import('../spec/editor.ts');
    json(composeSchema(specRegistry(registry)));
    return 0;
  }
  const { describeField, describeSpec } = await import('./describe.ts');
  if (part === 'spec') await describeSpec(registry);
  else await describeField(registry, part, options.json === true);
  return 0;
}
