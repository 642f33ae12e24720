/**
 * The one schema: `schemas/pipeline.schema.json` with plugin names filled in, each plugin's own parameters composed in by
 * its name, and every scalar field of a cell lifted to "a value, a list of values, or {linspace}, {logspace}, {range}".
 */
import base from '../../schemas/pipeline.schema.json' with { type: 'json' };
import type { Json, JsonSchema } from '../api.ts';
import type { Schema } from './shape.ts';
import { asSchema, isNumeric, isRecord, isScalar } from './shape.ts';
import type { PluginShape, SpecRegistry } from './types.ts';

/** A cell's sections in their fixed order; everything before them in the schema concerns the experiment as a whole. */
export const sections = [
  'model',
  'data',
  'poisoning',
  'adapter',
  'head',
  'train',
  'evaluate',
  'ntk',
  'fisher',
  'theory',
] as const;
export type Section = (typeof sections)[number];

/** What fields look like in a cell, where nothing is an axis. */
export interface Shapes {
  readonly root: Schema;
  readonly section: Readonly<Record<Section, Schema>>;
  /** The two sections whose fields depend on a plugin. */
  readonly variants: Readonly<Record<VariantSection, VariantShape>>;
}

export type VariantSection = 'poisoning' | 'adapter';

export interface VariantShape {
  /** The field that names the plugin. */
  readonly discriminator: string;
  readonly defaultName: string;
  /** By plugin name: its parameters and the discriminator. */
  readonly byName: ReadonlyMap<string, Schema>;
}

export const isVariantSection = (name: string | number | undefined): name is VariantSection =>
  name === 'poisoning' || name === 'adapter';

/** The section that holds the poisoning, adapter and train of the training that the cell's own starts from: a spec within the spec. */
export const BASE = 'base';

/** Of fields that a word may mean, the cell's own before its base's: whoever means those says so. */
export function ownFirst(paths: readonly string[]): readonly string[] {
  const own = paths.filter((path) => !path.startsWith(`${BASE}.`));
  return own.length > 0 ? own : paths;
}

/** The section whose variant, or step of one, a path leads to: that itself and not one of its fields; null else. */
export function variantSectionOf(path: readonly (string | number)[]): VariantSection | null {
  if (isStepPath(path)) return 'poisoning';
  const [head, ...rest] = path[0] === BASE ? path.slice(1) : path;
  return isVariantSection(head) && rest.every((step) => typeof step === 'number') ? head : null;
}

/** Whether a path leads to a step of a variant: `poisoning.0.steps.1`. */
export const isStepPath = (path: readonly (string | number)[]): boolean =>
  path.at(-2) === 'steps' &&
  typeof path.at(-1) === 'number' &&
  variantSectionOf(path.slice(0, -2)) === 'poisoning';

export function shapesOf(registry: SpecRegistry): Shapes {
  const definitions = base.definitions as { readonly [name: string]: unknown };
  const withoutReferences = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(withoutReferences);
    if (typeof value !== 'object' || value === null) return value;
    const reference = '$ref' in value ? value.$ref : undefined;
    if (typeof reference === 'string')
      return withoutReferences(definitions[reference.replace('#/definitions/', '')]);
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, withoutReferences(item)]),
    );
  };
  const { definitions: _definitions, ...rest } = base;
  const root = fillNames(asSchema(withoutReferences(rest) as JsonSchema), registry);
  const section = Object.fromEntries(
    sections.map((name) => [name, root.properties![name]!]),
  ) as Record<Section, Schema>;
  return {
    root,
    section,
    variants: {
      poisoning: variantShape(section.poisoning, 'attack', registry.attacks, ['when', 'steps']),
      adapter: variantShape(section.adapter, 'type', registry.adapters, ['when', 'train']),
    },
  };
}

/** Plugin names and URI schemes, where the base schema says only "a string". */
function fillNames(root: Schema, registry: SpecRegistry): Schema {
  const update = (
    schema: Schema,
    path: readonly string[],
    change: (field: Schema) => Schema,
  ): Schema => {
    const [key, ...rest] = path;
    if (key === undefined) return change(schema);
    return {
      ...schema,
      properties: { ...schema.properties, [key]: update(schema.properties![key]!, rest, change) },
    };
  };
  const named =
    (plugin: string, names: readonly string[]) =>
    (field: Schema): Schema => ({
      ...field,
      ...(names.length > 0 ? { enum: [...names] } : {}),
      plugin,
    });
  const fromSource = (field: Schema): Schema => ({
    ...field,
    pattern: `^(${registry.sources.join('|')}):.+`,
    plugin: 'source',
  });
  let schema = update(root, ['stages'], (field) => ({
    ...field,
    items: named('stage', registry.stages)(field.items as Schema),
  }));
  schema = update(schema, ['model', 'architecture'], named('model', registry.models));
  schema = update(schema, ['model', 'source'], fromSource);
  schema = update(
    schema,
    ['poisoning', 'attack'],
    named(
      'attack',
      registry.attacks.map(({ name }) => name),
    ),
  );
  schema = update(
    schema,
    ['adapter', 'type'],
    named(
      'adapter',
      registry.adapters.map(({ name }) => name),
    ),
  );
  for (const split of ['train', 'validation']) {
    schema = update(
      schema,
      ['data', split, 'format'],
      named('dataset', ['auto', ...registry.datasets]),
    );
    schema = update(schema, ['data', split, 'source'], fromSource);
  }
  return schema;
}

