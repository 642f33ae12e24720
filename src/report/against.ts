/**
 * Compares the cells of one experiment with full fine-tuning or with the paired clean run, paired
 * by seed. Pure.
 */
import { type PairedDifference, pairedDifference } from '../base/stats.ts';
import { cleanRunReader, voidReason } from './evidence.ts';
import { contentKey, groupBy, nearest, settingKey, trainingDistance } from './groups.ts';
import { distinctMetrics } from './metric-lookup.ts';
import { ACCURACY, isPValue, type Metric, metricName } from './metrics.ts';
import {
  axesByName,
  type ResultCell,
  resultCells,
  type ResultRow,
  valuesBySeed,
} from './results.ts';
import { holm, marginP } from './verdict.ts';

export type Against = 'full' | 'clean' | 'none';

export interface Compared {
  /**
   * By seed: the number with which the cell's number is compared (`value`), and why the pair is not
   * evidence (`reason`, null if it is evidence).
   */
  readonly others: ReadonlyMap<number, { readonly value: number; readonly reason: string | null }>;
  /** The cell's numbers minus the others, over the pairs that are evidence; null without a pair. */
  readonly difference: PairedDifference | null;
  /** One reason for each seed whose pair is not evidence (evidence.ts), so not in `difference`. */
  readonly excluded: readonly string[];
  /** The p-value of the hypothesis of no difference; null where `differenceP` gives none. */
  readonly p: number | null;
  /** `p`, corrected by Holm's method over all shown cells with a p-value of this metric. */
  readonly holm: number | null;
}

const NOTHING: Compared = {
  others: new Map(),
  difference: null,
  excluded: [],
  p: null,
  holm: null,
};

/** What the numbers of a cell are compared with, seed by seed. */
interface Partner {
  /** By seed: the number to compare with; absent, or NaN, if there is none. */
  readonly values: ReadonlyMap<number, number>;
  /** Returns why the pair at a seed is not evidence; null if it is. */
  readonly reason: (seed: number) => string | null;
}

/** Finds what a cell's number is compared with; null if there is nothing. */
type FindPartner = (cell: ResultCell, metric: Metric) => Partner | null;

/**
 * Returns why a cell's number at a seed is not evidence; null if it is, or if the cell lacks the
 * seed.
 */
const voidReasonAt = (
  { seeds }: ResultCell,
  seed: number,
  metric: Pick<Metric, 'metric'>,
): string | null => voidReason(seeds.get(seed) ?? { metrics: {} }, metric);

const cleanPartner: FindPartner = (cell, metric) => {
  const clean = cleanRunReader(metric);
  // `clean.judged` is the metric of the difference, which is evidence only if both numbers are.
  return (
    clean && {
      values: new Map([...cell.seeds].map(([seed, measured]) => [seed, clean.read(measured)])),
      reason: (seed) => voidReasonAt(cell, seed, clean.judged),
    }
  );
};

/**
 * Returns a function that finds a cell's partner: the full fine-tuning with the same attack and
 * setting that differs from the cell in the fewest axes of training. There is none (null) if the
 * cell is itself full fine-tuning, if no cell has the same attack and setting, or if several full
 * fine-tunings differ in equally few axes.
 */
function fullPartner(cells: readonly ResultCell[]): FindPartner {
  const isFull = ({ cell }: ResultCell): boolean => cell['adapter.type'] === 'full';
  const fulls = cells.filter(isFull).map((full) => ({
    full,
    names: axesByName(full),
    settings: new Set(axesByName(full).map(settingKey)),
  }));
  const nearestFull = (cell: ResultCell): ResultCell | null => {
    const own = axesByName(cell),
      keys = own.map(settingKey),
      alike = fulls.filter(({ settings }) => keys.some((key) => settings.has(key)));
    const [found, ...others] = nearest(alike, ({ names }) =>
      Math.min(...names.flatMap((a) => own.map((b) => trainingDistance(a, b)))),
    );
    return found === undefined || others.length > 0 ? null : found.full;
  };
  const partners = new Map(
    cells.map((cell) => [cell, isFull(cell) ? null : nearestFull(cell)] as const),
  );
  return (cell, metric) => {
    const full = partners.get(cell) ?? null;
    if (full === null) return null;
    // Only numbers of `evaluate` are judged; others always count as evidence.
    const reason = (seed: number): string | null =>
      metric.stage === ACCURACY.stage
        ? (voidReasonAt(cell, seed, metric) ?? voidReasonAt(full, seed, metric))
        : null;
    return { values: valuesBySeed(full, metric), reason };
  };
}

/** Summarises the differences a − b of pairs; null without a pair. */
export const differenceOver = (
  pairs: readonly (readonly [a: number, b: number])[],
): PairedDifference | null =>
  pairs.length === 0
    ? null
    : pairedDifference(
        pairs.map(([a]) => a),
        pairs.map(([, b]) => b),
      );

/**
 * Compares a cell with its partner by one metric, over the seeds at which both have a number.
 * `difference` and `p` count only the pairs that are evidence; `excluded` says why others are not.
 */
