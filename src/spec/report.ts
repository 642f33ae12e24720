/**
 * Reads `report`: the figures and tables that a spec asks for. Names are completed and published
 * numbers are read in, so that whoever draws an entry needs neither the spec nor its files.
 */
import { isChain, type Json, type JsonObject } from '../api.ts';
import type {
  CellPattern,
  Channel,
  FigureEntry,
  Overlay,
  ReportEntries,
  TableEntry,
} from '../api/report.ts';
import { defined } from '../base/defined.ts';
import { valueAt } from '../base/record.ts';
import { type Context, readName, readNames } from './entry-names.ts';
import { readEnvelope } from './envelopes.ts';
import type { Report } from './faults.ts';
import { child, isText, itemsOf, type MapNode, type Node, oneOrMany, toJson } from './node.ts';
import { figuresIn, listOverlays, readOverlay } from './overlays.ts';
import type { FigureSpec, ReportSpec, TableSpec } from './pipeline.generated.ts';
import { NO_DEFENCE } from './schema.ts';
import { DEFENCE, readPattern } from './selection.ts';
import { all } from './suggest.ts';
import type { ExperimentCell, SpecRegistry } from './types.ts';

/**
 * Returns the entries of `report`, which has passed the schema; undefined if the spec has none.
 * @param fields the fields that a pattern may name
 * @param warn reports a warning, which does not stop the run
 */
export async function readReport(
  root: MapNode,
  fields: readonly string[],
  {
    goals,
    whole,
    stages,
    metrics = [],
    metricsInstead = () => null,
  }: Pick<SpecRegistry, 'stages' | 'metrics' | 'metricsInstead'> & {
    readonly goals: readonly string[];
    /** Returns every cell of the grid. */
    readonly whole: () => readonly ExperimentCell[];
  },
  report: Report,
  warn: Report,
): Promise<ReportEntries | undefined> {
  const section = child(root, 'report');
  if (section === undefined) return undefined;
  const { defaults = true } = toJson(section) as unknown as ReportSpec;
  const grid = whole(),
    names = grid.flatMap((cell) => [cell, ...cell.also]);
  const axes = [...new Set(names.flatMap((cell) => Object.keys(cell.axes)))];
  const cells = names.map(({ config }) => config);
  const conflict: Context['conflict'] = ({ span }, message, hint) =>
    report('conflicting-keys', span, message, hint);
  const registry = { stages, metrics, metricsInstead };
  const context = { axes, cells, fields, goals, ...registry, report, warn, conflict };
  const figures = figuresIn(root),
    tables = itemsOf(child(section, 'tables'));
  checkNames([...figures, ...tables], report);
  const entries = {
    defaults,
    figures: await Promise.all(figures.map((figure) => readFigure(figure, context))),
    tables: tables.map((table) => readTable(table, context)),
  };
  entries.tables.forEach((entry, i) => checkPlaces(tables[i] ?? section, entry, grid, context));
  return entries;
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

/** Names in `report` that stand for all fields that vary in one part of a cell. */
const WHOLES = ['adapter', 'attack', 'defence', 'setting'];
const GROUPS = [...WHOLES, 'seed'];

/** Returns a figure with its names completed and its overlays read, and reports its faults. */
async function readFigure(figure: Node, context: Context): Promise<FigureEntry> {
  const { report } = context;
  const { name, title, caption, mark, against, statistic, spread, seeds, flip, values, size } =
    toJson(figure) as unknown as FigureSpec;
  const x = readChannel(child(figure, 'x'), context, [...WHOLES, 'seed', 'step', 'training']);
  if (x?.field === 'training') checkChain(figure, context);
  const above = child(figure, 'y'),
    y = above === undefined ? [] : oneOrMany(above);
  const channels = y.flatMap((node) => readChannel(node, context, WHOLES) ?? []);
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
          row: unlessEmpty(readNames(child(facet, 'row'), context, 'axis', GROUPS)),
          column: unlessEmpty(readNames(child(facet, 'column'), context, 'axis', GROUPS)),
        })
      : facet && { column: readNames(facet, context, 'axis', GROUPS) };
  checkSpread(figure, statistic, spread, context);
  checkAgainst(figure, x, context);
  const overlays: Overlay[] = [];
  for (const overlay of listOverlays(figure)) {
    const isNumber = x !== undefined && isNumeric(x.field, context);
    const read = await readOverlay(overlay, isNumber, facets ?? {}, report);
    const metric = readOverlaid(child(overlay, 'metric'), channels, context);
    if (read !== undefined) overlays.push({ ...read, ...defined({ metric }) });
  }
  return {
    name,
    x: x ?? { field: '' }, // the fault was reported
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
      references: unlessEmpty(readNames(child(figure, 'references'), context, 'metric')),
      overlays: unlessEmpty(overlays),
    }),
  };
}

