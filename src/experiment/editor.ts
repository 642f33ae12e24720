/**
 * The schema as editors use it (`dosimeter schema`, the modeline). An editor sees one file as it is written, so that where a
 * spec leaves something to another file (`extends`, `plugins`, `commands`) or to a field (`${…}`), this one leaves it open:
 * what the command line accepts is not marked.
 */
import type { Json, JsonSchema } from '../api.ts';
import type { Shapes, VariantSection } from './schema.ts';
import { BASE, composeFrom, shapesOf } from './schema.ts';
import type { Schema } from './shape.ts';
import { isScalar } from './shape.ts';
import type { SpecRegistry } from './types.ts';

/** The whole schema of a spec file. JSON Schema, draft 7. */
export function composeSchema(registry: SpecRegistry): JsonSchema {
  const shapes = shapesOf(registry),
    strict = composeFrom(shapes) as Schema;
  // What stands in a condition is stated elsewhere as well: it is not offered twice.
  const unless = (fields: readonly string[], schema: Schema): Schema => ({
    if: { anyOf: fields.map((field) => ({ required: [field] })) },
    else: mapSchemas(schema, unsuggested),
  });
  const open = mapSchemas(strict, (schema) => openName(schema));
  const root = withoutRequired(open, shapes);
  return mapSchemas(
    {
      ...root,
      allOf: [
        unless(['extends'], needed(strict)),
        unless(['extends', 'plugins'], known(strict, shapes)),
        unless(['extends', 'plugins', 'commands'], {
          properties: { stages: { items: strict.properties!.stages!.items as Schema } },
        }),
      ],
    },
    orReference,
  );
}

const unsuggested: Change = ({ properties, ...schema }) =>
  properties === undefined
    ? schema
    : {
        ...schema,
        properties: Object.fromEntries(
          Object.entries(properties).map(([key, field]) => [key, { ...field, doNotSuggest: true }]),
        ),
      };

type Change = (schema: Schema) => Schema;

/** Every schema within, the innermost first; conditions stay as they are. */
function mapSchemas(schema: Schema, change: Change): Schema {
  const one = (value: unknown): unknown =>
    typeof value === 'object' && value !== null ? mapSchemas(value as Schema, change) : value;
  const many = (value: unknown): unknown => (Array.isArray(value) ? value.map(one) : one(value));
  const named = (value: unknown): unknown =>
    Object.fromEntries(Object.entries(value as object).map(([key, item]) => [key, one(item)]));
  return change(
    Object.fromEntries(
      Object.entries(schema).map(([keyword, value]): [string, unknown] => {
        if (['properties', 'definitions'].includes(keyword)) return [keyword, named(value)];
        return [
          keyword,
          [
            'items',
            'additionalItems',
            'additionalProperties',
            'anyOf',
            'allOf',
            'then',
            'else',
          ].includes(keyword)
            ? many(value)
            : value,
        ];
      }),
    ),
  );
}

/** The names that are known here are offered, and any that a plugin of the spec's may have is taken. */
function openName(schema: Schema): Schema {
  const { plugin, enum: names, pattern, ...rest } = schema;
  if (plugin === undefined) return schema;
  if (names !== undefined)
    return { ...rest, plugin, anyOf: [{ enum: names }, { pattern: '^[a-z0-9][a-z0-9-]*$' }] };
  return pattern === undefined ? schema : { ...rest, plugin, pattern: '^[a-z][a-z0-9+.-]*:.+' };
}

/** `${…}` may stand for any value; what it comes to is the command line's to judge. */
function orReference(schema: Schema): Schema {
  // Directly below a list, an editor would offer each word as a list of one as well.
  if ((schema.items as Schema | undefined)?.examples !== undefined)
    return { ...schema, items: { allOf: [schema.items as Schema] } };
  const isFree =
    schema.type === 'string' && schema.enum === undefined && schema.pattern === undefined;
  if (
    isFree ||
    schema.$ref !== undefined ||
    !isScalar(schema) ||
    ['type', 'enum', 'const', 'anyOf'].every((keyword) => schema[keyword] === undefined)
  )
    return schema;
  const { description, default: fallback, doNotSuggest, ...value } = schema,
    words = wordsOf(schema);
  return {
    ...(description === undefined ? {} : { description }),
    ...(fallback === undefined ? {} : { default: fallback }),
    ...(doNotSuggest === undefined ? {} : { doNotSuggest }),
    ...(words.length === 0 ? {} : { examples: words }),
    if: { type: 'string', pattern: '\\$\\{' },
    else: value,
  };
}