function variantShape(
  section: Schema,
  discriminator: string,
  plugins: readonly PluginShape[],
  reserved: readonly string[],
): VariantShape {
  const byName = new Map(
    plugins.map(({ name, params }) => {
      const { properties = {}, additionalProperties = false, ...rest } = asSchema(params);
      const clash = [discriminator, ...reserved].find((key) => key in properties);
      if (clash !== undefined)
        throw new Error(`plugin "${name}" has a parameter "${clash}", a name that specs reserve`);
      const named = { ...section.properties![discriminator]!, const: name };
      return [
        name,
        {
          ...rest,
          type: 'object',
          additionalProperties,
          properties: { [discriminator]: named, ...properties },
        } satisfies Schema,
      ] as const;
    }),
  );
  return {
    discriminator,
    defaultName: String(section.properties![discriminator]!.default),
    byName,
  };
}

/** Every field of a spec by full path, with its default: what `${…}`, patterns and suggestions know. */
export function fieldsOf(shapes: Shapes): ReadonlyMap<string, Json | undefined> {
  const fields = new Map<string, Json | undefined>();
  const visit = (schema: Schema, path: readonly string[]): void => {
    if (path.length > 0 && !isRecord(schema))
      fields.set(path.join('.'), fields.get(path.join('.')) ?? schema.default);
    if (isRecord(schema))
      for (const [key, field] of Object.entries(schema.properties)) visit(field, [...path, key]);
  };
  const section = (key: string, field: Schema, path: readonly string[]): void => {
    const variants = isVariantSection(key) ? [...shapes.variants[key].byName.values()] : [field];
    for (const schema of variants) visit(schema, path);
  };
  for (const [key, field] of Object.entries(shapes.root.properties!)) {
    if (key === BASE)
      for (const [own, below] of Object.entries(field.properties!)) section(own, below, [key, own]);
    else section(key, field, [key]);
  }
  return fields;
}

// ---- the composed schema -----------------------------------------------------------------------------------------------

const numberList = (description: string, last: Schema): Schema => ({
  description,
  type: 'array',
  items: [{ type: 'number' }, { type: 'number' }, last],
  additionalItems: false,
  minItems: 3,
  maxItems: 3,
});

/** The three written forms of a numeric axis. */
const grid: Schema = {
  title: 'GridAxis',
  description: 'A grid axis by rule.',
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  properties: {
    linspace: numberList('[from, to, n]: n values in equal steps, both ends included.', {
      type: 'integer',
      minimum: 1,
    }),
    logspace: numberList('[from, to, n]: n values in equal ratios, both ends included.', {
      type: 'integer',
      minimum: 1,
    }),
    range: numberList(
      '[from, to, step]: from, from + step, … up to `to`, which is included where a step falls on it.',
      { type: 'number' },
    ),
  },
};
export const gridForms = Object.keys(grid.properties!);

/** A scalar field as a spec may write it. A field that may be a list or a mapping of its own is left as it is. */
function lift(schema: Schema): Schema {
  if (isRecord(schema)) {
    const properties = Object.fromEntries(
      Object.entries(schema.properties).map(([key, field]) => [key, lift(field)]),
    );
    return { ...schema, properties, additionalProperties: schema.additionalProperties ?? false };
  }
  if (!isScalar(schema)) return schema;
  const { description, default: fallback, ...value } = schema;
  return {
    ...(description === undefined ? {} : { description }),
    ...(fallback === undefined ? {} : { default: fallback }),
    axis: true,
    anyOf: [
      value,
      { type: 'array', items: value, minItems: 1, uniqueItems: true },
      ...(isNumeric(schema) ? [{ $ref: '#/definitions/grid' }] : []),
    ],
  };
}

