/** Reads the keywords of a field's JSON Schema for the grid and the diagnostics. */
import type { Json, JsonSchema } from '../api.ts';
import { either } from './suggest.ts';

/** The keywords that this folder reads. ajv knows them all. */
export interface Schema {
  readonly $ref?: string;
  readonly definitions?: { readonly [name: string]: Schema };
  readonly title?: string;
  readonly description?: string;
  readonly default?: Json;
  readonly examples?: readonly Json[];
  readonly type?: string | readonly string[];
  readonly enum?: readonly Json[];
  readonly const?: Json;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly not?: Schema;
  readonly if?: Schema;
  readonly then?: Schema;
  readonly else?: Schema;
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
  /** The format of the text. If it is `path` or `source`, a relative path starts from the spec. */
  readonly format?: string;
  /** An extension: the field may be a grid axis. */
  readonly axis?: true;
  /** An extension: the default does not apply if this sibling, or one of these, is written. */
  readonly unless?: string | readonly string[];
  /** An extension: a spec may write `{ file: PATH }` in place of the text. */
  readonly textFile?: true;
  /** An extension: the values are names of plugins of this kind. */
  readonly plugin?: string;
  readonly [keyword: string]: unknown;
}

export type RecordSchema = Schema & { readonly properties: { readonly [name: string]: Schema } };

export const asSchema = (schema: JsonSchema): Schema => schema;

/** Returns the schema of a field; undefined if the schema does not declare it. */
export const declaredField = ({ properties = {} }: Schema, name: string): Schema | undefined =>
  Object.hasOwn(properties, name) ? properties[name] : undefined;

/** Returns the schema of a field. Throws if the schema does not declare it. */
export function fieldSchema(schema: Schema, name: string): Schema {
  const field = declaredField(schema, name);
  if (field === undefined) throw new Error(`the schema declares no field "${name}"`);
  return field;
}

/**
 * Returns the schema of all items of a list; undefined if it has none, or one for each position.
 */
export const itemSchema = ({ items }: Schema): Schema | undefined =>
  Array.isArray(items) ? undefined : (items as Schema | undefined);

/**
 * Returns the schema for fields that a mapping's schema does not declare; undefined if it states
 * none.
 */
export const openSchema = ({ additionalProperties: open }: Schema): Schema | undefined =>
  typeof open === 'object' ? open : undefined;

/** Returns the name in `#/definitions/NAME`. */
export const definitionName = (reference: string): string =>
  reference.replace('#/definitions/', '');

/** Returns the forms that a value may take, or undefined for a schema with only one form. */
export const alternatives = (schema: Schema): readonly Schema[] | undefined =>
  schema.anyOf ?? schema.oneOf;

/**
 * Returns the JSON types that a schema allows, by the names that `jsonType` returns, and `integer`:
 * all types if the schema restricts none.
 */
export function typesOf(schema: Schema): ReadonlySet<string> {
  if (schema.type !== undefined) return new Set([schema.type].flat());
  // All definitions that are referred to are mappings.
  if (schema.$ref !== undefined) return new Set(['object']);
  const branches = alternatives(schema);
  if (branches) return new Set(branches.flatMap((branch) => [...typesOf(branch)]));
  if (schema.const !== undefined) return new Set([jsonType(schema.const)]);
  if (schema.enum) return new Set(schema.enum.map(jsonType));
  if (schema.properties) return new Set(['object']);
  return new Set(['string', 'number', 'boolean', 'array', 'object', 'null']);
}

/** Returns the JSON type of a value; `null` for undefined too. */
export function jsonType(value: unknown): string {
  if (value === null || value === undefined) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** Whether the schema allows the type of a value. Any number passes for `integer`. */
export const acceptsType = (schema: Schema, value: unknown): boolean => {
  const types = typesOf(schema),
    type = jsonType(value);
  return types.has(type) || (type === 'number' && types.has('integer'));
};

/** Whether the field takes a single value, never a list or a mapping: a list there is an axis. */
export function isScalar(schema: Schema): boolean {
  const types = typesOf(schema);
  return types.size > 0 && !types.has('array') && !types.has('object');
}

export const isNumeric = (schema: Schema): boolean =>
  typesOf(schema).has('number') || typesOf(schema).has('integer');

/** Whether the schema is of a mapping and declares fields of the mapping. */
export const declaresFields = (schema: Schema): schema is RecordSchema =>
  schema.properties !== undefined && typesOf(schema).has('object');

// ---- in words ----------------------------------------------------------------------------------

/** Returns what a schema expects, in words: `a whole number of at least 1`, `a number or "r"`. */
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

/** Returns one type of a schema in words: `a number from 0 to 1`. */
function describeType(type: string, schema: Schema): string {
  switch (type) {
    case 'number':
      return `a number${boundsText(schema)}`;
    case 'integer':
      return `a whole number${boundsText(schema)}`;
    case 'string':
      return schema.pattern !== undefined && schema.title !== undefined ? schema.title : 'text';
    case 'boolean':
      return 'true or false';
    case 'array': {
      const { minItems } = schema,
        item = itemSchema(schema);
      const of = item !== undefined && isScalar(item) ? ` of ${plural(describe(item))}` : '';
      const least =
        minItems !== undefined && minItems > 1 ? ` with at least ${minItems} entries` : '';
      return `a list${of}${least}`;
    }
    case 'object':
      return 'a mapping';
    default:
      return 'nothing';
  }
}

/**
 * Returns the bounds of a number, in words that follow `a number`: ` from 0 to 1`; '' if it has
 * none.
 */
function boundsText({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Schema): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`;
  const bounds = [
    minimum !== undefined && `of at least ${minimum}`,
    minimum === undefined && exclusiveMinimum !== undefined && `above ${exclusiveMinimum}`,
    maximum !== undefined && `of at most ${maximum}`,
    maximum === undefined && exclusiveMaximum !== undefined && `below ${exclusiveMaximum}`,
  ].filter((bound) => bound !== false);
  return bounds.length === 0 ? '' : ` ${bounds.join(' and ')}`;
}

/** Returns the plural of the words for a number or a text; other words as they are. */
const plural = (words: string): string =>
  words
    .replace(/\ba whole number\b/g, 'whole numbers')
    .replace(/\ba number\b/g, 'numbers')
    .replace(/\btext\b/g, 'texts');

/** Returns a value as messages show it: a list or mapping by its type alone, null as `nothing`. */
export function show(value: Json | undefined): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return String(value);
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
}

/**
 * Returns the description up to its first full stop or colon, which is left out; undefined if there
 * is no description.
 */
export const firstSentence = (schema: Schema | undefined): string | undefined => {
  const text = schema?.description;
  if (text === undefined) return undefined;
  const sentence = /^.*?[.:](?=\s|$)/s.exec(text)?.[0] ?? text;
  return sentence.replace(/[.:]$/, '');
};
