/** LoRA (or any adapter) against full fine-tuning, paired by seed. */
import type { Json } from '../api.ts';
import { pairedDifference, type PairedDifference } from '../stats/summary.ts';
import {
  contentKey,
  distinct,
  isFull,
  metricOf,
  type Condition,
  type Quantity,
} from './conditions.ts';
import {
  ASR,
  COMPARED,
  DROP,
  PROPORTION_MARGIN,
  RELATIVE_MARGIN,
  alphaOrder,
  entropyName,
  type MetricNote,
} from './metrics.ts';
import type { Checkpoint, FisherFacts, FisherPoint, Parametrisation, ReportCell } from './types.ts';
import { judge, type Verdict } from './verdict.ts';

/** a − b over the seeds that have both. */
export interface Comparison {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly seeds: readonly number[];
  /** Seeds in which either is missing. */
  readonly incomplete: number;
  /** Null where no pair is whole. */
  readonly difference: PairedDifference | null;
  readonly margin: number;
  /** Null where the slides claim nothing. */
  readonly verdict: Verdict | null;
}

export interface AdapterComparison extends Comparison {
  readonly metric: MetricNote;
  readonly adapter: Condition;
  readonly full: Condition;
}

type Pairs = Pick<Comparison, 'a' | 'b' | 'seeds' | 'incomplete' | 'difference'>;

function pair(
  seeds: readonly number[],
  a: (seed: number) => number | null,
  b: (seed: number) => number | null,
): Pairs {
  const whole = seeds.flatMap((seed) => {
    const x = a(seed),
      y = b(seed);
    return x !== null && y !== null && Number.isFinite(x) && Number.isFinite(y)
      ? [{ seed, x, y }]
      : [];
  });
  const xs = whole.map(({ x }) => x),
    ys = whole.map(({ y }) => y);
  return {
    a: xs,
    b: ys,
    seeds: whole.map(({ seed }) => seed),
    incomplete: seeds.length - whole.length,
    difference: whole.length === 0 ? null : pairedDifference(xs, ys),
  };
}

/** What the paper claims of adapter − full, by metric and attack family. */
function claimed(metric: MetricNote, condition: Condition): 1 | -1 | null {
  if (condition.ofBase) return null;
  if (metric === ASR && condition.family === 'backdoor') return -1;
  if (metric === DROP && condition.family === 'untargeted') return 1;
  return null;
}

const withoutPrefixes = (condition: Condition, prefixes: readonly string[]): string =>
  contentKey(
    Object.fromEntries(
      Object.entries(condition.axes).filter(
        ([path]) => !prefixes.some((prefix) => path.startsWith(prefix)),
      ),
    ),
  );

/**
 * Each adapter condition with the full fine-tuning of the same attack and the same other axes: equal training axes
 * where the grid has them for both, else every full condition there is.
 */
export function adapterPairs(
  conditions: readonly Condition[],
): readonly { readonly adapter: Condition; readonly full: Condition }[] {
  const fulls = new Map<string, Condition[]>();
  for (const condition of conditions.filter(isFull)) {
    const block = withoutPrefixes(condition, ['adapter.', 'train.']);
    fulls.set(block, [...(fulls.get(block) ?? []), condition]);
  }
  const training = (condition: Condition): string =>
    contentKey(
      Object.entries(condition.axes).filter(([path]) => path.startsWith('train.')) as Json,
    );
  return conditions
    .filter((condition) => !isFull(condition))
    .flatMap((adapter) => {
      const block = fulls.get(withoutPrefixes(adapter, ['adapter.', 'train.'])) ?? [];
      const alike = block.filter((full) => training(full) === training(adapter));
      return (alike.length > 0 ? alike : block).map((full) => ({ adapter, full }));
    });
}

/** Every compared metric, for every pair that has it, verdicts by claim. */
export function compareAdapters(conditions: readonly Condition[]): readonly AdapterComparison[] {
  const pairs = adapterPairs(conditions);
  return COMPARED.flatMap((metric) => {
    const quantity = metricOf(metric.stage, metric.metric);
    const found = pairs
      .map(({ adapter, full }) => {
        const bySeed = (condition: Condition) => {
          const cells = new Map(condition.cells.map((cell) => [cell.seed, cell]));
          return (seed: number): number | null => {
            const cell = cells.get(seed);
            return cell ? quantity(cell) : null;
          };
        };
        const seeds = [...new Set([...adapter.cells, ...full.cells].map(({ seed }) => seed))].sort(
          (x, y) => x - y,
        );
        return {
          metric,
          adapter,
          full,
          margin: PROPORTION_MARGIN,
          verdict: null as Verdict | null,
          ...pair(seeds, bySeed(adapter), bySeed(full)),
        };
      })
      .filter(({ difference }) => difference !== null);
    for (const direction of [1, -1] as const) {
      const family = found.filter(({ adapter }) => claimed(metric, adapter) === direction);
      judge(family, direction).forEach((verdict, i) => {
        family[i]!.verdict = verdict;
      });
    }
    return found;
  });
}

/** A number made of a Fisher spectrum. */
export interface FisherQuantity {
  readonly id: string;
  readonly label: string;
  readonly get: (facts: FisherFacts) => number | null;
}

export const INFORMATION: readonly FisherQuantity[] = [
  { id: 'information_bits', label: 'IB', get: (facts) => facts.information_bits },
  {
    id: 'information_bits_normalised',
    label: 'IB normalised',
    get: (facts) => facts.information_bits_normalised,
  },
];