/** One variant; the plugin's own parameters follow its name. */
function variantSchema(
  section: Schema,
  { discriminator, defaultName, byName }: VariantShape,
  shared: { readonly [key: string]: Schema },
  isUsed: (plugin: string) => boolean,
): Schema {
  const { steps } = shared,
    others = Object.fromEntries(Object.keys(shared).map((key) => [key, {}]));
  const name = lift(section.properties![discriminator]!);
  const branches = [...byName]
    .filter(([plugin]) => isUsed(plugin))
    .map(([plugin, schema]): Schema => {
      const { properties, ...rest } = lift(schema);
      const { [discriminator]: _name, ...own } = properties!;
      return {
        if: {
          properties: { [discriminator]: { const: plugin } },
          ...(plugin !== defaultName
            ? { required: [discriminator] }
            : steps
              ? { not: { required: ['steps'] } }
              : {}),
        },
        then: { ...rest, properties: { [discriminator]: {}, ...others, ...own } },
      };
    });
  // The parameters of composed attacks stand in their steps.
  if (steps)
    branches.push({
      if: { required: ['steps'], not: { required: [discriminator] } },
      then: { additionalProperties: false, properties: { ...others } },
    });
  return {
    type: 'object',
    properties: { [discriminator]: name, ...shared },
    ...(branches.length > 0 ? { allOf: branches } : {}),
    ...(steps ? { not: { required: [discriminator, 'steps'] } } : {}),
  };
}

/** What `when` of a variant is. */
export const WHEN = "The variant's cells are kept only where this matches.";

const reference = (definition: string): Schema => ({ $ref: `#/definitions/${definition}` });
/** draft 7 overlooks what stands beside a `$ref`. */
const described = (definition: string, description: string): Schema => ({
  description,
  allOf: [reference(definition)],
});

/**
 * The whole schema of a spec whose references are filled in (draft 7). What stands in several places is defined once: the
 * schema is shorter, and compiles in half the time.
 * @param isUsed false for plugins that a spec does not name: it is judged the same without their parameters, and sooner.
 */
export function composeFrom(
  { root, section, variants }: Shapes,
  isUsed: (plugin: string) => boolean = () => true,
): JsonSchema {
  const pattern = root.properties!.tags!.additionalProperties as Schema;
  const when = described('pattern', WHEN);
  const overrides = described('train', section.adapter.properties!.train!.description!);
  const { default: _none, ...attack } = section.poisoning.properties!.attack!; // a step names its attack
  const { train: split, validation: _validation, ...otherData } = section.data.properties!;
  const variantForms = (name: VariantSection): Schema => ({
    description: section[name].description!,
    default: {},
    anyOf: [reference(name), { type: 'array', items: reference(name), minItems: 1 }],
  });
  const patternList = (field: Schema): Schema => ({ ...field, items: reference('pattern') });
  const composed: { readonly [field: string]: Schema } = {
    include: patternList(root.properties!.include!),
    exclude: patternList(root.properties!.exclude!),
    tags: { ...root.properties!.tags!, additionalProperties: reference('pattern') },
    data: {
      ...lift({ ...section.data, properties: otherData }),
      properties: {
        train: reference('split'),
        validation: reference('split'),
        ...lift({ properties: otherData }).properties,
      },
    },
    poisoning: variantForms('poisoning'),
    adapter: variantForms('adapter'),
    train: reference('train'),
    base: {
      ...root.properties!.base!,
      properties: {
        poisoning: {
          ...variantForms('poisoning'),
          description: 'The attack on the training rows of the base, as `poisoning` has it.',
        },
        adapter: {
          ...variantForms('adapter'),
          description:
            'What the base trains, as `adapter` has it. Left out: full fine-tuning, so that cells of all adapters start from the same base.',
        },
        train: described(
          'train',
          'What of `train` is otherwise for the base. A field of `train` that is an axis must have a value of its own here.',
        ),
      },
    },
  };
  const isSection = (key: string): boolean => (sections as readonly string[]).includes(key);
  const properties = Object.fromEntries(
    Object.entries(root.properties!).map(([key, field]) => [
      key,
      composed[key] ?? (isSection(key) ? lift(field) : field),
    ]),
  );
  return {
    ...root,
    title: 'Experiment',
    description:
      'A dosimeter experiment. A scalar field of a cell may be given a list, {linspace}, {logspace} or {range}, and becomes a grid axis.',
    properties,
    definitions: {
      grid,
      pattern,
      split: lift(split!),
      train: lift(section.train),
      poisoning: variantSchema(
        section.poisoning,
        variants.poisoning,
        { steps: { ...section.poisoning.properties!.steps!, items: reference('step') }, when },
        isUsed,
      ),
      step: {
        ...variantSchema({ properties: { attack } }, variants.poisoning, {}, isUsed),
        required: ['attack'],
      },
      adapter: variantSchema(section.adapter, variants.adapter, { train: overrides, when }, isUsed),
    },
  };
}
