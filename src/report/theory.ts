/**
 * Tests what the paper (arXiv 2505.12871) rests on: whether its theorem's premise holds, and
 * whether the quantities by which the paper explains robustness correlate with robustness, for each
 * seed over the adapters of a grid. Also correlates M (how far poison carries the weights) with M′
 * (the kernel between clean rows and the same rows poisoned) over cells (docs/theory.md).
 */
import { strictlyBelow } from '../base/rounding.ts';
import { type PairedDifference, pairedDifference, spearman } from '../base/stats.ts';
import {
  type Condition,
  isFull,
  metricOf,
  type Quantity,
  scoreOf,
  summaryOf,
} from './conditions.ts';
import { voidReason } from './evidence.ts';
import { checkpointsOf, entropiesOf, type FisherQuantity, INFORMATION } from './fisher.ts';
import { distinct, groupBy } from './groups.ts';
import { blockLabel } from './labels.ts';
import { ASR, ASR_ADDED, DROP, type MetricNote } from './metrics.ts';
import type { Checkpoint, ReportCell } from './types.ts';
import {
  CORRELATION_MARGIN,
  judge,
  judgeBoth,
  type PairedSample,
  type Verdict,
} from './verdict.ts';

export interface PremiseRow {
  readonly adapter: string;
  /** How many layers have this fan-in n, rank r and scale s. */
  readonly layers: number;
  readonly n: number;
  readonly r: number;
  readonly s: number;
  /** The initialiser's σ², or the mean square of A's entries if A came from a file. */
  readonly variance: number;
  /** The range, over layers and seeds, of the mean square of A's entries; null if not measured. */
  readonly sample: { readonly low: number; readonly high: number } | null;
  /** Whether σ² < 1/n and r ≤ n, as the theorem asks. */
  readonly theorem: boolean;
  /** s²σ²n. */
  readonly scaled: number;
  /** Whether s²σ²n < 1 and r ≤ n: the premise with the scale s kept. */
  readonly withScale: boolean;
  /** The range of the r eigenvalues of M_Δ that are not −1, by the Marchenko–Pastur law. */
  readonly predicted: { readonly low: number; readonly high: number };
  /** The range of the same eigenvalues as measured; null if it was not measured. */
  readonly measured: { readonly low: number; readonly high: number } | null;
  /** Whether M_Δ ⪯ 0, by the measured range or, without one, by the predicted one. */
  readonly negativeSemiDefinite: boolean;
}

type Range = PremiseRow['predicted'];
/** Returns the least range that holds both; the other one if one is missing, null if both are. */
const uniteRanges = (a: Range | null = null, b: Range | null = null): Range | null =>
  a && b ? { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) } : (a ?? b);

/**
 * Checks the theorem's premise: a row for each adapter, fan-in n, variance σ², rank r and scale s.
 * K_LoRA(B=0) − K_full = Σ(δ·δ′)(hᵀ M_Δ h′), where h is a layer's input and δ the derivative of a
 * logit by the layer's output. M_Δ = s²AᵀA − I has n − r eigenvalues −1 and r eigenvalues
 * s²·eig(AAᵀ) − 1, where eig(AAᵀ) spreads from σ²n(1 − √(r/n))² to σ²n(1 + √(r/n))².
 */
export function premiseRows(conditions: readonly Condition[]): readonly PremiseRow[] {
  const rows = new Map<string, PremiseRow>();
  for (const { adapterLabel, cells } of conditions)
    for (const layersOfOne of cells.flatMap(({ lora }) => lora ?? [])) {
      const { fanIn: n, rank: r, scale: s, layers, variance, sample, measured } = layersOfOne;
      const key = `${adapterLabel} ${n} ${variance} ${r} ${s}`;
      const scaled = s * s * variance * n;
      const spread = Math.sqrt(r / n);
      const known = rows.get(key);
      const merged = uniteRanges(measured, known?.measured);
      const predicted = {
        low: scaled * (1 - spread) ** 2 - 1,
        high: scaled * (1 + spread) ** 2 - 1,
      };
      rows.set(key, {
        adapter: adapterLabel,
        layers,
        n,
        r,
        s,
        variance,
        sample: uniteRanges(sample, known?.sample),
        theorem: strictlyBelow(variance, 1 / n) && r <= n,
        scaled,
        withScale: strictlyBelow(s * s * variance, 1 / n) && r <= n,
        predicted,
        measured: merged,
        negativeSemiDefinite: (merged ?? predicted).high <= 0,
      });
    }
  return [...rows.values()];
}