export const renyi = (scale: 'raw' | 'normalised', alpha: string): FisherQuantity => ({
  id: `renyi_${scale}_${alpha}`,
  label: `${entropyName(alpha)} ${scale}`,
  get: (facts) => facts.renyi[scale][alpha] ?? null,
});

/** Every α that a cell has, by scale, ascending. */
export function alphasOf(
  cells: readonly ReportCell[],
  scale: 'raw' | 'normalised',
): readonly string[] {
  const found = new Set<string>();
  for (const { fisher } of cells)
    for (const point of Object.values(fisher)) {
      for (const facts of [point?.lora?.true, point?.full?.true])
        for (const alpha of Object.keys(facts?.renyi[scale] ?? {})) found.add(alpha);
    }
  return [...found].sort(alphaOrder);
}

const stepOf = (checkpoint: Checkpoint): number =>
  checkpoint === 'init'
    ? -1
    : checkpoint === 'final'
      ? Infinity
      : Number(checkpoint.slice('step-'.length));

export const checkpointName = (checkpoint: Checkpoint): string =>
  checkpoint === 'init'
    ? 'at initialisation'
    : checkpoint === 'final'
      ? 'after training'
      : `at step ${stepOf(checkpoint)}`;

/** Those that any cell's Fisher information is of, in the order of training. */
export const checkpointsOf = (cells: readonly ReportCell[]): readonly Checkpoint[] =>
  distinct(cells.flatMap(({ fisher }) => Object.keys(fisher) as Checkpoint[])).sort(
    (a, b) => stepOf(a) - stepOf(b),
  );

/** The last one that a cell has. */
export const lastFisher = (cell: ReportCell): FisherPoint | undefined => {
  const last = checkpointsOf([cell]).at(-1);
  return last && cell.fisher[last];
};

/** The standard error of a kernel that was estimated by projection, a share of its norm; null where it is exact. */
export const kernelError = (
  cell: ReportCell,
  checkpoint: Checkpoint,
  of: Parametrisation,
): number | null => cell.metrics['ntk']?.[`${checkpoint}.${of}.error`] ?? null;

/** Whether any number of these that is made of kernels is an estimate, by a stage's own metrics. */
export const isEstimated = (cells: readonly ReportCell[], stage: 'ntk' | 'regime'): boolean =>
  cells.some(({ metrics }) =>
    Object.keys(metrics[stage] ?? {}).some((name) => /(^|\.)(lora|full)\.error$/.test(name)),
  );
/** Said under tables of such numbers. */
export const ESTIMATED =
  '≈: of projected kernels, whose standard error stands in results as lora.error and full.error. With an error of e, a kernel’s squared norm comes out too large by about e², and a cosine with another kernel too small by half as much.';

export const fisherOf =
  (quantity: FisherQuantity, checkpoint: Checkpoint, of: Parametrisation): Quantity =>
  (cell) => {
    const facts = cell.fisher[checkpoint]?.[of]?.true;
    return facts ? quantity.get(facts) : null;
  };

/** Those with a LoRA kernel; at initialisation the attack plays no part, so each adapter once. */
export function withLora(conditions: readonly Condition[], checkpoint: Checkpoint): Condition[] {
  const having = conditions.filter(({ cells }) =>
    cells.some(({ fisher }) => fisher[checkpoint]?.lora),
  );
  if (checkpoint !== 'init') return having;
  const seen = new Set<string>();
  return having.filter(({ adapterLabel, setting }) => {
    const name = `${adapterLabel} ${setting}`;
    return !seen.has(name) && seen.add(name);
  });
}

export interface KernelComparison extends Comparison {
  readonly quantity: FisherQuantity;
  readonly checkpoint: Checkpoint;
  readonly condition: Condition;
}

/**
 * LoRA's Fisher information against that of the same layers in full *at the same weights*, cell by cell: what
 * K_LoRA = K_ff + Δ is about. The claim is LoRA ≤ full for each quantity.
 */
export function compareKernels(conditions: readonly Condition[]): readonly KernelComparison[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const quantities = [
    ...INFORMATION,
    ...(['raw', 'normalised'] as const).flatMap((scale) =>
      alphasOf(cells, scale).map((alpha) => renyi(scale, alpha)),
    ),
  ];
  return checkpointsOf(cells).flatMap((checkpoint) =>
    quantities.flatMap((quantity) => {
      const family = withLora(conditions, checkpoint)
        .map((condition) => {
          const bySeed = new Map(
            condition.cells.map((cell) => [cell.seed, cell.fisher[checkpoint]]),
          );
          const value =
            (of: 'lora' | 'full') =>
            (seed: number): number | null => {
              const facts = bySeed.get(seed)?.[of]?.true;
              return facts ? quantity.get(facts) : null;
            };
          const pairs = pair(
            [...bySeed.keys()].sort((x, y) => x - y),
            value('lora'),
            value('full'),
          );
          const size =
            pairs.b.reduce((sum, x) => sum + Math.abs(x), 0) / Math.max(1, pairs.b.length);
          return {
            quantity,
            checkpoint,
            condition,
            margin: RELATIVE_MARGIN * size,
            verdict: null as Verdict | null,
            ...pairs,
          };
        })
        .filter(({ difference }) => difference !== null);
      judge(family, -1).forEach((verdict, i) => {
        family[i]!.verdict = verdict;
      });
      return family;
    }),
  );
}
