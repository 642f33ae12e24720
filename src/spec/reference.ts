/** Describes the fields of a spec in words, for `dosimeter schema PATH`. */
import { stringify } from 'yaml';
import type { Json, JsonObject } from '../api.ts';
import { WHEN } from './compose.ts';
import {
  BASE,
  cellField,
  fieldDefaults,
  isSection,
  isVariantSection,
  makeShapes,
  PLUGIN_OF,
  sections,
  type Shapes,
} from './schema.ts';
import {
  alternatives,
  declaredField,
  describe,
  fieldSchema,
  isScalar,
  itemSchema,
  openSchema,
  type Schema,
} from './shape.ts';
import { nearest } from './suggest.ts';
import type { SpecRegistry } from './types.ts';

export interface FieldDoc {
  readonly path: string;
  /**
   * The plugin whose parameter the field is, such as `attack badnets`; null for other fields, and
   * in what `parameters` returns.
   */
  readonly of: string | null;
  readonly required: boolean;
  /** The type of the field's values, in words. */
  readonly type: string;
  readonly default: Json | null;
  readonly description: string;
  /** All values of the field, if they can be listed; otherwise empty. */
  readonly values: readonly Json[];
  /** Whether a list of values makes the field an axis of the grid. */
  readonly axis: boolean;
  /** An example as a line of YAML; null for a mapping, and for a field of a list's items. */
  readonly example: string | null;
  readonly fields: readonly FieldDoc[];
  /**
   * The names of the plugins whose parameters are written in the field; empty if there are none.
   */
  readonly plugins: readonly string[];
  readonly schema: Schema;
}

interface Place {
  readonly steps: readonly string[];
  /** As in `FieldDoc`. */
  readonly of: string | null;
  /** The sibling fields that an example needs, such as the one that names the plugin. */
  readonly beside: JsonObject;
  readonly required: boolean;
  /** Whether the field belongs to the items of a list: only the list has an example. */
  readonly isOfItem?: boolean;
}

const SECTION_OF = { attack: 'poisoning', defence: 'defences', adapter: 'adapter' } as const;

/**
 * Returns functions that describe the fields of a spec that may name the plugins of the registry.
 */
export function makeReference(registry: SpecRegistry) {
  const shapes = makeShapes(registry);
  return {
    /**
     * Returns the field at a path. If it is a parameter of plugins, returns it for each plugin that
     * has it; if there is no such field, nothing; for an empty path, all top-level fields.
     */
    find: (path: string): readonly FieldDoc[] =>
      docsAt(
        shapes,
        path
          .replace(/\[\d*\]/g, '')
          .split('.')
          .filter((step) => step !== '' && !/^\d+$/.test(step)),
      ),
    /**
     * Returns the parameters of an attack, a defence, an adapter or a scorer; an empty list if
     * there is no such plugin.
     */
    parameters(kind: keyof typeof SECTION_OF | 'scorer', name: string): readonly FieldDoc[] {
      const { byName, discriminator, steps } =
        kind === 'scorer'
          ? { byName: shapes.scorers, discriminator: 'scorer', steps: ['evaluate', 'scorer'] }
          : { ...shapes.variants[SECTION_OF[kind]], steps: [SECTION_OF[kind]] };
      const schema = byName.get(name);
      if (schema === undefined) return [];
      const beside = { [discriminator]: name, ...requiredExamples(schema, discriminator) };
      return fieldsIn(schema, { steps, of: null, beside, required: false }).filter(
        ({ path }) => path !== [...steps, discriminator].join('.'),
      );
    },
    /**
     * Returns the paths of which an unknown path may be a misspelling: those with the same last
     * step; otherwise the most similar path; otherwise those with the most similar last step.
     */
    similar(path: string): readonly string[] {
      const last = lastStep(path);
      // Mappings count too, but not fields below `base`, which have the same names as the cell's.
      const fields = new Set(
        [
          ...Object.keys(shapes.root.properties ?? {}),
          'poisoning.when',
          ...fieldDefaults(shapes).keys(),
        ]
          .filter((field) => !field.startsWith(`${BASE}.`))
          .flatMap((field) => field.split('.').map((_, i, all) => all.slice(0, i + 1).join('.'))),
      );
      const byEnd = new Map<string, string[]>();
      for (const field of fields) {
        const end = lastStep(field);
        byEnd.set(end, [...(byEnd.get(end) ?? []), field]);
      }
      const exact = byEnd.get(last);
      if (exact !== undefined) return exact;
      const whole = nearest(path, fields);
      return whole ? [whole.word] : (byEnd.get(nearest(last, byEnd.keys())?.word ?? '') ?? []);
    },
  };
}

