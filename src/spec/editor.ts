/**
 * The schema that editors use (`dosimeter schema`, the modeline). An editor sees one file as it is
 * written. Where a spec leaves something to another file (`extends`, `plugins`, `commands`) or to a
 * field (`${…}`), this schema leaves it open, so that an editor marks nothing that the command line
 * accepts.
 */
import type { Json, JsonSchema } from '../api.ts';
import { defined } from '../base/defined.ts';
import { mapValues } from '../base/record.ts';
import { composeFrom } from './compose.ts';
import {
  BASE,
  type Change,
  makeShapes,
  type Shapes,
  update,
  type VariantSection,
} from './schema.ts';
import {
  asSchema,
  definitionName,
  fieldSchema,
  isScalar,
  itemSchema,
  openSchema,
  type Schema,
} from './shape.ts';
import type { SpecRegistry } from './types.ts';

/** Returns the whole schema of a spec file. JSON Schema, draft 7. */
export function composeSchema(registry: SpecRegistry): JsonSchema {
  const shapes = makeShapes(registry),
    // A defence may be a name alone wherever `defences` takes a mapping.
    strict = update(asSchema(composeFrom(shapes)), ['defences'], ({ anyOf = [], ...defences }) => ({
      ...defences,
      ...orNamed(anyOf, defenceNameSchema(shapes)),
    }));
  // Any name is allowed under `keep`: the stage may be a command, or come from the spec's own
  // plugin. The fields of a task may be axes, like the fields of the other splits.
  const open = update(
    update(strict, ['keep'], (keep) => ({
      ...keep,
      additionalProperties: Object.values(keep.properties ?? {})[0] ?? {},
    })),
    ['data', 'tasks'],
    (tasks) => ({ ...tasks, additionalProperties: { $ref: '#/definitions/split' } }),
  );
  // Returns a schema that applies only where none of the fields is written. Editors must not
  // suggest what it declares, since other parts of the whole schema declare it too.
  const unless = (fields: readonly string[], schema: Schema): Schema => ({
    if: { anyOf: fields.map((field) => ({ required: [field] })) },
    else: mapSchemas(schema, withoutSuggestions),
  });
  const root = withoutRequired(mapSchemas(open, openName), shapes);
  const goals = itemSchema(fieldSchema(strict, 'stages')) ?? {};
  const stages = { stages: { items: goals }, keep: fieldSchema(strict, 'keep') };
  const { extends: _extends, profiles = {}, ...fields } = root.properties ?? {};
  const profile: Schema = {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.keys(fields).map((field) => [field, { $ref: `#/properties/${field}` }]),
    ),
  };
  return mapSchemas(
    {
      ...root,
      properties: { ...root.properties, profiles: { ...profiles, additionalProperties: profile } },
      allOf: [
        unless(['extends'], requirementsOnly(strict)),
        unless(['extends', 'plugins'], knownNames(strict, shapes)),
        unless(['extends', 'plugins', 'commands'], { properties: stages }),
      ],
    },
    orReference,
  );
}

/**
 * Returns the schema with a mark on each of its own fields that keeps editors from suggesting it.
 */
const withoutSuggestions: Change = ({ properties, ...schema }) => {
  if (properties === undefined) return schema;
  const fields = mapValues(properties, (field) => ({ ...field, doNotSuggest: true }));
  return { ...schema, properties: fields };
};

type Fields = NonNullable<Schema['properties']>;

/** Keywords whose value holds schemas by name. */
const HOLD_FIELDS: ReadonlySet<string> = new Set(['properties', 'definitions']);
/**
 * Keywords whose value is a schema, or a list of schemas, that may restrict what is written. `if`
 * and `not` are left out: a change of the schemas in them could make the whole stricter.
 */
const HOLD_SCHEMAS: ReadonlySet<string> = new Set([
  'items',
  'additionalItems',
  'additionalProperties',
  'anyOf',
  'allOf',
  'then',
  'else',
]);

/**
 * Returns the schema with a change made to it and to the schemas within it, the innermost first.
 * Schemas under `if` or `not` stay as they are.
 */
function mapSchemas(schema: Schema, change: Change): Schema {
  /**
   * Returns the value of a keyword in HOLD_SCHEMAS with the change made in its schemas. A value
   * that is no schema, such as `false`, stays.
   */
  const within = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(within);
    return typeof value === 'object' && value !== null
      ? mapSchemas(value as Schema, change)
      : value;
  };
  const entries = Object.entries(schema).map(([keyword, value]): [string, unknown] => {
    if (HOLD_FIELDS.has(keyword))
      return [keyword, mapValues(value as Fields, (field) => mapSchemas(field, change))];
    return [keyword, HOLD_SCHEMAS.has(keyword) ? within(value) : value];
  });
  return change(Object.fromEntries(entries));
}