/** The fewest adapters for a meaningful rank correlation. */
export const ADAPTERS_NEEDED = 3;

export interface Relation {
  readonly quantity: FisherQuantity;
  readonly checkpoint: Checkpoint;
  readonly score: MetricNote;
  readonly block: string;
  /** How many adapters have at least one cell that is evidence (evidence.ts). */
  readonly adapters: number;
  /** How many cells are not evidence. */
  readonly excluded: number;
  /** How many seeds the block has. A seed with too few adapters, or with only ties, has no ρ. */
  readonly seeds: number;
  /** Spearman's ρ of each seed that has one. */
  readonly rhos: readonly number[];
  /** The mean of `rhos`, with its interval. */
  readonly difference: PairedDifference;
  /** The sign of ρ that the paper's explanation predicts. */
  readonly claimed: 1 | -1;
  readonly verdict: Verdict;
}

/**
 * Reads a quantity of the kernel over what was trained: A and B or, in full fine-tuning, the full
 * weights; null for adapters that train neither (BitFit, the head alone).
 */
const ownFisher =
  (quantity: FisherQuantity, checkpoint: Checkpoint): Quantity =>
  (cell) => {
    const point = cell.fisher[checkpoint];
    const facts = (point?.lora ?? (isFull(cell) ? point?.full : undefined))?.true;
    return facts ? quantity.get(facts) : null;
  };

type Pair = readonly [x: number, y: number];

/** Returns both quantities of each cell that has both. */
const pairQuantities = (cells: readonly ReportCell[], a: Quantity, b: Quantity): readonly Pair[] =>
  cells.flatMap((cell): readonly Pair[] => {
    const x = a(cell),
      y = b(cell);
    return x !== null && y !== null ? [[x, y]] : [];
  });
/** Returns Spearman's ρ of pairs; null for fewer than three, or if all x or all y are equal. */
const correlate = (pairs: readonly Pair[]): number | null =>
  spearman(
    pairs.map(([x]) => x),
    pairs.map(([, y]) => y),
  );

/** Returns Spearman's ρ for each seed that has enough adapters and for which ρ is defined. */
const correlationsBySeed = (block: readonly Condition[], a: Quantity, b: Quantity): number[] => {
  const cells = block.flatMap((condition) => condition.cells);
  return distinct(cells.map(({ seed }) => seed)).flatMap((seed) => {
    const ofSeed = cells.filter((cell) => cell.seed === seed);
    const pairs = pairQuantities(ofSeed, a, b).filter((pair) => pair.every(Number.isFinite));
    return pairs.length < ADAPTERS_NEEDED ? [] : (correlate(pairs) ?? []);
  });
};

/** Correlates a quantity with a score within one block. Null if no seed has a ρ. */
function correlateBlock(
  block: string,
  conditions: readonly Condition[],
  quantity: Quantity,
  score: MetricNote,
) {
  const isVoid = (cell: ReportCell): boolean => voidReason(cell, score) !== null;
  const rhosWith = (note: MetricNote): number[] =>
    correlationsBySeed(conditions, quantity, (cell) => (isVoid(cell) ? null : scoreOf(note)(cell)));
  const rhos = rhosWith(score);
  if (rhos.length === 0) return null;
  const isMeasured = conditions.some((condition) => summaryOf(condition, ASR_ADDED));
  return {
    block,
    adapters: conditions.filter(({ cells }) => !cells.every(isVoid)).length,
    excluded: conditions.flatMap(({ cells }) => cells.filter(isVoid)).length,
    seeds: distinct(conditions.flatMap(({ cells }) => cells.map(({ seed }) => seed))).length,
    rhos,
    // ρ of each seed with ASR minus the untriggered rate; `rhos` if the score has no such number.
    added: score === ASR && isMeasured ? rhosWith(ASR_ADDED) : rhos,
  };
}

