/** LoRA (or any adapter) against full fine-tuning, paired by seed. */
import type { Json } from '../api.ts';
import { type PairedDifference, pairedDifference } from '../stats/summary.ts';
import {
  type Condition,
  contentKey,
  distinct,
  isFull,
  metricOf,
  type Quantity,
} from './conditions.ts';
import { predictsOneClass, voidReason } from './evidence.ts';
import {
  alphaOrder,
  ASR,
  ASR_ADDED,
  COMPARED,
  DROP,
  entropyName,
  type MetricNote,
  PROPORTION_MARGIN,
  RELATIVE_MARGIN,
} from './metrics.ts';
import type { Checkpoint, FisherFacts, FisherPoint, Parametrisation, ReportCell } from './types.ts';
import { judge, judgeBoth, type PairedSample, type Verdict } from './verdict.ts';

/** a − b over the seeds that have both. */
export interface Comparison {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly seeds: readonly number[];
  /** Seeds in which either is missing. */
  readonly incomplete: number;
  /** Seeds in which both are there and one of them is no evidence (evidence.ts): counted, and used for nothing. */
  readonly excluded: number;
  /** Why they are not, one for each reason. */
  readonly reasons: readonly string[];
  /** Null where no pair is whole. */
  readonly difference: PairedDifference | null;
  readonly margin: number;
  /** Null where the paper claims nothing. */
  readonly verdict: Verdict | null;
}

export interface AdapterComparison extends Comparison {
  readonly metric: MetricNote;
  readonly adapter: Condition;
  readonly full: Condition;
}

type Pairs = Pick<
  Comparison,
  'a' | 'b' | 'seeds' | 'incomplete' | 'excluded' | 'reasons' | 'difference'
>;

/** @param reason why a seed's pair is no evidence; null where it is */
function pair(
  seeds: readonly number[],
  a: (seed: number) => number | null,
  b: (seed: number) => number | null,
  reason: (seed: number) => string | null,
): Pairs {
  const both = seeds.flatMap((seed) => {
    const x = a(seed),
      y = b(seed);
    return x !== null && y !== null && Number.isFinite(x) && Number.isFinite(y)
      ? [{ seed, x, y, reason: reason(seed) }]
      : [];
  });
  const whole = both.filter((one) => one.reason === null);
  const xs = whole.map(({ x }) => x),
    ys = whole.map(({ y }) => y);
  return {
    a: xs,
    b: ys,
    seeds: whole.map(({ seed }) => seed),
    incomplete: seeds.length - both.length,
    excluded: both.length - whole.length,
    reasons: distinct(both.flatMap((one) => (one.reason === null ? [] : [one.reason]))),
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
    contentKey(Object.entries(condition.axes).filter(([path]) => path.startsWith('train.')));
  return conditions
    .filter((condition) => !isFull(condition))
    .flatMap((adapter) => {
      const block = fulls.get(withoutPrefixes(adapter, ['adapter.', 'train.'])) ?? [];
      const alike = block.filter((full) => training(full) === training(adapter));
      return (alike.length > 0 ? alike : block).map((full) => ({ adapter, full }));
    });
}

const bySeed = (condition: Condition): ReadonlyMap<number, ReportCell> =>
  new Map(condition.cells.map((cell) => [cell.seed, cell]));

function compareOne(metric: MetricNote, adapter: Condition, full: Condition): AdapterComparison {
  const [ofAdapter, ofFull] = [bySeed(adapter), bySeed(full)];
  const seeds = [...new Set([...ofAdapter.keys(), ...ofFull.keys()])].sort((x, y) => x - y);
  const quantity = metricOf(metric.stage, metric.metric);
  const at =
    (cells: ReadonlyMap<number, ReportCell>) =>
    (seed: number): number | null => {
      const cell = cells.get(seed);
      return cell ? quantity(cell) : null;
    };
  const why = (seed: number): string | null =>
    [
      [adapter, ofAdapter],
      [full, ofFull],
    ]
      .map(([condition, cells]) => {
        const cell = (cells as ReadonlyMap<number, ReportCell>).get(seed);
        const reason = cell ? voidReason(cell, metric) : null;
        return reason === null ? null : `${(condition as Condition).adapterLabel} ${reason}`;
      })
      .find((reason) => reason !== null) ?? null;
  return {
    metric,
    adapter,
    full,
    margin: PROPORTION_MARGIN,
    verdict: null,
    ...pair(seeds, at(ofAdapter), at(ofFull), why),
  };
}

/** What the trigger adds to the models' own rate of the target, over the pairs of a comparison of ASR; ASR itself where that was measured of no model. */
function added({ adapter, full, seeds, a, b, margin }: AdapterComparison): PairedSample {
  const quantity = metricOf(ASR_ADDED.stage, ASR_ADDED.metric);
  const values = [adapter, full].map((condition) => {
    const cells = bySeed(condition);
    return seeds.flatMap((seed) => quantity(cells.get(seed)!) ?? []);
  });
  if (values.every(({ length }) => length === 0)) return { a, b, margin };
  return values.every(({ length }) => length === seeds.length)
    ? { a: values[0]!, b: values[1]!, margin }
    : { a: [], b: [], margin };
}

/**
 * Every compared metric, for every pair that has it, verdicts by claim. Of ASR a verdict asks for more than a difference
 * of the rates: what the trigger adds to each model's own rate of the target must differ as claimed too, else a model that
 * gives the target class to most rows anyway would count as one that was successfully attacked.
 */
export function compareAdapters(conditions: readonly Condition[]): readonly AdapterComparison[] {
  const pairs = adapterPairs(conditions);
  return COMPARED.flatMap((metric) => {
    const found = pairs
      .map(({ adapter, full }) => compareOne(metric, adapter, full))
      .filter(({ difference, excluded }) => difference !== null || excluded > 0);
    const verdicts = new Map<AdapterComparison, Verdict>();
    for (const direction of [1, -1] as const) {
      const family = found.filter(({ adapter }) => claimed(metric, adapter) === direction);
      const judged =
        metric === ASR ? judgeBoth(family, family.map(added), direction) : judge(family, direction);
      family.forEach((comparison, i) => verdicts.set(comparison, judged[i]!));
    }
    return found.map((comparison) => ({
      ...comparison,
      verdict: verdicts.get(comparison) ?? null,
    }));
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
 * K_LoRA = K_ff + Δ is about. The claim is LoRA ≤ full for each quantity. A model that predicts one class only counts at
 * its start alone, before training has brought it there.
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
          const cells = bySeed(condition);
          const value =
            (of: 'lora' | 'full') =>
            (seed: number): number | null => {
              const facts = cells.get(seed)!.fisher[checkpoint]?.[of]?.true;
              return facts ? quantity.get(facts) : null;
            };
          const pairs = pair(
            [...cells.keys()].sort((x, y) => x - y),
            value('lora'),
            value('full'),
            (seed) =>
              checkpoint !== 'init' && predictsOneClass(cells.get(seed)!)
                ? 'the model predicts one class only'
                : null,
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
        .filter(({ difference, excluded }) => difference !== null || excluded > 0);
      judge(family, -1).forEach((verdict, i) => {
        family[i]!.verdict = verdict;
      });
      return family;
    }),
  );
}
