/** When a training has stopped getting better, as transformers' EarlyStoppingCallback judges it. Pure. */

export interface StoppingRule {
  readonly metric: 'loss' | 'accuracy';
  /** Evaluations without an improvement, one after another, before the training stops. */
  readonly patience: number;
  /** An improvement is larger than this. */
  readonly minDelta: number;
}

export interface Standing {
  readonly best: { readonly step: number; readonly value: number } | null;
  /** Evaluations since the best one. */
  readonly since: number;
}

export const atTheStart: Standing = { best: null, since: 0 };

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
