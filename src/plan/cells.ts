/** Which cells need which stage, and what those cells have in common. Linear in the sum of the cells' stages. */
import type { Json, JsonObject } from '../api.ts';
import type { Experiment } from '../experiment/types.ts';
import { canonical } from './canonical.ts';
import type { Draft, Graph, Node } from './graph.ts';
import { nodeLabel } from './graph.ts';

export interface CellUse {
  /** By draft: the cells that need it, ascending. */
  readonly users: readonly (readonly number[])[];
  /** By draft: the cells whose own stage it is (a clean baseline belongs to the clean cell, though poisoned ones use it). */
  readonly owners: readonly (readonly number[])[];
  /** By cell: its own stages, by label. */
  readonly own: readonly { readonly [label: string]: Draft }[];
}

export function cellUse(
  experiment: Experiment,
  graph: Graph,
  goalNodes: readonly (readonly Node[])[],
  joining: readonly Node[],
): CellUse {
  const drafts = graph.drafts;
  const users: number[][] = drafts.map(() => []);
  const owners: number[][] = drafts.map(() => []);
  const everyCell = experiment.cells.map((_, index) => index);

  const roots = goalNodes.map((nodes) => [...nodes]);
  const byFingerprint = new Map<string, number[]>();
  experiment.cells.forEach((cell, index) => {
    const name = graph.fingerprint(cell.config);
    const twins = byFingerprint.get(name);
    if (twins) twins.push(index);
    else byFingerprint.set(name, [index]);
  });
  // What only a joining stage reads belongs to the cell it was asked for.
  for (const join of joining) {
    users[join.draft.index] = everyCell;
    for (const child of join.children)
      for (const cell of byFingerprint.get(child.fingerprint) ?? []) roots[cell]!.push(child);
  }

  const visited = new Int32Array(drafts.length).fill(-1);
  const own = experiment.cells.map((cell, index) => {
    const fingerprint = graph.fingerprint(cell.config);
    const mine: { [label: string]: Draft } = {};
    const seen = new Set<Node>();
    const walkOwn = (node: Node): void => {
      if (seen.has(node) || node.fingerprint !== fingerprint) return;
      seen.add(node);
      const label = nodeLabel(node);
      if (!(label in mine)) {
        mine[label] = node.draft;
        const list = owners[node.draft.index]!;
        if (list.at(-1) !== index) list.push(index);
      }
      node.children.forEach(walkOwn);
    };
    const walkUsed = (draft: Draft): void => {
      if (visited[draft.index] === index || draft.descriptor.scope === 'experiment') return;
      visited[draft.index] = index;
      users[draft.index]!.push(index);
      Object.values(draft.inputs).forEach(walkUsed);
    };
    for (const root of roots[index]!) {
      walkOwn(root);
      walkUsed(root.draft);
    }
    for (const join of joining) mine[nodeLabel(join)] = join.draft;
    return mine;
  });
  return { users, owners, own };
}

const same = (a: Json | undefined, b: Json | undefined): boolean =>
  a === b ||
  (typeof a === 'object' &&
    typeof b === 'object' &&
    a !== null &&
    b !== null &&
    canonical(a) === canonical(b));

/** The axis values and the seed on which the cells agree. */
export function agreement(
  experiment: Experiment,
  cells: readonly number[],
): { cell: JsonObject; seed: number | null } {
  const first = cells[0] === undefined ? undefined : experiment.cells[cells[0]];
  if (!first) return { cell: {}, seed: null };
  if (cells.length === 1) return { cell: first.axes, seed: first.config.seed };
  const agreed = new Map<string, Json>(Object.entries(first.axes));
  let seed: number | null = first.config.seed;
  for (let i = 1; i < cells.length && (agreed.size > 0 || seed !== null); i++) {
    const other = experiment.cells[cells[i]!]!;
    for (const [path, value] of agreed) if (!same(value, other.axes[path])) agreed.delete(path);
    if (other.config.seed !== seed) seed = null;
  }
  return { cell: Object.fromEntries(agreed), seed };
}
