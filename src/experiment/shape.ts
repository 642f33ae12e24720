/** What a field's schema says of its values: the one place that reads JSON Schema keywords for people and for the grid. */
import type { Json, JsonSchema } from '../api.ts';
import { either } from './suggest.ts';

/** The keywords that are looked at here; ajv knows them all. */
export interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly Json[];
  readonly const?: Json;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly not?: Schema;
  readonly required?: readonly string[];
  readonly properties?: { readonly [name: string]: Schema };
  readonly additionalProperties?: boolean | Schema;
  readonly items?: Schema | readonly Schema[];
  readonly minItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  readonly pattern?: string;
  /** `path` and `source`: relative ones are relative to the spec. */
  readonly format?: string;
  readonly default?: Json;
  readonly description?: string;
  /** Ours: the field may be a grid axis. */
  readonly axis?: true;
  /** Ours: the default does not hold where this field beside it is written. */
  readonly unless?: string;
  /** Ours: the values are names of plugins of this kind. */
  readonly plugin?: string;
  readonly [keyword: string]: unknown;
}

export const asSchema = (schema: JsonSchema): Schema => schema;

const alternatives = (schema: Schema): readonly Schema[] | undefined =>
  schema.anyOf ?? schema.oneOf;

/** The JSON types that a schema lets through. */
export function typesOf(schema: Schema): ReadonlySet<string> {
  if (schema.type !== undefined) return new Set([schema.type].flat());
  if (schema.$ref !== undefined) return new Set(['object']); // the axis rules, the only reference there is
  const branches = alternatives(schema);
  if (branches) return new Set(branches.flatMap((branch) => [...typesOf(branch)]));
  if (schema.const !== undefined) return new Set([jsonType(schema.const)]);
  if (schema.enum) return new Set(schema.enum.map(jsonType));
  if (schema.properties) return new Set(['object']);
  return new Set(['string', 'number', 'boolean', 'array', 'object', 'null']);
}

export function jsonType(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

export const accepts = (schema: Schema, value: unknown): boolean => {
  const types = typesOf(schema),
    type = jsonType(value);
  return types.has(type) || (type === 'number' && types.has('integer'));
};

/** A field whose values are single ones may be an axis; one that may itself be a list or a mapping never is. */
export function isScalar(schema: Schema): boolean {
  const types = typesOf(schema);
  return types.size > 0 && !types.has('array') && !types.has('object');
}

export const isNumeric = (schema: Schema): boolean =>
  typesOf(schema).has('number') || typesOf(schema).has('integer');

/** A mapping with named fields, to be walked into. */
export const isRecord = (
  schema: Schema,
): schema is Schema & { readonly properties: { readonly [name: string]: Schema } } =>
  schema.properties !== undefined && typesOf(schema).has('object');

// ---- in words ----------------------------------------------------------------------------------------------------------

/** What is expected: `a whole number of at least 1`, `a number or "r"`. */
export function describe(schema: Schema): string {
  const branches = alternatives(schema);
  if (branches) return either([...new Set(branches.map(describe))]);
  if (schema.const !== undefined) return show(schema.const);
  if (schema.enum)
    return schema.enum.length > 12
      ? `one of ${schema.enum.length} words`
      : either(schema.enum.map(show));
  return either([...typesOf(schema)].map((type) => describeType(type, schema)));
}

function describeType(type: string, schema: Schema): string {
  switch (type) {
    case 'number':
      return `a number${bounds(schema)}`;
    case 'integer':
      return `a whole number${bounds(schema)}`;
    case 'string':
      return schema.pattern !== undefined && typeof schema.title === 'string'
        ? schema.title
        : 'text';
    case 'boolean':
      return 'true or false';
    case 'array': {
      const { items, minItems } = schema;
      const of =
        items !== undefined && !Array.isArray(items) && isScalar(items as Schema)
          ? ` of ${plural(describe(items as Schema))}`
          : '';
      return `a list${of}${minItems !== undefined && minItems > 1 ? ` with at least ${minItems} entries` : ''}`;
    }
    case 'object':
      return 'a mapping';
    default:
      return 'nothing';
  }
}

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  const low =
    minimum !== undefined
      ? `of at least ${minimum}`
      : exclusiveMinimum !== undefined
        ? `above ${exclusiveMinimum}`
        : null;
  const high =
    maximum !== undefined
      ? `of at most ${maximum}`
      : exclusiveMaximum !== undefined
        ? `below ${exclusiveMaximum}`
        : null;
  const both = [low, high].filter((bound) => bound !== null).join(' and ');
  return both && ` ${both}`;
}

const plural = (words: string): string =>
  words
    .replace(/\ba whole number\b/g, 'whole numbers')
    .replace(/\ba number\b/g, 'numbers')
    .replace(/\btext\b/g, 'texts');

/** A value as a message shows it. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
}

/** The first sentence of a description, as a hint. */
export const firstSentence = (schema: Schema | undefined): string | undefined => {
  const text = schema?.description;
  if (text === undefined) return undefined;
  const sentence = /^.*?[.:](?=\s|$)/s.exec(text)?.[0] ?? text;
  return sentence.replace(/[.:]$/, '');
};