const lastStep = (path: string): string => path.split('.').at(-1) ?? path;

/**
 * Returns the fields to which the steps of a path lead: all top-level fields if there are no steps,
 * and one for each plugin if the field is a parameter of plugins.
 */
function docsAt(shapes: Shapes, steps: readonly string[]): FieldDoc[] {
  const [written, ...rest] = steps;
  // The cell's field `defence` is written under `defences`.
  const head = written === cellField('defences') ? 'defences' : written;
  const { root } = shapes;
  if (head === undefined)
    return fieldsIn(root, { steps: [], of: null, beside: {}, required: false });
  const top = declaredField(root, head);
  if (top === undefined) return [];
  const place: Place = {
    steps: [head],
    of: null,
    beside: {},
    required: root.required?.includes(head) === true,
  };
  if (head === BASE && isSection(rest[0] ?? '') && rest[0] !== 'data') {
    // The base is a spec within the spec, with the same fields one level down.
    return docsAt(shapes, rest).map((doc) => ({
      ...doc,
      path: `${BASE}.${doc.path}`,
      example: doc.example === null ? null : `${BASE}: { ${doc.example} }`,
    }));
  }
  if (!isVariantSection(head)) return docsBelow(top, rest, place);
  const { byName, discriminator } = shapes.variants[head];
  const [field] = rest;
  const when: Schema = { ...openSchema(fieldSchema(root, 'tags')), description: WHEN };
  if (field === undefined) {
    const whole = { ...top, properties: { ...top.properties, when } };
    return [{ ...describeField(whole, place), schema: top, plugins: [...byName.keys()] }];
  }
  if (field === 'when') return docsBelow(when, rest.slice(1), { ...place, steps: [head, field] });
  if (head === 'adapter' && field === 'train')
    return docsBelow(shapes.section.train, rest.slice(1), {
      ...place,
      steps: [head, field],
      required: false,
    });
  if (Object.hasOwn(top.properties ?? {}, field)) return docsBelow(top, rest, place);
  const kind = PLUGIN_OF[head];
  return [...byName].flatMap(([name, schema]) =>
    docsBelow(schema, rest, {
      ...place,
      of: `${kind} ${name}`,
      beside: { [discriminator]: name, ...requiredExamples(schema, discriminator) },
    }),
  );
}

/** Returns example values of the parameters that a plugin requires and that have no default. */
function requiredExamples(
  { properties = {}, required = [] }: Schema,
  discriminator: string,
): JsonObject {
  const needed = Object.entries(properties).filter(
    ([name, { default: fallback }]) =>
      name !== discriminator && required.includes(name) && fallback === undefined,
  );
  return Object.fromEntries(needed.map(([name, schema]) => [name, exampleValue(schema)]));
}

/**
 * Returns a list of the one field to which steps lead from a field with `schema`; an empty list if
 * there is none.
 * @param place the place of the field with `schema`
 */
function docsBelow(schema: Schema, steps: readonly string[], place: Place): FieldDoc[] {
  const [step, ...rest] = steps;
  if (step === undefined) return [describeField(schema, place)];
  const record = recordIn(schema);
  const below = (record && declaredField(record, step)) ?? openSchema(schema);
  if (below === undefined) return [];
  return docsBelow(below, rest, {
    ...place,
    steps: [...place.steps, step],
    isOfItem: place.isOfItem === true || schema.type === 'array',
    required: record?.required?.includes(step) === true,
  });
}

/**
 * Returns the first schema that declares fields: this one, that of its items, or one of its forms.
 * Undefined if none does, or if the field names a plugin, on which its fields depend.
 */
