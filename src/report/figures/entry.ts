/** Draws figures of the grid from entries: those of the spec's author and the report's own. */
import type { FigureEntry, SpreadName, Statistic } from '../../api/report.ts';
import { defined } from '../../base/defined.ts';
import type { Analysis } from '../analysis.ts';
import { cellAt, conditionName } from '../conditions.ts';
import { toCsv } from '../csv.ts';
import { droppedRowsText } from '../defences.ts';
import {
  DAGGER,
  daggerText,
  FEWER_ROWS,
  fewerRowsText,
  isByMainScorer,
  joinWithOr,
  rowsText,
  writesAnswers,
} from '../evidence.ts';
import { plural } from '../format.ts';
import { distinct, groupBy } from '../groups.ts';
import { ASR_CLEAN, ASR_UNTRIGGERED, MAJORITY, metricName, parseMetricName } from '../metrics.ts';
import { scorerSentence, scorersOf, scorerWords } from '../tasks.ts';
import type { Figure } from '../types.ts';
import { PROPORTION_MARGIN } from '../verdict.ts';
import { TRAINING, triggerText, withEveryTrigger } from './chain.ts';
import { drawFigure, idsFor, keyed, leftOut, LINE, varies } from './encode.ts';
import { type Frame, frameEntry } from './frame.ts';
import {
  axisDomain,
  chosenSpread,
  type Drawn,
  figureSpec,
  hasDaggers,
  isBeyond,
  isFlipped,
  isShifted,
  panelsAbreast,
  referenceMark,
  summarisePlaces,
} from './marks.ts';
import { measureOf } from './measure.ts';
import { measureIn } from './overlays.ts';
import { type Point, shortened } from './points.ts';
import { adapterPalette, linePalette } from './theme.ts';

export interface Limits {
  /** The most lines in a figure. Further ones go into a second figure, or are left out. */
  readonly lines: number;
  /** Whether a line is drawn although it has a single point on x. */
  readonly single: boolean;
  /**
   * The most places in a block. A block is a panel, and a place a name on x; in a heat map, a block
   * is a row of panels, and a place a row of squares across them.
   */
  readonly places?: number;
  /** The most places in all blocks. */
  readonly most?: number;
}
const MOST_FIGURES = 2;
/** The most panels (in a heat map, rows of panels), and the most places in all of them. */
const MOST_PANELS = 24;
const MOST_PLACES = 40;

const OF_AUTHORS: Limits = { lines: 9, single: true };
/** Five lines can be told apart at a glance. */
export const OF_REPORT: Limits = { lines: 5, single: false };

/** Whether the points have at least two different places on x. */
const hasSeveralPlaces = (points: readonly Point[]): boolean => varies(points.map(({ x }) => x));

/**
 * Leaves out lines that have a single place on a numeric x. Levels, which have no place on x, are
 * kept, and so are all points of a figure without lines or with names on x.
 */
function withoutSinglePlaces({ form, x, points }: Frame): readonly Point[] {
  if (form !== 'line' || x.kind === 'text') return points;
  const lineKey = ({ line, measure: { field } }: Point): string => keyed(line, field);
  const single = [...groupBy(points, lineKey)].filter(
    ([, line]) => !hasSeveralPlaces(line) && line.every((point) => point.x !== null),
  );
  const names = new Set(single.map(([name]) => name));
  return points.filter((point) => !names.has(lineKey(point)));
}

/** Returns a key of a panel or, in a heat map, of a row of panels. */
const blockKey = ({ form }: Frame, { row, column }: Point): string =>
  form === 'heatmap' ? row : keyed(row, column);

/** Returns a key of a name on x in a panel or, in a heat map, of a row of squares. */
const placeKey = ({ form }: Frame, { row, column, line, x }: Point): string =>
  form === 'heatmap' ? keyed(row, line) : keyed(row, column, typeof x === 'string' ? x : null);

/**
 * Returns the points that fit into a figure. Each block is cut to `mostPerBlock` places. Blocks are
 * taken in order until one no longer fits; the first block is cut if it is too large by itself. A
 * heat map is also cut to MOST_PLACES names on x.
 */
