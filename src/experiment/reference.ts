/** The spec's fields in words, one part at a time: what `dosimeter schema PATH` prints. */
import { stringify } from 'yaml';
import type { Json, JsonObject } from '../api.ts';
import type { Shapes } from './schema.ts';
import { BASE, fieldsOf, isVariantSection, sections, shapesOf, WHEN } from './schema.ts';
import type { Schema } from './shape.ts';
import { describe, isRecord, isScalar } from './shape.ts';
import { nearest } from './suggest.ts';
import type { SpecRegistry } from './types.ts';

export interface FieldDoc {
  readonly path: string;
  /** The plugin whose parameter it is: `attack badnets`. */
  readonly of: string | null;
  readonly required: boolean;
  /** What values it takes. */
  readonly type: string;
  readonly default: Json | null;
  readonly description: string;
  /** Every value that it may have, where these are words. */
  readonly values: readonly Json[];
  /** Whether a list in its place is an axis of the grid. */
  readonly axis: boolean;
  /** A line of YAML; null for a mapping, whose fields have theirs. */
  readonly example: string | null;
  /** Of a mapping. */
  readonly fields: readonly FieldDoc[];
  /** Of a section that a plugin's parameters stand in: the plugins. */
  readonly plugins: readonly string[];
  readonly schema: Schema;
}

export interface Reference {
  /** By path: one field, or one a plugin that has a parameter of this name; none where there is no such field. */
  find(path: string): readonly FieldDoc[];
  /** The parameters of an attack or an adapter. */
  parameters(kind: 'attack' | 'adapter', name: string): readonly FieldDoc[];
  /** Paths that may be meant by one that there is not. */
  meant(path: string): readonly string[];
}

/** A place in a spec: what is around a field, as an example shows it. */
interface Place {
  readonly steps: readonly string[];
  readonly of: string | null;
  /** What else an example needs beside it: the plugin's name. */
  readonly beside: JsonObject;
  readonly required: boolean;
}

const WHEN_OF = 'poisoning.when';
const SECTION_OF = { attack: 'poisoning', adapter: 'adapter' } as const;

export function referenceOf(registry: SpecRegistry): Reference {
  const shapes = shapesOf(registry);
  return {
    find: (path) =>
      walk(
        shapes,
        path
          .replace(/\[\d*\]/g, '')
          .split('.')
          .filter((step) => step !== '' && !/^\d+$/.test(step)),
      ),
    parameters(kind, name) {
      const { byName, discriminator } = shapes.variants[SECTION_OF[kind]];
      const schema = byName.get(name);
      const place = { steps: [SECTION_OF[kind]], of: null, beside: {}, required: false };
      return schema === undefined
        ? []
        : fieldsIn(schema, { ...place, beside: { [discriminator]: name } }).filter(
            ({ path }) => path !== `${SECTION_OF[kind]}.${discriminator}`,
          );
    },
    meant(path) {
      const last = path.split('.').at(-1)!;
      // Mappings too; those below `base` are skipped, since they have the cell's own names.
      const fields = new Set(
        [...Object.keys(shapes.root.properties!), WHEN_OF, ...fieldsOf(shapes).keys()]
          .filter((field) => !field.startsWith(`${BASE}.`))
          .flatMap((field) => field.split('.').map((_, i, all) => all.slice(0, i + 1).join('.'))),
      );
      const byEnd = new Map<string, string[]>();
      for (const field of fields) {
        const end = field.split('.').at(-1)!;
        byEnd.set(end, [...(byEnd.get(end) ?? []), field]);
      }
      if (byEnd.has(last)) return byEnd.get(last)!;
      const whole = nearest(path, fields);
      return whole ? [whole.word] : (byEnd.get(nearest(last, byEnd.keys())?.word ?? '') ?? []);
    },
  };
}

function walk(shapes: Shapes, steps: readonly string[]): FieldDoc[] {
  const [head, ...rest] = steps;
  const { root } = shapes;
  if (head === undefined)
    return fieldsIn(root, { steps: [], of: null, beside: {}, required: false });
  const top = root.properties?.[head];
  if (top === undefined) return [];
  const place: Place = {
    steps: [head],
    of: null,
    beside: {},
    required: root.required?.includes(head) === true,
  };
  if (head === BASE && rest.length > 0) {
    // A spec within the spec: the same fields, a floor lower.
    return walk(shapes, rest).map((doc) => ({
      ...doc,
      path: `${BASE}.${doc.path}`,
      example: doc.example === null ? null : `${BASE}: { ${doc.example} }`,
    }));
  }
  if (!isVariantSection(head)) return descend(top, rest, place);
  const { byName, discriminator } = shapes.variants[head];
  const [field] = rest;
  // A pattern, as `tags` has them.
  const when: Schema = {
    ...(root.properties!['tags']!.additionalProperties as Schema),
    description: WHEN,
  };
  if (field === undefined) {
    const whole = { ...top, properties: { ...top.properties, when } };
    return [{ ...docOf(whole, place), schema: top, plugins: [...byName.keys()] }];
  }
  if (field === 'when') return descend(when, rest.slice(1), { ...place, steps: [head, field] });
  if (head === 'adapter' && field === 'train')
    return descend(shapes.section.train, rest.slice(1), {
      ...place,
      steps: [head, field],
      beside: {},
      required: false,
    });
  if (Object.hasOwn(top.properties ?? {}, field)) return descend(top, rest, place);
  const kind = head === 'poisoning' ? 'attack' : 'adapter';
  return [...byName].flatMap(([name, schema]) =>
    descend(schema, rest, { ...place, of: `${kind} ${name}`, beside: { [discriminator]: name } }),
  );
}