/**
 * Returns the metric that an overlay names; undefined if the overlay names none, or one that
 * `readName` does not find. A metric that the figure does not draw is reported, but returned.
 */
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

/** Returns the items; undefined if there are none. */
const unlessEmpty = <T>(items: readonly T[]): readonly T[] | undefined =>
  items.length === 0 ? undefined : items;

function readTable(table: Node, context: Context): TableEntry {
  const { name, title, caption, against, spread } = toJson(table) as unknown as TableSpec;
  const rows = readNames(child(table, 'rows'), context, 'axis', WHOLES),
    columns = readNames(child(table, 'columns'), context, 'axis', WHOLES);
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

/**
 * Whether the names in a table's rows and columns may tell values on an axis apart. Of the names in
 * WHOLES, `attack` and `setting` may cover the attack on a base, `adapter` the training settings.
 */
const mayTell = (named: readonly string[], path: string): boolean =>
  named.includes(path) ||
  (named.includes('adapter') && /^(adapter|train)\./.test(path)) ||
  (named.includes('defence') && path.startsWith('defence.')) ||
  (named.includes('attack') && /^(poisoning|base)\./.test(path)) ||
  (named.includes('poisoning.attack') && path.startsWith('base.')) ||
  (named.includes('setting') && !/^(poisoning|adapter|train)\./.test(path));

/**
 * Warns of a table in which several conditions have the same place. In a table without accuracy,
 * which every condition has, a clean condition may share the place of one under an attack: whether
 * the clean one has the table's metrics is known only after a run.
 */
function checkPlaces(
  table: Node,
  { rows, columns, metrics, envelope }: TableEntry,
  grid: readonly ExperimentCell[],
  { axes, fields, report, warn }: Context,
): void {
  if (envelope !== undefined) return;
  const chosen = child(table, 'cells'),
    patterns = chosen && oneOrMany(chosen).flatMap((one) => readPattern(one, fields, report) ?? []);
  const shown = axes.filter((path) => mayTell([...rows, ...columns], path));
  const byPlace = new Map<string, { readonly condition: string; readonly axes: JsonObject }>();
  for (const cell of grid) {
    const named = [cell, ...cell.also];
    if (patterns?.every((pattern) => !named.some(({ config }) => pattern.matches(config))))
      continue;
    const condition = JSON.stringify(cell.axes);
    for (const { axes: own, config } of named) {
      const isClean = !metrics.includes('evaluate.accuracy') && config.poisoning.attack === 'none',
        place = JSON.stringify([isClean, ...shown.map((path) => own[path] ?? null)]);
      const other = byPlace.get(place);
      byPlace.set(place, { condition, axes: own });
      if (other === undefined || other.condition === condition) continue;
      const differing = axes.filter(
        (path) => JSON.stringify(own[path]) !== JSON.stringify(other.axes[path]),
      );
      warn(
        'conflicting-keys',
        (child(table, 'rows') ?? table).span,
        `cells that differ in ${differing.join(', ')} have the same place in this table, and it ` +
          'is left out if several of them have the metric',
        'name that under `rows` or `columns`, or choose one value under `cells`',
      );
      return;
    }
  }
}

/** Reports a spread that is of the mean (`interval`, `std`) beside another statistic. */
function checkSpread(
  figure: Node,
  statistic: FigureSpec['statistic'] = 'mean',
  spread: FigureSpec['spread'] | undefined,
  { conflict }: Context,
): void {
  if (statistic === 'mean' || (spread !== 'interval' && spread !== 'std')) return;
  conflict(
    child(figure, 'spread') ?? figure,
    `the ${spread === 'std' ? 'standard deviation' : 'interval'} is of the mean, ` +
      `not of the ${statistic}`,
    'write `spread: range` or `spread: none`',
  );
}

/** Reports a heat map that does not have one axis on y and one metric as its colour. */
function checkHeatMap(figure: Node, axes: number, count: number, { conflict }: Context): void {
  const mark = child(figure, 'mark'),
    shape = mark?.kind === 'scalar' ? String(mark.value) : 'heatmap',
    y = child(figure, 'y') ?? figure,
    color = child(figure, 'color');
  if (mark !== undefined && shape !== 'heatmap')
    conflict(
      mark,
      `only a heat map has an axis on y, not a ${shape}`,
      'give y a metric, or leave out "mark"',
    );
  else if (axes !== 1 || count !== 1)
    conflict(
      y,
      'a heat map has one axis on y, and its metric as its colour',
      'such as { x: defence, y: attack, color: asr }',
    );
  else if (color === undefined || itemsOf(color).length > 1)
    conflict(color ?? y, 'a heat map has one metric as its colour', 'such as { color: asr }');
  for (const field of ['references', 'overlay']) {
    const node = child(figure, field);
    if (node !== undefined)
      conflict(
        node,
        `a square of a heat map has no place for "${field}"`,
        'leave it out, or draw points',
      );
  }
}

/**
 * Reports `against` unless x is an axis, the seed or a name in WHOLES: there are no differences
 * along anything else, such as the step or a metric.
 */
function checkAgainst(figure: Node, x: Channel | undefined, { axes, conflict }: Context): void {
  const against = child(figure, 'against');
  if (against === undefined || x === undefined) return;
  if (![...WHOLES, 'seed'].includes(x.field) && !axes.includes(x.field))
    conflict(
      against,
      `differences have no place along "${x.field}"`,
      'leave out "against", or put an axis on x',
    );
}

/** Warns of `x: training` if no cell has a chain of trainings. */
function checkChain(figure: Node, { cells, warn }: Context): void {
  if (cells.some(isChain)) return;
  const hint =
    'a `base` makes one if it is poisoned, has `data` of its own, or is a list of several';
  const { span } = child(figure, 'x') ?? figure;
  warn('matches-nothing', span, 'no cell of this grid has a chain of trainings', hint);
}

const isLogarithmic = (scale: Channel['scale']): boolean => scale === 'log' || scale === 'log2';

/** Returns a channel, and reports its faults; undefined if it names no axis or metric. */
function readChannel(
  node: Node | undefined,
  context: Context,
  special: readonly string[],
): Channel | undefined {
  if (node?.kind !== 'map') {
    const field = readName(node, context, 'any', special);
    return field === undefined ? undefined : { field };
  }
  const field = readName(child(node, 'field'), context, 'any', special);
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
 * Returns the patterns of the cells that an entry shows (see `readCellPattern`). Undefined if the
 * entry has no `cells` and so shows all.
 */
function readCells(entry: Node, context: Context): readonly CellPattern[] | undefined {
  const node = child(entry, 'cells');
  return node && oneOrMany(node).flatMap((item) => readCellPattern(item, context));
}

/**
 * Returns a list of one pattern; an empty list if the pattern is faulty, which is reported. Only
 * fields that are axes are kept. A pattern that matches no cell keeps all fields, with a warning.
 */
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

/**
 * Returns the values with null in place of `none`, since a cell without a defence lacks the axis.
 */
const withoutNone = (wanted: CellPattern[string]): CellPattern[string] =>
  Array.isArray(wanted)
    ? (wanted as readonly Json[]).map((value) => (value === NO_DEFENCE ? null : value))
    : wanted;

/**
 * Whether a field has only numbers: true for a metric, the seed, the step or the training, and for
 * an axis whose values are all numbers; false for a name in WHOLES, and for an axis without values.
 */
function isNumeric(field: string, { axes, cells }: Context): boolean {
  if (WHOLES.includes(field)) return false;
  if (!axes.includes(field)) return true; // a metric, the seed or the step
  const values = cells
    .map((cell) => valueAt(cell, field.split('.')))
    .filter((v) => v !== undefined);
  return values.length > 0 && values.every((value) => typeof value === 'number');
}