function recordIn(schema: Schema): Schema | undefined {
  if (schema.properties !== undefined) return schema;
  if (schema.plugin !== undefined) return undefined;
  const forms = [itemSchema(schema) ?? [], alternatives(schema) ?? []].flat();
  for (const form of forms) {
    const record = recordIn(form);
    if (record !== undefined) return record;
  }
  return undefined;
}

/**
 * Describes the fields that a mapping's schema declares.
 * @param place the place of the mapping
 */
const fieldsIn = (schema: Schema, place: Place): FieldDoc[] =>
  Object.entries(schema.properties ?? {}).map(([name, field]) =>
    describeField(field, {
      ...place,
      steps: [...place.steps, name],
      required: schema.required?.includes(name) === true,
    }),
  );

function describeField(schema: Schema, place: Place): FieldDoc {
  const { steps, of, required } = place;
  const record = recordIn(schema),
    fallback = schema.default;
  return {
    path: steps.join('.'),
    of,
    required: required && fallback === undefined,
    type: typeWords(schema),
    default: fallback === undefined || isEmpty(fallback) ? null : fallback,
    description: schema.description ?? '',
    values: schema.enum ?? itemSchema(schema)?.enum ?? [],
    axis: (sections as readonly string[]).includes(steps[0] ?? '') && isScalar(schema),
    example: record === schema || place.isOfItem === true ? null : exampleLine(schema, place),
    fields: record === undefined ? [] : fieldsIn(record, place),
    plugins: schema.plugin === 'scorer' ? (schema.anyOf?.[0]?.enum ?? []).map(String) : [],
    schema,
  };
}

/** Whether a value is [] or {}. */
const isEmpty = (value: Json): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

const isList = ({ type }: Schema): boolean => [type].flat()[0] === 'array';

function typeWords(schema: Schema): string {
  if (schema.plugin === 'source' || schema.format === 'source') {
    // The pattern is `^(npm|hf|file):.+`.
    const schemes = /^\^\((.*)\):/.exec(schema.pattern ?? '')?.[1]?.split('|');
    const words = isList(schema) ? 'a list of sources' : 'a source';
    return schemes === undefined
      ? `${words}, such as file:PATH`
      : `${words} (${schemes.map((scheme) => `${scheme}:…`).join(', ')})`;
  }
  if (schema.format === 'path') return 'a path, relative to the spec';
  if (schema.plugin !== undefined && schema.type === 'string') return 'the name of a plugin';
  return describe(schema);
}

/** Returns a line of YAML that sets the field, and the sibling fields that it needs. */
function exampleLine(schema: Schema, { steps, beside }: Place): string {
  const field = { [steps.at(-1) ?? '']: exampleValue(schema) };
  // A top-level field has nothing beside it.
  const inner = steps.length > 1 ? { ...beside, ...field } : field;
  const value = steps
    .slice(0, -1)
    .reduceRight<JsonObject>((below, step) => ({ [step]: below }), inner);
  const text = stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
  return text.replace(/^\{ ([^]*) \}$/, '$1'); // without the outer braces
}

/** Returns a value that the schema allows; if known, a value other than the default. */
function exampleValue(schema: Schema): Json {
  const [example] = schema.examples ?? [];
  if (example !== undefined) return example;
  const other = schema.enum?.find((value) => value !== schema.default) ?? schema.enum?.[0];
  if (other !== undefined) return other;
  if (typeof schema.default === 'boolean') return !schema.default;
  if (schema.default !== undefined && !isEmpty(schema.default)) return schema.default;
  if (schema.format === 'source') {
    const source = 'file:data/rows.tsv';
    return isList(schema) ? [source] : source;
  }
  if (schema.format === 'path') return './folder';
  const [branch] = schema.anyOf ?? [];
  if (branch !== undefined) return exampleValue(branch);
  const [type = 'string'] = [schema.type].flat();
  switch (type) {
    case 'integer':
    case 'number':
      return schema.minimum ?? 1;
    case 'boolean':
      return true;
    case 'array':
      return [exampleValue(itemSchema(schema) ?? {})];
    case 'object':
      return {};
    default:
      return 'text';
  }
}
