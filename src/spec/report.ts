/**
 * Reads `report`: the figures and tables that a spec asks for. Every name is completed, and the
 * published numbers are read from their files, so that an entry needs neither the spec nor its
 * files. It is read once the grid is known, because its axes are what entries may name.
 */
import type { Cell, Json } from '../api.ts';
import type {
  CellPattern,
  Channel,
  Envelope,
  FigureEntry,
  Overlay,
  ReportEntries,
  TableEntry,
} from '../api/report.ts';
import { defined } from '../base/defined.ts';
import type { Report } from './faults.ts';
import {
  child,
  fieldsOfMap,
  isText,
  itemsOf,
  type MapNode,
  type Node,
  oneOrMany,
  type TextNode,
  toJson,
} from './node.ts';
import { figuresIn, overlaysOf, readOverlay } from './overlays.ts';
import type { EnvelopeSpec, FigureSpec, ReportSpec, TableSpec } from './pipeline.generated.ts';
import { NO_DEFENCE, ownFirst, sections } from './schema.ts';
import { DEFENCE, fieldOf, readPattern, shortNames } from './selection.ts';
import { all, didYouMean, suggest } from './suggest.ts';
import type { ExperimentCell, SpecRegistry } from './types.ts';

interface Context {
  /** The axes of the grid, by full path. */
  readonly axes: readonly string[];
  /** Every field of a cell, by full path. */
  readonly fields: readonly string[];
  readonly goals: readonly string[];
  readonly stages: readonly string[];
  /** The metrics that have a short name, as `STAGE.METRIC`. */
  readonly metrics: readonly string[];
  readonly cells: readonly Cell[];
  readonly report: Report;
  /** Reports what stops nothing. */
  readonly warn: Report;
}

/**
 * Returns the entries of `report`, which has passed the schema; undefined if the spec has none.
 * @param fields the fields that a pattern may name
 * @param warn reports what stops nothing
 */
export async function readReport(
  root: MapNode,
  fields: readonly string[],
  {
    experiment: { goals },
    whole,
    stages,
    metrics = [],
  }: Pick<SpecRegistry, 'stages' | 'metrics'> & {
    readonly experiment: { readonly goals: readonly string[] };
    /** Returns every cell of the grid. */
    readonly whole: () => readonly ExperimentCell[];
  },
  report: Report,
  warn: Report,
): Promise<ReportEntries | undefined> {
  const section = child(root, 'report');
  if (section === undefined) return undefined;
  const { defaults = true } = toJson(section) as unknown as ReportSpec;
  const names = whole().flatMap((cell) => [cell, ...cell.also]);
  const axes = [...new Set(names.flatMap((cell) => Object.keys(cell.axes)))];
  const cells = names.map(({ config }) => config);
  const context = { axes, cells, fields, goals, stages, metrics, report, warn };
  const figures = figuresIn(root),
    tables = itemsOf(child(section, 'tables'));
  checkNames([...figures, ...tables], report);
  return {
    defaults,
    figures: await Promise.all(figures.map((figure) => readFigure(figure, context))),
    tables: tables.map((table) => readTable(table, context)),
  };
}

function checkNames(entries: readonly Node[], report: Report): void {
  const seen = new Set<string>();
  for (const name of entries.map((entry) => child(entry, 'name')).filter(isText)) {
    if (seen.has(name.value))
      report(
        'duplicate-value',
        name.span,
        `two entries of "report" are called "${name.value}"`,
        'their files would have one name: give one of them another',
      );
    seen.add(name.value);
  }
}

// ---- figures and tables ------------------------------------------------------------------------

/** The report's own names: all that varies in a cell's adapter, attack, defence and the rest. */
const WHOLES = ['adapter', 'attack', 'defence', 'setting'];
const GROUPS = [...WHOLES, 'seed'];

