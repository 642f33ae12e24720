/**
 * Whether a value satisfies a schema, read keyword by keyword. Most specs are sound and are looked at once: for these,
 * compiling the schema (ajv) takes a hundred times as long. What is not plainly sound is ajv's to judge.
 */
import { isDeepStrictEqual } from 'node:util';
import type { JsonSchema } from '../api.ts';
import type { Schema } from './shape.ts';
import { asSchema } from './shape.ts';

type Value = unknown;
type Rule = (
  expected: never,
  value: Value,
  schema: Schema,
  holds: (schema: Schema, value: Value) => boolean,
) => boolean;

/** True only if it is; false: it is not, or the schema has a keyword that is not read here. */
export function isSound(root: JsonSchema, value: unknown): boolean {
  const definitions = (root.definitions ?? {}) as { readonly [name: string]: Schema };
  let read = true;
  const holds = (schema: Schema, of: Value): boolean => {
    for (const keyword in schema) {
      const expected = schema[keyword];
      if (keyword === '$ref') {
        const target = definitions[String(expected).replace('#/definitions/', '')];
        if (!target) {
          read = false;
          return false;
        }
        if (!holds(target, of)) return false;
        continue;
      }
      const rule = Object.hasOwn(RULES, keyword) ? RULES[keyword]! : undefined;
      if (rule === undefined) {
        read = false;
        return false;
      }
      if (rule !== null && !rule(expected as never, of, schema, holds)) return false;
    }
    return true;
  };
  return holds(asSchema(root), value) && read;
}

const isObject = (value: Value): value is { readonly [key: string]: Value } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isOfType = (type: string, value: Value): boolean => {
  switch (type) {
    case 'null':
      return value === null;
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return Number.isFinite(value);
    default:
      return typeof value === type;
  }
};

/** A limit says nothing of a value that is no number. */
const limit =
  (holds: (value: number, bound: number) => boolean): Rule =>
  (bound, value) =>
    typeof value !== 'number' || holds(value, bound);

/** By keyword of JSON Schema draft 7; null: it restricts nothing. */
const RULES: { readonly [keyword: string]: Rule | null } = {
  $schema: null,
  $id: null,
  $comment: null,
  title: null,
  description: null,
  default: null,
  examples: null,
  definitions: null,
  format: null,
  axis: null,
  plugin: null,
  unless: null,
  type: (types: string | readonly string[], value) =>
    typeof types === 'string'
      ? isOfType(types, value)
      : types.some((type) => isOfType(type, value)),
  const: (expected: Value, value) => isDeepStrictEqual(value, expected),
  enum: (values: readonly Value[], value) => values.some((one) => isDeepStrictEqual(value, one)),
  minimum: limit((value, bound) => value >= bound),
  maximum: limit((value, bound) => value <= bound),
  exclusiveMinimum: limit((value, bound) => value > bound),
  exclusiveMaximum: limit((value, bound) => value < bound),
  pattern: (pattern: string, value) =>
    typeof value !== 'string' || new RegExp(pattern, 'u').test(value),
  minLength: (least: number, value) => typeof value !== 'string' || [...value].length >= least,
  minItems: (least: number, value) => !Array.isArray(value) || value.length >= least,
  maxItems: (most: number, value) => !Array.isArray(value) || value.length <= most,
  uniqueItems: (wanted: boolean, value) => !wanted || !Array.isArray(value) || isUnique(value),
  items: (of: Schema | readonly Schema[], value, _schema, holds) =>
    !Array.isArray(value) ||
    (Array.isArray(of)
      ? value.every((item, i) => i >= of.length || holds((of as readonly Schema[])[i]!, item))
      : value.every((item) => holds(of as Schema, item))),
  required: (names: readonly string[], value) =>
    !isObject(value) || names.every((name) => value[name] !== undefined),
  properties: (fields: { readonly [name: string]: Schema }, value, _schema, holds) =>
    !isObject(value) ||
    Object.keys(value).every(
      (name) =>
        !Object.hasOwn(fields, name) ||
        value[name] === undefined ||
        holds(fields[name]!, value[name]),
    ),
  additionalProperties: (rest: boolean | Schema, value, { properties = {} }, holds) =>
    rest === true ||
    !isObject(value) ||
    Object.keys(value).every(
      (name) => Object.hasOwn(properties, name) || (rest !== false && holds(rest, value[name])),
    ),
  propertyNames: (names: Schema, value, _schema, holds) =>
    !isObject(value) || Object.keys(value).every((name) => holds(names, name)),
  anyOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.some((form) => holds(form, value)),
  oneOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.filter((form) => holds(form, value)).length === 1,
  allOf: (forms: readonly Schema[], value, _schema, holds) =>
    forms.every((form) => holds(form, value)),
  not: (form: Schema, value, _schema, holds) => !holds(form, value),
  if: (condition: Schema, value, schema, holds) => {
    const branch = schema[holds(condition, value) ? 'then' : 'else'] as Schema | undefined;
    return branch === undefined || holds(branch, value);
  },
  then: null,
  else: null,
};

function isUnique(values: readonly Value[]): boolean {
  const plain = new Set<Value>(),
    others: Value[] = [];
  for (const value of values) {
    if (typeof value === 'object' && value !== null) {
      if (others.some((other) => isDeepStrictEqual(other, value))) return false;
      others.push(value);
    } else if (plain.has(value)) return false;
    else plain.add(value);
  }
  return true;
}
