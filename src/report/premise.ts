/**
 * Checks the premise of the paper's theorem (arXiv 2505.12871) for the A that is actually used:
 * K_LoRA(B=0) − K_full = Σ(δ·δ′)(hᵀ M_Δ h′) with M_Δ = s²AᵀA − I. M_Δ has n − r eigenvalues −1 and
 * r eigenvalues s²·eig(AAᵀ) − 1, where eig(AAᵀ) spreads around σ²n(1 ± √(r/n))².
 */
import { strictlyBelow } from '../base/stats.ts';
import type { Condition } from './conditions.ts';

export interface PremiseRow {
  /** The adapter's label; conditions that share it differ in their attack only. */
  readonly adapter: string;
  readonly layers: number;
  readonly n: number;
  readonly r: number;
  readonly s: number;
  /** The initialiser's σ², or the mean square of A's entries if A came from a file. */
  readonly variance: number;
  /**
   * The smallest and largest mean square of the entries of one A, over the layers and seeds. Null
   * if no A was measured.
   */
  readonly sample: { readonly low: number; readonly high: number } | null;
  /** Whether σ² < 1/n and r ≤ n, as the theorem asks. */
  readonly theorem: boolean;
  /** s²σ²n. */
  readonly scaled: number;
  /** Whether s²σ²n < 1 and r ≤ n: the premise with the scale s kept. */
  readonly withScale: boolean;
  /** The range of the r eigenvalues of M_Δ that are not −1, by the Marchenko–Pastur law. */
  readonly predicted: { readonly low: number; readonly high: number };
  readonly measured: { readonly low: number; readonly high: number } | null;
  /**
   * Whether M_Δ ⪯ 0, judged by the measured extremes if they are known, and otherwise by the
   * predicted ones.
   */
  readonly negativeSemiDefinite: boolean;
}

interface Ends {
  readonly low: number;
  readonly high: number;
}
/** Returns the smallest interval that contains both. */
const joined = (a: Ends | null | undefined, b: Ends | null | undefined): Ends | null =>
  a && b ? { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) } : (a ?? b ?? null);

/**
 * Returns one row for each adapter and fan-in, with the extremes over all of the adapter's cells.
 */
export function premiseRows(conditions: readonly Condition[]): readonly PremiseRow[] {
  const rows = new Map<string, PremiseRow>();
  for (const condition of conditions) {
    for (const { lora } of condition.cells) {
      if (lora === null) continue;
      const { rank: r, scale: s } = lora;
      for (const { fanIn: n, layers, variance, sample, measured } of lora.groups) {
        const key = `${condition.adapterLabel} ${n} ${variance} ${s}`;
        const scaled = s * s * variance * n;
        const spread = Math.sqrt(r / n);
        const known = rows.get(key);
        const merged = joined(measured, known?.measured);
        const predicted = {
          low: scaled * (1 - spread) ** 2 - 1,
          high: scaled * (1 + spread) ** 2 - 1,
        };
        rows.set(key, {
          adapter: condition.adapterLabel,
          layers,
          n,
          r,
          s,
          variance,
          sample: joined(sample, known?.sample),
          theorem: strictlyBelow(variance, 1 / n) && r <= n,
          scaled,
          withScale: strictlyBelow(s * s * variance, 1 / n) && r <= n,
          predicted,
          measured: merged,
          negativeSemiDefinite: (merged ?? predicted).high <= 0,
        });
      }
    }
  }
  return [...rows.values()];
}
