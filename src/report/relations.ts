/**
 * Do the quantities that the paper explains robustness by go with it? Rank correlations over a grid's adapters, one a
 * seed, so that each is of models that share data, poison and order; and M with M', over cells.
 */
import { spearman } from '../stats/spearman.ts';
import { type PairedDifference, pairedDifference } from '../stats/summary.ts';
import { alphasOf, checkpointsOf, type FisherQuantity, INFORMATION, renyi } from './compare.ts';
import {
  blockLabel,
  type Condition,
  distinct,
  isFull,
  metricOf,
  type Quantity,
  seriesOf,
} from './conditions.ts';
import { voidReason } from './evidence.ts';
import { ASR, ASR_ADDED, CORRELATION_MARGIN, DROP, type MetricNote } from './metrics.ts';
import type { Checkpoint, ReportCell } from './types.ts';
import { judge, judgeBoth, type Verdict } from './verdict.ts';

/** Fewer adapters than this have no rank correlation to speak of. */
export const ADAPTERS_NEEDED = 3;

export interface Relation {
  readonly quantity: FisherQuantity;
  readonly checkpoint: Checkpoint;
  readonly score: MetricNote;
  /** The attack at one dose and setting. */
  readonly block: string;
  /** Adapters with at least one cell that is evidence (evidence.ts). */
  readonly adapters: number;
  /** Cells left out because they are no evidence. */
  readonly excluded: number;
  /** Spearman's ρ of each seed. */
  readonly rhos: readonly number[];
  /** Their mean and interval. */
  readonly difference: PairedDifference;
  /** The sign that the paper's explanation gives ρ. */
  readonly claimed: 1 | -1;
  readonly verdict: Verdict;
}

/** Of the kernel over what was trained: A and B, or the weights in full. Adapters that train neither (BitFit, the head alone) have none. */
export const ownFisher =
  (quantity: FisherQuantity, checkpoint: Checkpoint): Quantity =>
  (cell) => {
    const point = cell.fisher[checkpoint];
    const facts = (point?.lora ?? (isFull(cell) ? point?.full : undefined))?.true;
    return facts ? quantity.get(facts) : null;
  };

const correlations = (block: readonly Condition[], a: Quantity, b: Quantity): number[] =>
  distinct(block.flatMap(({ cells }) => cells.map(({ seed }) => seed))).flatMap((seed) => {
    const pairs = block
      .flatMap(({ cells }) => cells.filter((cell) => cell.seed === seed))
      .flatMap((cell) => {
        const x = a(cell),
          y = b(cell);
        return x !== null && y !== null && Number.isFinite(x) && Number.isFinite(y)
          ? [[x, y] as const]
          : [];
      });
    const rho =
      pairs.length < ADAPTERS_NEEDED
        ? null
        : spearman(
            pairs.map(([x]) => x),
            pairs.map(([, y]) => y),
          );
    return rho === null ? [] : [rho];
  });

export const blocksBy = (
  conditions: readonly Condition[],
): ReadonlyMap<string, readonly Condition[]> =>
  new Map(
    distinct(conditions.map(blockLabel)).map((name) => [
      name,
      conditions.filter((condition) => blockLabel(condition) === name),
    ]),
  );

const only =
  (score: MetricNote, quantity: Quantity): Quantity =>
  (cell) =>
    voidReason(cell, score) === null ? quantity(cell) : null;

/**
 * Information bits with ASR under backdoors (claimed to rise together), entropies with the accuracy drop under untargeted
 * poisoning (claimed to part). Cells that are no evidence (evidence.ts) are left out. Of ASR a verdict asks for the same
 * relation with what the trigger adds to the models' own rates of the target.
 */
