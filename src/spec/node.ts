/** The tree of a spec before it is turned into values. Each node knows where it was written. */
import { LineCounter } from 'yaml';
import type { Json } from '../api.ts';
import type { SourceRange } from './types.ts';

/** A text that nodes are parsed from: a file, or an argument of the command line. */
export interface Source {
  /**
   * The file's path as the user wrote it, or the argument's name, such as `--set`. Diagnostics show
   * it.
   */
  readonly file: string;
  /** The folder that relative paths in the text start from. */
  readonly folder: string;
  readonly text: string;
  readonly lines: LineCounter;
}

/** A part of a source, between two offsets in its text; `end` is exclusive. */
export interface Span {
  readonly source: Source;
  readonly start: number;
  readonly end: number;
}

export type Scalar = string | number | boolean | null;

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: Scalar;
  readonly span: Span;
  /** The folder that a relative path in the value starts from, if it is not that of the source. */
  readonly folder?: string;
  /**
   * The environment variable that has the secret, if the value is one. `value` is then the
   * reference to it, as written.
   */
  readonly secret?: string;
}

export interface ListNode {
  readonly kind: 'list';
  readonly items: readonly Node[];
  readonly span: Span;
}

export interface Entry {
  readonly key: Span;
  readonly value: Node;
}

export interface MapNode {
  readonly kind: 'map';
  readonly entries: ReadonlyMap<string, Entry>;
  readonly span: Span;
}

export type Node = ScalarNode | ListNode | MapNode;
export type Path = readonly (string | number)[];
export type TextNode = ScalarNode & { readonly value: string };

export const isText = (node: Node | undefined): node is TextNode =>
  node?.kind === 'scalar' && typeof node.value === 'string';

/**
 * Returns the map with each value changed. Where `change` returns undefined, the entry is removed.
 */
export function mapEntries(
  map: MapNode,
  change: (value: Node, name: string) => Node | undefined,
): MapNode {
  const entries = new Map<string, Entry>();
  for (const [name, { key, value }] of map.entries) {
    const changed = change(value, name);
    if (changed) entries.set(name, { key, value: changed });
  }
  return { ...map, entries };
}

/** Returns a list or map with each item or value changed. */
export const mapChildren = (node: ListNode | MapNode, change: (child: Node) => Node): Node =>
  node.kind === 'list'
    ? { ...node, items: node.items.map((item) => change(item)) }
    : mapEntries(node, (value) => change(value));

export function* descendants(node: Node): Generator<Node> {
  yield node;
  if (node.kind === 'list') for (const item of node.items) yield* descendants(item);
  if (node.kind === 'map') for (const { value } of node.entries.values()) yield* descendants(value);
}

export function createSource(file: string, folder: string, text: string): Source {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1))
    lines.addNewLine(at + 1);
  return { file, folder, text, lines };
}

/** Returns the place of a span in its file. Of a span over several lines, only the first counts. */
export function rangeOf({ source, start, end }: Span): SourceRange {
  const { file, lines } = source;
  const { line, col: column } = lines.linePos(start);
  const from = start - column + 1;
  const text = source.text.slice(from, lines.lineStarts[line]).replace(/\r?\n$/, '');
  const lastColumn = Math.min(end - from, text.trimEnd().length) + 1;
  return { file, line, column, endColumn: Math.max(lastColumn, column + 1), text };
}

export function toJson(node: Node): Json {
  if (node.kind === 'scalar') return node.value;
  if (node.kind === 'list') return node.items.map(toJson);
  return Object.fromEntries([...node.entries].map(([key, { value }]) => [key, toJson(value)]));
}

/**
 * Returns the value under a mapping's key, or a list's item at a position; undefined if there is
 * none.
 */
export const child = (node: Node | undefined, key: string | number): Node | undefined => {
  if (node?.kind === 'map') return node.entries.get(String(key))?.value;
  return node?.kind === 'list' ? node.items[Number(key)] : undefined;
};

/** Returns the items of a list; an empty list for any other node. */
export const itemsOf = (node: Node | undefined): readonly Node[] =>
  node?.kind === 'list' ? node.items : [];

/** Returns the items of a list, or the node alone. */
export const oneOrMany = (node: Node): readonly Node[] =>
  node.kind === 'list' ? node.items : [node];

/** Returns the values of a mapping by name; an empty list for any other node. */
export const fieldsOfMap = (node: Node | undefined): readonly (readonly [string, Node])[] =>
  node?.kind === 'map' ? [...node.entries].map(([name, { value }]) => [name, value]) : [];

