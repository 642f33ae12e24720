/** Paired differences, adapter − full: the figure that answers the report's question. */
import type { TopLevelSpec } from 'vega-lite';
import type { AdapterComparison } from '../comparisons.ts';
import { type Condition, isFull } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { distinct } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import { ACCURACY, ASR, DROP } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { PROPORTION_MARGIN } from '../verdict.ts';
import {
  adapterColour,
  adapterShape,
  drawFigure,
  firstOf,
  inBlocks,
  intervalLayer,
  leftOut,
  LINE,
  lineOf,
  MEAN,
  nominal,
  onlyPart,
  quantitative,
  seedPoint,
} from './encode.ts';
import { adapterPalette, type Palette } from './theme.ts';

const MOST_ROWS = 36;

/** Whether a comparison is drawn: accuracy without attack, the drop under one, a backdoor's ASR. */
const isHeadline = ({ metric, adapter }: AdapterComparison): boolean =>
  metric === (adapter.family === 'none' ? ACCURACY : DROP) ||
  (metric === ASR && adapter.family === 'backdoor');

interface Row {
  readonly comparison: AdapterComparison;
  readonly block: string;
  readonly name: string;
}

/** Names the rows. The name includes the full fine-tuning if there are several. */
function rowsOf(
  comparisons: readonly AdapterComparison[],
  conditions: readonly Condition[],
): readonly Row[] {
  const fulls = distinct(conditions.filter(isFull).map(({ adapterLabel }) => adapterLabel));
  return comparisons.map((comparison) => {
    const { metric, adapter, full } = comparison;
    return {
      comparison,
      block: `${metric.label} · ${blockLabel(adapter)}`,
      name:
        fulls.length > 1 ? `${adapter.adapterLabel} − ${full.adapterLabel}` : adapter.adapterLabel,
    };
  });
}

/** Returns the difference of each seed that a comparison uses. */
const seedDifferences = ({ seeds, a, b }: AdapterComparison) =>
  seeds.map((seed, i) => {
    const of = a[i] ?? NaN,
      full = b[i] ?? NaN;
    return { seed, of, full, difference: of - full };
  });

function valuesOf(rows: readonly Row[]) {
  return rows.flatMap(({ comparison, block, name }) => {
    const place = { block, row: name, adapter: comparison.adapter.adapterLabel };
    const { difference } = comparison;
    const mean = difference
      ? [{ ...place, part: 'mean', seed: null, value: difference.mean, ...lineOf(difference) }]
      : [];
    const seeds = seedDifferences(comparison).map(({ seed, difference: value }) => ({
      ...place,
      part: 'seed',
      seed,
      value,
      low: null,
      high: null,
    }));
    return [...mean, ...seeds];
  });
}

function specOf(
  rows: readonly Row[],
  values: ReturnType<typeof valuesOf>,
  reach: number,
  palette: Palette,
): TopLevelSpec {
  const x = (field: string) =>
    quantitative(field, 'difference, adapter − full', {
      scale: { domain: [-reach, reach], nice: false },
    });
  const y = nominal('row', { sort: distinct(rows.map(({ name }) => name)) });
  const color = { ...adapterColour(palette), legend: null };
  return inBlocks(distinct(rows.map(({ block }) => block)), values, [
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
    intervalLayer(x('low'), y, color),
    { transform: onlyPart('mean'), mark: MEAN, encoding: { x: x('value'), y, color } },
    {
      transform: onlyPart('seed'),
      mark: seedPoint(55, { strokeWidth: 0.6, opacity: 0.9 }),
      encoding: { x: x('value'), y, color, shape: adapterShape(palette) },
    },
  ]);
}

/** Draws the comparisons that answer the question. Returns null if there are none. */
export async function forestFigure(
  comparisons: readonly AdapterComparison[],
  conditions: readonly Condition[],
): Promise<Figure | null> {
  const asked = comparisons.filter(
    (comparison) => isHeadline(comparison) && comparison.difference !== null,
  );
  const { shown, left } = firstOf(asked, MOST_ROWS);
  if (shown.length === 0) return null;
  const rows = rowsOf(shown, conditions);
  const values = valuesOf(rows);
  const reach = Math.max(0.05, ...values.map(({ value }) => Math.abs(value))) * 1.35;
  const isCut = values.some(({ low, high }) =>
    [low, high].some((end) => Math.abs(end ?? 0) > reach),
  );
  const caption = [
    'Points are seeds, the bar is their mean, the line its paired ',
    `${LINE} before Holm’s correction`,
    isCut ? ', cut where it runs past the axis (the table has its ends)' : '',
    `. The grey band is the declared margin of ±${PROPORTION_MARGIN}. `,
    'Right of zero in accuracy drop or ASR: the adapter is hurt more.',
    leftOut(left, 'comparison'),
  ];
  return drawFigure(
    { id: 'differences', title: 'Paired differences, adapter − full fine-tuning' },
    caption,
    specOf(rows, values, reach, adapterPalette(conditions)),
    toCsv(
      shown.flatMap((comparison) =>
        seedDifferences(comparison).map(({ seed, of, full, difference }) => ({
          metric: comparison.metric.metric,
          attack: comparison.adapter.attackLabel,
          setting: comparison.adapter.setting,
          adapter: comparison.adapter.adapterLabel,
          full: comparison.full.adapterLabel,
          seed,
          adapter_value: of,
          full_value: full,
          difference,
        })),
      ),
    ),
  );
}
