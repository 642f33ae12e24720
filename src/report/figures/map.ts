/** The paper's Figure 3, rank × variance, four ways: as published, exact, from draws of A, and measured on the model as it starts. */
import type { TopLevelSpec } from 'vega-lite';
import { toCsv } from '../csv.ts';
import { formatNumber } from '../format.ts';
import type { Figure, MapFacts, MapPointFacts, ReportCell } from '../types.ts';
import { draw } from './svg.ts';

/** One map a seed, and of a grid over several models or data sets the first's. */
export function mapsOf(cells: readonly ReportCell[]): readonly MapFacts[] {
  const bySeed = new Map<number, MapFacts>();
  for (const { seed, map } of cells)
    if (map !== undefined && !bySeed.has(seed)) bySeed.set(seed, map);
  return [...bySeed.values()];
}

/** A point of the map, averaged over seeds. */
export interface MapMean {
  readonly point: MapPointFacts;
  /** Null where no seed has the number. */
  mean(get: (point: MapPointFacts) => number | null): number | null;
}

export const averageOf = (maps: readonly MapFacts[]): readonly MapMean[] =>
  (maps[0]?.points ?? []).map((point, k) => ({
    point,
    mean: (get) => {
      const values = maps.flatMap(({ points }) => {
        const value = points[k] === undefined ? null : get(points[k]);
        return value === null ? [] : [value];
      });
      return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
    },
  }));

/** IB where s = α/r: K ∝ s² at B = 0, so every counted eigenvalue is multiplied by it. */
export const bitsAt = ({ model, rank }: MapPointFacts, alpha: number): number | null =>
  model === null || model.information_bits === null
    ? null
    : model.information_bits + model.count * Math.log(alpha / rank);

interface Panel {
  readonly title: string;
  readonly get: (point: MapPointFacts) => number | null;
}

const MAPS: readonly {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly panels: readonly Panel[];
}[] = [
  {
    id: 'h1',
    title: 'H₁ over rank and variance',
    caption:
      'log σ²rd is the closed form without the factor 10¹⁰ that the paper’s code multiplies it by.',
    panels: [
      { title: 'closed form, log σ²rd', get: ({ closed }) => closed.h1 },
      { title: 'log Σλ of AᵀA, drawn', get: ({ drawn }) => drawn.h1 },
      { title: 'log Σλ of the Fisher information', get: ({ model }) => model?.h1 ?? null },
    ],
  },
  {
    id: 'h2',
    title: 'H₂ over rank and variance',
    caption:
      'As published it sums squared diagonal entries of AᵀA and lacks the entropy’s minus: it rises where H₂ falls.',
    panels: [
      { title: 'as published', get: ({ closed }) => closed.h2_published },
      { title: 'exact, −log E Σλ²', get: ({ closed }) => closed.h2 },
      { title: '−log Σλ² of AᵀA, drawn', get: ({ drawn }) => drawn.h2 },
      { title: '−log Σλ² of the Fisher information', get: ({ model }) => model?.h2 ?? null },
    ],
  },
  {
    id: 'bits',
    title: 'Information bits over rank and variance',
    caption:
      'Raw IB moves with the scale alone, and its order over ranks with the convention for α; normalised it does neither.',
    panels: [
      { title: 'IB, α = r', get: ({ model }) => model?.information_bits ?? null },
      { title: 'IB, α = 16', get: (point) => bitsAt(point, 16) },
      { title: 'IB normalised', get: ({ model }) => model?.information_bits_normalised ?? null },
    ],
  },
];

export async function mapFigures(cells: readonly ReportCell[]): Promise<Figure[]> {
  const maps = mapsOf(cells);
  const [first] = maps;
  if (first === undefined) return [];
  const means = averageOf(maps);
  const figures: Figure[] = [];
  for (const distribution of [...new Set(first.points.map((point) => point.distribution))]) {
    for (const { id: of, title: what, caption, panels } of MAPS) {
      const values = means
        .filter(({ point }) => point.distribution === distribution)
        .flatMap(({ point, mean }) =>
          panels.flatMap(({ title, get }) => {
            const value = mean(get);
            return value === null
              ? []
              : [{ panel: title, rank: point.rank, scale: point.scale, value }];
          }),
        );
      const id = `map-${of}-${distribution}`,
        title = `${what}, ${distribution} A`;
      const ranks = [...new Set(values.map(({ rank }) => rank))],
        scales = [...new Set(values.map(({ scale }) => scale))].sort((a, b) => b - a);
      const spec: TopLevelSpec = {
        data: { values },
        hconcat: panels.map(({ title: panel }) => ({
          title: panel,
          width: { step: 25 },
          height: { step: 22 },
          transform: [{ filter: `datum.panel == ${JSON.stringify(panel)}` }],
          encoding: {
            x: {
              field: 'rank',
              type: 'ordinal' as const,
              title: 'rank r',
              sort: ranks,
              axis: { labelAngle: 0 },
            },
            y: { field: 'scale', type: 'ordinal' as const, title: 'σ²·d', sort: scales },
          },
          layer: [
            {
              mark: { type: 'rect' as const },
              encoding: {
                color: {
                  field: 'value',
                  type: 'quantitative' as const,
                  title: null,
                  scale: { scheme: 'viridis' as const, zero: false },
                  legend: { gradientLength: 120, format: '.3~r' },
                },
              },
            },
          ],
        })),
        resolve: { scale: { color: 'independent' } },
      };
      figures.push({
        id,
        title,
        caption: `${caption} Closed form and draws: d = ${first.width}, σ² = scale/d. Fisher: ${first.rows} rows of the model (${first.init === 'random' ? 'random weights' : 'pretrained weights'}) where training starts (B = 0, s = 1${of === 'bits' ? ' unless α = 16' : ''}), d each layer’s own fan-in; in full it has ${formatNumber(of === 'h1' ? first.full.h1 : of === 'h2' ? first.full.h2 : first.full.information_bits)}${of === 'bits' ? ` (normalised ${formatNumber(first.full.information_bits_normalised)})` : ''}. Means over ${maps.length} ${maps.length === 1 ? 'seed' : 'seeds'}; each panel has its own colours. Nats.`,
        svg: await draw(spec, id, title),
        csv: toCsv(
          values.map(({ panel, rank, scale, value }) => ({
            distribution,
            panel,
            rank,
            scale,
            value,
          })),
        ),
      });
    }
  }
  return figures;
}
