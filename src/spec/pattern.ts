/** Reads patterns. A pattern is a mapping of fields to values, and matches cells that have them. */
import type { Cell, Json, JsonObject } from '../api.ts';
import type { Report } from './faults.ts';
import type { Node, Span } from './node.ts';
import { BASE, cellField, NO_DEFENCE, ownFirst, sections } from './schema.ts';
import { didYouMean, either, nearest } from './suggest.ts';

export interface Pattern {
  readonly at: Span;
  /** The field that the pattern is about, if it is about exactly one. */
  readonly path?: readonly string[];
  matches(cell: Cell): boolean;
}

type Test = (value: Json) => boolean;

/** Returns the fields that a pattern may name: those of a cell, and its seed. */
export function patternFields(fields: ReadonlyMap<string, unknown>): readonly string[] {
  const heads: readonly string[] = [...sections.map(cellField), BASE];
  const isOfCell = (path: string): boolean => heads.includes(path.split('.')[0] ?? '');
  return [...[...fields.keys()].filter(isOfCell), 'seed'];
}

/**
 * Returns the pattern that a mapping of the spec describes. Returns undefined, after reporting it,
 * if the mapping names an unknown field. Returns undefined if the node is not a mapping, which is
 * left for validation to report.
 */
export function readPattern(
  node: Node,
  known: readonly string[],
  report: Report,
): Pattern | undefined {
  if (node.kind !== 'map') return undefined;
  const tests: [readonly string[], Test][] = [];
  let whole = true;
  for (const [name, entry] of node.entries) {
    const path = fieldNamed(name, known, entry.key, report);
    if (path === undefined) whole = false;
    else tests.push([path.split('.'), testOf(entry.value)]);
  }
  return whole ? patternOf(node.span, tests) : undefined;
}

/** The field that names a cell's defence. */
export const DEFENCE = 'defence.defence';

/**
 * The short names by which labels call the plugins. The adapter's is `type` if its parameters
 * are written beside it.
 */
const shortNames: ReadonlyMap<string, string> = new Map([
  ['attack', 'poisoning.attack'],
  ['defence', DEFENCE],
  ['adapter', 'adapter.type'],
  ['type', 'adapter.type'],
]);

/**
 * Returns the full path of a field that is named in full, or by an ending that only one field has.
 * Returns undefined, after reporting it, if there is no such field or more than one.
 */
export function fieldNamed(
  name: string,
  known: readonly string[],
  at: Span,
  report: Report,
): string | undefined {
  if (known.includes(name)) return name;
  const ends = ownFirst(known.filter((field) => field.endsWith(`.${name}`)));
  const path = shortNames.get(name) ?? (ends.length === 1 ? ends[0] : undefined);
  if (path === undefined)
    report(
      'unknown-key',
      at,
      ends.length > 1
        ? `"${name}" could mean several fields`
        : `there is no field "${name}" to match`,
      suggestion(name, known),
    );
  return path;
}

export const patternOf = (
  at: Span,
  tests: readonly (readonly [path: readonly string[], test: Test])[],
): Pattern => ({
  at,
  matches: (cell) =>
    tests.every(([path, test]) => {
      const value = valueOf(cell, path);
      return value !== undefined && (test(value) || (Array.isArray(value) && value.some(test)));
    }),
});

/** Returns the value of a cell's field, or undefined if the cell does not have it. */
export function fieldOf(cell: Cell | JsonObject, path: readonly string[]): Json | undefined {
  let value: unknown = cell;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step))
      return undefined;
    value = (value as { readonly [key: string]: unknown })[step];
  }
  return value as Json | undefined;
}

/** Returns the value of a cell's field. The defence of a cell without one is `none`. */
export const valueOf = (cell: Cell, path: readonly string[]): Json | undefined =>
  fieldOf(cell, path) ?? (path.join('.') === DEFENCE ? NO_DEFENCE : undefined);

function testOf(node: Node): Test {
  switch (node.kind) {
    case 'scalar':
      return (value) => value === node.value;
    case 'list': {
      const wanted = new Set<Json>(
        node.items.map((item) => (item.kind === 'scalar' ? item.value : null)),
      );
      return (value) => wanted.has(value);
    }
    case 'map': {
      const bound = (key: string, otherwise: number): number => {
        const item = node.entries.get(key)?.value;
        return item?.kind === 'scalar' && typeof item.value === 'number' ? item.value : otherwise;
      };
      const min = bound('min', -Infinity),
        max = bound('max', Infinity);
      return (value) => typeof value === 'number' && value >= min && value <= max;
    }
  }
}

function suggestion(path: string, known: readonly string[]): string | undefined {
  const ends = ownFirst(known.filter((field) => field.endsWith(`.${path}`)));
  if (ends.length > 0) return `did you mean ${either(ends.map((field) => `"${field}"`))}?`;
  const byEnd = new Map(known.map((field) => [field.split('.').at(-1) ?? field, field]));
  const close = nearest(path, known) ?? nearest(path, byEnd.keys());
  return close
    ? didYouMean(byEnd.get(close.word) ?? close.word)
    : 'a pattern names fields in full, such as "adapter.rank" or "poisoning.attack"';
}
