/** A section of the tree → every value it stands for: defaults filled in, axes multiplied out. */
import type { Json, JsonObject } from '../api.ts';
import type { MapNode, Node } from './node.ts';
import { toJson } from './node.ts';
import type { Schema } from './shape.ts';
import { isRecord, isScalar } from './shape.ts';

/** Undefined: the field is left out and has no default. */
type Value = Json | undefined;

/** The last axis runs fastest. Values share what they have in common. */
export function expand(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): readonly Value[] {
  if (isRecord(schema)) {
    if (node === undefined && fallback === undefined) return [undefined];
    const columns = recordFields(node, schema, fallback).map(
      ([key, below, field, value]) =>
        [key, below && !field ? [canonical(toJson(below))] : expand(below, field!, value)] as const,
    );
    return multiply(columns);
  }
  if (node === undefined) return [fallback];
  return isAxis(node, schema) ? node.items.map(toJson) : [canonical(toJson(node))];
}

/** How many values `expand` would make. */
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

/** The section as it was written, defaults filled in, axes as lists. */
export function fill(
  node: Node | undefined,
  schema: Schema,
  fallback: Value = schema.default,
): Value {
  if (!isRecord(schema)) return node === undefined ? fallback : canonical(toJson(node));
  if (node === undefined && fallback === undefined) return undefined;
  const object: { [key: string]: Json } = {};
  for (const [key, below, field, value] of recordFields(node, schema, fallback)) {
    const filled = field ? fill(below, field, value) : canonical(toJson(below!));
    if (filled !== undefined) object[key] = filled;
  }
  return object;
}

export const isAxis = (node: Node, schema: Schema): node is Node & { readonly kind: 'list' } =>
  node.kind === 'list' && isScalar(schema);

type RecordField = readonly [
  key: string,
  node: Node | undefined,
  schema: Schema | undefined,
  fallback: Value,
];

/** In the schema's order, so that the order of keys in a file changes nothing; then what the schema leaves open, sorted. */
function recordFields(
  node: Node | undefined,
  schema: Schema & { readonly properties: { readonly [name: string]: Schema } },
  fallback: Value,
): RecordField[] {
  const written: MapNode['entries'] = node?.kind === 'map' ? node.entries : new Map();
  const preset = node === undefined && isObject(fallback) ? fallback : {};
  // Of fields that exclude each other, a written one leaves the others out, defaults too: what does not hold must not stand in a cell's name.
  const rivals = schema.not?.required ?? [],
    isChosen = rivals.some((key) => written.has(key));
  const known = Object.entries(schema.properties)
    .filter(([key]) => !isChosen || written.has(key) || !rivals.includes(key))
    .map(([key, declared]): RecordField => {
      const field =
        declared.unless !== undefined && written.has(declared.unless)
          ? withoutDefault(declared)
          : declared;
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

/** Keys sorted at every depth: two ways to write a value are one value. */
function canonical(value: Json): Json {
  if (Array.isArray(value)) return value.map(canonical);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, canonical(value[key]!)]),
  );
}
