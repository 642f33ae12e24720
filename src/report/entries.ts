/** The figures and tables that a spec's `report` asks for, with what they lack and why. */
import { closest } from 'fastest-levenshtein';
import type { AttackTarget, JsonObject } from '../api.ts';
import type { FigureEntry, TableEntry } from '../api/report.ts';
import { defined } from '../base/defined.ts';
import { UserFault } from '../base/fault.ts';
import { type Analysis, caveatsOfConditions, scoreTallies } from './analysis.ts';
import { caveatText } from './caveats.ts';
import { type AdapterComparison, compareAdapters } from './comparisons.ts';
import { chooseByName, type Condition } from './conditions.ts';
import { toCsv } from './csv.ts';
import { droppedRowsText } from './defences.ts';
import { chooseByEnvelope, type Enveloped } from './envelope.ts';
import { isByMainScorer, rowsText, writesAnswers } from './evidence.ts';
import { isName, labelIn } from './figures/axis.ts';
import { TRAINING } from './figures/chain.ts';
import { drawEntry } from './figures/entry.ts';
import { LOSS } from './figures/measure.ts';
import { plainText } from './format.ts';
import {
  entriesIn,
  type Entry,
  type GridTable,
  layOut,
  markdownTable,
  type TableText,
  tableText,
  valuesText,
} from './grid.ts';
import { contentKey, distinct } from './groups.ts';
import { headName } from './labels.ts';
import { latexTable } from './latex.ts';
import { distinctMetrics } from './metric-lookup.ts';
import { metricName, onTest, parseMetricName } from './metrics.ts';
import { collectResults, type ResultRow } from './results.ts';
import { caveatSentences, factSentences, reportFacts } from './table-facts.ts';
import { scorerSentence, scorersOf, scorerWords } from './tasks.ts';
import type { Figure, ReportCell } from './types.ts';

export interface DrawnTable extends TableText {
  readonly name: string;
  readonly title: string;
  readonly caption: string;
  /** How many columns, the first ones, name the rows. */
  readonly axes: number;
  readonly latex: string;
  readonly markdown: string;
  readonly csv: string;
}

export interface DrawnEntry {
  readonly name: string;
  readonly figures: readonly Figure[];
  readonly table: DrawnTable | null;
  /** What the entry can't show, and why, as ends of a sentence about it. */
  readonly lacks: readonly string[];
  /** For an envelope: LoRA and full fine-tuning, each as the envelope chose it, on test rows. */
  readonly judged: readonly AdapterComparison[];
}

export async function drawSpecEntries(analysis: Analysis): Promise<readonly DrawnEntry[]> {
  const { figures = [], tables = [] } = analysis.input.entries ?? {};
  const drawn: DrawnEntry[] = [];
  for (const entry of figures)
    drawn.push(await drawOrExplain(entry.name, () => drawFigureEntry(entry, analysis)));
  for (const entry of tables)
    drawn.push(await drawOrExplain(entry.name, () => drawTable(entry, analysis)));
  return drawn;
}

/** Draws an entry. A fault of the user gives an empty one, with the fault in `lacks`. */
async function drawOrExplain(
  name: string,
  draw: () => DrawnEntry | Promise<DrawnEntry>,
): Promise<DrawnEntry> {
  try {
    return await draw();
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    const { message, hint } = error;
    const lacks = [hint ? `${message}: ${hint}` : message];
    return { name, figures: [], table: null, lacks, judged: [] };
  }
}

/**
 * Chooses an entry's conditions by its envelope, and judges the chosen ones. Without an envelope,
 * returns all conditions, unjudged, and `shown` changes no metric.
 */
function applyEnvelope(
  { envelope, ...entry }: Pick<FigureEntry, 'envelope' | 'cells' | 'against'>,
  metrics: readonly string[],
  { conditions, input: { stages } }: Analysis,
): Enveloped & Pick<DrawnEntry, 'judged'> {
  if (envelope === undefined)
    return {
      ...{ conditions, partners: [], empty: [], notes: [], deciding: [], judged: [] },
      shown: (field) => field,
    };
  const found = chooseByEnvelope(envelope, metrics, { conditions, stages }, entry);
  const judged = compareAdapters([...found.conditions, ...found.partners], onTest).filter(
    ({ metric, verdict }) =>
      verdict !== null &&
      metrics.some((field) => found.shown(field) === metricName(onTest(metric))),
  );
  const verdicts = entry.against === 'full' ? scoreTallies(judged) : [];
  return {
    ...found,
    judged,
    notes: [
      ...found.notes,
      ...(verdicts.length === 0 ? [] : [`Each adapter at its own choice: ${verdicts.join(' ')}`]),
    ],
  };
}

