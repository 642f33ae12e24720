/** Training histories, shortened: a grid of a thousand cells has tens of millions of steps. */
import type { History, HistoryPoint } from './types.ts';

const POINTS = 40;

/**
 * Returns means over equal spans of steps, because the loss of one batch is noisy and the trend is
 * what counts.
 */
export function binHistory(steps: readonly HistoryPoint[], points = POINTS): History {
  const span = Math.max(1, Math.ceil(steps.length / points));
  const out: HistoryPoint[] = [];
  for (let start = 0; start < steps.length; start += span) {
    const some = steps.slice(start, start + span);
    const mean = (of: (point: HistoryPoint) => number): number =>
      some.reduce((sum, point) => sum + of(point), 0) / some.length;
    out.push({ step: mean(({ step }) => step), loss: mean(({ loss }) => loss) });
  }
  return { span, points: out };
}