function compareOne(cell: ResultCell, metric: Metric, partner: Partner): Omit<Compared, 'holm'> {
  const { values, reason } = partner;
  const pairs = [...valuesBySeed(cell, metric)].flatMap(([seed, value]) => {
    const other = values.get(seed);
    return other !== undefined && Number.isFinite(other)
      ? [{ seed, value, other, reason: reason(seed) }]
      : [];
  });
  const counted = pairs.filter((pair) => pair.reason === null);
  const difference = differenceOver(counted.map(({ value, other }) => [value, other]));
  return {
    others: new Map(
      pairs.map(({ seed, other, reason: why }) => [seed, { value: other, reason: why }]),
    ),
    difference,
    excluded: pairs.flatMap((pair) => pair.reason ?? []),
    p: differenceP(metric, difference),
  };
}

/**
 * Compares the shown cells by all metrics. Returns a function that looks up the result for one cell
 * and metric; if the cell has no partner, everything in it is empty or null.
 * @param cells all cells with which others may be compared
 * @param shown those to compare, over which p-values are corrected
 */
export function compareCells(
  cells: readonly ResultCell[],
  metrics: readonly Metric[],
  against: Against,
  shown = cells,
): (cell: ResultCell, metric: Metric) => Compared {
  if (against === 'none') return () => NOTHING;
  const findPartner = against === 'clean' ? cleanPartner : fullPartner(cells);
  const all = metrics.flatMap(({ stage, metric }) =>
    shown.flatMap((cell) => {
      const partner = findPartner(cell, { stage, metric });
      return partner === null
        ? []
        : [{ cell, stage, metric, ...compareOne(cell, { stage, metric }, partner) }];
    }),
  );
  const corrected = holmByMetric(all);
  const found = new Map<ResultCell, Map<string, Compared>>();
  all.forEach(({ cell, stage, metric, ...compared }, i) => {
    const ofCell = found.get(cell) ?? new Map<string, Compared>();
    ofCell.set(metricName({ stage, metric }), { ...compared, holm: corrected[i] ?? null });
    found.set(cell, ofCell);
  });
  return (cell, metric) => found.get(cell)?.get(metricName(metric)) ?? NOTHING;
}

/**
 * Compares rows of results, as `compareCells` does. Returns the rows in their order, each with the
 * comparison at its seed as `against`; a row without a number to compare with has no such field.
 */
export function compareRows(rows: readonly ResultRow[], against: Against): readonly ResultRow[] {
  if (against === 'none') return rows;
  const cells = resultCells(rows),
    byName = new Map(cells.map((one) => [contentKey(one.cell), one]));
  const compared = compareCells(cells, distinctMetrics(rows), against);
  return rows.map((row) => {
    const cell = byName.get(contentKey(row.cell));
    if (cell === undefined) return row;
    const { others, difference, p, holm } = compared(cell, row),
      other = others.get(row.seed);
    if (other === undefined) return row;
    const { value, reason } = other;
    return {
      ...row,
      against: {
        value,
        difference: reason === null ? row.value - value : null,
        excluded: reason,
        pairs: difference?.n ?? 0,
        p,
        p_holm: holm,
      },
    };
  });
}

export const pText = (p: number): string => (p < 0.001 ? '<0.001' : p.toFixed(3));

/** Returns `0.012 (0.036)`: p and, in parentheses, p after Holm's correction; null without p. */
export const testText = ({ p, holm }: Compared): string | null =>
  p === null || holm === null ? null : `${pText(p)} (${pText(holm)})`;

export const TEST_HEAD = 'p (Holm)';
export const TEST_NOTE =
  'p: of no difference, paired by seed, from three pairs on; in parentheses, corrected by ' +
  'Holm’s method over the cells that are compared by the metric.';

/** Whether any seed has both numbers, whether or not the pair is evidence. */
export const isCompared = ({ difference, excluded }: Compared): boolean =>
  difference !== null || excluded.length > 0;

/**
 * Returns the p-value of the hypothesis that there is no difference. Null for fewer than three
 * pairs, or if the metric is itself a p-value.
 */
export const differenceP = (metric: Metric, paired: PairedDifference | null): number | null =>
  paired === null || paired.n < 3 || isPValue(metric) ? null : marginP(paired, 0);

/**
 * Corrects p-values by Holm's method, each metric by itself. Returns a corrected p-value for each
 * comparison, in the given order; null for a comparison without a p-value.
 */
export function holmByMetric(
  compared: readonly (Metric & { readonly p: number | null })[],
): readonly (number | null)[] {
  const corrected: (number | null)[] = compared.map(() => null);
  const tested = compared.flatMap(({ stage, metric, p }, index) =>
    p === null ? [] : [{ name: metricName({ stage, metric }), p, index }],
  );
  for (const family of groupBy(tested, ({ name }) => name).values()) {
    const ps = holm(family.map(({ p }) => p));
    family.forEach(({ index }, i) => (corrected[index] = ps[i] ?? null));
  }
  return corrected;
}
