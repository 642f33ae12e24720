/** Lays out the graph of a run: a box for each kind of stage, and what reads what. */
import { Graph as Layers, layout } from '@dagrejs/dagre';
import type { StageRecord } from './stage-records.ts';
import type { Graph } from './wire.ts';

const BOX = { width: 132, height: 86 };
/** The largest numbers of boxes and arrows. Further kinds share one box. */
const MOST_GROUPS = 60,
  MOST_ARROWS = 400;
const OTHERS = 'other kinds';

export interface Grouping {
  readonly names: readonly string[];
  /** The group of each stage, as an index into `names`. */
  readonly of: readonly number[];
}

/** Returns the groups in the order of their first stages. */
export function groupStages(stages: readonly StageRecord[]): Grouping {
  const indexes = new Map<string, number>();
  const of = stages.map(({ group }) => {
    const name = indexes.size >= MOST_GROUPS && !indexes.has(group) ? OTHERS : group;
    const index = indexes.get(name) ?? indexes.size;
    indexes.set(name, index);
    return index;
  });
  return { names: [...indexes.keys()], of };
}

/** Returns the pairs of groups of which one reads the other, without repeats. */
function arrowsOf(stages: readonly StageRecord[], { of }: Grouping): [number, number][] {
  const arrows = new Map<number, [number, number]>();
  for (const [index, { inputs }] of stages.entries()) {
    const to = of[index] ?? 0;
    for (const input of inputs) {
      const from = of[input] ?? 0;
      if (from !== to && arrows.size < MOST_ARROWS) arrows.set(from * 1000 + to, [from, to]);
    }
  }
  return [...arrows.values()];
}

export function layOut(stages: readonly StageRecord[], grouping: Grouping): Graph {
  const arrows = arrowsOf(stages, grouping);
  const layers = new Layers();
  layers.setGraph({ rankdir: 'LR', nodesep: 16, ranksep: 28, marginx: 2, marginy: 8 });
  layers.setDefaultEdgeLabel(() => ({}));
  for (const index of grouping.names.keys()) layers.setNode(String(index), { ...BOX });
  for (const [from, to] of arrows) layers.setEdge(String(from), String(to), {});
  layout(layers);
  const placed = grouping.names.map((name, index) => {
    const { x, y } = layers.node(String(index)) as { readonly x: number; readonly y: number };
    return { name, x: Math.round(x), y: Math.round(y) };
  });
  const columns = [...new Set(placed.map(({ x }) => x))].sort((a, b) => a - b);
  const arrowPoints = layers.edges().map((edge) => {
    const { points } = layers.edge(edge) as { readonly points: readonly Point[] };
    return points.map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) }));
  });
  const { left, top, width, height } = frameOf(placed, arrowPoints.flat());
  return {
    groups: placed.map(({ name, x, y }) => ({
      name,
      x: x - left,
      y: y - top,
      level: columns.indexOf(x),
    })),
    arrows: arrowPoints.map((points) => points.flatMap(({ x, y }) => [x - left, y - top])),
    width,
    height,
    box: BOX,
  };
}

interface Point {
  readonly x: number;
  readonly y: number;
}

const MARGIN = 8;

/**
 * Returns what encloses all boxes and arrows. The layout's own frame leaves out arrows that run
 * above the boxes or beneath them.
 */
function frameOf(
  centres: readonly Point[],
  points: readonly Point[],
): {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
} {
  const corners = centres.flatMap(({ x, y }) => [
    { x: x - BOX.width / 2, y: y - BOX.height / 2 },
    { x: x + BOX.width / 2, y: y + BOX.height / 2 },
  ]);
  const all = [...corners, ...points];
  if (all.length === 0) return { left: 0, top: 0, width: 0, height: 0 };
  const xs = all.map(({ x }) => x),
    ys = all.map(({ y }) => y);
  const left = Math.floor(Math.min(...xs)) - MARGIN,
    top = Math.floor(Math.min(...ys)) - MARGIN;
  return {
    left,
    top,
    width: Math.ceil(Math.max(...xs)) + MARGIN - left,
    height: Math.ceil(Math.max(...ys)) + MARGIN - top,
  };
}