/** What an editor offers as a value: it looks for words behind no condition. */
function wordsOf({ enum: words, const: word, anyOf, type, examples }: Schema): readonly Json[] {
  if (examples !== undefined) return examples as readonly Json[];
  return (
    words ??
    (word !== undefined
      ? [word]
      : type === 'boolean'
        ? [true, false]
        : [...new Set((anyOf ?? []).flatMap(wordsOf))])
  );
}

// What a file must have that extends no other.

const MUST: readonly (readonly string[])[] = [
  [],
  ['model'],
  ['data'],
  ['data', 'train'],
  ['data', 'validation'],
  ['commands', '*'],
];

/** `required` of MUST's places and nothing more, and the parameters of the attack and adapter that are meant where none is named. */
function needed(strict: Schema): Schema {
  const at = (schema: Schema, rest: readonly string[]): Schema => {
    const [step, ...more] = rest,
      target = resolve(strict, schema);
    if (step === undefined) return { required: target.required ?? [] };
    return step === '*'
      ? { additionalProperties: at(target.additionalProperties as Schema, more) }
      : { properties: { [step]: at(target.properties![step]!, more) } };
  };
  const unnamed = (section: VariantSection): Schema =>
    oneOrMany({
      allOf: (strict.definitions as { readonly [name: string]: Schema })[section]!.allOf!.filter(
        isOfDefault,
      ),
    });
  return {
    allOf: [
      ...MUST.map((path) => at(strict, path)),
      { properties: { poisoning: unnamed('poisoning'), adapter: unnamed('adapter') } },
    ],
  };
}

/** The branch of a variant for the plugin that is meant where none is named. */
const isOfDefault = (branch: Schema): boolean => {
  const { properties, required } = (branch.if ?? {}) as Schema;
  return properties !== undefined && required === undefined;
};

/** The same without what `needed` asks for. */
function withoutRequired(strict: Schema, { variants }: Shapes): Schema {
  const drop = (schema: Schema, [step, ...rest]: readonly string[]): Schema => {
    if (step === undefined) {
      const { required: _required, ...free } = schema;
      return free;
    }
    if (step === '*')
      return { ...schema, additionalProperties: drop(schema.additionalProperties as Schema, rest) };
    return {
      ...schema,
      properties: { ...schema.properties, [step]: drop(schema.properties![step]!, rest) },
    };
  };
  const definitions = strict.definitions as { readonly [name: string]: Schema };
  const named = (section: VariantSection): Schema => {
    const variant = definitions[section]!,
      { discriminator } = variants[section];
    return {
      ...variant,
      allOf: variant.allOf!.map((branch) =>
        isOfDefault(branch)
          ? { ...branch, if: { ...(branch.if as Schema), required: [discriminator] } }
          : branch,
      ),
    };
  };
  // A split stands once, as a definition.
  const loose = MUST.filter(([, split]) => split === undefined || split === '*').reduce(
    drop,
    strict,
  );
  return {
    ...loose,
    definitions: {
      ...definitions,
      split: drop(definitions['split']!, []),
      poisoning: named('poisoning'),
      adapter: named('adapter'),
    },
  };
}

const resolve = (root: Schema, schema: Schema): Schema =>
  schema.$ref === undefined
    ? schema
    : (root.definitions as { readonly [name: string]: Schema })[
        String(schema.$ref).replace('#/definitions/', '')
      ]!;

/** The names of plugins where the spec brings none of its own. */
function known(strict: Schema, { variants }: Shapes): Schema {
  const definitions = strict.definitions as { readonly [name: string]: Schema };
  const field = (of: Schema, name: string): Schema => ({
    [name]: (of.properties as { readonly [key: string]: Schema })[name]!,
  });
  const { attack } = definitions['step']!.properties!;
  const names = (section: VariantSection): Schema => {
    const own = field(
      definitions[section]!,
      variants[section].discriminator,
    ) as Schema['properties'];
    return oneOrMany({
      properties: {
        ...own,
        ...(section === 'poisoning'
          ? { steps: { items: { properties: { attack: attack! } } } }
          : {}),
      },
    });
  };
  const sections = { poisoning: names('poisoning'), adapter: names('adapter') };
  const split: Schema = {
    properties: {
      ...field(definitions['split']!, 'format'),
      ...field(definitions['split']!, 'source'),
    } as NonNullable<Schema['properties']>,
  };
  const model = strict.properties!.model!;
  return {
    properties: {
      ...sections,
      [BASE]: { properties: sections },
      model: {
        properties: { ...field(model, 'architecture'), ...field(model, 'source') } as NonNullable<
          Schema['properties']
        >,
      },
      data: { properties: { train: split, validation: split } },
    },
  };
}

const oneOrMany = (schema: Schema): Schema => ({
  anyOf: [
    { type: 'object', ...schema },
    { type: 'array', items: schema },
  ],
});
