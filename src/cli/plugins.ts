/** `dosimeter plugins` and `dosimeter schema`: lists plugins, and prints the reference in words. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Help } from 'commander';
import { type AnyPlugin, partsOf, type Row, UserFault } from '../api.ts';
import { defined } from '../base/defined.ts';
import { outsidePlugins, specRegistry } from '../run/prepare.ts';
import { loadRegistry } from '../run/registry/registry.ts';
import type { LoadedPlugin, PluginKind, Registry } from '../run/registry/types.ts';
import type { FieldDoc } from '../spec/reference.ts';
import { didYouMean, nearest } from '../spec/suggest.ts';
import type { Example, ExampleOptions } from './attack-example.ts';
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

interface PluginsOptions extends ExampleOptions {
  readonly json?: boolean;
  /** The files of outside plugins, as a spec's `plugins` names them. */
  readonly plugin?: readonly string[];
}

/**
 * Lists plugins, or describes one. An attack is shown with an example if its kind is given too, or
 * an option for the example.
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
  const registry = (await loadRegistry()).with(await outsidePlugins(modules));
  if (kindOrName !== undefined) {
    const kinds = nameOfKind === undefined ? KINDS : [kindNamed(kindOrName)];
    const isAsked = nameOfKind !== undefined || Object.keys(example).length > 0;
    const wanted = nameOfKind ?? kindOrName;
    await describePlugin(registry, kinds, wanted, asJson, isAsked ? example : null);
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

/** Returns the kind of this name. Throws `UserFault` if there is none. */
function kindNamed(name: string): PluginKind {
  const kind = KINDS.find((one) => one === name);
  if (kind !== undefined) return kind;
  throw new UserFault(`there is no kind of plugin "${name}"`, `the kinds are ${KINDS.join(', ')}`);
}

/**
 * Prints the JSON Schema of a spec. If a part of a spec is named, prints a description of that part
 * in words or, with `json`, the part's schema. The part `spec` stands for all sections.
 * @throws UserFault if there is no such part
 */
export async function schemaCommand(
  part: string | undefined,
  options: { readonly json?: boolean },
): Promise<number> {
  const registry = specRegistry(await loadRegistry());
  if (part === undefined) {
    const { composeSchema } = await import('../spec/editor.ts');
    json(composeSchema(registry));
    return 0;
  }
  const { makeReference } = await import('../spec/reference.ts');
  const reference = makeReference(registry);
  if (part === 'spec') {
    const more =
      '`dosimeter schema PART` describes a part: data.train, train.schedule, adapter.rank.';
    out(joined('\n\n', joined('\n', ...reference.find('').map(fieldEntry)), indented(more, 0)));
    return 0;
  }
  const found = reference.find(part);
  if (found.length === 0) {
    const similar = reference.similar(part);
    throw new UserFault(
      `a spec has no field "${part}"`,
      similar.length > 0 ? didYouMean(...similar) : '`dosimeter schema spec` lists the sections',
    );
  }
  const [only] = found;
  if (options.json !== true) out(joined('\n\n', ...found.map(fieldPage)));
  else json(found.length === 1 ? only?.schema : found.map(({ of, schema }) => ({ of, schema })));
  return 0;
}

/** Joins the texts that are not empty. */
const joined = (separator: string, ...texts: readonly string[]): string =>
  texts.filter((text) => text !== '').join(separator);

/**
 * Returns the width of text in columns: the terminal's, or 80 without a terminal, but at least 40
 * and at most 100.
 */
const textWidth = (): number => Math.max(40, Math.min(process.stdout.columns || 80, 100));

function indented(text: string, spaces: number): string {
  const margin = ' '.repeat(spaces);
  return new Help()
    .boxWrap(text, textWidth() - spaces)
    .split('\n')
    .map((line) => (margin + line).trimEnd())
    .join('\n');
}

/**
 * Returns a value as JSON, but a text without quotes unless it is empty or has white space at an
 * end.
 */
