/** Decides which cells are kept, by patterns: `include`, `exclude`, `when`, `--only` and `tags`. */
import { resolve } from 'node:path';
import type { Cell, Json } from '../api.ts';
import type { CellPattern } from '../api/report.ts';
import { defined } from '../base/defined.ts';
import { valueAt } from '../base/record.ts';
import type { Report } from './faults.ts';
import type { Variant } from './fields.ts';
import {
  child,
  createSource,
  fieldsOfMap,
  itemsOf,
  type MapNode,
  type Node,
  oneOrMany,
  type Scalar,
  type Span,
} from './node.ts';
import { parseYaml } from './parse.ts';
import { BASE, cellField, NO_DEFENCE, preferOutsideBase, sections } from './schema.ts';
import { show } from './shape.ts';
import { didYouMean, either, nearest, suggest } from './suggest.ts';

export interface Pattern {
  readonly at: Span;
  /** The path of the one field that `--only path=value` is about. Absent for other patterns. */
  readonly path?: readonly string[];
  /** What matches, by the full path of the field: a list of values, or bounds of numbers. */
  readonly wanted: CellPattern;
  matches(cell: Cell): boolean;
}

type Wanted = CellPattern[string];

/** Returns the fields that a pattern may name: those of a cell and of its bases, and the seed. */
export function patternFields(fields: ReadonlyMap<string, unknown>): readonly string[] {
  const heads: readonly string[] = [...sections.map(cellField), BASE];
  const isOfCell = (path: string): boolean => heads.includes(path.split('.')[0] ?? '');
  return [...[...fields.keys()].filter(isOfCell), 'seed'];
}

/**
 * Returns the pattern that a mapping writes; undefined if a field is unknown, which is reported.
 * Undefined also for a node that is no mapping, which validation reports.
 */
export function readPattern(
  node: Node,
  known: readonly string[],
  report: Report,
): Pattern | undefined {
  if (node.kind !== 'map') return undefined;
  const wanted: [path: string, Wanted][] = [];
  let isKnown = true;
  for (const [name, entry] of node.entries) {
    const path = fieldNamed(name, known, entry.key, report);
    if (path === undefined) isKnown = false;
    else wanted.push([path, wantedBy(entry.value)]);
  }
  return isKnown ? makePattern(node.span, Object.fromEntries(wanted)) : undefined;
}

/** The field that names a cell's defence. */
export const DEFENCE = 'defence.defence';

/** The fields that name plugins, by the short names that labels and specs use for them. */
export const shortNames: ReadonlyMap<string, string> = new Map([
  ['attack', 'poisoning.attack'],
  ['defence', DEFENCE],
  ['adapter', 'adapter.type'],
  ['type', 'adapter.type'],
]);

/**
 * Returns the paths that a name stands for: the one path with this full or short name, or else
 * those that end with it (those in `base` only if there are no others).
 */
export function pathsNamed(name: string, paths: readonly string[]): readonly string[] {
  const full = shortNames.get(name) ?? name;
  return paths.includes(full)
    ? [full]
    : preferOutsideBase(paths.filter((path) => path.endsWith(`.${name}`)));
}

/**
 * Returns the one path that a name stands for. If there is none or more than one, reports the name
 * and returns undefined.
 */
function fieldNamed(
  name: string,
  known: readonly string[],
  at: Span,
  report: Report,
): string | undefined {
  const paths = pathsNamed(name, known);
  if (paths.length === 1) return paths[0];
  if (paths.length > 1)
    report('unknown-key', at, `"${name}" could mean several fields`, didYouMean(...paths));
  else report('unknown-key', at, `there is no field "${name}" to match`, similarField(name, known));
  return undefined;
}

/**
 * Returns the pattern that matches cells in which every field of `wanted` has a wanted value. A
 * field with a list matches if an item of it does.
 */
function makePattern(at: Span, wanted: CellPattern): Pattern {
  const tests = Object.entries(wanted).map(
    ([path, values]) => [path.split('.'), valueTest(values)] as const,
  );
  return {
    at,
    wanted,
    matches: (cell) =>
      tests.every(([path, test]) => {
        const value = cellValue(cell, path);
        return value !== undefined && (test(value) || (Array.isArray(value) && value.some(test)));
      }),
  };
}

/** Returns the value of a cell's field. The defence of a cell without one is `none`. */
export const cellValue = (cell: Cell, path: readonly string[]): Json | undefined =>
  valueAt(cell, path) ?? (path.join('.') === DEFENCE ? NO_DEFENCE : undefined);

/**
 * Returns what a pattern asks for in a field: a list of values, or bounds of numbers. An item that
 * is no scalar becomes null, and a bound that is no number is left out.
 */
function wantedBy(node: Node): Wanted {
  if (node.kind !== 'map')
    return oneOrMany(node).map((item) => (item.kind === 'scalar' ? item.value : null));
  /** Returns the number under `min` or `max`; undefined if there is none. */
  const bound = (key: string): number | undefined => {
    const item = child(node, key);
    return item?.kind === 'scalar' && typeof item.value === 'number' ? item.value : undefined;
  };
  return defined({ min: bound('min'), max: bound('max') });
}

/**
 * Returns a function that says whether a value is one of the wanted values, or is a number within
 * the wanted bounds.
 */
function valueTest(wanted: Wanted): (value: Json) => boolean {
  if (Array.isArray(wanted)) {
    const values = new Set<unknown>(wanted);
    return (value) => values.has(value);
  }
  const { min = -Infinity, max = Infinity } = wanted as Exclude<Wanted, readonly Json[]>;
  return (value) => typeof value === 'number' && value >= min && value <= max;
}

