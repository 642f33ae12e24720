/**
 * The paper's Figure 3, rank × variance, in four ways: as published, exact, from draws of A, and
 * measured on the model as training starts.
 */
import type { TopLevelSpec } from 'vega-lite';
import { csvOf } from '../csv.ts';
import { formatNumber, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import type { Figure, MapFacts, MapModelFacts, MapPointFacts, ReportCell } from '../types.ts';
import { drawFigure, ordinal, quantitative } from './encode.ts';

/**
 * Returns one map for each seed. For a grid over several models or data sets, it is the map of the
 * first.
 */
export function mapsOf(cells: readonly ReportCell[]): readonly MapFacts[] {
  const bySeed = new Map<number, MapFacts>();
  for (const { seed, map } of cells)
    if (map !== undefined && !bySeed.has(seed)) bySeed.set(seed, map);
  return [...bySeed.values()];
}

/** A point of the map, averaged over seeds. */
export interface MapMean {
  readonly point: MapPointFacts;
  /** Returns the mean over the seeds that have the number, or null if none has. */
  readonly mean: (get: (point: MapPointFacts) => number | null) => number | null;
}

export const averageOverSeeds = (maps: readonly MapFacts[]): readonly MapMean[] =>
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

/**
 * Returns the information bits for s = α/r, IB(s) = IB(1) + count·log s: at B = 0, K ∝ s², so each
 * counted eigenvalue λ becomes s²λ and adds ½ log s².
 */
export const bitsAt = ({ model, rank }: MapPointFacts, alpha: number): number | null =>
  model === null || model.information_bits === null
    ? null
    : model.information_bits + model.count * Math.log(alpha / rank);

interface RankMap {
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly panels: readonly {
    readonly title: string;
    readonly get: (point: MapPointFacts) => number | null;
  }[];
  /** The scales s at which the Fisher information is measured. */
  readonly scales: string;
  /** Returns the map's quantity for the full kernel, as text for the caption. */
  readonly full: (facts: MapModelFacts) => string;
}

const MAPS: readonly RankMap[] = [
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
    scales: 's = 1',
    full: ({ h1 }) => formatNumber(h1),
  },
  {
    id: 'h2',
    title: 'H₂ over rank and variance',
    caption:
      'As published it sums squared diagonal entries of AᵀA and lacks the entropy’s minus: ' +
      'it rises where H₂ falls.',
    panels: [
      { title: 'as published', get: ({ closed }) => closed.h2_published },
      { title: 'exact, −log E Σλ²', get: ({ closed }) => closed.h2 },
      { title: '−log Σλ² of AᵀA, drawn', get: ({ drawn }) => drawn.h2 },
      { title: '−log Σλ² of the Fisher information', get: ({ model }) => model?.h2 ?? null },
    ],
    scales: 's = 1',
    full: ({ h2 }) => formatNumber(h2),
  },
  {
    id: 'bits',
    title: 'Information bits over rank and variance',
    caption:
      'At one rank, raw IB depends on the scale alone; its order over ranks depends on the ' +
      'convention for α. Normalised IB depends on neither.',
    panels: [
      { title: 'IB, α = r', get: ({ model }) => model?.information_bits ?? null },
      { title: 'IB, α = 16', get: (point) => bitsAt(point, 16) },
      { title: 'IB normalised', get: ({ model }) => model?.information_bits_normalised ?? null },
    ],
    scales: 's = 1 unless α = 16',
    full: ({ information_bits: bits, information_bits_normalised: normalised }) =>
      `${formatNumber(bits)} (normalised ${formatNumber(normalised)})`,
  },
];

interface Value {
  readonly distribution: string;
  readonly panel: string;
  readonly rank: number;
  readonly scale: number;
  readonly value: number;
}

const panelValues = (points: readonly MapMean[], { panels }: RankMap): Value[] =>
  points.flatMap(({ point: { distribution, rank, scale }, mean }) =>
    panels.flatMap(({ title, get }) => {
      const value = mean(get);
      return value === null ? [] : [{ distribution, panel: title, rank, scale, value }];
    }),
  );

function specOf(values: Value[], { panels }: RankMap): TopLevelSpec {
  const ranks = distinct(values.map(({ rank }) => rank)),
    scales = distinct(values.map(({ scale }) => scale)).sort((a, b) => b - a);
  return {
    data: { values },
    hconcat: panels.map(({ title: panel }) => ({
      title: panel,
      width: { step: 25 },
      height: { step: 22 },
      transform: [{ filter: `datum.panel == ${JSON.stringify(panel)}` }],
      encoding: {
        x: ordinal('rank', 'rank r', { sort: ranks, axis: { labelAngle: 0 } }),
        y: ordinal('scale', 'σ²·d', { sort: scales }),
      },
      layer: [
        {
          mark: { type: 'rect' as const },
          encoding: {
            color: quantitative('value', null, {
              scale: { scheme: 'viridis' as const, zero: false },
              legend: { gradientLength: 120, format: '.3~r' },
            }),
          },
        },
      ],
    })),
    resolve: { scale: { color: 'independent' } },
  };
}

/** Draws a figure for each quantity and each distribution of A. */
export async function mapFigures(cells: readonly ReportCell[]): Promise<readonly Figure[]> {
  const maps = mapsOf(cells);
  const [first] = maps;
  if (first === undefined) return [];
  const means = averageOverSeeds(maps);
  const source =
    `Closed form and draws: d = ${first.width}, σ² = scale/d. ` +
    `Fisher: the ${first.information} one of ${first.outputs}, ${first.rows} rows of the model ` +
    `(${first.init} weights) where training starts`;
  const end =
    `Means over ${plural(maps.length, 'seed')}; each panel has its own colours. ` + 'Nats.';
  const figures: Figure[] = [];
  for (const distribution of distinct(first.points.map((point) => point.distribution))) {
    const points = means.filter(({ point }) => point.distribution === distribution);
    for (const map of MAPS) {
      const values = panelValues(points, map);
      figures.push(
        await drawFigure(
          { id: `map-${map.id}-${distribution}`, title: `${map.title}, ${distribution} A` },
          [
            `${map.caption} ${source} (B = 0, ${map.scales}), d each layer’s own fan-in; `,
            `in full it has ${map.full(first.full)}. ${end}`,
          ],
          specOf(values, map),
          csvOf(values, ['distribution', 'panel', 'rank', 'scale', 'value']),
        ),
      );
    }
  }
  return figures;
}
