/** The closed-form map of the paper's Figure 3 beside what it stands for. */
import type { JSX } from 'preact';
import { averageOf, bitsAt, type MapMean, mapsOf } from '../figures/map.ts';
import { formatNumber, plural } from '../format.ts';
import type { Figure, MapPointFacts, ReportCell } from '../types.ts';
import { Figures, Table } from './parts.tsx';

/** PEFT's own initialisation, kaiming-uniform with a = √5, has σ²d = 1/3. */
const PEFT_SCALE = 1 / 3;

export function TheoryMap({
  cells,
  figures,
}: {
  readonly cells: readonly ReportCell[];
  readonly figures: readonly Figure[];
}): JSX.Element | null {
  const maps = mapsOf(cells);
  if (maps.length === 0) return null;
  const scales = [...new Set(maps[0]!.points.map(({ scale }) => scale))];
  const scale = scales.reduce((best, one) =>
    Math.abs(Math.log(one / PEFT_SCALE)) < Math.abs(Math.log(best / PEFT_SCALE)) ? one : best,
  );
  const rows = averageOf(maps).filter(({ point }) => point.scale === scale);
  const column = (title: string, get: (point: MapPointFacts) => number | null) => ({
    title,
    kind: 'number' as const,
    value: (row: MapMean) => formatNumber(row.mean(get)),
  });
  const { full } = maps[0]!;
  return (
    <>
      <h3>The map of rank and variance</h3>
      <p>
        The paper’s Figure 3 reads robustness off the spectrum of AᵀA in closed form. As published
        its H₂ sums squared diagonal entries of AᵀA and drops the entropy’s minus; exactly, E Σλ² =
        σ⁴rd(d + r + 1) for a Gaussian A, σ⁴rd(d + r − 1/5) for a uniform one, and H₂ = −log Σλ².
        Beside it stands what is measured on this model, with{' '}
        {maps[0]!.init === 'random' ? 'random' : 'pretrained'} weights, as LoRA’s training starts:
        at B = 0 its kernel is proportional to s²σ², so that raw values move with the variance by a
        constant and say nothing more of it.
      </p>
      <Table
        label="Map at one variance"
        rows={rows}
        starts={(row, i) => row.point.distribution !== rows[i - 1]!.point.distribution}
        caption={`At σ²·d = ${formatNumber(scale)}; means over ${plural(maps.length, 'seed')}. The full kernel at the same point: log Σλ ${formatNumber(full.h1)}, H₂ ${formatNumber(full.h2)}, ${full.count} eigenvalues, IB ${formatNumber(full.information_bits)}, normalised ${formatNumber(full.information_bits_normalised)}, H₂ normalised ${formatNumber(full.h2_normalised)}.`}
        columns={[
          { title: 'A', kind: 'nowrap', value: ({ point }) => point.distribution },
          { title: 'r', kind: 'number', value: ({ point }) => point.rank },
          column('log σ²rd', ({ closed }) => closed.h1),
          column('drawn', ({ drawn }) => drawn.h1),
          column('H₂ as published', ({ closed }) => closed.h2_published),
          column('exact', ({ closed }) => closed.h2),
          column('drawn', ({ drawn }) => drawn.h2),
          column('Fisher: log Σλ', ({ model }) => model?.h1 ?? null),
          column('H₂', ({ model }) => model?.h2 ?? null),
          column('H₂ normalised', ({ model }) => model?.h2_normalised ?? null),
          column('eigenvalues', ({ model }) => model?.count ?? null),
          column('IB, α = r', ({ model }) => model?.information_bits ?? null),
          column('IB, α = 16', (point) => bitsAt(point, 16)),
          column('IB normalised', ({ model }) => model?.information_bits_normalised ?? null),
        ]}
      />
      <Figures figures={figures} layout="wide" />
    </>
  );
}