/**
 * Given the schema of a plugin's name or of a source, returns one that allows any name or URI
 * scheme, since a spec may bring its own plugins. Known names are still suggested. Returns any
 * other schema as it is.
 */
function openName(schema: Schema): Schema {
  const { plugin, enum: names, pattern, ...rest } = schema;
  if (plugin === undefined) return schema;
  if (names !== undefined)
    return { ...rest, plugin, anyOf: [{ enum: names }, { pattern: '^[a-z0-9][a-z0-9-]*$' }] };
  return pattern === undefined ? schema : { ...rest, plugin, pattern: '^[a-z][a-z0-9+.-]*:.+' };
}

/**
 * Given the schema of a single value, returns one that also allows `${…}`: the command line checks
 * what the reference stands for. Given the schema of a list whose items have examples, returns it
 * with the schema of the items in `allOf`. Returns any other schema as it is.
 */
function orReference(schema: Schema): Schema {
  // Within `allOf`, since an editor would else offer each example of an item as a list of one item.
  const item = itemSchema(schema);
  if (item?.examples !== undefined) return { ...schema, items: { allOf: [item] } };
  const takesAnyText =
    schema.type === 'string' && schema.enum === undefined && schema.pattern === undefined;
  if (
    takesAnyText ||
    schema.$ref !== undefined ||
    !isScalar(schema) ||
    ['type', 'enum', 'const', 'anyOf'].every((keyword) => schema[keyword] === undefined)
  )
    return schema;
  const { description, default: fallback, doNotSuggest, ...value } = schema,
    words = offeredValues(schema);
  return {
    ...defined({ description, default: fallback, doNotSuggest }),
    ...(words.length === 0 ? {} : { examples: words }),
    if: { type: 'string', pattern: '\\$\\{' },
    else: value,
  };
}

/**
 * Returns the values that an editor offers for a field with this schema; empty if they can't be
 * listed.
 */
function offeredValues({
  enum: words,
  const: word,
  anyOf,
  type,
  examples,
}: Schema): readonly Json[] {
  const listed = examples ?? words;
  if (listed !== undefined) return listed;
  if (word !== undefined) return [word];
  if (type === 'boolean') return [true, false];
  return [...new Set((anyOf ?? []).flatMap(offeredValues))];
}

// ---- what a file must have if it extends no other ----------------------------------------------

/**
 * The paths of mappings. A file that extends no other must have the `required` fields of each of
 * them. `*` is any name.
 */
const MUST: readonly (readonly string[])[] = [
  [],
  ['model'],
  ['data'],
  ['data', 'train'],
  ['data', 'validation'],
  ['data', 'tasks', '*'],
  ['commands', '*'],
];

/**
 * Returns a schema of what a file must have if it extends no other: the `required` fields of the
 * mappings in MUST and, where no attack or adapter is named, the parameters of the default one.
 */
function requirementsOnly(strict: Schema): Schema {
  /**
   * Returns a schema that requires the fields that the mapping at a path below `schema` requires.
   */
  const requirementsAt = (schema: Schema, [step, ...rest]: readonly string[]): Schema => {
    const target =
      schema.$ref === undefined ? schema : definition(strict, definitionName(schema.$ref));
    if (step === undefined) return { required: target.required ?? [] };
    return step === '*'
      ? { additionalProperties: requirementsAt(openSchema(target) ?? {}, rest) }
      : { properties: { [step]: requirementsAt(fieldSchema(target, step), rest) } };
  };
  /**
   * Returns a schema of a section: where no plugin is named, it requires what the default plugin
   * requires.
   */
  const unnamed = (section: VariantSection): Schema =>
    oneOrMany({ allOf: (definition(strict, section).allOf ?? []).filter(isOfDefault) });
  return {
    allOf: [
      ...MUST.map((path) => requirementsAt(strict, path)),
      { properties: { poisoning: unnamed('poisoning'), adapter: unnamed('adapter') } },
    ],
  };
}

/**
 * Whether a branch of a variant's schema is the default plugin's: that branch applies also where no
 * plugin is named.
 */
const isOfDefault = (branch: Schema): boolean =>
  branch.if?.properties !== undefined && branch.if.required === undefined;

