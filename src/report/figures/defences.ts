/**
 * The threat table as heat maps, attacks against defences: ASR, and clean accuracy; and the ROC
 * curves of defences that give scores.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, hasVoid, summaryOf } from '../conditions.ts';
import { csvOf } from '../csv.ts';
import { defenceLabelOf, isDefended } from '../defences.ts';
import { DAGGER, daggerText, voidReason } from '../evidence.ts';
import { distinct } from '../groups.ts';
import { ACCURACY, ASR, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { drawFigure, nominal, ordinal, quantitative } from './encode.ts';
import { INK } from './theme.ts';

type Square = {
  readonly adapter: string;
  readonly attack: string;
  readonly defence: string;
  readonly value: number;
  readonly text: string;
  readonly not_evidence: boolean;
};

const squaresOf = (conditions: readonly Condition[], note: MetricNote): readonly Square[] =>
  conditions.flatMap((condition) => {
    const mean = summaryOf(condition, note)?.mean;
    if (mean === undefined) return [];
    const { adapterLabel: adapter, attackLabel: attack } = condition;
    const isVoid = hasVoid(condition, note),
      text = `${mean.toFixed(2).replace(/^0\./, '.')}${isVoid ? ` ${DAGGER}` : ''}`,
      defence = defenceLabelOf(condition);
    return [{ adapter, attack, defence, value: mean, text, not_evidence: isVoid }];
  });

function heatMap(squares: readonly Square[], isBadHigh: boolean): TopLevelSpec {
  const valuesOf = (key: 'adapter' | 'attack' | 'defence'): string[] =>
    distinct(squares.map((square) => square[key]));
  const [attacks, defences] = [valuesOf('attack'), valuesOf('defence')];
  return {
    data: { values: [...squares] },
    hconcat: valuesOf('adapter').map((adapter, i) => ({
      title: adapter,
      width: { step: 74 },
      height: { step: 24 },
      transform: [{ filter: `datum.adapter == ${JSON.stringify(adapter)}` }],
      encoding: {
        x: ordinal('attack', null, {
          sort: attacks,
          scale: { domain: attacks },
          axis: { labelAngle: -25, orient: 'bottom' as const },
        }),
        y: ordinal('defence', null, {
          sort: defences,
          scale: { domain: defences },
          axis: { labels: i === 0, ticks: false, domain: false },
        }),
      },
      layer: [
        {
          mark: { type: 'rect' as const },
          encoding: {
            color: quantitative('value', null, {
              scale: {
                domain: [0, 1],
                interpolate: 'rgb' as const,
                range: ['#f4f6f8', isBadHigh ? '#d55e00' : '#0072b2'],
              },
              legend: null,
            }),
          },
        },
        {
          mark: { type: 'text' as const, fontSize: 12 },
          encoding: {
            text: { field: 'text', type: 'nominal' as const },
            color: {
              condition: { test: 'datum.value > 0.6', value: 'white' },
              value: INK,
            },
          },
        },
      ],
    })),
  };
}

async function table(
  conditions: readonly Condition[],
  note: MetricNote,
  { id, title, caption }: Pick<Figure, 'id' | 'title' | 'caption'>,
): Promise<Figure | null> {
  const squares = squaresOf(conditions, note);
  if (squares.length === 0) return null;
  const dagger = daggerText(
    conditions.flatMap(({ cells }) => cells.flatMap((cell) => voidReason(cell, note) ?? [])),
  );
  return drawFigure(
    { id, title },
    [dagger === null ? caption : `${caption} ${DAGGER} ${dagger}`],
    heatMap(squares, note === ASR),
    csvOf(squares, ['adapter', 'attack', 'defence', [note.metric, 'value'], 'not_evidence']),
  );
}

type RocPoint = {
  readonly attack: string;
  readonly adapter: string;
  readonly seed: number;
  readonly judge: string;
  readonly run: string;
  readonly falsePositiveRate: number;
  readonly truePositiveRate: number;
};

const curvesOf = (conditions: readonly Condition[]): readonly RocPoint[] =>
  conditions.flatMap((condition) =>
    condition.cells.flatMap(({ seed, roc = {} }) =>
      Object.entries(roc).flatMap(([of, points]) => {
        const judge = `${defenceLabelOf(condition)} (${of === 'filter' ? 'training rows' : of})`;
        return points.map(([falsePositiveRate, truePositiveRate]) => ({
          attack: condition.attackLabel,
          adapter: condition.adapterLabel,
          seed,
          judge,
          run: `${judge} ${condition.adapterLabel} ${seed}`,
          falsePositiveRate,
          truePositiveRate,
        }));
      }),
    ),
  );

const rocSpec = (points: readonly RocPoint[]): TopLevelSpec => ({
  data: { values: [...points] },
  facet: { column: { field: 'attack', type: 'nominal', title: null } },
  spec: {
    width: 230,
    height: 230,
    mark: { type: 'line', interpolate: 'step-after', strokeWidth: 1.6, opacity: 0.8 },
    encoding: {
      x: quantitative('falsePositiveRate', 'clean rows suspected', { scale: { domain: [0, 1] } }),
      y: quantitative('truePositiveRate', 'poisoned rows suspected', {
        scale: { domain: [0, 1] },
      }),
      color: nominal('judge', {
        legend: { orient: 'bottom' as const, columns: 2, labelLimit: 0 },
      }),
      detail: { field: 'run' },
      order: { field: 'falsePositiveRate' },
    },
  },
});

async function rocFigure(conditions: readonly Condition[]): Promise<Figure | null> {
  const points = curvesOf(conditions);
  if (points.length === 0) return null;
  const title = 'Detection, from the threshold that suspects nothing to that which suspects all';
  return drawFigure(
    { id: 'defences-roc', title },
    ['One line for each adapter and seed. A line along the diagonal is guessing.'],
    rocSpec(points),
    csvOf(points, [
      'attack',
      ['defence', 'judge'],
      'adapter',
      'seed',
      ['false_positive_rate', 'falsePositiveRate'],
      ['true_positive_rate', 'truePositiveRate'],
    ]),
  );
}

/** Draws nothing unless some cell has a defence. */
export async function defenceFigures(
  conditions: readonly Condition[],
): Promise<readonly (Figure | null)[]> {
  if (!conditions.some(isDefended)) return [];
  const note = 'Means over seeds.';
  return [
    await table(conditions, ASR, {
      id: 'defences-asr',
      title: 'ASR, attacks against defences',
      caption: `${note} What is rejected does not succeed.`,
    }),
    await table(conditions, ACCURACY, {
      id: 'defences-accuracy',
      title: 'Clean accuracy, attacks against defences',
      caption:
        `${note} What is rejected counts as wrong. Cells with a defence are evaluated without the ` +
        'validation rows that the defender is given, if it is given any.',
    }),
    await rocFigure(conditions),
  ];
}
