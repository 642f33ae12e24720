/** Paired differences, adapter − full: the figure that answers the question. */
import type { TopLevelSpec } from 'vega-lite';
import type { AdapterComparison } from '../compare.ts';
import { blockLabel, type Condition, distinct } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { ACCURACY, ASR, DROP, PROPORTION_MARGIN } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { left } from './scores.ts';
import { draw } from './svg.ts';
import { adapterPalette, BLOCK_HEADER, BLOCK_SPACING, INK } from './theme.ts';

const MOST_ROWS = 36;

/** What is asked of each attack: accuracy without one, the drop under one, and the success of a backdoor. */
export const isHeadline = ({ metric, adapter }: AdapterComparison): boolean =>
  metric === (adapter.family === 'none' ? ACCURACY : DROP) ||
  (metric === ASR && adapter.family === 'backdoor');

export async function forestFigure(
  comparisons: readonly AdapterComparison[],
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const asked = comparisons.filter(
    (comparison) => isHeadline(comparison) && comparison.difference !== null,
  );
  const shown = asked.slice(0, MOST_ROWS);
  if (shown.length === 0) return null;
  const palette = adapterPalette(conditions);
  const fulls = distinct(
    conditions.filter(({ adapter }) => adapter === 'full').map(({ adapterLabel }) => adapterLabel),
  );
  const name = ({ adapter, full }: AdapterComparison): string =>
    fulls.length > 1 ? `${adapter.adapterLabel} − ${full.adapterLabel}` : adapter.adapterLabel;
  const block = (comparison: AdapterComparison): string =>
    `${comparison.metric.label} · ${blockLabel(comparison.adapter)}`;
  const rows = shown.flatMap((comparison) => {
    const { difference, a, b, seeds, adapter } = comparison;
    const common = {
      block: block(comparison),
      row: name(comparison),
      adapter: adapter.adapterLabel,
    };
    return [
      {
        ...common,
        part: 'mean',
        seed: null,
        value: difference!.mean,
        low: difference!.low,
        high: difference!.high,
      },
      ...seeds.map((seed, i) => ({
        ...common,
        part: 'seed',
        seed,
        value: a[i]! - b[i]!,
        low: null,
        high: null,
      })),
    ];
  });
  const reach = Math.max(0.05, ...rows.map(({ value }) => Math.abs(value))) * 1.35;
  const x = (field: string) => ({
    field,
    type: 'quantitative' as const,
    title: 'difference, adapter − full',
    scale: { domain: [-reach, reach], nice: false },
  });
  const y = {
    field: 'row',
    type: 'nominal' as const,
    title: null,
    sort: distinct(shown.map(name)),
  };
  const color = {
    field: 'adapter',
    type: 'nominal' as const,
    scale: { domain: palette.domain as string[], range: palette.range as string[] },
    legend: null,
  };
  const spec: TopLevelSpec = {
    data: { values: rows },
    facet: {
      row: {
        field: 'block',
        type: 'nominal',
        title: null,
        sort: distinct(shown.map(block)),
        header: BLOCK_HEADER,
      },
    },
    spacing: BLOCK_SPACING,
    spec: {
      width: 300,
      height: { step: 24 },
      layer: [
        {
          data: { values: [{}] },
          mark: { type: 'rect', color: '#dfe4ea' },
          encoding: { x: { datum: -PROPORTION_MARGIN }, x2: { datum: PROPORTION_MARGIN } },
        },
        {
          data: { values: [{}] },
          mark: { type: 'rule', color: '#9aa5b1' },
          encoding: { x: { datum: 0 } },
        },
        {
          transform: [{ filter: "datum.part == 'mean'" }],
          mark: { type: 'rule', strokeWidth: 2, opacity: 0.55, clip: true },
          encoding: { x: x('low'), x2: { field: 'high' }, y, color },
        },
        {
          transform: [{ filter: "datum.part == 'mean'" }],
          mark: { type: 'tick', thickness: 3, size: 16 },
          encoding: { x: x('value'), y, color },
        },
        {
          transform: [{ filter: "datum.part == 'seed'" }],
          mark: {
            type: 'point',
            filled: true,
            size: 55,
            stroke: INK,
            strokeWidth: 0.6,
            opacity: 0.9,
          },
          encoding: {
            x: x('value'),
            y,
            color,
            shape: {
              field: 'adapter',
              type: 'nominal',
              scale: { domain: palette.domain as string[], range: palette.shapes as string[] },
              legend: null,
            },
          },
        },
      ],
    },
    resolve: { scale: { y: 'independent' } },
  };
  const title = 'Paired differences, adapter − full fine-tuning';
  const past = shown.some(
    ({ difference }) =>
      difference!.low !== null && (difference!.low < -reach || difference!.high! > reach),
  );
  return {
    id: 'differences',
    title,
    caption: `Points are seeds, the bar is their mean, the line its paired 95% t-interval before Holm’s correction${past ? ', cut where it runs past the axis (the table has its ends)' : ''}. The grey band is the declared margin of ±${PROPORTION_MARGIN}. Right of zero in accuracy drop or ASR: the adapter is hurt more.${left(asked.length - shown.length, 'comparison')}`,
    svg: await draw(spec, 'differences', title),
    csv: toCsv(
      shown.flatMap(({ metric, adapter, full, seeds, a, b }) =>
        seeds.map((seed, i) => ({
          metric: metric.metric,
          attack: adapter.attackLabel,
          setting: adapter.setting,
          adapter: adapter.adapterLabel,
          full: full.adapterLabel,
          seed,
          adapter_value: a[i]!,
          full_value: b[i]!,
          difference: a[i]! - b[i]!,
        })),
      ),
    ),
  };
}