function descend(schema: Schema, steps: readonly string[], place: Place): FieldDoc[] {
  const [step, ...rest] = steps;
  if (step === undefined) return [docOf(schema, place)];
  const items = Array.isArray(schema.items) ? undefined : (schema.items as Schema | undefined);
  const open = schema.additionalProperties;
  const below =
    (schema.properties !== undefined && Object.hasOwn(schema.properties, step)
      ? schema.properties[step]
      : items?.properties?.[step]) ?? (typeof open === 'object' ? open : undefined);
  if (below === undefined) return [];
  return descend(below, rest, {
    ...place,
    steps: [...place.steps, step],
    required: (schema.required ?? items?.required ?? []).includes(step),
  });
}

const fieldsIn = (schema: Schema, place: Place): FieldDoc[] =>
  Object.entries(schema.properties ?? {}).map(([name, field]) =>
    docOf(field, {
      ...place,
      steps: [...place.steps, name],
      required: schema.required?.includes(name) === true,
    }),
  );

function docOf(schema: Schema, place: Place): FieldDoc {
  const { steps, of, required } = place;
  const record = isRecord(schema) || schema.properties !== undefined;
  const fallback = schema.default;
  return {
    path: steps.join('.'),
    of,
    required: required && fallback === undefined,
    type: typeWords(schema),
    default: fallback === undefined || isEmpty(fallback) ? null : fallback,
    description: schema.description ?? '',
    values: schema.enum ?? (schema.items as Schema | undefined)?.enum ?? [],
    axis: (sections as readonly string[]).includes(steps[0]!) && isScalar(schema),
    example: record ? null : exampleOf(schema, place),
    fields: record ? fieldsIn(schema, place) : [],
    plugins: [],
    schema,
  };
}

const isEmpty = (value: Json): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function typeWords(schema: Schema): string {
  if (schema.plugin === 'source' || schema.format === 'source') {
    const schemes = /^\^\((.*)\):/.exec(schema.pattern ?? '')?.[1]?.split('|') ?? [];
    return `a source (${schemes.map((scheme) => `${scheme}:…`).join(', ')})`;
  }
  if (schema.format === 'path') return 'a path, relative to the spec';
  if (schema.plugin !== undefined && schema.type === 'string') return `the name of a plugin`;
  return describe(schema);
}

function exampleOf(schema: Schema, { steps, beside }: Place): string {
  const inner = { ...beside, [steps.at(-1)!]: exampleValue(schema) };
  const value = steps
    .slice(0, -1)
    .reduceRight<JsonObject>((below, step) => ({ [step]: below }), inner);
  const [root, ...rest] = steps;
  const text = stringify(rest.length === 0 ? { [root!]: value[root!]! } : value, {
    collectionStyle: 'flow',
    lineWidth: 0,
  }).trim();
  return text.replace(/^\{ ([^]*) \}$/, '$1');
}

function exampleValue(schema: Schema): Json {
  const [example] = (schema.examples ?? []) as readonly Json[];
  if (example !== undefined) return example;
  const other = schema.enum?.find((value) => value !== schema.default) ?? schema.enum?.[0];
  if (other !== undefined) return other;
  if (typeof schema.default === 'boolean') return !schema.default;
  if (schema.default !== undefined && !isEmpty(schema.default)) return schema.default;
  if (schema.format === 'source') return 'file:data/rows.tsv';
  if (schema.format === 'path') return './folder';
  const [branch] = schema.anyOf ?? [];
  if (branch !== undefined) return exampleValue(branch);
  switch ([schema.type].flat()[0]) {
    case 'integer':
    case 'number':
      return schema.minimum ?? 1;
    case 'boolean':
      return true;
    case 'array':
      return [exampleValue((schema.items as Schema | undefined) ?? {})];
    case 'object':
      return {};
    default:
      return 'text';
  }
}
