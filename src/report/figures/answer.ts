/**
 * The answer as a picture, for the first screen: clean accuracy and attack success by adapter, a dot for the mean over
 * seeds and a line for its 95% t-interval, with what each must be told from: the majority class's share, the paired clean
 * model's rate, the same model's rate without the trigger. Drawn narrow, so that it reads on a phone as it is.
 */
import { headlineBlocks } from '../blocks.ts';
import { blockLabel, type Condition, isFull, metricOf, seriesOf } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { formatNumber } from '../format.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  MAJORITY,
  type MetricNote,
} from '../metrics.ts';
import type { Figure } from '../types.ts';
import { hollowNote, left, oneClassSeeds } from './scores.ts';
import { escapeXml, label } from './svg.ts';
import { FONT, GRID, INK, MUTED, type Palette } from './theme.ts';

const MOST_ADAPTERS = 6;
/** Pixels: names end where the plot begins, means stand right of it. */
const WIDTH = 366,
  PLOT = { left: 126, right: 316 },
  ROW = 22,
  HEADER = 24,
  AXIS = 24,
  NAME_LENGTH = 19;

interface Baseline {
  readonly metric: MetricNote;
  readonly words: string;
  readonly mark: '○' | '❘';
}

interface Panel {
  readonly id: string;
  readonly title: string;
  readonly metric: MetricNote;
  readonly baselines: readonly Baseline[];
}

const ACCURACY_PANEL: Panel = {
  id: 'answer-accuracy',
  title: 'Clean accuracy',
  metric: ACCURACY,
  baselines: [{ metric: MAJORITY, words: 'always predicting the commonest class', mark: '❘' }],
};
const ASR_PANEL: Panel = {
  id: 'answer-asr',
  title: 'Attack success rate (ASR)',
  metric: ASR,
  baselines: [
    { metric: ASR_CLEAN, words: 'the clean model under the trigger', mark: '○' },
    { metric: ASR_UNTRIGGERED, words: 'the same model without the trigger', mark: '❘' },
  ],
};

const summaryOf = (condition: Condition, { stage, metric }: MetricNote) =>
  seriesOf(condition, metricOf(stage, metric)).summary;

const at = (value: number): number =>
  PLOT.left + (PLOT.right - PLOT.left) * Math.min(1, Math.max(0, value));
const round = (value: number): string => String(Math.round(value * 10) / 10);
const shortened = (name: string): string =>
  [...name].length > NAME_LENGTH ? `${[...name].slice(0, NAME_LENGTH - 1).join('')}…` : name;
const text = (
  x: number,
  y: number,
  content: string,
  { anchor = 'start', fill = INK, weight = 'normal' } = {},
): string =>
  `<text x="${x}" y="${round(y)}" text-anchor="${anchor}" fill="${fill}" font-weight="${weight}">${escapeXml(content)}</text>`;

/** One adapter: what its mean must be told from, the mean's interval, the mean. */
function rowMarks(
  condition: Condition,
  y: number,
  { metric, baselines }: Panel,
  palette: Palette,
): string {
  const { mean, low, high } = summaryOf(condition, metric)!;
  const colour = palette.range[palette.domain.indexOf(condition.adapterLabel)] ?? INK;
  const marks = baselines.flatMap(({ metric: of, mark }) => {
    const summary = summaryOf(condition, of);
    if (summary === null) return [];
    const x = round(at(summary.mean));
    return mark === '○'
      ? [`<circle cx="${x}" cy="${y}" r="4.5" fill="white" stroke="${INK}" stroke-width="1.3"/>`]
      : [
          `<line x1="${x}" x2="${x}" y1="${y - 8}" y2="${y + 8}" stroke="${MUTED}" stroke-width="2"/>`,
        ];
  });
  const interval =
    low === null || high === null
      ? ''
      : `<line x1="${round(at(low))}" x2="${round(at(high))}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="3.5" opacity="0.4"/>`;
  const x = at(mean);
  const isHollow = oneClassSeeds(condition).size > 0;
  const paint = isHollow ? `fill="white" stroke="${colour}" stroke-width="2"` : `fill="${colour}"`;
  const dot = isFull(condition)
    ? `<rect x="${round(x - 5)}" y="${y - 5}" width="10" height="10" ${paint}/>`
    : `<circle cx="${round(x)}" cy="${y}" r="5" ${paint}/>`;
  return [
    text(PLOT.left - 8, y + 4, shortened(condition.adapterLabel), { anchor: 'end' }),
    ...marks,
    interval,
    dot,
    text(WIDTH - 4, y + 4, formatNumber(mean, 'proportion'), {
      anchor: 'end',
      fill: isHollow ? MUTED : INK,
    }),
  ].join('');
}

