/**
 * Draws the graph of stages with their timings. Each kind of stage has one box, so that the figure
 * for a thousand cells is no larger than the one for ten.
 */
import { Graph, layout } from '@dagrejs/dagre';
import type { StageFacts } from '../../api.ts';
import { toCsv } from '../csv.ts';
import { formatSeconds, plural } from '../format.ts';
import { groupBy } from '../groups.ts';
import type { Figure } from '../types.ts';
import { escapeXml, keyed, labelSvg } from './encode.ts';
import { FONT, INK, MUTED } from './theme.ts';

type KindSummary = ReturnType<typeof stageKinds>[number];

/** Counts stages and sums their seconds by kind, in order of first appearance. */
export function stageKinds(stages: readonly StageFacts[]) {
  const count = (of: readonly StageFacts[], state: StageFacts['state']): number =>
    of.filter((stage) => stage.state === state).length;
  return [...groupBy(stages, ({ kind }) => kind)].map(([kind, of]) => ({
    kind,
    count: of.length,
    seconds: of.reduce((sum, { seconds: s }) => sum + (Number.isFinite(s) ? s : 0), 0),
    cached: count(of, 'cached'),
    failed: count(of, 'failed'),
    blocked: count(of, 'blocked'),
  }));
}

/** Returns the edges between kinds of stages, each once: the kind `to` reads the kind `from`. */
export function kindEdges(
  stages: readonly StageFacts[],
): readonly { readonly from: string; readonly to: string }[] {
  const kindOf = new Map(stages.map(({ id, kind }) => [id, kind]));
  const edges = stages.flatMap(({ kind: to, inputs }) =>
    inputs.flatMap((input) => {
      const from = kindOf.get(input);
      return from === undefined ? [] : [{ from, to }];
    }),
  );
  return [...groupBy(edges, ({ from, to }) => keyed(from, to)).values()].map(([edge]) => edge);
}

const WIDTH = 136,
  HEIGHT = 66;

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Returns `2 failed, 1 blocked` or, if there are none, `3 cached`; may be ''. */
function troubleText({ cached, failed, blocked }: KindSummary): string {
  const trouble = [
    failed > 0 ? `${failed} failed` : '',
    blocked > 0 ? `${blocked} blocked` : '',
  ].filter((text) => text !== '');
  if (trouble.length > 0) return trouble.join(', ');
  return cached > 0 ? `${cached} cached` : '';
}

/**
 * Draws the box of a kind, with its centre at (x, y).
 * @param longest the seconds of the kind that took longest
 * @param isOwnInput whether stages of the kind read stages of the same kind
 */
function drawBox(
  summary: KindSummary,
  { x, y }: Point,
  longest: number,
  isOwnInput: boolean,
): string {
  const { kind, count, seconds, failed, blocked } = summary;
  const left = x - WIDTH / 2,
    top = y - HEIGHT / 2;
  const isBad = failed + blocked > 0;
  const name = kind.length > 14 ? `${kind.slice(0, 13)}…` : kind;
  const text = (dy: number, style: string, content: string): string =>
    `<text x="${left + 10}" y="${top + dy}" ${style}>${escapeXml(content)}</text>`;
  const box =
    `x="${left}" y="${top}" width="${WIDTH}" height="${HEIGHT}" rx="7" ` +
    `fill="${isBad ? '#fdecea' : '#f4f7fa'}" stroke="${isBad ? '#b3261e' : '#b8c2cc'}"`;
  const barWidth = Math.max(0, ((WIDTH - 2) * seconds) / longest);
  const trouble = troubleText(summary);
  return [
    isOwnInput
      ? `<path d="M${x + 18} ${top}c6 -14 -42 -14 -36 0" ${ARROW_STYLE} marker-end="url(#arrow)"/>`
      : '',
    `<rect ${box}/>`,
    `<rect x="${left + 1}" y="${top + HEIGHT - 5}" width="${barWidth}" height="4" rx="2" `,
    'fill="#0072b2"/>',
    text(19, `font-size="13" font-weight="600" fill="${INK}"`, name),
    text(
      35,
      `font-size="11" fill="${MUTED}"`,
      `${plural(count, 'stage')} · ${formatSeconds(seconds)}`,
    ),
    trouble === '' ? '' : text(50, `font-size="11" fill="${isBad ? '#b3261e' : MUTED}"`, trouble),
  ].join('');
}

const ARROW_STYLE = 'fill="none" stroke="#9aa5b1" stroke-width="1.2"';
const ARROW_HEAD =
  '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" ' +
  'orient="auto"><path d="M0 0L8 4L0 8z" fill="#9aa5b1"/></marker></defs>';

/** Draws an arrow along points: a quadratic curve if there are three, else straight lines. */
function drawArrow(points: readonly Point[]): string {
  const [start, ...rest] = points;
  if (start === undefined) return '';
  const at = ({ x, y }: Point): string => `${roundToTenth(x)} ${roundToTenth(y)}`;
  const curve =
    rest.length === 2
      ? `Q${rest.map(at).join(' ')}`
      : rest.map((point) => `L${at(point)}`).join('');
  return (
    `<path d="M${at(start)}${curve}" ${ARROW_STYLE} stroke-linejoin="round" ` +
    'marker-end="url(#arrow)"/>'
  );
}

/** Draws the graph of the stages; null if there are none. */
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
  const boxes = kinds.map((summary) => {
    const isOwnInput = edges.some(({ from, to }) => from === summary.kind && to === summary.kind);
    return drawBox(summary, graph.node(summary.kind) as Point, longest, isOwnInput);
  });
  const arrows = graph
    .edges()
    .map((edge) => drawArrow((graph.edge(edge) as { readonly points: readonly Point[] }).points));
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  const size = `${roundToTenth(width)} ${roundToTenth(height)}`;
  const id = 'stages';
  const title = 'Stages by kind: how many, how long, what reads what';
  const svg = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${roundToTenth(width)}" ` +
      `height="${roundToTenth(height)}" `,
    `viewBox="0 0 ${size}" font-family="${escapeXml(FONT)}">${ARROW_HEAD}`,
    `<rect width="100%" height="100%" fill="white"/>${arrows.join('')}${boxes.join('')}</svg>`,
  ].join('');
  return {
    id,
    title,
    caption:
      'Seconds are summed over the stages of a kind; a cached stage counts with the time that it ' +
      'took when it ran; ' +
      'the blue bar is a kind’s share of the longest. An arrow means “is read by”.',
    svg: labelSvg(svg, id, title),
    csv: toCsv(kinds),
  };
}

const roundToTenth = (x: number): number => Math.round(x * 10) / 10;
