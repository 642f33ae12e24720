/** Numbers of a Fisher spectrum, the checkpoints at which they are known, and kernels' errors. */
import { pointName, pointsIn } from '../api.ts';
import { type Condition, oncePerStage, type Quantity } from './conditions.ts';
import { distinct } from './groups.ts';
import type { Checkpoint, FisherFacts, FisherPoint, Parametrisation, ReportCell } from './types.ts';

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

export type Scale = 'raw' | 'normalised';
export const SCALES: readonly Scale[] = ['raw', 'normalised'];

/** Returns the Rényi entropy of order `alpha`; null where a spectrum has none of this order. */
export const renyiQuantity = (scale: Scale, alpha: string): FisherQuantity => ({
  id: `renyi_${scale}_${alpha}`,
  label: `${entropyName(alpha)} ${scale}`,
  get: (facts) => facts.renyi[scale][alpha] ?? null,
});

/** Returns every α that any cell has at this scale, ascending. */
export const alphasOf = (cells: readonly ReportCell[], scale: Scale): readonly string[] =>
  distinct(
    cells
      .flatMap(({ fisher }) => Object.values(fisher))
      .flatMap((point) => [point?.lora?.true, point?.full?.true])
      .flatMap((facts) => Object.keys(facts?.renyi[scale] ?? {})),
  ).sort(compareAlphas);

/** Returns the Rényi entropies of every α that any cell has, raw ones first. */
export const entropiesOf = (cells: readonly ReportCell[]): readonly FisherQuantity[] =>
  SCALES.flatMap((scale) => alphasOf(cells, scale).map((alpha) => renyiQuantity(scale, alpha)));

export function checkpointName(checkpoint: Checkpoint): string {
  if (checkpoint === 'init') return 'at initialisation';
  return checkpoint === 'final' ? 'after training' : `at step ${checkpoint.slice('step-'.length)}`;
}

/** Returns the checkpoints at which any cell has Fisher information, in the order of training. */
export const checkpointsOf = (cells: readonly ReportCell[]): readonly Checkpoint[] =>
  pointsIn(distinct(cells.flatMap(({ fisher }) => Object.keys(fisher)))).map(
    (point) => pointName(point) as Checkpoint,
  );

/** Returns a cell's Fisher information at its last checkpoint, or undefined if it has none. */
export const lastFisher = (cell: ReportCell): FisherPoint | undefined => {
  const last = checkpointsOf([cell]).at(-1);
  return last && cell.fisher[last];
};

/** Returns a function that reads a quantity of the true Fisher information; null without it. */
export const fisherOf =
  (quantity: FisherQuantity, checkpoint: Checkpoint, of: Parametrisation): Quantity =>
  (cell) => {
    const facts = cell.fisher[checkpoint]?.[of]?.true;
    return facts ? quantity.get(facts) : null;
  };

/**
 * Returns the conditions with Fisher information of a LoRA kernel at a checkpoint. Of conditions
 * that share the kernel, only the first is returned.
 */
export function withLora(
  conditions: readonly Condition[],
  checkpoint: Checkpoint,
): readonly Condition[] {
  const having = conditions.filter(({ cells }) =>
    cells.some(({ fisher }) => fisher[checkpoint]?.lora),
  );
  return oncePerStage(having, `kernel(${checkpoint.replace('step-', '')})`);
}

/**
 * Returns the error of a projected kernel, as a share of its norm; null for an exact one or none.
 */
export const kernelError = (
  cell: ReportCell,
  checkpoint: Checkpoint,
  of: Parametrisation,
): number | null => cell.metrics['ntk']?.[`${checkpoint}.${of}.error`] ?? null;

/** Whether any kernel of a stage is an estimate: it has a metric `lora.error` or `full.error`. */
export const isEstimated = (cells: readonly ReportCell[], stage: 'ntk' | 'regime'): boolean =>
  cells.some(({ metrics }) =>
    Object.keys(metrics[stage] ?? {}).some((name) => /(^|\.)(lora|full)\.error$/.test(name)),
  );
export const ESTIMATED =
  '≈: from projected kernels, whose standard error is in results as lora.error and ' +
  'full.error. With an error of e, a kernel’s squared norm comes out too large by about e², and ' +
  'a cosine with another kernel too small by half as much.';

export const alphaName = (alpha: string): string => ({ '0.5': '½', inf: '∞' })[alpha] ?? alpha;
/** Returns `H₂`, `H½` or `H∞`. */
function entropyName(alpha: string): string {
  const subscript = (digit: string): string => '₀₁₂₃₄₅₆₇₈₉'.charAt(Number(digit));
  return `H${/^\d+$/.test(alpha) ? alpha.replaceAll(/\d/g, subscript) : alphaName(alpha)}`;
}
const compareAlphas = (a: string, b: string): number => {
  const value = (alpha: string): number => (alpha === 'inf' ? Infinity : Number(alpha));
  return value(a) - value(b) || 0; // ∞ − ∞ is NaN
};
