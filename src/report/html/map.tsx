/** Shows the closed-form map of the paper's Figure 3 beside the measurements that it stands for. */
import type { JSX } from 'preact';
import { averageOf, bitsAt, type MapMean, mapsOf } from '../figures/map.ts';
import { formatNumber, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import type { Figure, MapFacts, MapPointFacts, ReportCell } from '../types.ts';
import { type Column, Figures, names, numbers, Table } from './parts.tsx';

/** The σ²d of PEFT's own initialisation, Kaiming-uniform with a = √5. */
const PEFT_SCALE = 1 / 3;

/** Returns the scale of the map that is closest to PEFT's, as a ratio. */
function closestScale({ points }: MapFacts): number {
  const distance = (scale: number): number => Math.abs(Math.log(scale / PEFT_SCALE));
  return distinct(points.map(({ scale }) => scale)).reduce(
    (best, scale) => (distance(scale) < distance(best) ? scale : best),
    points[0]?.scale ?? PEFT_SCALE,
  );
}

const column = (title: string, get: (point: MapPointFacts) => number | null): Column<MapMean> =>
  numbers(title, (row) => formatNumber(row.mean(get)));

const COLUMNS: readonly Column<MapMean>[] = [
  names('A', ({ point }) => point.distribution),
  numbers('r', ({ point }) => point.rank),
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
];

function captionOf({ full, information, outputs }: MapFacts, scale: number, seeds: number): string {
  const ofFull = [
    `log Σλ ${formatNumber(full.h1)}`,
    `H₂ ${formatNumber(full.h2)}`,
    `${full.count} eigenvalues`,
    `IB ${formatNumber(full.information_bits)}`,
    `normalised ${formatNumber(full.information_bits_normalised)}`,
    `H₂ normalised ${formatNumber(full.h2_normalised)}`,
  ].join(', ');
  return (
    `At σ²·d = ${formatNumber(scale)}; means over ${plural(seeds, 'seed')}. ` +
    `The full kernel at the same point: ${ofFull}. ` +
    `The Fisher information is the ${information} one of ${outputs}.`
  );
}

export function TheoryMap({
  cells,
  figures,
}: {
  readonly cells: readonly ReportCell[];
  readonly figures: readonly Figure[];
}): JSX.Element | null {
  const maps = mapsOf(cells);
  const [first] = maps;
  if (first === undefined) return null;
  const scale = closestScale(first);
  return (
    <>
      <h3>The map of rank and variance</h3>
      <p>
        The paper’s Figure 3 reads robustness off the spectrum of AᵀA in closed form. As published
        its H₂ sums squared diagonal entries of AᵀA and drops the entropy’s minus; exactly, E Σλ² =
        σ⁴rd(d + r + 1) for a Gaussian A, σ⁴rd(d + r − 1/5) for a uniform one, and H₂ = −log Σλ².
        Beside it stands what is measured on this model, with{' '}
        {first.init === 'random' ? 'random' : 'pretrained'} weights, as LoRA’s training starts: at B
        = 0 its kernel is proportional to s²σ², so that a change of the variance shifts raw values
        by a constant and does nothing more.
      </p>
      <Table
        label="Map at one variance"
        rows={averageOf(maps).filter(({ point }) => point.scale === scale)}
        starts={(row, above) => row.point.distribution !== above.point.distribution}
        caption={captionOf(first, scale, maps.length)}
        columns={COLUMNS}
      />
      <Figures figures={figures} layout="wide" />
    </>
  );
}
