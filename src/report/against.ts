/**
 * Compares the cells of one experiment with full fine-tuning or with the paired clean run, paired
 * by seed. Pure.
 */
import { type PairedDifference, pairedDifference } from '../base/stats.ts';
import { cleanRunReader, voidReason } from './evidence.ts';
import { contentKey, groupBy, nearest, trainingDistance } from './groups.ts';
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

/** Whether cells are compared with full fine-tuning, with their clean runs, or not at all. */
export type Against = 'full' | 'clean' | 'none';

/** A cell's number over its seeds, compared with another. */
export interface Compared {
  /** By seed, the number that the cell's is compared with, for the seeds that have both. */
  readonly others: ReadonlyMap<number, OtherNumber>;
  /** Null if there is nothing to compare with. */
  readonly difference: PairedDifference | null;
  /** One reason for each seed whose pair is not evidence (evidence.ts), and so is not compared. */
  readonly excluded: readonly string[];
  /** The p-value of no difference (`differenceP`). */
  readonly p: number | null;
  /** `p`, corrected by Holm's method over all cells that have a p-value of this metric. */
  readonly holm: number | null;
}

interface OtherNumber {
  readonly value: number;
  /** Why the pair is not evidence; null if it is. */
  readonly reason: string | null;
}

const NOTHING: Compared = {
  others: new Map(),
  difference: null,
  excluded: [],
  p: null,
  holm: null,
};

/** The numbers, by seed, that a cell's are compared with. */
interface Partner {
  readonly values: ReadonlyMap<number, number>;
  /** Returns why the pair of a seed is not evidence, or null if it is. */
  readonly reason: (seed: number) => string | null;
}

/** Returns what a cell's number is compared with, or null if there is nothing. */
type PartnerOf = (cell: ResultCell, metric: Metric) => Partner | null;

/** Returns why a cell's number at a seed is not evidence, or null if it is. */
const voidReasonAt = (
  { seeds }: ResultCell,
  seed: number,
  metric: Pick<Metric, 'metric'>,
): string | null => voidReason(seeds.get(seed) ?? { metrics: {} }, metric);

const cleanPartner: PartnerOf = (cell, metric) => {
  const clean = cleanRunReader(metric);
  // `clean.judged` is the metric of the difference, which is evidence only if both runs are.
  return (
    clean && {
      values: new Map([...cell.seeds].map(([seed, measured]) => [seed, clean.read(measured)])),
      reason: (seed) => voidReasonAt(cell, seed, clean.judged),
    }
  );
};

/** Returns a key of all axes but adapter and training, under each of the cell's names. */
const settingKeys = (cell: ResultCell): readonly string[] =>
  axesByName(cell).map((name) =>
    contentKey(
      Object.fromEntries(
        Object.entries(name).filter(([path]) => !/^(?:adapter|train)\./.test(path)),
      ),
    ),
  );

/**
 * Returns a function that finds the full fine-tuning with a cell's attack and settings that differs
 * from the cell in the fewest axes of training. Null if there is none, or if several are as near.
 */
function fullPartner(cells: readonly ResultCell[]): PartnerOf {
  const isFull = ({ cell }: ResultCell): boolean => cell['adapter.type'] === 'full';
  const fulls = cells
    .filter(isFull)
    .map((full) => ({ full, settings: new Set(settingKeys(full)), names: axesByName(full) }));
  const fullOf = (cell: ResultCell): ResultCell | null => {
    const keys = settingKeys(cell),
      alike = fulls.filter(({ settings }) => keys.some((key) => settings.has(key)));
    const [found, ...others] = nearest(alike, ({ names }) =>
      Math.min(...names.flatMap((a) => axesByName(cell).map((b) => trainingDistance(a, b)))),
    );
    return found === undefined || others.length > 0 ? null : found.full;
  };
  const partners = new Map(
    cells.map((cell) => [cell, isFull(cell) ? null : fullOf(cell)] as const),
  );
  return (cell, metric) => {
    const full = partners.get(cell) ?? null;
    if (full === null) return null;
    const reason = (seed: number): string | null =>
      metric.stage === ACCURACY.stage
        ? (voidReasonAt(cell, seed, metric) ?? voidReasonAt(full, seed, metric))
        : null;
    return { values: valuesBySeed(full, metric), reason };
  };
}

/** Compares a cell's number with its partner's, paired by seed, without correcting the p-value. */
function compareOne(cell: ResultCell, metric: Metric, partner: Partner): Compared {
  const { values, reason } = partner;
  const pairs = [...valuesBySeed(cell, metric)].flatMap(([seed, value]) => {
    const other = values.get(seed);
    return other !== undefined && Number.isFinite(other)
      ? [{ seed, value, other, reason: reason(seed) }]
      : [];
  });
  const counted = pairs.filter((pair) => pair.reason === null);
  const difference =
    counted.length === 0
      ? null
      : pairedDifference(
          counted.map(({ value }) => value),
          counted.map(({ other }) => other),
        );
  return {
    others: new Map(
      pairs.map(({ seed, other, reason: why }) => [seed, { value: other, reason: why }]),
    ),
    difference,
    excluded: pairs.flatMap((pair) => pair.reason ?? []),
    p: differenceP(metric, difference),
    holm: null,
  };
}

/**
 * Compares all cells by some metrics.
 * @returns a function that gives the comparison of a cell's number, an empty one without a partner
 */
export function compareCells(
  cells: readonly ResultCell[],
  metrics: readonly Metric[],
  against: Against,
): (cell: ResultCell, metric: Metric) => Compared {
  if (against === 'none') return () => NOTHING;
  const partnerOf = against === 'clean' ? cleanPartner : fullPartner(cells);
  const all = metrics.flatMap(({ stage, metric }) =>
    cells.flatMap((cell) => {
      const partner = partnerOf(cell, { stage, metric });
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

/** Adds to each row the number that it is compared with, if there is one. */
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

/** The heading of a column of p-values (`testText`), and the note below its table. */
export const TEST_HEAD = 'p (Holm)';
export const TEST_NOTE =
  'p: of no difference, paired by seed, from three pairs on; in parentheses, corrected by ' +
  'Holm’s method over the cells that are compared by the metric.';

/** Whether a number has any pair to compare, be it evidence or not. */
export const isCompared = ({ difference, excluded }: Compared): boolean =>
  difference !== null || excluded.length > 0;

/**
 * Returns the p-value of no difference (`marginP`), not corrected. Null for fewer than three pairs,
 * or if the metric is itself a p-value.
 */
export const differenceP = (metric: Metric, paired: PairedDifference | null): number | null =>
  paired === null || paired.n < 3 || isPValue(metric) ? null : marginP(paired, 0);

/**
 * Returns p-values corrected by Holm's method, in order; null for a comparison without one. The
 * p-values of one metric are a family.
 */
export function holmByMetric(
  compared: readonly (Metric & { readonly p: number | null })[],
): readonly (number | null)[] {
  const corrected: (number | null)[] = compared.map(() => null);
  const tested = compared.flatMap(({ stage, metric, p }, index) =>
    p === null ? [] : [{ name: metricName({ stage, metric }), p, index }],
  );
  for (const family of groupBy(tested, ({ name }) => name).values())
    holm(family.map(({ p }) => p)).forEach((p, i) => {
      const { index } = family[i] ?? {};
      if (index !== undefined) corrected[index] = p;
    });
  return corrected;
}
