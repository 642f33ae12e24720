/** Learning-rate schedules as transformers' get_*_schedule_with_warmup. */

export interface Schedule {
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** Steps of linear warm-up from 0. */
  readonly warmup: number;
  readonly steps: number;
}

/** The factor on the learning rate at a step, the first being 0. */
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