async function drawFigureEntry(asked: FigureEntry, analysis: Analysis): Promise<DrawnEntry> {
  const axes = new Set(analysis.conditions.flatMap((condition) => Object.keys(condition.axes)));
  const metrics = shownPaths(asked).filter((field) => !axes.has(field));
  const chosen = applyEnvelope(asked, metrics, analysis),
    entry = asked.envelope === undefined ? asked : withChoiceShown(asked, chosen);
  const { conditions, partners, judged } = chosen;
  const figures = await drawEntry(entry, { conditions: [...conditions, ...partners] }),
    isShown = figures.length > 0;
  const hasChain = conditions.some(({ cells }) => cells.some(({ chain }) => chain !== undefined));
  const lacks =
    asked.x.field === TRAINING && !hasChain
      ? ['none of its cells has a chain of trainings']
      : explainLacks(asked, shownPaths(entry), analysis.conditions, isShown, chosen);
  return { name: asked.name, figures, table: null, lacks, judged };
}

/**
 * Returns the entry without its envelope: each metric is replaced by the one that the envelope
 * shows in its place, and the envelope's notes are added to the caption.
 */
function withChoiceShown(
  { envelope: _envelope, cells: _cells, ...entry }: FigureEntry,
  { shown, notes }: Enveloped,
): FigureEntry {
  const { x, y, color, references, overlays, caption } = entry;
  const text = [...(caption === undefined ? [] : [caption]), ...notes].join(' ');
  return {
    ...entry,
    x: { ...x, field: shown(x.field) },
    y: y.map((channel) => ({ ...channel, field: shown(channel.field) })),
    ...defined({
      color: color && { ...color, fields: color.fields.map(shown) },
      references: references?.map(shown),
      overlays: overlays?.map(({ metric, ...overlay }) => ({
        ...overlay,
        ...defined({ metric: metric && shown(metric) }),
      })),
      caption: text === '' ? undefined : text,
    }),
  };
}

const isPath = (field: string): boolean => field.includes('.');

/**
 * Returns the metrics and axes (`adapter.rank`) that a figure shows, without words (`attack`).
 * Colours count only in a heatmap.
 */
function shownPaths({ x, y, color, mark, references = [] }: FigureEntry): readonly string[] {
  const fields = [x, ...y].map(({ field }) => field);
  const named = mark === 'heatmap' ? [...fields, ...(color?.fields ?? [])] : fields;
  return [...named.filter(isPath), ...references];
}

/**
 * Says what an entry lacks, as ends of a sentence; [] if it lacks nothing.
 * @param fields the metrics that the entry shows, and perhaps axes
 * @param isShown whether the entry shows anything
 */
function explainLacks(
  { cells, against }: Pick<FigureEntry, 'cells' | 'against'>,
  fields: readonly string[],
  conditions: readonly Condition[],
  isShown: boolean,
  { deciding, empty, conditions: chosen }: Enveloped,
): readonly string[] {
  const shown = chooseByName(conditions, cells);
  if (shown.length === 0) return ['no cell matches its `cells`'];
  const measured = new Set(
    shown.flatMap((condition) => condition.cells.flatMap((cell) => measuredFields(cell))),
  );
  const axes = new Set(conditions.flatMap((condition) => Object.keys(condition.axes)));
  const lacking = distinct([...fields, ...deciding])
    .filter((field) => !measured.has(field) && !axes.has(field))
    .map((field) => {
      const near = measured.size === 0 ? '' : `: did you mean ${closest(field, [...measured])}?`;
      return `no finished cell has a metric "${field}"${near}`;
    });
  if (lacking.length > 0 || isShown) return lacking;
  if (chosen.length === 0 && empty.length > 0)
    return [`its envelope has no point: ${distinct(empty.map(({ reason }) => reason)).join('; ')}`];
  return [
    against === undefined
      ? 'its cells have nothing to show yet'
      : `its cells have no pair with \`against: ${against}\` that is evidence` +
        (against === 'clean' ? '; clean twins have accuracy and asr alone' : ''),
  ];
}

