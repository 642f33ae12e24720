/** Learning-rate schedules, equal to transformers' get_*_schedule_with_warmup. */

export interface Schedule {
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** Number of steps over which the rate rises linearly from 0. */
  readonly warmup: number;
  readonly steps: number;
}

/** The factor by which the learning rate is multiplied at a step, counted from 0. */
export function scheduleFactor({ kind, warmup, steps }: Schedule, step: number): number {
  if (step < warmup) return step / Math.max(1, warmup);
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  switch (kind) {
    case 'constant':
      return 1;
    case 'linear':
      return Math.max(0, 1 - progress);
    case 'cosine':
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  }
}