function yamlText(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value).replaceAll(',', ', ');
  return value !== '' && value === value.trim() ? value : JSON.stringify(value);
}

/** Returns `TYPE; required; default: …`. @param whole whether to say that a list makes an axis */
const fieldFacts = (
  { type, default: fallback, required, axis }: FieldDoc,
  whole: boolean,
): string =>
  joined(
    '; ',
    type,
    required ? 'required' : '',
    fallback === null ? '' : `default: ${yamlText(fallback)}`,
    whole && axis ? 'a list of values makes it an axis of the grid' : '',
  );

const nameOf = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** Writes an example; a line that is too long goes on below, indented as YAML requires. */
const exampleBlock = (line: string): string => `  for example\n${indented(line, 6).slice(2)}`;

/** Describes a field in short: of the fields in it, it gives only the names. */
const fieldEntry = (doc: FieldDoc): string =>
  joined(
    '\n',
    indented(`${paint.bold(nameOf(doc.path))}: ${fieldFacts(doc, false)}`, 2),
    indented(doc.description, 6),
    listed(
      'its fields: ',
      doc.fields.map(({ path }) => nameOf(path)),
      6,
    ),
  );

/** Returns `its fields: a, b`, indented; empty without items. */
const listed = (what: string, items: readonly string[], spaces = 2): string =>
  items.length === 0 ? '' : indented(`${what}${items.join(', ')}`, spaces);

/** Describes a field in full, with its values, an example, and its fields. */
function fieldPage(doc: FieldDoc): string {
  const { path, of, description, values, example, fields, plugins } = doc;
  const head = `${paint.bold(path)}${of === null ? '' : ` of ${of}`}`;
  return joined(
    '\n\n',
    `${head}\n${indented(fieldFacts(doc, true), 2)}`,
    indented(description, 2),
    listed('one of: ', values.map(yamlText)),
    example === null ? '' : exampleBlock(example),
    joined('\n', ...fields.map(fieldEntry)),
    plugins.length === 0
      ? ''
      : indented(
          'The parameters of each are written beside its name; ' +
            '`dosimeter plugins NAME` describes them. ' +
            `There are ${plugins.join(', ')}.`,
          2,
        ),
  );
}

/** The kinds of plugins that have parameters in a spec. */
const PARAMETRIC = ['attack', 'defence', 'adapter', 'scorer'] as const;

/**
 * Prints every plugin of this name with its parameters.
 * @param example the options for the example of an attack; null to print none
 * @throws UserFault if there is no such plugin
 */
async function describePlugin(
  registry: Registry,
  kinds: readonly PluginKind[],
  wanted: string,
  asJson: boolean,
  example: ExampleOptions | null,
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
  const { makeReference } = await import('../spec/reference.ts');
  const reference = makeReference(specRegistry(registry));
  const described = await Promise.all(
    found.map(async (plugin): Promise<Described> => {
      const kind = PARAMETRIC.find((one) => one === plugin.kind);
      return {
        plugin,
        parameters: kind && reference.parameters(kind, plugin.name),
        example: example === null ? undefined : await attackExample(plugin, example),
      };
    }),
  );
  if (asJson) json(described.map(pluginFacts));
  else out(described.map(pluginPage).join('\n\n'));
}

/**
 * Returns what an attack makes of a row. Null if it takes more than a row to show that, or if the
 * plugin is no attack.
 * @throws UserFault if options for an attack are given for another plugin
 */
async function attackExample(
  { descriptor }: LoadedPlugin,
  options: ExampleOptions,
): Promise<Example | null> {
  if (descriptor.kind === 'attack')
    return (await import('./attack-example.ts')).makeExample(descriptor, options);
  const [option] = Object.keys(options);
  if (option === undefined) return null;
  throw new UserFault(`--${option} is for attacks, and "${descriptor.name}" is not one`);
}

interface Described {
  readonly plugin: LoadedPlugin;
  readonly parameters: readonly FieldDoc[] | undefined;
  /** What `attackExample` returns; undefined if no example was asked for. */
  readonly example: Example | null | undefined;
}