/** Returns the schema without the requirements that `requirementsOnly` returns. */
function withoutRequired(strict: Schema, { variants }: Shapes): Schema {
  /** Returns a mapping's schema without `required`, so that a file may leave out any field. */
  const optional: Change = ({ required: _required, ...schema }) => schema;
  /** Returns a variant's schema whose branch for the default plugin needs that plugin's name. */
  const withNamedDefault = (section: VariantSection): Schema => {
    const variant = definition(strict, section),
      { discriminator } = variants[section];
    return {
      ...variant,
      allOf: (variant.allOf ?? []).map((branch) =>
        isOfDefault(branch)
          ? { ...branch, if: { ...branch.if, required: [discriminator] } }
          : branch,
      ),
    };
  };
  const loose = update(
    update(update(optional(strict), ['model'], optional), ['data'], optional),
    ['commands'],
    (commands) => ({ ...commands, additionalProperties: optional(openSchema(commands) ?? {}) }),
  );
  return {
    ...loose,
    definitions: {
      ...strict.definitions,
      split: optional(definition(strict, 'split')), // of everything below `data`
      poisoning: withNamedDefault('poisoning'),
      defences: withNamedDefault('defences'),
      adapter: withNamedDefault('adapter'),
    },
  };
}

/** Returns a definition of the schema. Throws if it has none of this name. */
const definition = ({ definitions }: Schema, name: string): Schema => {
  const found = definitions?.[name];
  if (found === undefined) throw new Error(`the schema has no definition "${name}"`);
  return found;
};

/** Returns a schema that allows only known names of plugins, for a spec that brings no plugins. */
function knownNames(strict: Schema, shapes: Shapes): Schema {
  const { variants } = shapes;
  const fieldsOnly = (schema: Schema, ...names: readonly string[]): Fields =>
    Object.fromEntries(names.map((name) => [name, fieldSchema(schema, name)]));
  /**
   * Returns a schema of a section that allows only known names of its plugins, with the fields
   * `more`.
   */
  const named = (section: VariantSection, more: Fields): Schema =>
    oneOrMany({
      properties: {
        ...fieldsOnly(definition(strict, section), variants[section].discriminator),
        ...more,
      },
    });
  const step: Schema = { properties: fieldsOnly(definition(strict, 'step'), 'attack') };
  const sections = {
    poisoning: named('poisoning', { steps: { items: step } }),
    adapter: named('adapter', {}),
  };
  const split: Schema = { properties: fieldsOnly(definition(strict, 'split'), 'format', 'source') };
  const evaluate = fieldSchema(strict, 'evaluate'),
    [scorerName = {}] = fieldSchema(evaluate, 'scorer').anyOf ?? [],
    scorer = { anyOf: [scorerName, { type: 'object', properties: { scorer: scorerName } }] };
  const trigger = itemSchema(fieldSchema(evaluate, 'triggers')) ?? {};
  return {
    properties: {
      ...sections,
      defences: orNamed(named('defences', {}).anyOf ?? [], defenceNameSchema(shapes)),
      [BASE]: oneOrMany({ properties: { ...sections, data: { properties: { train: split } } } }),
      model: { properties: fieldsOnly(fieldSchema(strict, 'model'), 'architecture', 'source') },
      data: {
        properties: {
          ...{ train: split, validation: split, clean: split, test: split },
          tasks: { additionalProperties: split },
        },
      },
      evaluate: {
        properties: {
          scorer,
          scorers: { items: scorer },
          triggers: { items: { properties: fieldsOnly(trigger, 'attack') } },
          lm_eval: { properties: fieldsOnly(fieldSchema(evaluate, 'lm_eval'), 'include') },
        },
      },
    },
  };
}

const defenceNameSchema = ({ variants }: Shapes): Schema => ({
  type: 'string',
  enum: [...variants.defences.byName.keys()],
  plugin: 'defence',
});

/**
 * Returns a schema that accepts what `forms` accept, and a name alone wherever one of them has a
 * mapping.
 */
const orNamed = (forms: readonly Schema[], name: Schema): Schema => ({
  anyOf: [
    ...forms.map((form) =>
      form.type === 'array' ? { ...form, items: { anyOf: [itemSchema(form) ?? {}, name] } } : form,
    ),
    name,
  ],
});

/** Returns the schema of a mapping with this schema, or of a list of such mappings. */
const oneOrMany = (schema: Schema): Schema => ({
  anyOf: [
    { type: 'object', ...schema },
    { type: 'array', items: schema },
  ],
});