/** Returns a cell's metrics, `STAGE.METRIC`, and the training loss if it was recorded. */
const measuredFields = ({ metrics, history }: ReportCell): string[] => [
  ...Object.entries(metrics).flatMap(([stage, values]) =>
    Object.keys(values).map((metric) => metricName({ stage, metric })),
  ),
  ...(history === null ? [] : [LOSS]),
];

// ---- tables ------------------------------------------------------------------------------------

/** Draws a table of the spec. If there is nothing to draw, `lacks` says why. */
function drawTable(entry: TableEntry, analysis: Analysis): DrawnEntry {
  const { name, title = name, rows: rowAxes, columns: columnAxes, against = 'none' } = entry;
  const enveloped = applyEnvelope(entry, entry.metrics, analysis),
    { conditions, partners, notes, judged } = enveloped;
  const fields = entry.metrics.map(enveloped.shown),
    metrics = distinctMetrics(fields.map(parseMetricName));
  const cells = [...conditions, ...partners].flatMap((condition) => [...condition.cells]);
  const chosen = entry.envelope ? conditions : chooseByName(conditions, entry.cells),
    shown = new Set(chosen.map(({ axes }) => contentKey(axes)));
  const wordsFor = wordsIn(
    [...rowAxes, ...columnAxes],
    [...conditions, ...partners, ...enveloped.empty.map(({ condition }) => condition)],
  );
  const rows = collectResults(
    cells.map(({ axes, writing, ...cell }) => ({
      ...{ ...cell, cell: axes },
      ...(writing && { scorers: [writing.scorer] }),
    })),
  );
  const grid = layOut({
    rows,
    metrics,
    rowAxes,
    columnAxes,
    wordsFor,
    against,
    isShown: ({ cell }) => shown.has(contentKey(cell)),
  });
  const emptyEntry = (lacks: readonly string[]): DrawnEntry => ({
    ...{ name, figures: [], table: null, lacks, judged },
  });
  if ('clash' in grid)
    return emptyEntry([
      `several cells have the same place, which differ in ${grid.clash.join(', ')}: ` +
        'name them under `rows` or `columns`, or choose one value under `cells`',
    ]);
  const isFilled = grid.columns.length > 0;
  const lacks = explainLacks(entry, fields, analysis.conditions, isFilled, enveloped);
  if (grid.columns.length === 0) return emptyEntry(lacks);
  const scorers = metrics.some(isByMainScorer) ? scorerSentence(scorersOf(chosen)) : '',
    named = scorers === '' ? notes : [...notes, scorers];
  const dropped = droppedRowsText(chosen),
    caveats = dropped === '' ? named : [...named, dropped];
  const table: GridTable = {
    ...{ grid, rowAxes, columnAxes, against, caveats },
    axisName: headName,
    ...defined({ spread: entry.spread }),
  };
  const { input, warnings } = analysis;
  const caption = [entry.title ?? `${input.name}: ${name}`, entry.caption]
    .filter((text) => text !== undefined)
    .join('. ');
  // The page has the caveats on its first screen; a file of the table has them below the numbers.
  const alone: GridTable = {
    ...table,
    caveats: [
      ...named,
      ...caveatSentences(
        chosen.flatMap(targetsOf),
        caveatsOfConditions(chosen).map(caveatText),
        warnings.map(({ text }) => text),
      ),
    ],
  };
  return {
    name,
    figures: [],
    lacks,
    judged,
    table: {
      ...tableText(table),
      ...{ name, title, caption: entry.caption ?? '', axes: rowAxes.length },
      markdown: `${markdownTable(alone)}\n`,
      latex: `${latexTable({
        ...alone,
        name: caption.replace(/\.$/, ''),
        label: name,
        ofAnswers: cells.some(writesAnswers),
        facts: factSentences(reportFacts(input)),
        notes: 'below',
        comments: [`dosimeter, ${input.name}: the table ${name} of ${input.specFile}`],
      })}\n`,
      csv: tableCsv(table, enveloped, wordsFor, rows),
    },
  };
}