/**
 * Returns the deepest written node on a path, how many steps of the path lead to it (`depth`), and
 * the place of its key (null if it has none).
 */
export function descend(root: Node, path: Path) {
  let node = root,
    key: Span | null = null,
    depth = 0;
  for (const step of path) {
    const next = child(node, step);
    if (next === undefined) break;
    key = (node.kind === 'map' ? node.entries.get(String(step))?.key : null) ?? null;
    node = next;
    depth++;
  }
  return { node, key, depth };
}

/**
 * Returns the map with entries replaced or added. Where the change is undefined, the entry is
 * removed.
 */
export function withEntries(
  map: MapNode,
  changes: Iterable<readonly [string, Entry | undefined]>,
): MapNode {
  const entries = new Map(map.entries);
  for (const [key, entry] of changes) {
    if (entry === undefined) entries.delete(key);
    else entries.set(key, entry);
  }
  return { ...map, entries };
}

/**
 * Returns the map with `value` under `name`. `key` is the place of the name in the text. Default:
 * the place of the name that is replaced or, if the map has no such entry, of the map.
 */
export const withValue = (
  map: MapNode,
  name: string,
  value: Node,
  key = map.entries.get(name)?.key ?? map.span,
): MapNode => withEntries(map, [[name, { key, value }]]);

/** Returns the name of a field as people write it, without positions in lists. */
export const fieldName = (path: Path): string =>
  path.filter((step) => typeof step === 'string').join('.');

/**
 * For each section, the field that names its plugin, and the plugin of a section that names none. A
 * mapping that is merged over the section replaces all of it if the mapping names another plugin,
 * since another plugin has other parameters.
 */
const discriminators: Readonly<Record<string, readonly [field: string, defaultName: string]>> = {
  poisoning: ['attack', 'none'],
  defences: ['defence', 'none'],
  adapter: ['type', 'full'],
};

/** Stands for the name of an attack that has `steps`; no plugin has this name. */
const STEPS = '';

/**
 * Whether `over` names a plugin that `base` does not. A list of names is an axis. All `steps` of an
 * attack count as one plugin, since merging replaces the list.
 * @param section the name of the field that holds both mappings
 * @param isPart whether `base` will itself be merged over a section: if it names no plugin, it then
 *   fits any plugin, not only the default one
 */
export function namesAnother(
  base: MapNode,
  over: MapNode,
  section: string,
  isPart = false,
): boolean {
  const [field, defaultName] = discriminators[section] ?? [];
  if (field === undefined) return false;
  /** Returns the names in a mapping; undefined if it names none. */
  const namesIn = (map: MapNode): readonly (Json | undefined)[] | undefined => {
    if (section === 'poisoning' && map.entries.has('steps')) return [STEPS];
    const named = child(map, field);
    return named && oneOrMany(named).map((name) => toJson(name) ?? defaultName);
  };
  const known = namesIn(base) ?? (isPart ? null : [defaultName]);
  return known !== null && (namesIn(over)?.some((name) => !known.includes(name)) ?? false);
}

/**
 * For each of these fields of `train`, its rival: where the field is merged over a `train`, the
 * rival is removed from that `train`.
 */
const exclusive: Readonly<Record<string, string>> = { epochs: 'steps', steps: 'epochs' };

/**
 * Returns `over` merged over `base`: mappings key by key, everything else replaced. Null removes a
 * field of `base` (RFC 7396); where `base` has no such field, the null stays. For the exceptions,
 * see `namesAnother` and `exclusive`.
 * @param field the name of the field that holds both mappings
 * @param isPart whether both are parts of a profile
 */
export function merge(base: MapNode, over: MapNode, field = '', isPart = false): MapNode {
  if (namesAnother(base, over, field, isPart)) return over;
  const changes: [string, Entry | undefined][] = [];
  for (const [key, entry] of over.entries) {
    const below = base.entries.get(key);
    if (below && entry.value.kind === 'scalar' && entry.value.value === null)
      changes.push([key, undefined]);
    else if (below?.value.kind === 'map' && entry.value.kind === 'map') {
      const value = merge(below.value, entry.value, key, isPart || field === 'profiles');
      changes.push([key, { key: entry.key, value }]);
    } else changes.push([key, entry]);
    const rival = field === 'train' ? exclusive[key] : undefined;
    if (rival !== undefined && !over.entries.has(rival)) changes.push([rival, undefined]);
  }
  return { ...withEntries(base, changes), span: over.span };
}