function fittingPoints(
  frame: Frame,
  points: readonly Point[],
  mostPerBlock: number,
  mostPlaces: number,
): readonly Point[] {
  const blocks = [...groupBy(points, (point) => blockKey(frame, point)).values()];
  const shown = new Set<string>();
  for (const block of blocks.slice(0, MOST_PANELS)) {
    const places = distinct(block.map((point) => placeKey(frame, point))).slice(0, mostPerBlock),
      room = mostPlaces - shown.size;
    if (shown.size > 0 && places.length > room) break;
    for (const place of places.slice(0, room)) shown.add(place);
  }
  const names = distinct(points.map(({ x }) => x)).slice(0, MOST_PLACES);
  return points.filter(
    (point) =>
      shown.has(placeKey(frame, point)) && (frame.form !== 'heatmap' || names.includes(point.x)),
  );
}

const subjectKey = ({ subject: { condition, full } }: Point): string =>
  keyed(condition.key, full?.key);

/** Returns the name of a condition; under `against: full`, of the pair. */
const subjectName = ({ subject: { condition, full } }: Point): string =>
  conditionName(
    full === undefined
      ? condition
      : { ...condition, adapterLabel: `${condition.adapterLabel} − ${full.adapterLabel}` },
  );

/**
 * Draws an entry as one figure, as several if it has too many lines, or as none if it is empty.
 * @throws UserFault if several cells have one place in the figure
 */
export async function drawEntry(
  asked: FigureEntry,
  analysis: Pick<Analysis, 'conditions'>,
  { lines: ofLines, single, places = MOST_PLACES, most = MOST_PLACES }: Limits = OF_AUTHORS,
): Promise<readonly Figure[]> {
  const entry = withEveryTrigger(asked, analysis.conditions),
    frame = frameEntry(entry, analysis);
  const { form, x } = frame;
  const followed = single ? frame.points : withoutSinglePlaces(frame);
  const fit = fittingPoints(frame, followed, places, most);
  const placed = fit.filter((point) => point.x !== null);
  const isAlong = form === 'line' && x.kind === 'number';
  if (placed.length === 0 || (!single && isAlong && !hasSeveralPlaces(placed))) return [];
  const isSplit = form === 'line' || frame.isDodged;
  const allLines = distinct(fit.map(({ line }) => line));
  const mostLines = isSplit ? ofLines : allLines.length;
  const lines = allLines.slice(0, mostLines * MOST_FIGURES);
  const count = Math.ceil(lines.length / mostLines),
    perFigure = Math.ceil(lines.length / count);
  const fitting = new Set(fit.map(subjectKey)),
    others = groupBy(
      frame.points.filter((point) => !fitting.has(subjectKey(point))),
      subjectKey,
    );
  const left = [
    leftOut(allLines.slice(lines.length), 'line'),
    leftOut(
      [...others.values()].map(([first]) => subjectName(first)),
      'condition',
    ),
  ].filter((text) => text !== '');
  if (left.length > 0) left.push(' An entry of report.figures can choose them by its cells.');
  const adapters = adapterPalette(analysis.conditions);
  const figures: Figure[] = [];
  for (let k = 0; k < count; k++) {
    const shownLines = lines.slice(k * perFigure, (k + 1) * perFigure);
    const isShown = ({ line }: Point): boolean => shownLines.includes(line);
    const points = fit.filter(isShown);
    const part = {
      ...frame,
      points,
      references: frame.references.filter(
        (point) => isShown(point) && points.some(({ subject }) => subject === point.subject),
      ),
    };
    // Names of metrics stay whole: `ASR, refusal` beside `ASR, contains`.
    const namesOf = (names: readonly (number | string | null)[]) =>
      shortened(frame.isByMetric ? [] : names.filter((name) => typeof name === 'string'));
    const drawn: Drawn = {
      entry,
      frame: part,
      means: summarisePlaces(points, { entry, frame: part }),
      palette: linePalette(shownLines, frame.lines, adapters),
      overlays: entry.overlays ?? [],
      written: {
        row: namesOf(points.map(({ row }) => row)),
        column: namesOf(points.map(({ column }) => column)),
        line: namesOf(shownLines),
        x: namesOf(points.map(({ x }) => x)),
      },
    };
    const title = entry.title ?? defaultTitle(drawn);
    // The figure's number, and what its lines have in common but the lines of other figures do not.
    const own = shortened(shownLines.map(shortened(lines).short)).shared,
      [place = ''] = idsFor(String(k + 1), [own]);
    const head = {
      id: k === 0 ? entry.name : `${entry.name}-${place}`,
      title: count > 1 ? `${title} (${k + 1} of ${count})` : title,
    };
    const caption = [writeCaption(drawn), ...(k === 0 ? left : [])];
    figures.push(await drawSized(drawn, head, caption));
  }
  return figures;
}

