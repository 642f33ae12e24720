/**
 * The theorem's premise, for the A that is really used: K_LoRA(B=0) − K_ff = Σ(δ·δ')(hᵀ M_Δ h'), M_Δ = s²AᵀA − I.
 * M_Δ has n − r eigenvalues −1 and r eigenvalues s²·eig(AAᵀ) − 1; eig(AAᵀ) spreads around σ²n(1 ± √(r/n))².
 */
import type { Condition } from './conditions.ts';

export interface PremiseRow {
  /** Conditions that share it differ in attack only. */
  readonly adapter: string;
  readonly layers: number;
  readonly n: number;
  readonly r: number;
  readonly s: number;
  readonly variance: number;
  /** σ² < 1/n and r ≤ n, as the theorem asks. */
  readonly theorem: boolean;
  /** s²σ²n; the premise with s is that it is below 1. */
  readonly scaled: number;
  readonly withScale: boolean;
  /** The r eigenvalues of M_Δ that are not −1, as Marchenko and Pastur predict them. */
  readonly predicted: { readonly low: number; readonly high: number };
  readonly measured: { readonly low: number; readonly high: number } | null;
  /** Whether M_Δ ⪯ 0: by the measured extremes where they are known, else by the predicted ones. */
  readonly negativeSemiDefinite: boolean;
}

/** One row a (adapter, fan-in); the first condition of an adapter speaks for it, with the extremes over all its cells. */
export function premiseRows(conditions: readonly Condition[]): readonly PremiseRow[] {
  const rows = new Map<string, PremiseRow>();
  for (const condition of conditions) {
    for (const { lora } of condition.cells) {
      for (const { fanIn: n, layers, variance, measured } of lora?.groups ?? []) {
        const { rank: r, scale: s } = lora!;
        const key = `${condition.adapterLabel} ${n} ${variance} ${s}`;
        const scaled = s * s * variance * n;
        const spread = Math.sqrt(r / n);
        const known = rows.get(key)?.measured;
        const merged =
          measured && known
            ? { low: Math.min(measured.low, known.low), high: Math.max(measured.high, known.high) }
            : (measured ?? known ?? null);
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
          theorem: variance * n < 1 && r <= n,
          scaled,
          withScale: scaled < 1 && r <= n,
          predicted,
          measured: merged,
          negativeSemiDefinite: (merged ?? predicted).high <= 0,
        });
      }
    }
  }
  return [...rows.values()];
}