async function readFigure(figure: Node, context: Context): Promise<FigureEntry> {
  const { report } = context;
  const { name, title, caption, mark, against, statistic, spread, seeds, flip, values, size } =
    toJson(figure) as unknown as FigureSpec;
  const x = readChannel(child(figure, 'x'), context, 'any', [
    ...[...WHOLES, 'seed', 'step', 'training'],
  ]);
  const above = child(figure, 'y'),
    y = above === undefined ? [] : oneOrMany(above);
  const channels = y.flatMap((node) => readChannel(node, context, 'any', WHOLES) ?? []);
  const isAxis = ({ field }: Channel): boolean => [...WHOLES, ...context.axes].includes(field);
  const isMap = mark === 'heatmap' || channels.some(isAxis);
  const color = child(figure, 'color');
  const colors = readNames(
    color,
    context,
    isMap ? 'metric' : 'axis',
    isMap ? [] : [...GROUPS, 'metric'],
  );
  if (isMap) checkHeatMap(figure, channels.filter(isAxis).length, channels.length, context);
  const facet = child(figure, 'facet');
  const facets =
    facet?.kind === 'map'
      ? defined({
          row: optional(readNames(child(facet, 'row'), context, 'axis', GROUPS)),
          column: optional(readNames(child(facet, 'column'), context, 'axis', GROUPS)),
        })
      : facet && { column: readNames(facet, context, 'axis', GROUPS) };
  checkSpread(figure, statistic, spread, report);
  checkAgainst(figure, x, context);
  const overlays: Overlay[] = [];
  for (const overlay of overlaysOf(figure)) {
    const isNumber = x !== undefined && isNumeric(x.field, context);
    const read = await readOverlay(overlay, isNumber, facets ?? {}, report);
    const metric = readOverlaid(child(overlay, 'metric'), channels, context);
    if (read !== undefined) overlays.push({ ...read, ...defined({ metric }) });
  }
  return {
    name,
    x: x ?? { field: '' }, // a fault, which is reported
    y: channels,
    ...defined({
      ...{ title, caption, mark, against, statistic, spread, seeds, flip, values, size },
      color: color && { fields: colors },
      facet: facets,
      cells: readCells(figure, context),
      envelope: readEnvelope(
        figure,
        [
          ...[x, ...channels].map((channel) => channel?.field ?? ''),
          ...[...colors, ...(facets?.row ?? []), ...(facets?.column ?? [])],
        ],
        context,
      ),
      references: optional(readNames(child(figure, 'references'), context, 'metric')),
      overlays: optional(overlays),
    }),
  };
}

/** Returns the metric that published numbers are of, which is one of the figure's. */
function readOverlaid(node: Node | undefined, y: readonly Channel[], context: Context) {
  const metric = readName(node, context, 'metric');
  if (node === undefined || metric === undefined) return undefined;
  const shown = y.map(({ field }) => field);
  if (!shown.includes(metric))
    context.report(
      'unknown-value',
      node.span,
      `the figure does not draw "${metric}"`,
      shown.length > 0 ? `it draws ${all(shown)}` : undefined,
    );
  return metric;
}

const optional = <T>(items: readonly T[]): readonly T[] | undefined =>
  items.length === 0 ? undefined : items;

function readTable(table: Node, context: Context): TableEntry {
  const { name, title, caption, against, spread } = toJson(table) as unknown as TableSpec;
  const rows = readNames(child(table, 'rows'), context, 'axis'),
    columns = readNames(child(table, 'columns'), context, 'axis');
  return {
    name,
    rows,
    columns,
    metrics: readNames(child(table, 'metrics'), context, 'metric'),
    ...defined({
      ...{ title, caption, cells: readCells(table, context) },
      ...{ envelope: readEnvelope(table, [...rows, ...columns], context), against, spread },
    }),
  };
}

