/**
 * Which cells need which stage, and what those cells have in common. Linear in the total number of
 * the cells' stages.
 */
import type { Json, JsonObject } from '../api.ts';
import type { Experiment } from '../experiment/types.ts';
import { at } from './at.ts';
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
  const drafts = graph.drafts;
  // A list that begins with its only item is shorter than one that an item is added to.
  const users = new Array<number[] | undefined>(drafts.length),
    owners = new Array<number[] | undefined>(drafts.length);
  const add = (lists: (number[] | undefined)[], { index }: Draft, cell: number): void => {
    const list = lists[index];
    if (list === undefined) lists[index] = [cell];
    else if (list[list.length - 1] !== cell) list.push(cell);
  };
  const everyCell = experiment.cells.map((_, index) => index);
  for (const join of joining) users[join.draft.index] = everyCell;

  const visited = new Int32Array(drafts.length).fill(-1),
    seen = new Set<Node>();
  const joined = joining.map((join) => ({ label: nodeLabel(join), draft: join.draft }));
  type Own = { [label: string]: Draft };
  const walkOwn = (node: Node, index: number, fingerprint: string, mine: Own): void => {
    if (node.fingerprint !== fingerprint || seen.has(node)) return;
    seen.add(node);
    const label = nodeLabel(node);
    if (!(label in mine)) {
      mine[label] = node.draft;
      add(owners, node.draft, index);
    }
    for (const child of node.children) walkOwn(child, index, fingerprint, mine);
  };
  const walkUsed = (draft: Draft, index: number): void => {
    if (visited[draft.index] === index || draft.descriptor.scope === 'experiment') return;
    visited[draft.index] = index;
    add(users, draft, index);
    for (const name in draft.inputs) walkUsed(draft.inputs[name]!, index); // one of its keys
  };
  const own = rootsOfCells(experiment, graph, goalNodes, joining).map((roots, index) => {
    const fingerprint = graph.fingerprint(at(experiment.cells, index).config);
    const mine: Own = {};
    seen.clear();
    for (const root of roots) {
      walkOwn(root, index, fingerprint, mine);
      walkUsed(root.draft, index);
    }
    for (const { label, draft } of joined) mine[label] = draft;
    return mine;
  });
  return {
    users: ({ index }) => users[index] ?? [],
    owners: ({ index }) => owners[index] ?? [],
    own: (cell) => at(own, cell),
  };
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
  const agreed = new Map<string, Json>(Object.entries(first.axes));
  let seed: number | null = first.config.seed;
  for (let i = 1; i < cells.length; i++) {
    if (agreed.size === 0 && seed === null) break;
    const { axes, config } = at(experiment.cells, at(cells, i));
    for (const [path, value] of agreed) if (!same(value, axes[path])) agreed.delete(path);
    if (config.seed !== seed) seed = null;
  }
  return { cell: Object.fromEntries(agreed), seed };
}