const defaultTitle = ({ entry, frame }: Drawn): string => {
  const what = distinct(frame.measures.map(({ label }) => label)).join(', ');
  const over = entry.x.title ?? (frame.x.title || entry.x.field);
  return frame.form === 'heatmap' ? what : `${what} against ${over}`;
};

/** Points on the page for each pixel drawn: type of 12 px becomes 7.5 points high. */
const POINTS = 7.5 / 12;
/** Widths in points (1/72 in), and a phone's in pixels. */
const WIDTHS = { column: 3.25 * 72, page: 6.75 * 72, phone: 366 } as const;

/**
 * Draws a figure at the width that its entry asks for, by changing the width of the panels until it
 * fits. If the legend alone is wider, the whole figure is scaled down. Widths are in pixels.
 */
async function drawSized(
  drawn: Drawn,
  head: Pick<Figure, 'id' | 'title'>,
  caption: readonly string[],
): Promise<Figure> {
  const { size } = drawn.entry;
  const csv = pointsCsv(drawn);
  const draw = (width: number) => drawFigure(head, caption, figureSpec(drawn, width), csv);
  let width = panelWidth(drawn),
    figure = await draw(width);
  if (size === undefined) return figure;
  const asked = size === 'phone' ? WIDTHS.phone : WIDTHS[size] / POINTS;
  let target = asked;
  for (let tries = 0; tries < 4; tries++) {
    const drawnWidth = svgWidth(figure),
      missing = target - drawnWidth;
    if (Math.abs(missing) < 0.5) break;
    const widthToReach = (all: number): number =>
      Math.max(LEAST_WIDTH, width + (all - drawnWidth) / panelsAbreast(drawn));
    figure = await draw(widthToReach(target));
    const narrowest = svgWidth(figure);
    const isTooWide = missing < 0 && narrowest - target > 0.5;
    if (isTooWide) {
      target = narrowest;
      figure = await draw(widthToReach(target));
    }
    width = widthToReach(target);
  }
  const scale = (size === 'phone' ? 1 : POINTS) * (asked / target);
  const unit = size === 'phone' ? '' : 'pt';
  return { ...figure, svg: scale === 1 ? figure.svg : scaledSvg(figure.svg, scale, unit) };
}
const svgWidth = ({ svg }: Figure): number => Number(/ width="([\d.]+)"/.exec(svg)?.[1]);
const LEAST_WIDTH = 40;

/** Returns an SVG whose size and content are scaled. Its new size is in `unit`; '' for pixels. */
const scaledSvg = (svg: string, scale: number, unit: string): string =>
  svg.replace(
    /^(<svg[^>]*?) width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"(.*?<\/title>)(.*)<\/svg>$/s,
    (_, before: string, width: string, height: string, title: string, inner: string) => {
      const [w, h] = [width, height].map((side) => Number((Number(side) * scale).toFixed(2)));
      return (
        `${before} width="${w}${unit}" height="${h}${unit}" viewBox="0 0 ${w} ${h}"${title}` +
        `<g transform="scale(${scale})">${inner}</g></svg>`
      );
    },
  );

/** The most pixels across a heat map's squares, unless they would be too narrow for numbers. */
const MAP_WIDTH = 960;

/** Returns the width of a panel in pixels: the more panels side by side, the less. */
function panelWidth(drawn: Drawn): number {
  const { form, points } = drawn.frame;
  if (form === 'heatmap') {
    const names = new Set(points.map(({ x }) => x)).size;
    return names * Math.min(74, Math.max(48, MAP_WIDTH / (names * panelsAbreast(drawn))));
  }
  return [350, 350, 230][panelsAbreast(drawn)] ?? 200;
}

