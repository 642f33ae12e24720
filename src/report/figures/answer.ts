/**
 * The answer as a picture, for the first screen: clean accuracy and attack success by adapter, a
 * dot for the mean over seeds and a line for its 95% t-interval, beside what each must be compared
 * with: the majority class's share, the paired clean model's rate, the same model's rate without
 * the trigger. It is drawn narrow enough for a phone.
 */
import {
  type Condition,
  headlineBlocks,
  isFull,
  scoreOf,
  seriesOf,
  summaryOf,
  voidReasons,
} from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { writesAnswers } from '../evidence.ts';
import { codePoints, formatNumber } from '../format.ts';
import type { NonEmpty } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import {
  ACCURACY,
  ASR,
  ASR_CLEAN,
  ASR_UNTRIGGERED,
  MAJORITY,
  type MetricNote,
} from '../metrics.ts';
import { scorerNote } from '../tasks.ts';
import type { Figure } from '../types.ts';
import { escapeXml, hollowNote, label, leftOut, LINE, lineOf } from './encode.ts';
import { adapterPalette, FONT, GRID, INK, MUTED, type Palette } from './theme.ts';

const MOST_ADAPTERS = 6;
/**
 * In pixels. Names end where the plot begins, or have a line of their own above each row if one of
 * them is longer; means are to the right of the plot.
 */
const WIDTH = 366,
  PLOT = { left: 126, right: 316 },
  ROW = 22,
  NAME = 15,
  HEADER = 24,
  AXIS = 24;
/** How many characters of a name there is room for: beside the plot, and above it. */
const BESIDE = 17,
  ABOVE = 50;

interface Baseline {
  readonly metric: MetricNote;
  readonly words: string;
  /** The words in a completion task. Default: `words`. */
  readonly ofAnswers?: string;
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
  baselines: [
    {
      metric: MAJORITY,
      words: 'always predicting the commonest class',
      ofAnswers: 'always writing the commonest answer',
      mark: '❘',
    },
  ],
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

const at = (value: number): number =>
  PLOT.left + (PLOT.right - PLOT.left) * Math.min(1, Math.max(0, value));
const round = (value: number): string => String(Math.round(value * 10) / 10);
const isLong = ({ adapterLabel }: Condition): boolean => codePoints(adapterLabel).length > BESIDE;
const shortened = (name: string): string => {
  const points = codePoints(name);
  return points.length > ABOVE ? `${points.slice(0, ABOVE - 1).join('')}…` : name;
};
const text = (
  x: number,
  y: number,
  content: string,
  { anchor = 'start', fill = INK, weight = 'normal' } = {},
): string =>
  `<text x="${x}" y="${round(y)}" text-anchor="${anchor}" fill="${fill}" ` +
  `font-weight="${weight}">${escapeXml(content)}</text>`;

const lineMark = (
  [x1, x2]: readonly [string, string],
  [y1, y2]: readonly [number, number],
  style: string,
): string => `<line x1="${x1}" x2="${x2}" y1="${y1}" y2="${y2}" ${style}/>`;

/**
 * Draws one adapter: its name, its baselines, the mean's interval, the mean.
 * @param above whether the name is above the row
 */
function rowMarks(
  condition: Condition,
  y: number,
  above: boolean,
  { metric, baselines }: Panel,
  palette: Palette,
): string {
  const summary = summaryOf(condition, metric);
  if (summary === null) return '';
  const { mean } = summary,
    { low, high } = lineOf(summary);
  const colour = palette.range[palette.domain.indexOf(condition.adapterLabel)] ?? INK;
  const marks = baselines.flatMap(({ metric: of, mark }) => {
    const baseline = summaryOf(condition, of);
    if (baseline === null) return [];
    const x = round(at(baseline.mean));
    return mark === '○'
      ? [`<circle cx="${x}" cy="${y}" r="4.5" fill="white" stroke="${INK}" stroke-width="1.3"/>`]
      : [lineMark([x, x], [y - 8, y + 8], `stroke="${MUTED}" stroke-width="2"`)];
  });
  const interval =
    low === null || high === null
      ? ''
      : lineMark(
          [round(at(low)), round(at(high))],
          [y, y],
          `stroke="${colour}" stroke-width="3.5" opacity="0.4"`,
        );
  const x = at(mean);
  const isHollow = voidReasons(condition, metric).size > 0;
  const paint = isHollow ? `fill="white" stroke="${colour}" stroke-width="2"` : `fill="${colour}"`;
  const dot = isFull(condition)
    ? `<rect x="${round(x - 5)}" y="${y - 5}" width="10" height="10" ${paint}/>`
    : `<circle cx="${round(x)}" cy="${y}" r="5" ${paint}/>`;
  return [
    above
      ? text(8, y - ROW / 2 - 2, shortened(condition.adapterLabel))
      : text(PLOT.left - 8, y + 4, condition.adapterLabel, { anchor: 'end' }),
    ...marks,
    interval,
    dot,
    text(WIDTH - 4, y + 4, formatNumber(mean, 'proportion'), {
      anchor: 'end',
      fill: isHollow ? MUTED : INK,
    }),
  ].join('');
}

function drawing(panel: Panel, blocks: readonly NonEmpty<Condition>[], palette: Palette): string {
  const parts: string[] = [];
  const above = blocks.flat().some(isLong),
    row = ROW + (above ? NAME : 0);
  let y = 0;
  for (const block of blocks) {
    parts.push(text(0, y + 16, blockLabel(block[0]), { weight: '600' }));
    y += HEADER;
    const bottom = y + row * block.length;
    for (const value of [0, 0.25, 0.5, 0.75, 1]) {
      const x = round(at(value));
      parts.push(lineMark([x, x], [y, bottom], `stroke="${GRID}"`));
    }
    for (const [i, condition] of block.entries())
      parts.push(rowMarks(condition, y + row * (i + 1) - ROW / 2, above, panel, palette));
    y = bottom + 6;
  }
  for (const [value, name] of [
    [0, '0'],
    [0.5, '0.5'],
    [1, '1'],
  ] as const)
    parts.push(text(at(value), y + 10, name, { anchor: 'middle', fill: MUTED }));
  const height = y + AXIS - 8;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" `,
    `viewBox="0 0 ${WIDTH} ${height}" font-family="${escapeXml(FONT)}" font-size="12.5">`,
    ...parts,
    '</svg>',
  ].join('');
}

