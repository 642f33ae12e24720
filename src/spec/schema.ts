/**
 * Makes the shape of a cell: `schemas/pipeline.schema.json` with the plugins' names and parameters
 * filled in. No field in it is an axis (see compose.ts).
 */
import base from '../../schemas/pipeline.schema.json' with { type: 'json' };
import type { Json, JsonSchema } from '../api.ts';
import {
  asSchema,
  declaresFields,
  definitionName,
  fieldSchema,
  itemSchema,
  openSchema,
  type Schema,
} from './shape.ts';
import type { PluginShape, SpecRegistry } from './types.ts';

/** A cell's sections, in a fixed order. The schema's other fields concern the experiment. */
export const sections = [
  'model',
  'data',
  'poisoning',
  'defences',
  'adapter',
  'head',
  'train',
  'evaluate',
  'ntk',
  'fisher',
  'theory',
] as const;
export type Section = (typeof sections)[number];

export const isSection = (name: string): name is Section =>
  (sections as readonly string[]).includes(name);

/** The schemas of fields as they are in a cell, where nothing is an axis. */
export interface Shapes {
  readonly root: Schema;
  readonly section: Readonly<Record<Section, Schema>>;
  /** The sections whose fields depend on a plugin. */
  readonly variants: Readonly<Record<VariantSection, VariantShape>>;
  /**
   * By the name of a scorer, the schema of its parameters and of the fields that every scorer has.
   */
  readonly scorers: ReadonlyMap<string, Schema>;
}

export type VariantSection = 'poisoning' | 'defences' | 'adapter';
export const variantSections: readonly VariantSection[] = ['poisoning', 'defences', 'adapter'];

/** The kind of plugin that each of these sections names. */
export const PLUGIN_OF = {
  poisoning: 'attack',
  defences: 'defence',
  adapter: 'adapter',
} as const satisfies Record<VariantSection, string>;

/** How a spec and a cell's name write that there is no defence. */
export const NO_DEFENCE = 'none';

/** Returns the name of a section in a cell: `defence` for `defences`, any other as it is. */
export const cellField = (section: string): string =>
  section === 'defences' ? 'defence' : section;

export interface VariantShape {
  /** The field that names the plugin. */
  readonly discriminator: string;
  readonly defaultName: string;
  /** The schema of each plugin's parameters and of the discriminator, by plugin name. */
  readonly byName: ReadonlyMap<string, Schema>;
}

export const isVariantSection = (name: string | number | undefined): name is VariantSection =>
  name === 'poisoning' || name === 'defences' || name === 'adapter';

/** The section of the trainings before the cell's own, each a spec within the spec. */
export const BASE = 'base';
/** The most trainings in `base`. The stages of each training read the stages of all before it. */
export const MOST_BASES = 16;

/** Returns the paths outside `base`, or all paths if every one lies within it. */
export function preferOutsideBase(paths: readonly string[]): readonly string[] {
  const own = paths.filter((path) => !path.startsWith(`${BASE}.`));
  return own.length > 0 ? own : paths;
}

/**
 * Returns the section if a path leads to a whole variant of it, or to a whole step of a variant;
 * otherwise null.
 */
export function variantSectionOf(path: readonly (string | number)[]): VariantSection | null {
  if (isStepPath(path)) return 'poisoning';
  const [head, ...rest] = path[0] === BASE ? path.slice(typeof path[1] === 'number' ? 2 : 1) : path;
  return isVariantSection(head) && rest.every((step) => typeof step === 'number') ? head : null;
}

/** Whether a path leads to a step of a variant: `poisoning.0.steps.1`. */
export const isStepPath = (path: readonly (string | number)[]): boolean =>
  path.at(-2) === 'steps' &&
  typeof path.at(-1) === 'number' &&
  variantSectionOf(path.slice(0, -2)) === 'poisoning';

/** Returns the shapes of a spec that may name the plugins of the registry. */
export function makeShapes(registry: SpecRegistry): Shapes {
  const definitions = base.definitions as { readonly [name: string]: unknown };
  const resolvedDefinitions = new Map<string, unknown>();
  /**
   * Returns a value with definitions in place of references; the value itself if it has no
   * references.
   */
  const withoutReferences = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const reference = '$ref' in value ? value.$ref : undefined;
    if (typeof reference === 'string') {
      const name = definitionName(reference);
      if (!resolvedDefinitions.has(name))
        resolvedDefinitions.set(name, withoutReferences(definitions[name]));
      return resolvedDefinitions.get(name);
    }
    const entries = Object.entries(value).map(([key, item]) => [key, withoutReferences(item)]);
    if (entries.every(([key, item]) => item === (value as Schema)[key as keyof Schema]))
      return value;
    return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
  };
  const { definitions: _definitions, ...rest } = base;
  const scorers = scorerShapes(registry.scorers ?? []);
  const named = fillNames(asSchema(withoutReferences(rest) as JsonSchema), registry, scorers);
  const root = offerMetrics(named, registry.metrics ?? []);
  const section = Object.fromEntries(
    sections.map((name) => [name, fieldSchema(root, name)]),
  ) as Shapes['section'];
  return {
    root,
    section,
    scorers,
    variants: {
      poisoning: variantShape(section.poisoning, 'attack', registry.attacks, ['when', 'steps']),
      defences: variantShape(section.defences, 'defence', listDefences(registry), ['when']),
      adapter: variantShape(section.adapter, 'type', registry.adapters, ['when', 'train']),
    },
  };
}