const SPREADS: Readonly<Record<SpreadName, string>> = {
  interval: LINE,
  std: 'sample standard deviation (n − 1) to either side',
  range: 'range from the least to the largest seed',
  none: '',
};
const STATISTICS: Readonly<Record<Statistic, string>> = {
  mean: 'mean',
  median: 'median',
  min: 'least value',
  max: 'largest value',
};
const centreName = ({ statistic = 'mean' }: FigureEntry): string => STATISTICS[statistic];

function seedsText(drawn: Drawn): string {
  const counts = drawn.means.map(({ n }) => n);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  if (most < 2) return 'One seed: no interval.';
  if (least === most) return `n = ${plural(most, 'seed')}.`;
  const lines = groupBy(drawn.means, ({ row, column, line, measure: { field } }) =>
    keyed(row, column, line, field),
  );
  const isUneven = [...lines.values()].some((line) => varies(line.map(({ n }) => n)));
  return (
    `n = ${least} to ${most} seeds.` +
    (isUneven && drawn.frame.x.kind === 'step' && drawn.entry.seeds === false
      ? ' Where some trainings of a line have ended, it shows those that go on.'
      : '')
  );
}

/**
 * Says how many of the models that trainings keep are not evidence; '' if all are, or if x is not
 * their steps. The points are of models during training, which are not judged.
 */
function keptText({ frame: { x, points } }: Drawn): string {
  if (x.kind !== 'step') return '';
  const trainings = groupBy(points, ({ subject, seed }) => keyed(subject.condition.key, seed));
  const reasons = [...trainings.values()].flatMap((own) => {
    const [{ subject, seed }] = own,
      cell = cellAt(subject.condition, seed);
    const measures = distinct(own.map(({ measure }) => measure));
    return (
      (cell && measures.map(({ reason }) => reason(cell)).find((reason) => reason !== null)) ?? []
    );
  });
  return reasons.length === 0
    ? ''
    : `${reasons.length} of the ${plural(trainings.size, 'model')} that these trainings keep ` +
        `${reasons.length === 1 ? 'is' : 'are'} not evidence: a model behind the numbers ` +
        `${joinWithOr(reasons)}. The numbers along the way are not judged.`;
}

function marksText(drawn: Drawn): string {
  const { entry, frame } = drawn;
  const { form, x, measures } = frame;
  const { seeds = true, against } = entry;
  const centre = centreName(entry),
    spread = chosenSpread(entry);
  const paired = against === undefined ? '' : 'paired ';
  const holm = against !== undefined && spread === 'interval' ? ' before Holm’s correction' : '';
  const ofSpread = `${paired}${SPREADS[spread]}${holm}${isAnySpreadCut(drawn) ? ', cut at the ends of the axis' : ''}`;
  // Returns words with the name of the spread after them; '' if no spread is drawn.
  const withSpread = (words: string): string => (spread === 'none' ? '' : `${words} ${ofSpread}`);
  if (form === 'heatmap') return `${centre === 'mean' ? 'Means' : `The ${centre}`} over seeds.`;
  if (x.kind === 'step')
    return seeds
      ? 'One line for each seed.'
      : `The line is the ${centre} over seeds${withSpread(', the band its')}.`;
  const band =
    against !== undefined && measures.some(({ isProportion }) => isProportion)
      ? ` The grey band is the declared margin of ±${PROPORTION_MARGIN}.`
      : '';
  if (form === 'line')
    return seeds
      ? `Points are seeds; the line joins their ${centre}s${withSpread('; each bar is a')}.`
      : `Points are the ${centre} over seeds${withSpread('; each bar is a')}.`;
  if (form === 'bar')
    return (
      `Bars are the ${centre} over seeds${withSpread(', the line its')}` +
      `${seeds ? '; points are seeds' : ''}.`
    );
  if (seeds) {
    const mark = x.kind === 'metric' ? 'mark' : 'bar';
    return `Points are seeds, the coloured ${mark} is their ${centre}${withSpread(', the line its')}.${band}`;
  }
  const where = spread === 'none' ? '' : ' where there is one';
  return `● ${centre} over seeds${withSpread(', with its')}${where}.${band}`;
}

