/** Expands a section of the tree to all its values: fills in defaults and multiplies axes. */
import type { Json, JsonObject } from '../api.ts';
import type { MapNode, Node } from './node.ts';
import { toJson } from './node.ts';
import type { RecordSchema, Schema } from './shape.ts';
import { isRecord, isScalar } from './shape.ts';

/** The value of a field; undefined if the field is left out and has no default. */
type Value = Json | undefined;

/**
 * Returns the values of a section. The last axis varies fastest. Values share the parts that are
 * equal.
 */
export function expand(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): readonly Value[] {
  if (isRecord(schema)) {
    if (node === undefined && fallback === undefined) return [undefined];
    const columns = recordFields(node, schema, fallback).map(
      ([key, below, field, value]) =>
        [key, field ? expand(below, field, value) : [canonical(toJson(below))]] as const,
    );
    return multiply(columns);
  }
  if (node === undefined) return [fallback];
  return isAxis(node, schema) ? node.items.map(toJson) : [canonical(toJson(node))];
}

/** Returns the number of values that `expand` would return. */
export function countExpanded(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): number {
  if (isRecord(schema)) {
    if (node === undefined && fallback === undefined) return 1;
    return recordFields(node, schema, fallback).reduce(
      (count, [, below, field, value]) => count * (field ? countExpanded(below, field, value) : 1),
      1,
    );
  }
  return node !== undefined && isAxis(node, schema) ? node.items.length : 1;
}

/** Returns the section with defaults filled in and axes as lists. */
export function fill(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): Value {
  if (!isRecord(schema)) return node === undefined ? fallback : canonical(toJson(node));
  if (node === undefined && fallback === undefined) return undefined;
  const object: { [key: string]: Json } = {};
  for (const [key, below, field, value] of recordFields(node, schema, fallback)) {
    const filled = field ? fill(below, field, value) : canonical(toJson(below));
    if (filled !== undefined) object[key] = filled;
  }
  return object;
}

export const isAxis = (node: Node, schema: Schema): node is Node & { readonly kind: 'list' } =>
  node.kind === 'list' && isScalar(schema);

type RecordField =
  | readonly [key: string, node: Node | undefined, schema: Schema, fallback: Value]
  | readonly [key: string, node: Node, schema: undefined, fallback: undefined];

/**
 * Returns the fields of a mapping in the schema's order, so that the order of keys in a file
 * changes nothing. Written fields that the schema does not declare follow, sorted.
 */
function recordFields(
  node: Node | undefined,
  schema: RecordSchema,
  fallback: Value,
): RecordField[] {
  const written: MapNode['entries'] = node?.kind === 'map' ? node.entries : new Map();
  const preset = node === undefined && isObject(fallback) ? fallback : {};
  // Some fields exclude each other. If one of them is written, the others are left out along with
  // their defaults, because a cell's name must not show a value that does not apply.
  const rivals = schema.not?.required ?? [],
    isChosen = rivals.some((key) => written.has(key));
  const known = Object.entries(schema.properties)
    .filter(([key]) => !isChosen || written.has(key) || !rivals.includes(key))
    .map(([key, declared]): RecordField => {
      const unless = [declared.unless ?? []].flat();
      const field = unless.some((key) => written.has(key)) ? withoutDefault(declared) : declared;
      return [key, written.get(key)?.value, field, preset[key] ?? field.default];
    });
  const open = [...written]
    .filter(([key]) => !Object.hasOwn(schema.properties, key))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...known,
    ...open.map(([key, entry]): RecordField => [key, entry.value, undefined, undefined]),
  ];
}

function withoutDefault({ default: _default, ...schema }: Schema): Schema {
  return schema;
}

const isObject = (value: Value): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function multiply(columns: readonly (readonly [string, readonly Value[]])[]): JsonObject[] {
  let rows: { [key: string]: Json }[] = [{}];
  for (const [key, values] of columns) {
    const [only] = values;
    if (values.length === 1) {
      if (only !== undefined) for (const row of rows) row[key] = only;
    } else
      rows = rows.flatMap((row) =>
        values.map((value) => (value === undefined ? { ...row } : { ...row, [key]: value })),
      );
  }
  return rows;
}

/** Returns the value with keys sorted at every depth, so that their order makes no difference. */
function canonical(value: Json): Json {
  if (Array.isArray(value)) return value.map(canonical);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, canonical(item)]),
  );
}
