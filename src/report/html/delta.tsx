/** Δ_r = K_LoRA − K_full where training starts. */
import type { JSX } from 'preact';
import { type Condition, metricOf, oncePerAdapter, type Quantity } from '../conditions.ts';
import { ADAPTER, having, numberColumn } from './columns.tsx';
import { Table } from './parts.tsx';

export function Delta({
  conditions,
}: {
  readonly conditions: readonly Condition[];
}): JSX.Element | null {
  const rows = oncePerAdapter(having(conditions, 'delta', 'residual'));
  if (rows.length === 0) return null;
  const of = (metric: string): Quantity => metricOf('delta', metric);
  return (
    <>
      <h3>
        Δ<sub>r</sub> where training starts
      </h3>
      <p>
        K<sub>LoRA</sub> = K<sub>full</sub> + Δ<sub>r</sub> at B = 0, with Δ<sub>r</sub> =
        Σ(δ·δ′)(hᵀM<sub>Δ</sub>h′) summed from M<sub>Δ</sub>’s own eigenvectors; what the identity
        leaves is rounding. Where B ≠ 0, the remaining s²Σ(Bᵀδ·Bᵀδ′)(h·h′) is subtracted as well. σ̂²
        is the mean square of a layer’s A as drawn, which lies about the σ² that the spec states:
        where s²σ²n is 1, whether a layer’s s²σ̂²n is below 1 is chance. Layer by layer in{' '}
        <code>delta.json</code>.
      </p>
      <Table
        label="Delta"
        rows={rows}
        columns={[
          ADAPTER,
          numberColumn('tr K_full', of('trace_full')),
          numberColumn('tr K_LoRA', of('trace_lora')),
          numberColumn('tr Δ_r', of('trace_delta')),
          numberColumn('‖Δ_r‖/‖K_full‖', of('relative_delta')),
          numberColumn('largest eigenvalue of M_Δ', of('largest_eigenvalue')),
          numberColumn('layers with M_Δ ⪯ 0', of('semidefinite_layers'), 'proportion'),
          numberColumn('layers with σ² < 1/n', of('stated_premise_layers'), 'proportion'),
          numberColumn('with s²σ²n < 1', of('scaled_premise_layers'), 'proportion'),
          numberColumn('with s²σ̂²n < 1', of('sample_scaled_premise_layers'), 'proportion'),
          numberColumn('left by the identity, ‖·‖/‖K_full‖', of('residual')),
        ]}
      />
    </>
  );
}