/** @param placed the fields that have a place in the entry */
function readEnvelope(
  entry: Node,
  placed: readonly string[],
  context: Context,
): Envelope | undefined {
  const node = child(entry, 'envelope'),
    { report, cells } = context;
  if (node === undefined) return undefined;
  const { highest, lowest, selection_seeds: chosenBy } = toJson(node) as unknown as EnvelopeSpec;
  const conflict = (at: Node | undefined, message: string, hint: string): void =>
    report('conflicting-keys', (at ?? node).span, message, hint);
  if ((highest === undefined) === (lowest === undefined))
    conflict(
      node,
      'an envelope has either the "highest" or the "lowest" of a metric',
      'such as { over: poisoning.rate, highest: asr }',
    );
  const over = readNames(child(node, 'over'), context, 'axis', ['adapter', 'attack', 'defence']);
  const taken = placed.find((field) =>
    over.some(
      (one) => field === one || field.startsWith(`${one === 'attack' ? 'poisoning' : one}.`),
    ),
  );
  if (taken !== undefined)
    conflict(
      child(node, 'over'),
      `"${taken}" has a place of its own here, so nothing is chosen over it`,
      'leave it out of "over", or out of the places',
    );
  if (placed.includes('step'))
    conflict(node, 'test rows have no numbers along the steps', 'put an axis on x');
  if (cells.some(({ data }) => data.test === undefined))
    conflict(
      node,
      'the rows that choose would be the rows that are shown: there is no "data.test"',
      'name test rows; only evaluations run anew, no training',
    );
  const seeds = new Set(cells.map(({ seed }) => seed)),
    unknown = chosenBy?.find((seed) => !seeds.has(seed));
  if (unknown !== undefined || chosenBy?.length === seeds.size)
    report(
      'unknown-value',
      (child(node, 'selection_seeds') ?? node).span,
      unknown === undefined ? 'no seed is left to show' : `the grid has no seed ${unknown}`,
      `the seeds are ${[...seeds].join(', ')}`,
    );
  const ofValidation = (name: Node | undefined): string | undefined => {
    const field = readName(name, context, 'metric');
    if (field?.includes('.test_') === true)
      conflict(name, 'test rows choose nothing', 'name the metric of the validation rows');
    return field;
  };
  const by = ofValidation(child(node, 'highest') ?? child(node, 'lowest'));
  const where = fieldsOfMap(child(node, 'where')).flatMap(([name, bound]) => {
    const key = (child(node, 'where') as MapNode).entries.get(name)?.key ?? bound.span;
    const field = ofValidation({ kind: 'scalar', value: name, quoted: false, span: key });
    const { min, max } = toJson(bound) as { readonly min?: number; readonly max?: number };
    if (min !== undefined && max !== undefined && min > max)
      report('out-of-range', bound.span, `nothing is at least ${min} and at most ${max}`);
    return field === undefined ? [] : [[field, defined({ min, max })] as const];
  });
  return {
    over,
    choose: highest === undefined ? 'lowest' : 'highest',
    by: by ?? '', // a fault, which is reported
    ...defined({
      where: where.length === 0 ? undefined : Object.fromEntries(where),
      selectionSeeds: chosenBy,
    }),
  };
}

/** Reports a spread that is of the mean, beside another statistic. */
function checkSpread(
  figure: Node,
  statistic: FigureSpec['statistic'] = 'mean',
  spread: FigureSpec['spread'] | undefined,
  report: Report,
): void {
  if (statistic === 'mean' || (spread !== 'interval' && spread !== 'std')) return;
  report(
    'conflicting-keys',
    (child(figure, 'spread') ?? figure).span,
    `the ${spread === 'std' ? 'standard deviation' : 'interval'} is of the mean, not of the ${statistic}`,
    'write `spread: range` or `spread: none`',
  );
}

/** Reports a heat map that does not have one axis on y and one metric as its colour. */
function checkHeatMap(figure: Node, axes: number, count: number, { report }: Context): void {
  const mark = child(figure, 'mark'),
    shape = mark?.kind === 'scalar' ? String(mark.value) : 'heatmap',
    y = child(figure, 'y') ?? figure,
    color = child(figure, 'color');
  if (mark !== undefined && shape !== 'heatmap')
    report(
      'conflicting-keys',
      mark.span,
      `only a heat map has an axis on y, not a ${shape}`,
      'give y a metric, or leave out "mark"',
    );
  else if (axes !== 1 || count !== 1)
    report(
      'conflicting-keys',
      y.span,
      'a heat map has one axis on y, and its metric as its colour',
      'such as { x: defence, y: attack, color: asr }',
    );
  else if (color === undefined || itemsOf(color).length > 1)
    report(
      'conflicting-keys',
      (color ?? y).span,
      'a heat map has one metric as its colour',
      'such as { color: asr }',
    );
  for (const field of ['references', 'overlay']) {
    const node = child(figure, field);
    if (node !== undefined)
      report(
        'conflicting-keys',
        node.span,
        `a square of a heat map has no place for "${field}"`,
        'leave it out, or draw points',
      );
  }
}