function drawing(
  panel: Panel,
  blocks: readonly (readonly Condition[])[],
  palette: Palette,
): string {
  const parts: string[] = [];
  let y = 0;
  for (const block of blocks) {
    parts.push(text(0, y + 16, blockLabel(block[0]!), { weight: '600' }));
    y += HEADER;
    const bottom = y + ROW * block.length;
    for (const value of [0, 0.25, 0.5, 0.75, 1])
      parts.push(
        `<line x1="${round(at(value))}" x2="${round(at(value))}" y1="${y}" y2="${bottom}" stroke="${GRID}"/>`,
      );
    block.forEach((condition, i) =>
      parts.push(rowMarks(condition, y + ROW * (i + 0.5), panel, palette)),
    );
    y = bottom + 6;
  }
  for (const [value, name] of [
    [0, '0'],
    [0.5, '0.5'],
    [1, '1'],
  ] as const)
    parts.push(text(at(value), y + 10, name, { anchor: 'middle', fill: MUTED }));
  const height = y + AXIS - 8;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="${escapeXml(FONT)}" font-size="12.5">${parts.join('')}</svg>`;
}

function panelFigure(
  panel: Panel,
  asked: readonly (readonly Condition[])[],
  palette: Palette,
): Figure | null {
  const { id, title, metric } = panel;
  const having = asked
    .map((block) => block.filter((condition) => summaryOf(condition, metric) !== null))
    .filter((block) => block.length > 0);
  if (having.length === 0) return null;
  const blocks = having.map((block) => block.slice(0, MOST_ADAPTERS));
  const shown = blocks.flat();
  const baselines = panel.baselines.filter((baseline) =>
    shown.some((condition) => summaryOf(condition, baseline.metric) !== null),
  );
  return {
    id,
    title,
    caption: `● mean over seeds, with its 95% t-interval where there is one${baselines.map(({ mark, words }) => ` · ${mark} ${words}`).join('')}.${hollowNote(shown)}${left(having.flat().length - shown.length, 'condition')}`,
    svg: label(drawing(panel, blocks, palette), id, title),
    csv: toCsv(
      shown.flatMap((condition) =>
        [metric, ...baselines.map((baseline) => baseline.metric)].flatMap((note) =>
          seriesOf(condition, metricOf(note.stage, note.metric)).values.map(({ seed, value }) => ({
            attack: condition.attackLabel,
            adapter: condition.adapterLabel,
            setting: condition.setting,
            seed,
            metric: note.metric,
            value,
          })),
        ),
      ),
    ),
  };
}

/** Of each attack the highest dose: ASR under backdoors; accuracy without attack and under each. */
export function answerFigures(conditions: readonly Condition[], palette: Palette): Figure[] {
  const of = (family: Condition['family']) => headlineBlocks(conditions, family);
  const figures = [
    panelFigure(ACCURACY_PANEL, [...of('none'), ...of('untargeted'), ...of('backdoor')], palette),
    panelFigure(ASR_PANEL, of('backdoor'), palette),
  ];
  return figures.filter((figure) => figure !== null);
}
