/** `dosimeter schema PATH` and `dosimeter plugins NAME`: the reference, in words. */
import { Help } from 'commander';
import type { AdapterDescriptor, AttackDescriptor } from '../api.ts';
import { UserFault } from '../api.ts';
import { specRegistry } from '../engine/prepare.ts';
import type { FieldDoc } from '../experiment/reference.ts';
import { either, nearest } from '../experiment/suggest.ts';
import type { LoadedPlugin, PluginKind, Registry } from '../registry/types.ts';
import { json, out, paint } from './terminal.ts';

const NARROWEST = 40,
  WIDEST = 100,
  USUAL = 80;
const width = (): number => Math.max(NARROWEST, Math.min(process.stdout.columns || USUAL, WIDEST));

/** Words broken into lines of the terminal's width, each after this many spaces. */
function indented(text: string, spaces: number): string {
  const margin = ' '.repeat(spaces);
  return new Help()
    .boxWrap(text, width() - spaces)
    .split('\n')
    .map((line) => (margin + line).trimEnd())
    .join('\n');
}

const show = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value).replaceAll(',', ', ');

/** What may stand there, and what stands there where nothing is written. */
function facts({ type, default: fallback, required, axis }: FieldDoc, whole: boolean): string {
  return [
    type,
    ...(required ? ['needed'] : []),
    ...(fallback === null ? [] : [`default: ${show(fallback)}`]),
    ...(whole && axis ? ['a list of such makes it an axis of the grid'] : []),
  ].join('; ');
}

const name = (path: string): string => path.split('.').at(-1)!;

/** A field as a line of its mapping: its values, and what it is. */
const asEntry = (doc: FieldDoc): string =>
  [
    indented(`${paint.bold(name(doc.path))}: ${facts(doc, false)}`, 2),
    ...(doc.description === '' ? [] : [indented(doc.description, 6)]),
    ...(doc.fields.length > 0
      ? [indented(`its fields: ${doc.fields.map(({ path }) => name(path)).join(', ')}`, 6)]
      : []),
  ].join('\n');

/** A field by itself. */
function asPage(doc: FieldDoc): string {
  const { path, of, description, values, example, fields, plugins } = doc;
  const blocks = [
    `${paint.bold(path)}${of === null ? '' : ` of ${of}`}\n${indented(facts(doc, true), 2)}`,
    ...(description === '' ? [] : [indented(description, 2)]),
    ...(values.length > 0 ? [indented(`one of: ${values.map(show).join(', ')}`, 2)] : []),
    ...(example === null ? [] : [`  for example\n    ${example}`]),
    ...(fields.length > 0 ? [fields.map(asEntry).join('\n')] : []),
    ...(plugins.length > 0
      ? [
          indented(
            `The parameters of each stand beside its name; \`dosimeter plugins NAME\` describes them. There are ${plugins.join(', ')}.`,
            2,
          ),
        ]
      : []),
  ];
  return blocks.join('\n\n');
}

/** One part of the spec. @throws UserFault where there is no such field */
export async function describeField(
  registry: Registry,
  path: string,
  asJson: boolean,
): Promise<void> {
  const { referenceOf } = await import('../experiment/reference.ts');
  const reference = referenceOf(specRegistry(registry));
  const found = reference.find(path);
  if (found.length === 0) {
    const meant = reference.meant(path);
    throw new UserFault(
      `a spec has no field "${path}"`,
      meant.length > 0
        ? `did you mean ${either(meant.map((one) => `"${one}"`))}?`
        : '`dosimeter schema spec` lists the sections',
    );
  }
  if (asJson)
    json(found.length === 1 ? found[0]!.schema : found.map(({ of, schema }) => ({ of, schema })));
  else out(found.map(asPage).join('\n\n'));
}

/** The sections of a spec, each with what it is. */
export async function describeSpec(registry: Registry): Promise<void> {
  const { referenceOf } = await import('../experiment/reference.ts');
  out(
    `${referenceOf(specRegistry(registry)).find('').map(asEntry).join('\n')}\n\n${indented('`dosimeter schema PART` describes a part: data.train, train.schedule, adapter.rank.', 0)}`,
  );
}

const PARAMETERS: readonly PluginKind[] = ['attack', 'adapter'];

/** What a plugin is, and its parameters. @throws UserFault where none has this name */
export async function describePlugin(
  registry: Registry,
  kinds: readonly PluginKind[],
  wanted: string,
  asJson: boolean,
): Promise<void> {
  const found = kinds.flatMap((kind) => registry.get(kind, wanted) ?? []);
  if (found.length === 0) {
    const close = nearest(
      wanted,
      kinds.flatMap((kind) => registry.names(kind)),
    );
    throw new UserFault(
      `there is no plugin "${wanted}"`,
      close === null ? '`dosimeter plugins` lists them' : `did you mean "${close.word}"?`,
    );
  }
  const { referenceOf } = await import('../experiment/reference.ts');
  const reference = referenceOf(specRegistry(registry));
  const described = found.map((plugin) => ({
    plugin,
    ...more(plugin),
    parameters: PARAMETERS.includes(plugin.kind)
      ? reference.parameters(plugin.kind as 'attack' | 'adapter', plugin.name)
      : [],
  }));
  if (asJson)
    json(
      described.map(
        ({
          plugin: { kind, name: own, file, code, descriptor },
          citation,
          family,
          parameters,
        }) => ({
          kind,
          name: own,
          summary: descriptor.summary,
          file,
          code,
          ...(citation === null ? {} : { citation }),
          ...(family === null ? {} : { family }),
          ...(PARAMETERS.includes(kind)
            ? {
                parameters: parameters.map(
                  ({ path, type, default: fallback, required, description, schema }) => ({
                    name: name(path),
                    type,
                    default: fallback,
                    required,
                    description,
                    schema,
                  }),
                ),
              }
            : {}),
        }),
      ),
    );
  else out(described.map(pluginPage).join('\n\n'));
}

interface Described {
  readonly plugin: LoadedPlugin;
  readonly citation: string | null;
  readonly family: string | null;
  readonly parameters: readonly FieldDoc[];
}

function more({ kind, descriptor }: LoadedPlugin): Pick<Described, 'citation' | 'family'> {
  const { citation, family } = descriptor as Partial<AttackDescriptor & AdapterDescriptor>;
  return {
    citation: citation || null,
    family:
      kind !== 'attack' || family === undefined
        ? null
        : typeof family === 'string'
          ? family
          : 'untargeted or backdoor, by its parameters',
  };
}

function pluginPage({ plugin, citation, family, parameters }: Described): string {
  const { kind, name: own, file, descriptor } = plugin;
  const example = parameters.find(({ example: line }) => line !== null)?.example;
  return [
    `${paint.bold(`${kind} ${own}`)}  ${file}`,
    indented(descriptor.summary, 2),
    ...(family === null ? [] : [indented(`family: ${family}`, 2)]),
    ...(citation === null ? [] : [indented(`source: ${citation}`, 2)]),
    ...(PARAMETERS.includes(kind)
      ? [parameters.length === 0 ? '  It has no parameters.' : parameters.map(asEntry).join('\n')]
      : []),
    ...(example ? [`  for example\n    ${example}`] : []),
  ].join('\n\n');
}