/** Whether an end of an axis cuts off part of a mean's spread. */
const isAnySpreadCut = (drawn: Drawn): boolean =>
  drawn.frame.measures.some((measure) => {
    const [least, most] = axisDomain(drawn, measure);
    return drawn.means.some(
      ({ measure: { field }, low, high }) =>
        field === measure.field && ((low ?? least) < least || (high ?? most) > most),
    );
  });

/** Says how many means lie beyond the ends that the author gave an axis; '' if none does. */
function hiddenText(drawn: Drawn): string {
  const hidden = drawn.means.filter((mean) => isBeyond(drawn, mean, mean.centre)).length;
  return hidden === 0 || drawn.frame.form === 'heatmap'
    ? ''
    : `${plural(hidden, 'point')} outside the ends of the axes ${hidden === 1 ? 'is' : 'are'} not shown.`;
}

const REFERENCES: Readonly<Record<string, readonly [words: string, ofAnswers?: string]>> = {
  [metricName(MAJORITY)]: [
    'always predicting the commonest class',
    'always writing the commonest answer',
  ],
  [metricName(ASR_CLEAN)]: ['the clean model under the trigger'],
  [metricName(ASR_UNTRIGGERED)]: ['the same model without the trigger'],
};

/**
 * Says what reference marks stand for, and which are not evidence although the points beside them
 * are: `× the clean model under the trigger.`; '' without any.
 */
function referencesText(drawn: Drawn): string {
  const { entry, frame } = drawn,
    { references = [] } = entry;
  const drawnMark = (field: string): string => {
    const mark = referenceMark(field);
    return mark === '❘' && !isFlipped(drawn) ? '—' : mark;
  };
  const answers = frame.points.some(({ subject }) => subject.condition.cells.some(writesAnswers));
  const isOfTest = (field: string): boolean => field.startsWith('evaluate.test_');
  /** Returns `, on test rows` for a reference, or '' if a measure of the figure is of its rows. */
  const rowsSuffix = (reference: string): string => {
    if (frame.measures.some(({ field }) => isOfTest(field) === isOfTest(reference))) return '';
    return isOfTest(reference) ? ', on test rows' : ', on validation rows';
  };
  const marked = references.filter((field) =>
    frame.references.some(({ metric }) => metric === field),
  );
  if (marked.length === 0) return '';
  const text = marked.map((field) => {
    const [words = measureOf(field).label, ofAnswers] =
      REFERENCES[field.replace('.test_', '.')] ?? [];
    return `${drawnMark(field)} ${(answers && ofAnswers) || words}${rowsSuffix(field)}`;
  });
  const reasonKey = ({ measure, reason }: Point): string => keyed(measure.field, reason ?? '');
  const ofPoints = new Set(frame.points.map(reasonKey)),
    unsaid = frame.references.filter((one) => !ofPoints.has(reasonKey(one)));
  const marks = distinct(unsaid.flatMap((one) => (one.reason ? drawnMark(one.metric) : [])));
  const notEvidence =
    marks.length === 0
      ? ''
      : ` Some ${marks.join(' and ')} are not evidence: a model behind them ` +
        `${joinWithOr(unsaid.flatMap(({ reason }) => reason ?? []))}.`;
  return `${text.join(' · ')}.${notEvidence}`;
}

/** Names the main scorers of the rates that are drawn; '' if none of these is by a main scorer. */
function scorersText({ entry, frame }: Drawn): string {
  const points = isByMainScorer(parseMetricName(entry.x.field))
    ? frame.points
    : frame.points.filter(({ measure }) => isByMainScorer(parseMetricName(measure.field)));
  return scorerSentence(scorersOf(distinct(points.map(({ subject }) => subject.condition))));
}

