/** Which cells are meant: `include`, `exclude`, `when`, `tags` and `--only`. */
import { resolve } from 'node:path';
import type { Cell, Json, JsonObject } from '../api.ts';
import type { Report } from './faults.ts';
import type { MapNode, Node, Scalar, Span } from './node.ts';
import { createSource } from './node.ts';
import { parseYaml } from './parse.ts';
import { BASE, ownFirst, sections } from './schema.ts';
import { show } from './shape.ts';
import { didYouMean, either, nearest } from './suggest.ts';

export interface Pattern {
  readonly at: Span;
  /** The field that it asks for, where it is one alone. */
  readonly path?: readonly string[];
  matches(cell: Cell): boolean;
}

type Test = (value: Json) => boolean;

/** The fields that a pattern may name: those of a cell, and its seed. */
export function patternFields(fields: ReadonlyMap<string, unknown>): readonly string[] {
  const named: readonly string[] = [...sections, BASE];
  return [...fields.keys()].filter((path) => named.includes(path.split('.')[0]!)).concat('seed');
}

/** A pattern of the spec. Undefined, and reported, where it names no field; what has the wrong type is validation's to report. */
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

/** The names that labels use for the two plugins; the adapter's is `type` where its parameters stand beside it. */
const shortNames: Readonly<Record<string, string>> = {
  attack: 'poisoning.attack',
  adapter: 'adapter.type',
  type: 'adapter.type',
};

/** The field that is meant: by its path in full, or by an end that only one field has. Undefined, and reported, where it is none. */
function fieldNamed(
  name: string,
  known: readonly string[],
  at: Span,
  report: Report,
): string | undefined {
  if (known.includes(name)) return name;
  const ends = ownFirst(known.filter((field) => field.endsWith(`.${name}`)));
  const path = shortNames[name] ?? (ends.length === 1 ? ends[0] : undefined);
  if (path === undefined)
    report(
      'unknown-key',
      at,
      ends.length > 1
        ? `"${name}" could be several fields`
        : `there is no field "${name}" to match`,
      suggestion(name, known),
    );
  return path;
}

const patternOf = (at: Span, tests: readonly (readonly [readonly string[], Test])[]): Pattern => ({
  at,
  matches: (cell) =>
    tests.every(([path, test]) => {
      const value = fieldOf(cell, path);
      return value !== undefined && (test(value) || (Array.isArray(value) && value.some(test)));
    }),
});

/** The value of a cell's field, undefined where it has none. */
export function fieldOf(cell: Cell | JsonObject, path: readonly string[]): Json | undefined {
  let value: unknown = cell;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step))
      return undefined;
    value = (value as { readonly [key: string]: unknown })[step];
  }
  return value as Json | undefined;
}

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
  const byEnd = new Map(known.map((field) => [field.split('.').at(-1)!, field]));
  const close = nearest(path, known) ?? nearest(path, byEnd.keys());
  return close
    ? didYouMean(byEnd.get(close.word) ?? close.word)
    : 'a pattern names fields in full, such as "adapter.rank" or "poisoning.attack"';
}

// ---- --only --------------------------------------------------------------------------------------------------------------

/** One `--only`: a tag, or `path=value[,value…]`, the path in full or by an end that only one field has. */
export function readOnly(
  argument: string,
  tags: ReadonlyMap<string, Pattern | undefined>,
  known: readonly string[],
  report: Report,
): Pattern | undefined {
  const source = createSource('--only', resolve('.'), argument);
  const span = (start: number, end: number): Span => ({ source, start, end });
  const cut = argument.indexOf('=');
  if (cut < 0) {
    const tag = tags.get(argument);
    if (tag || tags.has(argument)) return tag;
    const close = nearest(argument, tags.keys());
    report(
      'unknown-tag',
      span(0, argument.length),
      `there is no tag "${argument}"`,
      close ? didYouMean(close.word) : '--only takes a tag of the spec, or path=value',
    );
    return undefined;
  }
  const path = fieldNamed(argument.slice(0, cut).trim(), known, span(0, cut), report);
  if (path === undefined) return undefined;
  const wanted = new Set<Json>(
    argument
      .slice(cut + 1)
      .split(',')
      .map((text) => scalarOf(text.trim())),
  );
  return {
    ...patternOf(span(0, argument.length), [[path.split('.'), (value) => wanted.has(value)]]),
    path: path.split('.'),
  };
}

/** Values that a field has in a grid, as many as are worth showing; undefined where the pattern asks for no one field. */
export function valuesSeen({ path }: Pattern, cells: Iterable<Cell>): string | undefined {
  if (path === undefined) return undefined;
  const seen = new Set<Json>(),
    name = `"${path.join('.')}"`;
  for (const cell of cells) {
    const value = fieldOf(cell, path);
    for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value])
      seen.add(one as Json);
  }
  if (seen.size === 0) return `no cell has ${name}`;
  const words = [...seen].map((value) => show(value));
  return `${name} is ${words.length > MOST_SHOWN ? `${words.slice(0, MOST_SHOWN).join(', ')}, …` : either(words)}`;
}

const MOST_SHOWN = 8;

function scalarOf(text: string): Scalar {
  const node = parseYaml(createSource('--only', '.', text), () => undefined);
  return node?.kind === 'scalar' && node.value !== null ? node.value : text;
}

/** The entries of `tags`, and the items of `include` and `exclude`. */
export function readTags(
  root: MapNode,
  known: readonly string[],
  report: Report,
): ReadonlyMap<string, Pattern | undefined> {
  const node = root.entries.get('tags')?.value;
  return new Map(
    node?.kind === 'map'
      ? [...node.entries].map(([name, { value }]) => [name, readPattern(value, known, report)])
      : [],
  );
}

export function readPatterns(
  root: MapNode,
  field: 'include' | 'exclude',
  known: readonly string[],
  report: Report,
): Pattern[] {
  const node = root.entries.get(field)?.value;
  return (node?.kind === 'list' ? node.items : []).flatMap(
    (item) => readPattern(item, known, report) ?? [],
  );
}
