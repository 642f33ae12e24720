/** The DAG with its timings. One box a kind of stage: a grid of a thousand cells has the same few kinds as one of ten. */
import { Graph, layout } from '@dagrejs/dagre';
import type { StageFacts } from '../../api.ts';
import { toCsv } from '../csv.ts';
import { formatSeconds, plural } from '../format.ts';
import type { Figure } from '../types.ts';
import { escapeXml, label } from './svg.ts';
import { FONT, INK, MUTED } from './theme.ts';

export interface KindSummary {
  readonly kind: string;
  readonly count: number;
  readonly seconds: number;
  readonly cached: number;
  readonly failed: number;
  readonly blocked: number;
}

const finite = (seconds: number): number => (Number.isFinite(seconds) ? seconds : 0);

/** By kind, in order of first appearance (inputs come first). */
export function stageKinds(stages: readonly StageFacts[]): KindSummary[] {
  const kinds = new Map<string, StageFacts[]>();
  for (const stage of stages) {
    const known = kinds.get(stage.kind);
    if (known) known.push(stage);
    else kinds.set(stage.kind, [stage]);
  }
  const count = (of: readonly StageFacts[], state: StageFacts['state']): number =>
    of.filter((stage) => stage.state === state).length;
  return [...kinds].map(([kind, of]) => ({
    kind,
    count: of.length,
    seconds: of.reduce((sum, { seconds }) => sum + finite(seconds), 0),
    cached: count(of, 'cached'),
    failed: count(of, 'failed'),
    blocked: count(of, 'blocked'),
  }));
}

/** How many stages of one kind read one of another. */
export function kindEdges(
  stages: readonly StageFacts[],
): { readonly from: string; readonly to: string; readonly count: number }[] {
  const kindOf = new Map(stages.map(({ id, kind }) => [id, kind]));
  const edges = new Map<string, { from: string; to: string; count: number }>();
  for (const { kind, inputs } of stages) {
    for (const input of inputs) {
      const from = kindOf.get(input);
      if (from === undefined) continue;
      const key = JSON.stringify([from, kind]);
      const edge = edges.get(key);
      if (edge) edge.count++;
      else edges.set(key, { from, to: kind, count: 1 });
    }
  }
  return [...edges.values()];
}

const WIDTH = 136,
  HEIGHT = 66;

export function stageFigure(stages: readonly StageFacts[]): Figure | null {
  const kinds = stageKinds(stages);
  if (kinds.length === 0) return null;
  const edges = kindEdges(stages);
  const graph = new Graph();
  graph.setGraph({ rankdir: 'LR', nodesep: 22, ranksep: 34, marginx: 4, marginy: 18 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { kind } of kinds) graph.setNode(kind, { width: WIDTH, height: HEIGHT });
  for (const { from, to } of edges) if (from !== to) graph.setEdge(from, to, {});
  layout(graph);
  const longest = Math.max(...kinds.map(({ seconds }) => seconds), 1e-9);
  const boxes = kinds
    .map(({ kind, count, seconds, cached, failed, blocked }) => {
      const { x, y } = graph.node(kind) as { x: number; y: number };
      const left = x - WIDTH / 2,
        top = y - HEIGHT / 2;
      const bad = failed + blocked > 0;
      const lines = [
        plural(count, 'stage'),
        formatSeconds(seconds),
        bad
          ? [failed > 0 ? `${failed} failed` : '', blocked > 0 ? `${blocked} blocked` : '']
              .filter(Boolean)
              .join(', ')
          : cached > 0
            ? `${cached} cached`
            : '',
      ];
      const self = edges.some(({ from, to }) => from === kind && to === kind)
        ? `<path d="M${x + 18} ${top}c6 -14 -42 -14 -36 0" fill="none" stroke="#9aa5b1" stroke-width="1.2" marker-end="url(#arrow)"/>`
        : '';
      return (
        `${self}<rect x="${left}" y="${top}" width="${WIDTH}" height="${HEIGHT}" rx="7" fill="${bad ? '#fdecea' : '#f4f7fa'}" stroke="${bad ? '#b3261e' : '#b8c2cc'}"/>` +
        `<rect x="${left + 1}" y="${top + HEIGHT - 5}" width="${Math.max(0, ((WIDTH - 2) * seconds) / longest)}" height="4" rx="2" fill="#0072b2"/>` +
        `<text x="${left + 10}" y="${top + 19}" font-size="13" font-weight="600" fill="${INK}">${escapeXml(kind.length > 14 ? `${kind.slice(0, 13)}…` : kind)}</text>` +
        `<text x="${left + 10}" y="${top + 35}" font-size="11" fill="${MUTED}">${escapeXml(`${lines[0]} · ${lines[1]}`)}</text>` +
        (lines[2]
          ? `<text x="${left + 10}" y="${top + 50}" font-size="11" fill="${bad ? '#b3261e' : MUTED}">${escapeXml(lines[2])}</text>`
          : '')
      );
    })
    .join('');
  const arrows = graph
    .edges()
    .map((edge) => {
      const { points } = graph.edge(edge) as { points: readonly { x: number; y: number }[] };
      const [start, ...rest] = points;
      const curve =
        rest.length === 2
          ? `Q${rest.map(({ x, y }) => `${round(x)} ${round(y)}`).join(' ')}`
          : rest.map(({ x, y }) => `L${round(x)} ${round(y)}`).join('');
      return `<path d="M${round(start!.x)} ${round(start!.y)}${curve}" fill="none" stroke="#9aa5b1" stroke-width="1.2" stroke-linejoin="round" marker-end="url(#arrow)"/>`;
    })
    .join('');
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const id = 'stages';
  const title = 'Stages by kind: how many, how long, what reads what';
  const arrowHead =
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#9aa5b1"/></marker></defs>';
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${round(width)}" height="${round(height)}" viewBox="0 0 ${round(width)} ${round(height)}" font-family="${escapeXml(FONT)}">${arrowHead}<rect width="100%" height="100%" fill="white"/>${arrows}${boxes}</svg>`;
  return {
    id,
    title,
    caption:
      'Seconds are summed over the stages of a kind, cached ones at the time they once took; the blue bar is a kind’s share of the longest. An arrow is “is read by”.',
    svg: label(svg, id, title),
    csv: toCsv(kinds.map((kind) => ({ ...kind }))),
  };
}

const round = (x: number): number => Math.round(x * 10) / 10;