/** A difference is a number of a whole training, at a place of the grid. */
function checkAgainst(figure: Node, x: Channel | undefined, { axes, report }: Context): void {
  const against = child(figure, 'against');
  if (against === undefined || x === undefined) return;
  if (![...WHOLES, 'seed'].includes(x.field) && !axes.includes(x.field))
    report(
      'conflicting-keys',
      against.span,
      `differences have no place along "${x.field}"`,
      'leave out "against", or put an axis on x',
    );
}

const isLogarithmic = (scale: Channel['scale']): boolean => scale === 'log' || scale === 'log2';

function readChannel(
  node: Node | undefined,
  context: Context,
  takes: Takes,
  special: readonly string[] = [],
): Channel | undefined {
  if (node?.kind !== 'map') {
    const field = readName(node, context, takes, special);
    return field === undefined ? undefined : { field };
  }
  const field = readName(child(node, 'field'), context, takes, special);
  const { title, scale, domain } = toJson(node) as unknown as Omit<Channel, 'field'>;
  const at = child(node, 'domain')?.span ?? node.span;
  if (domain !== undefined && !(domain[0] < domain[1]))
    context.report(
      'out-of-range',
      at,
      `a domain goes from the least to the greatest, not from ${domain[0]} to ${domain[1]}`,
    );
  else if (domain !== undefined && isLogarithmic(scale) && domain[0] <= 0)
    context.report(
      'out-of-range',
      at,
      `a logarithmic scale has no place for ${domain[0]}`,
      'begin above 0, or write `scale: symlog`',
    );
  if (field === undefined) return undefined;
  return { field, ...defined({ title, scale, domain }) };
}

/**
 * Returns the patterns of the cells that an entry shows; undefined if it shows all. What no axis
 * tells apart is left out of them: where a pattern matches a cell, it has that value.
 */
function readCells(entry: Node, context: Context): readonly CellPattern[] | undefined {
  const node = child(entry, 'cells');
  return node && oneOrMany(node).flatMap((item) => readCellPattern(item, context));
}

function readCellPattern(node: Node, context: Context): readonly CellPattern[] {
  const { axes, cells, fields, report, warn } = context;
  const seed = node.kind === 'map' ? node.entries.get('seed') : undefined;
  if (seed !== undefined) {
    const hint = 'leave it out; for a part of the seeds, there is --only seed=1';
    report('unknown-key', seed.key, 'an entry is over all seeds of a cell', hint);
    return [];
  }
  const pattern = readPattern(node, fields, report);
  if (pattern === undefined) return [];
  const isIdle = !cells.some((cell) => pattern.matches(cell));
  if (isIdle) {
    const hint = 'compare its values with those of the axes';
    warn('matches-nothing', node.span, 'this matches no cell of the grid', hint);
  }
  const wanted = Object.entries(pattern.wanted)
    .filter(([path]) => isIdle || axes.includes(path))
    .map(([path, values]) => [path, path === DEFENCE ? withoutNone(values) : values] as const);
  return [Object.fromEntries(wanted)];
}

/** The axes of a cell without a defence do not have one: null stands for that. */
const withoutNone = (wanted: CellPattern[string]): CellPattern[string] =>
  Array.isArray(wanted)
    ? (wanted as readonly Json[]).map((value) => (value === NO_DEFENCE ? null : value))
    : wanted;

/** Whether every value of a field is a number. */
function isNumeric(field: string, { axes, cells }: Context): boolean {
  if (WHOLES.includes(field)) return false;
  if (!axes.includes(field)) return true; // a metric, the seed or the step
  const values = cells
    .map((cell) => fieldOf(cell, field.split('.')))
    .filter((v) => v !== undefined);
  return values.length > 0 && values.every((value) => typeof value === 'number');
}

// ---- names -------------------------------------------------------------------------------------

/** What a name may stand for. */
type Takes = 'axis' | 'metric' | 'any';