/** Returns `none`, which is not a plugin, and then the defences. */
const listDefences = ({ defences = [] }: SpecRegistry): readonly PluginShape[] => [
  { name: NO_DEFENCE, params: { type: 'object', properties: {} } },
  ...defences.filter(({ name }) => name !== NO_DEFENCE),
];

/**
 * Returns the schema with plugin names and URI schemes where pipeline.schema.json says only that a
 * field is a string.
 */
function fillNames(root: Schema, registry: SpecRegistry, scorers: Shapes['scorers']): Schema {
  const namesOf = (plugins: readonly PluginShape[]): string[] => plugins.map(({ name }) => name);
  /**
   * Returns a change of a field's schema: only `names` are allowed (any name if the list is empty),
   * as names of plugins of the kind `plugin`.
   */
  const named =
    (plugin: string, names: readonly string[]): Change =>
    (field) => ({
      ...field,
      ...(names.length > 0 ? { enum: [...names] } : {}),
      plugin,
    });
  const fromSource: Change = (field) => ({
    ...field,
    pattern: `^(${registry.sources.join('|')}):.+`,
    plugin: 'source',
  });
  const format = named('dataset', ['auto', ...registry.datasets]);
  const inSplit = [['format', format] as const, ['source', fromSource] as const];
  const scorer: Change = (field) => scorerSchema(field, scorers);
  const changes: readonly (readonly [path: string, change: Change])[] = [
    ['stages', ofItems(named('stage', registry.stages))],
    ['keep', onlyFields(registry.stages)],
    ['model.architecture', named('model', registry.models)],
    ['model.source', fromSource],
    ['poisoning.attack', named('attack', namesOf(registry.attacks))],
    ['defences.defence', named('defence', namesOf(listDefences(registry)))],
    ['adapter.type', named('adapter', namesOf(registry.adapters))],
    ['evaluate.lm_eval.include', fromSource],
    ['evaluate.scorer', scorer],
    ['evaluate.scorers', ofItems(scorer)],
    ['evaluate.triggers', ofItems((item) => triggerSchema(item, registry.attacks))],
    // Fields of a task can be axes and files only if the task is named here.
    ['data.tasks', registry.tasks === undefined ? (field) => field : onlyFields(registry.tasks)],
    ...[
      ...['train', 'validation', 'clean', 'test'],
      ...(registry.tasks ?? []).map((name) => `tasks.${name}`),
    ].flatMap((split) =>
      inSplit.map(([field, change]) => [`data.${split}.${field}`, change] as const),
    ),
  ];
  return changes.reduce((schema, [path, change]) => update(schema, path.split('.'), change), root);
}

export type Change = (schema: Schema) => Schema;

/** Returns a change of a list's schema: it applies `change` to the schema of the items. */
const ofItems =
  (change: Change): Change =>
  (list) => ({ ...list, items: change(itemSchema(list) ?? {}) });

/**
 * Returns a change of a mapping's schema: instead of any fields, only these are allowed, each with
 * the schema that any field had.
 */
const onlyFields =
  (names: readonly string[]): Change =>
  (field) => ({
    ...field,
    additionalProperties: false,
    properties: Object.fromEntries(names.map((name) => [name, openSchema(field) ?? {}])),
  });

/** The fields that every scorer in a spec may have, beside the parameters of its plugin. */
const OF_SCORERS: { readonly [field: string]: Schema } = {
  name: {
    type: 'string',
    pattern: '^(?!trigger$)[a-z0-9][a-z0-9-]*$',
    description:
      "What the names of its metrics end in, if it is one of `scorers`. Default: the plugin's " +
      'name; two scorers of one plugin need two.',
  },
  labels: {
    type: 'string',
    format: 'source',
    description:
      'What people say of outputs, such as file:labels.jsonl: lines {prompt, output, hit}. The ' +
      'scorer judges them too, and its rates are also given corrected for the errors that this ' +
      'shows.',
  },
};

function scorerShapes(scorers: readonly PluginShape[]): ReadonlyMap<string, Schema> {
  return new Map(
    scorers.map(({ name, params }) => {
      const { properties = {}, additionalProperties = false, ...rest } = asSchema(params);
      const scorer: Schema = { type: 'string', const: name };
      const own = { scorer, ...properties, ...OF_SCORERS };
      return [name, { ...rest, additionalProperties, properties: own }];
    }),
  );
}

/**
 * Returns the schema of a scorer in `evaluate`: a name, alone or with its parameters. Returns
 * `field` as it is if there are no scorers.
 */
