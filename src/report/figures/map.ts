/**
 * The paper's Figure 3, rank × variance, in four ways: as published, exact, from draws of A, and
 * measured on the model as training starts.
 */
import type { TopLevelSpec } from 'vega-lite';
import { meanOfKnown } from '../../base/stats.ts';
import type { Condition } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { formatNumber, plural } from '../format.ts';
import { contentKey, distinct, groupBy, type NonEmpty } from '../groups.ts';
import { varyingPaths } from '../labels.ts';
import type { Figure, MapFacts, MapModelFacts, MapPointFacts } from '../types.ts';
import {
  drawFigure,
  idsFor,
  joinLabels,
  leftOut,
  ordinal,
  quantitative,
  slug,
  takeFirst,
  varies,
} from './encode.ts';

/** The maps of one model on one data set, one for each seed. */
export interface SeedMaps {
  /** What tells the model and data set from the grid's others: `source = b`; '' without others. */
  readonly name: string;
  readonly maps: NonEmpty<MapFacts>;
}

/** Returns the maps of each model and data set. Conditions with the same stages share them. */
export function collectMaps(conditions: readonly Condition[]): readonly SeedMaps[] {
  // Returns the stage `theory-map` of each cell; undefined for a cell without it.
  const stagesOf = ({ cells }: Condition): readonly (string | undefined)[] =>
    cells.map(({ stages }) => stages['theory-map']);
  const groups = [
    ...groupBy(
      conditions.filter((condition) => stagesOf(condition).some((id) => id !== undefined)),
      (condition) => contentKey(stagesOf(condition)),
    ).values(),
  ];
  const shared = groups.flatMap((group) => [...varyingPaths(group.flatMap(({ cells }) => cells))]);
  const labels = groups.map(([first]) => first.labelsWithout(...shared));
  const telling = (['setting', 'attackLabel', 'adapterLabel'] as const).filter((label) =>
    varies(labels.map((of) => of[label])),
  );
  return groups.flatMap(([{ cells }], i) => {
    const [first, ...others] = cells.flatMap(({ map }) => map ?? []);
    const name = joinLabels(...telling.map((label) => labels[i]?.[label] ?? ''));
    return first === undefined ? [] : [{ name, maps: [first, ...others] }];
  });
}

export interface MapMean {
  readonly point: MapPointFacts;
  /** Returns the mean of a number over the seeds that have it; null if none has. */
  readonly mean: (get: (point: MapPointFacts) => number | null) => number | null;
}

export const averageOverSeeds = (maps: readonly MapFacts[]): readonly MapMean[] =>
  (maps[0]?.points ?? []).map((point, k) => ({
    point,
    mean: (get) => meanOfKnown(maps.map(({ points }) => (points[k] ? get(points[k]) : null))),
  }));

/** Returns the mean over the seeds of a number of the full kernel; null if none has it. */
export type FullMean = (get: (facts: MapModelFacts) => number | null) => number | null;
export const fullKernelMean =
  (maps: readonly MapFacts[]): FullMean =>
  (get) =>
    meanOfKnown(maps.map(({ full }) => get(full)));

/**
 * Returns the information bits, in nats, for s = α/r: IB(s) = IB(1) + count·log s. At B = 0,
 * K ∝ s², so each counted eigenvalue λ becomes s²λ and adds ½ log s². Null if IB(1) is not known.
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
  readonly scales: string;
  readonly full: (mean: FullMean) => string;
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
    full: (mean) => formatNumber(mean(({ h1 }) => h1)),
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
    full: (mean) => formatNumber(mean(({ h2 }) => h2)),
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
    full: (mean) =>
      `${formatNumber(mean((full) => full.information_bits))} (normalised ` +
      `${formatNumber(mean((full) => full.information_bits_normalised))})`,
  },
];

/** Returns the means of every panel at every point; a mean that no seed has is left out. */
const panelValues = (points: readonly MapMean[], { panels }: RankMap) =>
  points.flatMap(({ point: { distribution, rank, scale }, mean }) =>
    panels.flatMap(({ title, get }) => {
      const value = mean(get);
      return value === null ? [] : [{ distribution, panel: title, rank, scale, value }];
    }),
  );

function mapSpec(values: ReturnType<typeof panelValues>, { panels }: RankMap): TopLevelSpec {
  const ranks = distinct(values.map(({ rank }) => rank)),
    scales = distinct(values.map(({ scale }) => scale)).sort((a, b) => b - a);
  return {
    data: { values },
    hconcat: panels.map(({ title: panel }) => ({
      title: panel,
      width: { step: 30 },
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

const MOST_MAPS = 3;

export async function mapFigures(conditions: readonly Condition[]): Promise<readonly Figure[]> {
  const { shown, left } = takeFirst(collectMaps(conditions), MOST_MAPS);
  const others = leftOut(
    left.map(({ name }) => name),
    'map',
  );
  const figures: Figure[] = [];
  const names = idsFor(
    '',
    shown.map(({ name }) => name),
  );
  for (const [i, { name, maps }] of shown.entries()) {
    const [first] = maps;
    const means = averageOverSeeds(maps);
    const source =
      `Closed form and draws: d = ${first.width}, σ² = scale/d. ` +
      `Fisher: the ${first.information} one of ${first.outputs}, ${first.rows} rows of the model ` +
      `(${first.init} weights) where training starts`;
    const end = `Means over ${plural(maps.length, 'seed')}; each panel has its own colours. Nats.`;
    for (const distribution of distinct(first.points.map((point) => point.distribution))) {
      const points = means.filter(({ point }) => point.distribution === distribution);
      for (const map of MAPS) {
        const values = panelValues(points, map);
        figures.push(
          await drawFigure(
            {
              id: slug(`map ${map.id} ${distribution} ${names[i] ?? ''}`),
              title: joinLabels(`${map.title}, ${distribution} A`, name),
            },
            [
              `${map.caption} ${source} (B = 0, ${map.scales}), d each layer’s own fan-in; `,
              `in full it has ${map.full(fullKernelMean(maps))}. ${end}`,
              i === 0 ? others : '',
            ],
            mapSpec(values, map),
            toCsv(values),
          ),
        );
      }
    }
  }
  return figures;
}