/** Returns the targets of the attacks that a condition's cells study. */
const targetsOf = ({ cells }: Condition): readonly AttackTarget[] =>
  cells.flatMap(({ attack, receipt }) =>
    receipt?.target === undefined ? [] : [{ attack, ...receipt.target }],
  );

/**
 * Returns a function from a cell's axis values to its labels for the words among `shown`, such as
 * `adapter`; {} for a cell of none of the conditions. The labels are without the axes that the
 * table shows beside them.
 */
function wordsIn(shown: readonly string[], conditions: readonly Condition[]) {
  const words = shown.filter(isName);
  const byAxes = new Map(
    (words.length === 0 ? [] : conditions).flatMap((condition) => {
      const labels = condition.labelsWithout(...shown),
        own = Object.fromEntries(words.map((word) => [word, labelIn(labels, word)]));
      return [condition, ...condition.named].map(({ axes }) => [contentKey(axes), own] as const);
    }),
  );
  return (axes: JsonObject): JsonObject => byAxes.get(contentKey(axes)) ?? {};
}

/**
 * Returns a table as CSV: a line for each number, and a line without a number for each place where
 * an envelope could choose nothing.
 */
function tableCsv(
  { grid, rowAxes, columnAxes, against }: GridTable,
  { conditions, empty }: Enveloped,
  wordsFor: ReturnType<typeof wordsIn>,
  rows: readonly ResultRow[],
): string {
  const shown = new Set(grid.columns.map(({ metric }) => metricName(metric)));
  const scorers = new Map(
    rows.flatMap((row) =>
      row.scorer === undefined || !shown.has(metricName(row))
        ? []
        : [[contentKey([row.cell, metricName(row)]), scorerWords(row.scorer)] as const],
    ),
  );
  const chosenPoints = new Map(
    conditions.map(({ axes, cells }) => [
      contentKey(axes),
      distinct(cells.flatMap(({ chosen }) => chosen ?? [])).join('; '),
    ]),
  );
  const namesAlong = (axes: readonly string[], at: GridTable['grid']['rows'][number]) =>
    Object.fromEntries(axes.map((path, i) => [path, valuesText(path, at[i])]));
  // Returns the columns of a comparison; {} if the table compares nothing.
  const compared = ({ difference, p, holm }: Entry) =>
    against === 'none'
      ? {}
      : {
          against,
          difference: difference?.mean,
          difference_low: difference?.low,
          difference_high: difference?.high,
          pairs: difference?.n,
          p,
          p_holm: holm,
        };
  const hasFewerRows = entriesIn(grid).some(({ fewerRows }) => fewerRows !== undefined);
  const emptyPlaces = empty.map(({ condition: { axes }, reason }) => {
    const place = { ...axes, ...wordsFor(axes) };
    return {
      ...Object.fromEntries(
        [...rowAxes, ...columnAxes].map((path) => [path, plainText(place[path] ?? '')]),
      ),
      chosen: `none ${reason}`,
      n: 0,
    };
  });
  return toCsv([
    ...grid.rows.flatMap((at, i) =>
      grid.columns.flatMap((column, k) => {
        const entry = grid.entries[i]?.[k] ?? null;
        if (entry === null) return [];
        const { mean, std, low, high, n } = entry.summary;
        return {
          ...namesAlong(rowAxes, at),
          ...namesAlong(columnAxes, column.at),
          metric: metricName(column.metric),
          ...(scorers.size > 0 && {
            scorer: scorers.get(contentKey([entry.cell, metricName(column.metric)])),
          }),
          ...defined({ chosen: chosenPoints.get(contentKey(entry.cell)) || undefined }),
          ...{ n, planned: entry.planned, mean, std, low, high },
          least: Math.min(...entry.values),
          greatest: Math.max(...entry.values),
          ...compared(entry),
          not_evidence: entry.reasons.join('; '),
          ...(hasFewerRows && { fewer_rows: rowsText(entry.fewerRows) }),
        };
      }),
    ),
    ...emptyPlaces,
  ]);
}
