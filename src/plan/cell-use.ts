/**
 * Which cells need which stage, and what those cells have in common. Linear in the total number of
 * the cells' stages.
 */
import type { Json, JsonObject } from '../api.ts';
import { at } from '../base/lookup.ts';
import { once } from '../base/memoized.ts';
import type { Experiment } from '../spec/types.ts';
import { canonical } from './canonical.ts';
import type { Draft, Graph, Node } from './graph.ts';
import { nodeLabel } from './graph.ts';

export interface CellUse {
  /** The indexes of the cells that need a stage, ascending. */
  users(draft: Draft): readonly number[];
  /**
   * The indexes of the cells that the stage itself belongs to. A clean baseline belongs to the
   * clean cell, although poisoned cells use it too.
   */
  owners(draft: Draft): readonly number[];
  /** The label of a stage that is some cell's own; null for any other. */
  label(draft: Draft): string | null;
  /** A cell's own stages, by label. */
  own(cell: number): { readonly [label: string]: Draft };
}

/**
 * @param goalNodes the goals of each cell
 * @param joining the goals that join the grid
 */
export function cellUse(
  experiment: Experiment,
  graph: Graph,
  goalNodes: readonly (readonly Node[])[],
  joining: readonly Node[],
): CellUse {
  const { drafts } = graph;
  const owners = lists(drafts.length);
  const labels = new Array<string | undefined>(drafts.length);
  const rootsOf = rootsOfCells(experiment, graph, goalNodes, joining);

  const joined = joining.map((join) => ({ label: nodeLabel(join), draft: join.draft }));
  type Own = { [label: string]: Draft };
  const seen = new Set<Node>();
  const walkOwn = (node: Node, index: number, fingerprint: string, mine: Own): void => {
    if (node.fingerprint !== fingerprint || seen.has(node)) return;
    seen.add(node);
    const { draft } = node,
      label = nodeLabel(node);
    if (!(label in mine)) {
      mine[label] = draft;
      labels[draft.index] = label;
      add(owners, draft, index);
    }
    for (const child of node.children) walkOwn(child, index, fingerprint, mine);
  };
  const own = rootsOf.map((roots, index) => {
    const fingerprint = graph.fingerprint(at(experiment.cells, index).config);
    const mine: Own = {};
    seen.clear();
    for (const root of roots) walkOwn(root, index, fingerprint, mine);
    for (const { label, draft } of joined) {
      mine[label] = draft;
      labels[draft.index] = label;
    }
    return mine;
  });
  const users = once(() => usersOf(drafts, rootsOf));
  const joins = new Set(joining.map(({ draft }) => draft)),
    everyCell = experiment.cells.map((_, index) => index);
  return {
    users: (draft) => (joins.has(draft) ? everyCell : (users()[draft.index] ?? [])),
    owners: ({ index }) => owners[index] ?? [],
    label: ({ index }) => labels[index] ?? null,
    own: (cell) => at(own, cell),
  };
}

type Lists = (number[] | undefined)[];
const lists = (length: number): Lists => new Array<number[] | undefined>(length);

/** Adds a cell to a stage's list. A list that begins with its only item is shorter. */
function add(to: Lists, { index }: Draft, cell: number): void {
  const list = to[index];
  if (list === undefined) to[index] = [cell];
  else if (list[list.length - 1] !== cell) list.push(cell);
}

/**
 * Returns the cells that need each stage which does not join the grid.
 * @param rootsOf the nodes that each cell asks for
 */
function usersOf(drafts: readonly Draft[], rootsOf: readonly (readonly Node[])[]): Lists {
  const users = lists(drafts.length);
  const visited = new Int32Array(drafts.length).fill(-1);
  const walk = (draft: Draft, cell: number): void => {
    if (visited[draft.index] === cell || draft.descriptor.scope === 'experiment') return;
    visited[draft.index] = cell;
    add(users, draft, cell);
    for (const name in draft.inputs) walk(draft.inputs[name]!, cell); // one of its keys
  };
  rootsOf.forEach((roots, cell) => {
    for (const root of roots) walk(root.draft, cell);
  });
  return users;
}

/**
 * The nodes that each cell asks for: its goals, and the stages of it that a joining stage reads.
 */
function rootsOfCells(
  experiment: Experiment,
  graph: Graph,
  goalNodes: readonly (readonly Node[])[],
  joining: readonly Node[],
): readonly (readonly Node[])[] {
  const roots = goalNodes.map((nodes) => [...nodes]);
  const byFingerprint = new Map<string, number[]>();
  experiment.cells.forEach(({ config }, index) => {
    const name = graph.fingerprint(config);
    const twins = byFingerprint.get(name);
    if (twins) twins.push(index);
    else byFingerprint.set(name, [index]);
  });
  for (const { children } of joining)
    for (const child of children)
      for (const cell of byFingerprint.get(child.fingerprint) ?? []) at(roots, cell).push(child);
  return roots;
}

const same = (a: Json | undefined, b: Json | undefined): boolean =>
  a === b ||
  (typeof a === 'object' &&
    typeof b === 'object' &&
    a !== null &&
    b !== null &&
    canonical(a) === canonical(b));

/**
 * Returns the axis values and the seed on which the cells agree. The seed is null if they differ.
 */
export function agreement(
  experiment: Experiment,
  cells: readonly number[],
): { cell: JsonObject; seed: number | null } {
  const first = cells[0] === undefined ? undefined : experiment.cells[cells[0]];
  if (!first) return { cell: {}, seed: null };
  if (cells.length === 1) return { cell: first.axes, seed: first.config.seed };
  let paths = Object.keys(first.axes),
    seed: number | null = first.config.seed;
  for (let i = 1; i < cells.length; i++) {
    if (paths.length === 0 && seed === null) break;
    const { axes, config } = at(experiment.cells, at(cells, i));
    for (const path of paths)
      if (!same(first.axes[path], axes[path])) paths = paths.filter((one) => one !== path);
    if (config.seed !== seed) seed = null;
  }
  return { cell: Object.fromEntries(paths.map((path) => [path, first.axes[path]!])), seed };
}