export function relationsOf(conditions: readonly Condition[]): readonly Relation[] {
  const cells = conditions.flatMap((condition) => condition.cells);
  const entropies = (['raw', 'normalised'] as const).flatMap((scale) =>
    alphasOf(cells, scale).map((alpha) => renyi(scale, alpha)),
  );
  const claims = [
    { family: 'backdoor', quantities: INFORMATION, score: ASR, claimed: 1 },
    { family: 'untargeted', quantities: entropies, score: DROP, claimed: -1 },
  ] as const;
  return claims.flatMap(({ family, quantities, score, claimed }) => {
    const blocks = blocksBy(
      conditions.filter((condition) => condition.family === family && !condition.ofBase),
    );
    return checkpointsOf(cells).flatMap((checkpoint) =>
      (quantities as readonly FisherQuantity[]).flatMap((quantity): Relation[] => {
        const found = [...blocks].flatMap(([block, of]) => {
          const rhosWith = (note: MetricNote): number[] =>
            correlations(
              of,
              ownFisher(quantity, checkpoint),
              only(score, metricOf(note.stage, note.metric)),
            );
          const rhos = rhosWith(score);
          const isMeasured = of.some(
            (condition) => seriesOf(condition, metricOf(ASR_ADDED.stage, ASR_ADDED.metric)).summary,
          );
          const isVoid = (cell: ReportCell): boolean => voidReason(cell, score) !== null;
          return rhos.length === 0
            ? []
            : [
                {
                  block,
                  adapters: of.filter(({ cells }) => !cells.every(isVoid)).length,
                  excluded: of.flatMap(({ cells }) => cells.filter(isVoid)).length,
                  rhos,
                  added: score === ASR && isMeasured ? rhosWith(ASR_ADDED) : rhos,
                },
              ];
        });
        const zero = (count: number): number[] => new Array<number>(count).fill(0);
        const sample = (rhos: readonly number[]) => ({
          a: rhos,
          b: zero(rhos.length),
          margin: CORRELATION_MARGIN,
        });
        const samples = found.map(({ rhos }) => sample(rhos));
        const verdicts =
          score === ASR
            ? judgeBoth(
                samples,
                found.map(({ added }) => sample(added)),
                claimed,
              )
            : judge(samples, claimed);
        return found.map(({ added: _added, ...one }, i) => ({
          ...one,
          quantity,
          checkpoint,
          score,
          claimed,
          difference: pairedDifference(one.rhos, zero(one.rhos.length)),
          verdict: verdicts[i]!,
        }));
      }),
    );
  });
}

export interface DivergenceRelation {
  readonly block: string;
  readonly cells: number;
  /** Whether every poisoned row reads as its original: M' can't see this attack. */
  readonly blind: boolean;
  /** ρ over cells; null where there is none. */
  readonly absolute: number | null;
  readonly relative: number | null;
}

const divergence = (cell: ReportCell, name: string): number | null =>
  cell.metrics['divergence']?.[name] ?? null;
/** M' by the kernel over what was trained; null for adapters that train neither factors nor the weights in full. */
export const between =
  (form: 'raw' | 'cosine'): Quantity =>
  (cell) =>
    divergence(cell, `between.lora.${form}`) ??
    (isFull(cell) ? divergence(cell, `between.full.${form}`) : null);

/** M (L2, and relative) with M' (raw, and as a cosine) over the cells of each attack. */
export function divergenceRelations(
  conditions: readonly Condition[],
): readonly DivergenceRelation[] {
  return [...blocksBy(conditions)].flatMap(([block, of]) => {
    const cells = of
      .flatMap((condition) => condition.cells)
      .filter((cell) => divergence(cell, 'total.l2') !== null && between('raw')(cell) !== null);
    if (cells.length === 0) return [];
    const rho = (a: (cell: ReportCell) => number | null, b: Quantity): number | null => {
      const pairs = cells.flatMap((cell) => {
        const x = a(cell),
          y = b(cell);
        return x === null || y === null ? [] : [[x, y] as const];
      });
      return spearman(
        pairs.map(([x]) => x),
        pairs.map(([, y]) => y),
      );
    };
    const blind = cells.every((cell) => divergence(cell, 'alike') === divergence(cell, 'pairs'));
    return [
      {
        block,
        cells: cells.length,
        blind,
        absolute: rho((cell) => divergence(cell, 'total.l2'), between('raw')),
        // Where texts are the same, cosines are 1 but for rounding: their ranks say nothing.
        relative: blind
          ? null
          : rho((cell) => divergence(cell, 'total.relative'), between('cosine')),
      },
    ];
  });
}