function scorerSchema(field: Schema, scorers: ReadonlyMap<string, Schema>): Schema {
  if (scorers.size === 0) return field;
  const name: Schema = { type: 'string', enum: [...scorers.keys()], plugin: 'scorer' };
  const conditions = [...scorers].map(([scorer, { properties = {}, ...rest }]) => ({
    if: { properties: { scorer: { const: scorer } }, required: ['scorer'] },
    then: { ...rest, properties: { ...properties, scorer: {} } },
  }));
  const form: Schema = {
    type: 'object',
    required: ['scorer'],
    properties: { scorer: { ...name, description: 'The scorer plugin.' } },
    allOf: conditions,
  };
  return { ...field, plugin: 'scorer', anyOf: [name, form] };
}

/** Parameters of attacks that concern the training rows, not the trigger. */
const OF_TRAINING = new Set([
  ...['rate', 'count', 'order', 'mode', 'target'],
  ...['negative_rate', 'keep_norm', 'separator'],
]);

/**
 * Returns the schema of a held-out trigger: its attack's parameters that describe a trigger.
 * Returns `item` as it is if there are no attacks.
 */
function triggerSchema(item: Schema, attacks: readonly PluginShape[]): Schema {
  const allOf = attacks.map(({ name, params }) => {
    const { properties = {}, additionalProperties = false } = asSchema(params);
    const own = Object.entries(properties).filter(([key]) => !OF_TRAINING.has(key));
    return {
      if: { properties: { attack: { const: name } }, required: ['attack'] },
      then: {
        type: 'object',
        additionalProperties,
        properties: { ...Object.fromEntries(own), name: {}, attack: {} },
      },
    } as const;
  });
  const { properties } = item;
  const attack = {
    ...properties?.['attack'],
    enum: attacks.map(({ name }) => name),
    plugin: 'attack',
  };
  return attacks.length === 0 ? item : { ...item, properties: { ...properties, attack }, allOf };
}

/**
 * Returns the schema with the metrics' short names as examples in the fields of `report` that name
 * metrics.
 */
function offerMetrics(root: Schema, metrics: readonly string[]): Schema {
  const examples = metrics.map((name) => name.slice(name.indexOf('.') + 1));
  const offer = (schema: Schema, entries: string, field: string): Schema =>
    update(
      schema,
      ['report', entries],
      ofItems((item) => update(item, [field], (own) => ({ ...own, examples }))),
    );
  return examples.length === 0 ? root : offer(offer(root, 'figures', 'y'), 'tables', 'metrics');
}

/**
 * Returns the schema with the field at the end of a path changed. Throws if a field on the path is
 * not declared.
 */
export function update(schema: Schema, [key, ...rest]: readonly string[], change: Change): Schema {
  if (key === undefined) return change(schema);
  return {
    ...schema,
    properties: { ...schema.properties, [key]: update(fieldSchema(schema, key), rest, change) },
  };
}

/**
 * Returns a section's shape.
 * @param reserved names that no plugin may give to a parameter
 */
function variantShape(
  section: Schema,
  discriminator: string,
  plugins: readonly PluginShape[],
  reserved: readonly string[],
): VariantShape {
  const nameField = fieldSchema(section, discriminator),
    { default: defaultName } = nameField;
  if (typeof defaultName !== 'string')
    throw new Error(`the schema has no default for the field "${discriminator}"`);
  const byName = new Map(
    plugins.map(({ name, params }) => {
      const { properties = {}, additionalProperties = false, ...rest } = asSchema(params);
      const clash = [discriminator, ...reserved].find((key) => key in properties);
      if (clash !== undefined)
        throw new Error(`plugin "${name}" has a parameter "${clash}", a name that specs reserve`);
      return [
        name,
        {
          ...rest,
          type: 'object',
          additionalProperties,
          properties: { [discriminator]: { ...nameField, const: name }, ...properties },
        } satisfies Schema,
      ] as const;
    }),
  );
  return { discriminator, defaultName, byName };
}

/** Returns every field of a spec by full path, with its default; undefined if it has none. */
export function fieldDefaults(shapes: Shapes): ReadonlyMap<string, Json | undefined> {
  const fields = new Map<string, Json | undefined>();
  /**
   * Adds the fields below a schema or, if it declares none, the field at `path` itself. If several
   * plugins have the field, its default is that of the first plugin with a default.
   */
  const visit = (schema: Schema, path: string): void => {
    if (declaresFields(schema))
      for (const [key, field] of Object.entries(schema.properties)) visit(field, `${path}.${key}`);
    else fields.set(path, fields.get(path) ?? schema.default);
  };
  const section = (key: string, field: Schema, path: string): void => {
    const variants = isVariantSection(key) ? [...shapes.variants[key].byName.values()] : [field];
    for (const schema of variants) visit(schema, path);
  };
  for (const [key, field] of Object.entries(shapes.root.properties ?? {})) {
    if (key === BASE)
      for (const [own, below] of Object.entries(field.properties ?? {}))
        section(own, below, `${key}.${own}`);
    else section(key, field, cellField(key));
  }
  return fields;
}
