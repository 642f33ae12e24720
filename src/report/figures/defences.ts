/**
 * The threat table as heat maps, attacks against defences: ASR, and clean accuracy; and the ROC
 * curves of defences that give scores.
 */
import type { TopLevelSpec } from 'vega-lite';
import { type Condition, summaryOf, voidReasons } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { defenceLabelOf, isDefended } from '../defences.ts';
import { DAGGER, daggerText, voidReason } from '../evidence.ts';
import { distinct } from '../groups.ts';
import { ACCURACY, ASR, type MetricNote } from '../metrics.ts';
import type { Figure } from '../types.ts';
import { draw } from './svg.ts';
import { INK } from './theme.ts';

type Square = {
  readonly adapter: string;
  readonly attack: string;
  readonly defence: string;
  readonly value: number;
  readonly text: string;
};

const squaresOf = (conditions: readonly Condition[], note: MetricNote): readonly Square[] =>
  conditions.flatMap((condition) => {
    const mean = summaryOf(condition, note)?.mean;
    if (mean === undefined) return [];
    const { adapterLabel: adapter, attackLabel: attack } = condition;
    const mark = voidReasons(condition, note).size > 0 ? ` ${DAGGER}` : '',
      text = `${mean.toFixed(2).replace(/^0\./, '.')}${mark}`;
    return [{ adapter, attack, defence: defenceLabelOf(condition), value: mean, text }];
  });

function heatMap(squares: readonly Square[], isBadHigh: boolean): TopLevelSpec {
  const of = (key: 'adapter' | 'attack' | 'defence'): string[] =>
    distinct(squares.map((square) => square[key]));
  const [attacks, defences] = [of('attack'), of('defence')];
  return {
    data: { values: [...squares] },
    hconcat: of('adapter').map((adapter, i) => ({
      title: adapter,
      width: { step: 74 },
      height: { step: 24 },
      transform: [{ filter: `datum.adapter == ${JSON.stringify(adapter)}` }],
      encoding: {
        x: {
          field: 'attack',
          type: 'ordinal' as const,
          title: null,
          sort: attacks,
          scale: { domain: attacks },
          axis: { labelAngle: -25, orient: 'bottom' as const },
        },
        y: {
          field: 'defence',
          type: 'ordinal' as const,
          title: null,
          sort: defences,
          scale: { domain: defences },
          axis: { labels: i === 0, ticks: false, domain: false },
        },
      },
      layer: [
        {
          mark: { type: 'rect' as const },
          encoding: {
            color: {
              field: 'value',
              type: 'quantitative' as const,
              title: null,
              scale: {
                domain: [0, 1],
                interpolate: 'rgb',
                range: isBadHigh ? ['#f4f6f8', '#d55e00'] : ['#f4f6f8', '#0072b2'],
              },
              legend: null,
            },
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
  return {
    id,
    title,
    caption: dagger === null ? caption : `${caption} ${DAGGER} ${dagger}`,
    svg: await draw(heatMap(squares, note === ASR), id, title),
    csv: toCsv(
      squares.map(({ adapter, attack, defence, value, text }) => ({
        adapter,
        attack,
        defence,
        [note.metric]: value,
        not_evidence: text.endsWith(DAGGER),
      })),
    ),
  };
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
      x: {
        field: 'falsePositiveRate',
        type: 'quantitative',
        title: 'clean rows suspected',
        scale: { domain: [0, 1] },
      },
      y: {
        field: 'truePositiveRate',
        type: 'quantitative',
        title: 'poisoned rows suspected',
        scale: { domain: [0, 1] },
      },
      color: {
        field: 'judge',
        type: 'nominal',
        title: null,
        legend: { orient: 'bottom', columns: 2, labelLimit: 0 },
      },
      detail: { field: 'run' },
      order: { field: 'falsePositiveRate' },
    },
  },
});

async function rocFigure(conditions: readonly Condition[]): Promise<Figure | null> {
  const points = curvesOf(conditions);
  if (points.length === 0) return null;
  const id = 'defences-roc',
    title = 'Detection, from the threshold that suspects nothing to that which suspects all';
  return {
    id,
    title,
    caption: 'One line for each adapter and seed. A line along the diagonal is guessing.',
    svg: await draw(rocSpec(points), id, title),
    csv: toCsv(
      points.map(({ attack, adapter, seed, judge, falsePositiveRate, truePositiveRate }) => ({
        attack,
        defence: judge,
        adapter,
        seed,
        false_positive_rate: falsePositiveRate,
        true_positive_rate: truePositiveRate,
      })),
    ),
  };
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