const TASKS = {
  classes: 'labelled texts',
  regression: 'texts labelled with numbers',
  completion: 'prompts and answers',
} as const;

/** Returns what a plugin says of itself beside its summary; what it does not say is undefined. */
function pluginTraits({ descriptor }: LoadedPlugin) {
  const { kind } = descriptor;
  const family = kind === 'attack' ? descriptor.family : undefined;
  return {
    citation: ('citation' in descriptor && descriptor.citation) || undefined,
    family:
      typeof family === 'function' ? 'untargeted or backdoor, depending on its parameters' : family,
    /** The tasks that an attack or a defence is for. */
    tasks:
      kind === 'attack' || kind === 'defence'
        ? (descriptor.tasks ?? ['classes' as const])
        : undefined,
    /** The scorer of an attack where a spec names none. */
    scorer: kind === 'attack' ? descriptor.scorer : undefined,
    /** When a defence acts. */
    acts: kind === 'defence' ? partsOf(descriptor) : undefined,
  };
}

const pluginFacts = ({ plugin, parameters, example }: Described): object => ({
  kind: plugin.kind,
  name: plugin.name,
  summary: plugin.descriptor.summary,
  file: plugin.file,
  code: plugin.code,
  ...defined({
    ...pluginTraits(plugin),
    parameters: parameters?.map((doc) => ({
      name: nameOf(doc.path),
      type: doc.type,
      default: doc.default,
      required: doc.required,
      description: doc.description,
      schema: doc.schema,
    })),
    example,
  }),
});

function pluginPage({ plugin, parameters, example }: Described): string {
  const { kind, name, file, descriptor } = plugin;
  const { citation, family, tasks = [], scorer, acts = [] } = pluginTraits(plugin);
  const exampleLine = parameters?.find((doc) => doc.example !== null)?.example;
  return joined(
    '\n\n',
    `${paint.bold(`${kind} ${name}`)}  ${file}`,
    indented(descriptor.summary, 2),
    family === undefined ? '' : indented(`family: ${family}`, 2),
    tasks.length === 0 ? '' : indented(`rows: ${tasks.map((task) => TASKS[task]).join('; ')}`, 2),
    scorer === undefined ? '' : indented(`scorer: ${scorer}, unless the spec names another`, 2),
    listed('acts on: ', acts),
    ...datasetLines(descriptor),
    citation === undefined ? '' : indented(`source: ${citation}`, 2),
    parameters?.length === 0 ? '  It has no parameters.' : '',
    joined('\n', ...(parameters ?? []).map(fieldEntry)),
    typeof exampleLine === 'string' ? exampleBlock(exampleLine) : '',
    example === undefined || kind !== 'attack' ? '' : examplePage(example),
  );
}

/** Returns lines on what a named data set knows of its rows; [] for any other plugin. */
function datasetLines(descriptor: AnyPlugin): string[] {
  if (descriptor.kind !== 'dataset' || descriptor.knows === undefined) return [];
  const { classes = [], metrics } = descriptor.knows;
  return [listed('classes: ', classes.length > 1 ? classes : []), listed('scored by: ', metrics)];
}

/** Shows what an attack makes of a row; null if that takes more than a row. */
function examplePage(example: Example | null): string {
  if (example === null)
    return indented('It takes more than a row, so an experiment shows it: stages: [poison].', 2);
  const { classes, before, after, added, shown } = example;
  const row = (what: string, { text, label, answer, context = [] }: Row): string =>
    [
      `  ${what}`,
      ...context.map(({ role, content }) => indented(`${role}: ${content}`, 4)),
      indented(text, 4),
      indented(answer === undefined ? `class ${classes[label] ?? label}` : `answer: ${answer}`, 6),
    ].join('\n');
  return [
    row('a row', before),
    row('poisoned', after),
    ...added.map((one) => row('appended', one)),
    ...(shown === null ? [] : [row('in evaluation', shown)]),
  ].join('\n');
}