function writeCaption(drawn: Drawn): string {
  const { entry, frame, overlays, written } = drawn;
  const shared = distinct(Object.values(written).map((of) => of.shared)).filter(Boolean);
  const levels = frame.points.filter(({ x }) => x === null),
    points = frame.points.filter(({ x }) => x !== null);
  const reasonsFor = (some: readonly Point[]) => some.flatMap(({ reason }) => reason ?? []);
  const reasons = reasonsFor(points);
  const isHeat = frame.form === 'heatmap';
  const dagger = daggerText(reasons),
    fewer = fewerRowsText(points.flatMap(({ fewerRows }) => fewerRows ?? []));
  return [
    entry.caption ?? '',
    shared.length === 0 ? '' : `Throughout: ${shared.join(', ')}.`,
    entry.against === undefined
      ? ''
      : `Differences from ${entry.against === 'full' ? 'full fine-tuning' : 'the clean run'}.`,
    frame.notes.join(' '),
    scorersText(drawn),
    marksText(drawn),
    seedsText(drawn),
    keptText(drawn),
    isShifted(drawn) ? 'Lines are drawn side by side, a little off their places on x.' : '',
    levels.length > 0
      ? 'Dotted: full fine-tuning, which has no such axis' +
        (reasonsFor(levels).length === 0
          ? '.'
          : `; a model behind it ${joinWithOr(reasonsFor(levels))}, so it is not evidence.`)
      : '',
    hiddenText(drawn),
    referencesText(drawn),
    reasons.length === 0
      ? ''
      : isHeat
        ? `${DAGGER} ${dagger ?? ''}`
        : `Hollow points are not evidence: a model behind them ${joinWithOr(reasons)}.` +
          (hasDaggers(drawn) ? ` ${DAGGER} marks a ${centreName(entry)} that counts one.` : ''),
    droppedRowsText(points.map(({ subject }) => subject.condition)),
    fewer === null ? '' : `${isHeat ? `${FEWER_ROWS} ` : ''}${fewer}`,
    ...overlays.map(({ label, citation, spread }) => {
      const bars = spread === undefined ? '' : `, with its ${[spread].flat().join(' to ')}`;
      return `Hollow, with a grey edge: ${label}${bars}, ${citation.replace(/\.$/, '')}.`;
    }),
  ]
    .filter((text) => text !== '')
    .join(' ');
}

/** Writes every number that is drawn. If all are of one metric, their column is named after it. */
function pointsCsv({ entry, frame, overlays }: Drawn): string {
  const all = [...frame.points, ...frame.references];
  const hasSeveralMetrics = varies(all.map(({ metric }) => metric));
  const hasTriggers =
    entry.x.field === TRAINING &&
    all.some(({ subject, measure }) => triggerText(subject.condition, measure.field) !== '');
  const hasFewerRows = all.some(({ fewerRows }) => fewerRows !== null);
  const scorers = all.map(({ subject, seed, metric }): string => {
    const writing = cellAt(subject.condition, seed)?.writing;
    return writing && isByMainScorer(parseMetricName(metric)) ? scorerWords(writing.scorer) : '';
  });
  const hasScorers = scorers.some((text) => text !== '');
  const valueColumn = (metric: string, value: number) =>
    hasSeveralMetrics ? { metric, value } : { [metric]: value };
  const rows = all.map((point, i) => {
    const { subject, measure, row, column, line, x, seed, metric, value, other, reason } = point;
    const { attackLabel: attack, adapterLabel: adapter, setting } = subject.condition;
    return {
      ...(frame.form === 'line'
        ? { line, ...(row !== '' && { row }), ...(column !== '' && { column }) }
        : { attack, adapter, setting }),
      ...((frame.form === 'line' || frame.x.kind !== 'text') && { x }),
      seed,
      ...defined({ chosen: cellAt(subject.condition, seed)?.chosen }),
      ...valueColumn(metric, value),
      ...(hasScorers && { scorer: scorers[i] }),
      ...(hasTriggers && { trigger: triggerText(subject.condition, measure.field) }),
      ...(entry.against && { against: subject.full?.adapterLabel ?? 'clean run', of: other }),
      not_evidence: reason ?? '',
      ...(hasFewerRows && { fewer_rows: rowsText(point.fewerRows) }),
    };
  });
  const published = overlays.flatMap((overlay) =>
    overlay.rows.map((row) => ({
      [frame.form === 'line' ? 'line' : 'attack']:
        `${overlay.label} ${row[overlay.color ?? ''] ?? ''}`.trim(),
      x: row[overlay.x],
      ...valueColumn(measureIn(overlay, frame)?.field ?? '', Number(row[overlay.y])),
    })),
  );
  return toCsv([...rows, ...published]);
}