function shownOf(block: readonly Condition[], metric: MetricNote) {
  const having = block.filter((condition) => summaryOf(condition, metric) !== null);
  const [first, ...others] = having.slice(0, MOST_ADAPTERS);
  return first === undefined
    ? []
    : [{ block: [first, ...others] as const, left: Math.max(0, having.length - MOST_ADAPTERS) }];
}

function panelFigure(
  panel: Panel,
  asked: readonly (readonly Condition[])[],
  palette: Palette,
): Figure | null {
  const { id, title, metric } = panel;
  const found = asked.flatMap((block) => shownOf(block, metric));
  if (found.length === 0) return null;
  const blocks = found.map(({ block }) => block);
  const shown = blocks.flat();
  const left = found.reduce((sum, block) => sum + block.left, 0);
  const baselines = panel.baselines.filter((baseline) =>
    shown.some((condition) => summaryOf(condition, baseline.metric) !== null),
  );
  const answers = shown.some(({ cells }) => cells.some(writesAnswers));
  const caption = [
    `● mean over seeds, with its ${LINE} where there is one`,
    ...baselines.map(
      ({ mark, words, ofAnswers }) => ` · ${mark} ${(answers && ofAnswers) || words}`,
    ),
    '.',
    metric === ASR ? scorerNote(shown) : '',
    hollowNote(shown.map((condition) => ({ condition, metric }))),
    leftOut(left, 'condition'),
  ];
  return {
    id,
    title,
    caption: caption.join(''),
    svg: label(drawing(panel, blocks, palette), id, title),
    csv: toCsv(
      shown.flatMap((condition) =>
        [metric, ...baselines.map((baseline) => baseline.metric)].flatMap((note) =>
          seriesOf(condition, scoreOf(note)).values.map(({ seed, value }) => ({
            attack: condition.attackLabel,
            adapter: condition.adapterLabel,
            setting: condition.setting,
            seed,
            metric: note.metric,
            value,
            not_evidence: voidReasons(condition, note).get(seed) ?? '',
          })),
        ),
      ),
    ),
  };
}

/**
 * Draws each attack at its highest dose: accuracy without attack and under each attack, ASR under
 * backdoors.
 */
export function answerFigures(conditions: readonly Condition[]): readonly Figure[] {
  const palette = adapterPalette(conditions);
  const of = (family: Condition['family']) => headlineBlocks(conditions, family);
  const figures = [
    panelFigure(ACCURACY_PANEL, [...of('none'), ...of('untargeted'), ...of('backdoor')], palette),
    panelFigure(ASR_PANEL, of('backdoor'), palette),
  ];
  return figures.filter((figure) => figure !== null);
}