const readNames = (
  node: Node | undefined,
  context: Context,
  takes: Takes,
  special?: readonly string[],
): readonly string[] =>
  node === undefined
    ? []
    : oneOrMany(node).flatMap((item) => readName(item, context, takes, special) ?? []);

/**
 * Returns the full name of an axis or a metric, or undefined after reporting that there is none.
 * @param special further names that are taken as they are
 */
function readName(
  node: Node | undefined,
  context: Context,
  takes: Takes,
  special: readonly string[] = [],
): string | undefined {
  if (!isText(node)) return undefined;
  const { value: word, span } = node,
    { fields, report, warn } = context;
  if (special.includes(word)) return word;
  const axes = takes === 'metric' ? [] : axesNamed(word, context.axes),
    metrics = takes === 'axis' ? [] : metricsNamed(word, context);
  const [found] = axes.length > 0 ? axes : metrics;
  if (axes.length > 1 || (axes.length === 0 && metrics.length > 1)) {
    const several = axes.length > 1 ? axes : metrics;
    report('unknown-key', span, `"${word}" could mean several fields`, didYouMean(...several));
    return undefined;
  }
  if (axes.length === 0 && found !== undefined) return goalMetric(found, node, context);
  if (found !== undefined) return found;
  const [field, another] = takes === 'metric' ? [] : axesNamed(word, fields);
  if (field !== undefined && another === undefined) {
    const hint = 'a list of its values makes it one';
    warn('matches-nothing', span, `"${field}" is no axis of this grid`, hint);
    return field;
  }
  reportUnknown(node, context, takes, special);
  return undefined;
}

/**
 * Returns the paths that a name stands for: the one of this name, or those that end with it. The
 * name of a section stands for the fields below it.
 */
function axesNamed(word: string, paths: readonly string[]): readonly string[] {
  const short = shortNames.get(word) ?? word;
  if (paths.includes(short)) return [short];
  const ends = ownFirst(paths.filter((path) => path.endsWith(`.${word}`)));
  if (ends.length > 0) return ends;
  const isSection = (sections as readonly string[]).includes(word);
  return isSection ? paths.filter((path) => path.startsWith(`${word}.`)) : [];
}

const shortMetric = (name: string): string => name.slice(name.indexOf('.') + 1);

function metricsNamed(word: string, { metrics, stages, fields }: Context): readonly string[] {
  const short = metrics.filter((name) => name === word || shortMetric(name) === word);
  if (short.length > 0) return short;
  const [stage = '', ...rest] = word.split('.');
  const isName = /^[^*]+$/.test(rest.join('.')) && !fields.includes(word);
  return isName && stages.includes(stage) ? [word] : [];
}

/** Returns the metric, or undefined after reporting that its stage does not run. */
function goalMetric(name: string, { span }: TextNode, { goals, report }: Context) {
  const stage = name.slice(0, name.indexOf('.'));
  if (goals.includes(stage)) return name;
  report(
    'unknown-value',
    span,
    `"${name}" is not measured: "${stage}" is not under "stages"`,
    `write stages: [${[...goals, stage].join(', ')}]`,
  );
  return undefined;
}

const WHAT = { axis: 'axis', metric: 'metric', any: 'axis and no metric' } as const;
const HOW = {
  axis: 'an axis is named in full, such as "poisoning.rate", or by an ending that only one has',
  metric: 'a metric is named in full, STAGE.METRIC, such as "evaluate.asr"',
  any: 'an axis is named as in patterns, a metric as STAGE.METRIC, such as "evaluate.asr"',
} as const;

function reportUnknown(
  { value: word, span }: TextNode,
  { axes, metrics, report }: Context,
  takes: Takes,
  special: readonly string[],
): void {
  const known = [
    ...special,
    ...(takes === 'metric' ? [] : [...shortNames.keys(), ...axes.flatMap(endings)]),
    ...(takes === 'axis' ? [] : metrics.flatMap((name) => [shortMetric(name), name])),
  ];
  const message = `there is no ${WHAT[takes]} "${word}"`;
  report('unknown-key', span, message, suggest(word, new Set(known)) ?? HOW[takes]);
}

const endings = (path: string): string[] => [path.split('.').at(-1) ?? path, path];