const zeros = (count: number): number[] => new Array<number>(count).fill(0);
const againstZero = (rhos: readonly number[]): PairedSample => ({
  a: rhos,
  b: zeros(rhos.length),
  margin: CORRELATION_MARGIN,
});

/**
 * Returns how each quantity correlates with a score, in each block and at each checkpoint. The
 * paper claims that information bits rise with ASR, and that entropies fall as the accuracy drop
 * rises. The claim on ASR is held or refuted only if the same holds for ASR minus the untriggered
 * rate.
 */
export function relationsOf(conditions: readonly Condition[]): readonly Relation[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const claims = [
    { family: 'backdoor', quantities: INFORMATION, score: ASR, claimed: 1 },
    { family: 'untargeted', quantities: entropiesOf(cells), score: DROP, claimed: -1 },
  ] as const;
  return claims.flatMap(({ family, quantities, score, claimed }) => {
    const ofFamily = conditions.filter((one) => one.family === family && one.unclaimed === null);
    const blocks = [...groupBy(ofFamily, blockLabel)];
    return checkpointsOf(cells).flatMap((checkpoint) =>
      quantities.flatMap((quantity): Relation[] => {
        const own = ownFisher(quantity, checkpoint);
        const found = blocks
          .map(([block, of]) => correlateBlock(block, of, own, score))
          .filter((relation) => relation !== null);
        const samples = found.map(({ rhos }) => againstZero(rhos));
        const added = found.map((relation) => againstZero(relation.added));
        const verdicts =
          score === ASR ? judgeBoth(samples, added, claimed) : judge(samples, claimed);
        return verdicts.flatMap((verdict, i) => {
          const relation = found[i];
          if (relation === undefined) return [];
          const { added: _added, ...rest } = relation;
          const difference = pairedDifference(rest.rhos, zeros(rest.rhos.length));
          return [{ ...rest, quantity, checkpoint, score, claimed, difference, verdict }];
        });
      }),
    );
  });
}

/** How far M and M′ (see the head of this file) go together over the cells of a block. */
export interface DivergenceRelation {
  readonly block: string;
  readonly cells: number;
  /** Whether every poisoned row reads as its original, so that M′ cannot see the attack. */
  readonly blind: boolean;
  /** Spearman's ρ of M and M′ over cells; null if it is undefined. */
  readonly absolute: number | null;
  /** Spearman's ρ of the relative M and of M′ as a cosine; null if undefined, or if `blind`. */
  readonly relative: number | null;
}

/** Reads a metric of the stage `divergence`. */
export const readDivergence = (name: string): Quantity => metricOf('divergence', name);

/**
 * Reads M′ of the kernel over what was trained: LoRA's factors or, in full fine-tuning, the full
 * weights. Null for other adapters.
 */
export const kernelBetweenRows =
  (form: 'raw' | 'cosine'): Quantity =>
  (cell) =>
    readDivergence(`between.lora.${form}`)(cell) ??
    (isFull(cell) ? readDivergence(`between.full.${form}`)(cell) : null);

/** Correlates M (L2, and relative) with M′ (raw, and as a cosine) over the cells of each attack. */
export function divergenceRelations(
  conditions: readonly Condition[],
): readonly DivergenceRelation[] {
  const [l2, relative] = [readDivergence('total.l2'), readDivergence('total.relative')];
  const [raw, cosine] = [kernelBetweenRows('raw'), kernelBetweenRows('cosine')];
  return [...groupBy(conditions, blockLabel)].flatMap(([block, of]) => {
    const cells = of
      .flatMap((condition) => condition.cells)
      .filter((cell) => l2(cell) !== null && raw(cell) !== null);
    if (cells.length === 0) return [];
    const blind = cells.every(
      (cell) => readDivergence('alike')(cell) === readDivergence('pairs')(cell),
    );
    return [
      {
        block,
        cells: cells.length,
        blind,
        absolute: correlate(pairQuantities(cells, l2, raw)),
        // If the texts are the same, the cosines are 1 but for rounding: their ranks mean nothing.
        relative: blind ? null : correlate(pairQuantities(cells, relative, cosine)),
      },
    ];
  });
}
