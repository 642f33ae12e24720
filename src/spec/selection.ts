/**
 * Decides which cells of the grid are kept, by `include`, `exclude`, `when`, and `--only` with its
 * `tags`.
 */
import { resolve } from 'node:path';
import type { Cell, Json } from '../api.ts';
import type { Report } from './faults.ts';
import type { Variant } from './fields.ts';
import type { MapNode, Node, Scalar, Span } from './node.ts';
import { child, createSource } from './node.ts';
import { parseYaml } from './parse.ts';
import type { Pattern } from './pattern.ts';
import { fieldNamed, patternOf, readPattern, valueOf } from './pattern.ts';
import { show } from './shape.ts';
import { didYouMean, either, nearest } from './suggest.ts';

export interface Selection {
  readonly include: readonly Pattern[];
  readonly exclude: readonly Pattern[];
  readonly only: readonly Pattern[];
  /** Returns the pattern of a variant's `when`, or null if it has none. */
  readonly whenOf: (variant: MapNode | undefined) => Pattern | null;
}

/**
 * Reads every pattern of the spec and of the command line.
 * @param variants the variants of the cells and of their bases
 * @param known the fields that a pattern may name
 * @param only the arguments of `--only`
 */
export function readSelection(
  root: MapNode,
  variants: readonly Variant[],
  known: readonly string[],
  only: readonly string[],
  report: Report,
): Selection {
  const tags = readTags(root, known, report);
  const whens = new Map<Node, Pattern>();
  for (const { node } of variants) {
    const when = child(node, 'when'),
      pattern = when && readPattern(when, known, report);
    if (when && pattern) whens.set(when, pattern);
  }
  return {
    include: readPatterns(root, 'include', known, report),
    exclude: readPatterns(root, 'exclude', known, report),
    only: only.flatMap((argument) => readOnly(argument, tags, known, report) ?? []),
    whenOf: (variant) => {
      const when = child(variant, 'when');
      return (when && whens.get(when)) ?? null;
    },
  };
}

type Tags = ReadonlyMap<string, Pattern | undefined>;

function readTags(root: MapNode, known: readonly string[], report: Report): Tags {
  const node = root.entries.get('tags')?.value;
  return new Map(
    node?.kind === 'map'
      ? [...node.entries].map(([name, { value }]) => [name, readPattern(value, known, report)])
      : [],
  );
}

function readPatterns(
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

/**
 * Returns the pattern of one `--only`: a tag, or `path=value[,value…]`, where the path may be
 * shortened to an ending that only one field has.
 */
function readOnly(
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
    const close = nearest(argument, tags.keys());
    report(
      'unknown-tag',
      span(0, argument.length),
      `there is no tag "${argument}"`,
      close ? didYouMean(close.word) : '--only takes a tag of the spec, or path=value',
    );
    return undefined;
  }
  const path = fieldNamed(argument.slice(0, cut).trim(), known, span(0, cut), report)?.split('.');
  if (path === undefined) return undefined;
  const values = argument.slice(cut + 1).split(',');
  const wanted = new Set<Json>(values.map((text) => scalarOf(text.trim())));
  return {
    ...patternOf(span(0, argument.length), [[path, (value) => wanted.has(value)]]),
    path,
  };
}

function scalarOf(text: string): Scalar {
  const node = parseYaml(createSource('--only', '.', text), () => undefined);
  return node?.kind === 'scalar' && node.value !== null ? node.value : text;
}

/**
 * Reports that no cell is left, and why.
 * @param whole returns the cells that the spec alone keeps
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
 * Returns the values that the pattern's field has in the cells, or undefined if the pattern is not
 * about one field.
 */
function valuesSeen({ path }: Pattern, cells: Iterable<Cell>): string | undefined {
  if (path === undefined) return undefined;
  const seen = new Set<Json>(),
    name = `"${path.join('.')}"`;
  for (const cell of cells) {
    const value = valueOf(cell, path);
    for (const one of Array.isArray(value) ? value : value === undefined ? [] : [value])
      seen.add(one as Json);
  }
  if (seen.size === 0) return `no cell has ${name}`;
  const words = [...seen].map((value) => show(value));
  const list =
    words.length > MOST_SHOWN ? `${words.slice(0, MOST_SHOWN).join(', ')}, …` : either(words);
  return `${name} is ${list}`;
}