/**
 * Returns a hint: the known field that `path` may misspell (in whole, or in its last part); if
 * there is none, how to name a field.
 */
function similarField(path: string, known: readonly string[]): string {
  const byEnd = new Map(known.map((field) => [field.split('.').at(-1) ?? field, field]));
  const close = nearest(path, known) ?? nearest(path, byEnd.keys());
  return close
    ? didYouMean(byEnd.get(close.word) ?? close.word)
    : 'a pattern names fields in full, such as "adapter.rank" or "poisoning.attack"';
}

export interface Selection {
  readonly include: readonly Pattern[];
  readonly exclude: readonly Pattern[];
  readonly only: readonly Pattern[];
  /** Returns the pattern of a variant's `when`, or null if it has none. */
  readonly whenOf: (variant: MapNode | undefined) => Pattern | null;
}

/**
 * Reads every pattern of the spec and of the arguments of `--only`. Faulty ones are reported and
 * left out.
 * @param variants the variants of the cells and of their bases
 * @param known the fields that a pattern may name
 */
export function readSelection(
  root: MapNode,
  variants: readonly Variant[],
  known: readonly string[],
  only: readonly string[],
  report: Report,
): Selection {
  /** Returns the pattern of a mapping; undefined if it is faulty. */
  const read = (node: Node): Pattern | undefined => readPattern(node, known, report);
  const readList = (field: 'include' | 'exclude'): Pattern[] =>
    itemsOf(child(root, field)).flatMap((item) => read(item) ?? []);
  const tags: Tags = new Map(
    fieldsOfMap(child(root, 'tags')).map(([name, value]) => [name, read(value)]),
  );
  const whens = new Map<Node, Pattern>();
  for (const { node } of variants) {
    const when = child(node, 'when'),
      pattern = when && read(when);
    if (when && pattern) whens.set(when, pattern);
  }
  return {
    include: readList('include'),
    exclude: readList('exclude'),
    only: only.flatMap((argument) => readOnlyOption(argument, tags, known, report) ?? []),
    whenOf: (variant) => {
      const when = child(variant, 'when');
      return (when && whens.get(when)) ?? null;
    },
  };
}

/** The patterns of tags by name; undefined if a tag's pattern is faulty. */
type Tags = ReadonlyMap<string, Pattern | undefined>;

/**
 * Returns the pattern of one `--only`: a tag, or `path=value[,value…]`; undefined if the argument
 * is faulty, which is reported.
 */
function readOnlyOption(
  argument: string,
  tags: Tags,
  known: readonly string[],
  report: Report,
): Pattern | undefined {
  const source = createSource('--only', resolve('.'), argument);
  const span = (start: number, end: number): Span => ({ source, start, end });
  const cut = argument.indexOf('=');
  if (cut < 0) {
    const tag = tags.get(argument);
    if (tag || tags.has(argument)) return tag;
    report(
      'unknown-tag',
      span(0, argument.length),
      `there is no tag "${argument}"`,
      suggest(argument, tags.keys()) ?? '--only takes a tag of the spec, or path=value',
    );
    return undefined;
  }
  const path = fieldNamed(argument.slice(0, cut).trim(), known, span(0, cut), report)?.split('.');
  if (path === undefined) return undefined;
  const values = argument.slice(cut + 1).split(',');
  const wanted = { [path.join('.')]: values.map((text) => parseScalar(text.trim())) };
  return { ...makePattern(span(0, argument.length), wanted), path };
}

/** Returns the scalar that YAML reads in a text; the text itself if it reads null or no scalar. */
function parseScalar(text: string): Scalar {
  const node = parseYaml(createSource('--only', '.', text), () => undefined);
  return node?.kind === 'scalar' && node.value !== null ? node.value : text;
}

/**
 * Reports that no cell is left, and why.
 * @param whole returns all cells, also those that `--only` leaves out
 */
export function reportEmptyGrid(
  only: readonly Pattern[],
  whole: () => readonly Cell[],
  start: Span | null,
  report: Report,
): void {
  const last = only.at(-1),
    cells = last === undefined ? [] : whole();
  if (last === undefined || cells.length === 0) {
    report(
      'empty-grid',
      start,
      'no cell is left',
      'include, exclude and when together leave out every cell',
    );
    return;
  }
  const idle = only.filter((pattern) => !cells.some((cell) => pattern.matches(cell)));
  for (const pattern of idle)
    report('empty-grid', pattern.at, 'no cell matches this', valuesSeen(pattern, cells));
  if (idle.length === 0)
    report(
      'empty-grid',
      last.at,
      'no cell matches every --only',
      'each of them matches some cell by itself',
    );
}

const MOST_SHOWN = 8;

/**
 * Returns a hint: which values the cells have in the field of `--only path=value`; undefined for a
 * tag.
 */
function valuesSeen({ path }: Pattern, cells: Iterable<Cell>): string | undefined {
  if (path === undefined) return undefined;
  const seen = new Set<Json>(),
    name = `"${path.join('.')}"`;
  for (const cell of cells) {
    const value = cellValue(cell, path);
    for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value])
      seen.add(one as Json);
  }
  if (seen.size === 0) return `no cell has ${name}`;
  const words = [...seen].map((value) => show(value));
  const list =
    words.length > MOST_SHOWN ? `${words.slice(0, MOST_SHOWN).join(', ')}, …` : either(words);
  return `${name} is ${list}`;
}
