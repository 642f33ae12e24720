/** Decides when a training has stopped improving, as transformers' EarlyStoppingCallback does. */

export interface StoppingRule {
  readonly metric: 'loss' | 'accuracy';
  /** Number of consecutive evaluations without an improvement after which the training stops. */
  readonly patience: number;
  /** A change counts as an improvement only if it is larger than this. */
  readonly minDelta: number;
}

/** The result of the evaluations so far; a type alias, so that it counts as JSON. */
export type Standing = {
  readonly best: { readonly step: number; readonly value: number } | null;
  /** Number of evaluations since the best one. */
  readonly since: number;
};

/** The standing before the first evaluation. */
export const atTheStart: Standing = { best: null, since: 0 };

/** The standing after an evaluation. */
export function judge(
  { metric, minDelta }: StoppingRule,
  { best, since }: Standing,
  step: number,
  value: number,
): Standing {
  const gain =
    best === null ? Infinity : metric === 'loss' ? best.value - value : value - best.value;
  return gain > 0 && gain > minDelta
    ? { best: { step, value }, since: 0 }
    : { best, since: since + 1 };
}
