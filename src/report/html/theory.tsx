/**
 * Information bits, entropies, spectra and kernels; what training did to weights and kernels; and
 * the paper's closed-form map.
 */
import type { JSX } from 'preact';
import type { JsonObject } from '../../api.ts';
import { type Condition, isFull, metricOf, type Quantity, seriesOf } from '../conditions.ts';
import { joinLabels } from '../figures/encode.ts';
import {
  averageOverSeeds,
  bitsAt,
  collectMaps,
  fullKernelMean,
  type MapMean,
  type SeedMaps,
} from '../figures/map.ts';
import { ESTIMATED, isEstimated } from '../fisher.ts';
import { formatNumber, type NumberKind, plural } from '../format.ts';
import { distinct, nearest } from '../groups.ts';
import { blockLabel } from '../labels.ts';
import type { MapFacts, MapPointFacts } from '../types.ts';
import { CountTable, OrderTable, Predictions, Relations } from './kernel-tables.tsx';
import {
  type Chapter,
  type Column,
  conditionsWith,
  Figures,
  names,
  numbers,
  type OfConditions,
  OVER_SEEDS,
  type PageProps,
  summaryText,
  Table,
} from './parts.tsx';
import { Sensitivity } from './sensitivity.tsx';
import { Delta, Divergence, WeightSpectrum } from './weights.tsx';

/** Shows the figures of spectra; null if there are none. */
const Spectra = ({ figures: { spectra } }: PageProps): JSX.Element | null =>
  spectra.length === 0 ? null : (
    <>
      <h3>Eigenvalue spectra</h3>
      <p>
        After training the Fisher information is dominated by p(1 − p), that is by confidence; the
        kernel’s own spectrum stands beside it.
      </p>
      <Figures figures={spectra} />
    </>
  );

/** Shows the drawn kernels, and how many are not drawn; null if none is. */
const Kernels = ({ figures: { kernels }, undrawn }: PageProps): JSX.Element | null =>
  kernels.length === 0 ? null : (
    <>
      <h3>Tangent kernels</h3>
      {undrawn > 0 ? (
        <p class="muted small">
          The kernels of {plural(undrawn, 'other cell')} are not drawn; their .npy files are in the
          store, under the keys below.
        </p>
      ) : null}
      <Figures figures={kernels} />
    </>
  );

/** Explains, if any cell is of a completion task, what its kernels are of; else null. */
const Outputs = ({ conditions }: OfConditions): JSX.Element | null =>
  conditions.some(({ cells }) => cells.some(({ outputs }) => outputs !== undefined)) ? (
    <p>
      In a completion task every kernel, Δ<sub>r</sub> and prediction below is of log p(answer |
      prompt), one number a row. Its true Fisher information cannot be computed; the empirical one
      is among the metrics, and the paper’s claims are not tested by it.
    </p>
  ) : null;

function Measured(props: PageProps): JSX.Element {
  const { conditions, comparisons, figures, input } = props,
    { kernels } = comparisons;
  const isMeasured = input.cells.some(({ fisher, kernelSpectra, kernels: own }) =>
    [fisher, kernelSpectra, own].some((found) => Object.keys(found).length > 0),
  );
  if (!isMeasured)
    return (
      <p>
        This run has no kernels or Fisher spectra (the stages <code>ntk</code> and{' '}
        <code>fisher</code> were not asked for, or failed).
      </p>
    );
  const optimisers = distinct(
    conditions.flatMap(({ cells }) => cells.map(({ train }) => optimiserName(train))),
  );
  return (
    <>
      <p>
        The claims are IB<sub>full</sub> ≥ IB<sub>LoRA</sub> and H<sub>full</sub> ≥ H<sub>LoRA</sub>
        . Both kernels are taken at the same weights: over A and B, and over the weights of the same
        layers. Trained with {optimisers.join(', ')}; the tangent kernel describes SGD, and only
        near its start.
      </p>
      <Predictions {...props} />
      {kernels.length === 0 ? null : (
        <details>
          <summary>
            Order of LoRA and full for every quantity ({plural(kernels.length, 'row')})
          </summary>
          <OrderTable {...props} />
        </details>
      )}
      <Relations conditions={conditions} />
      <Figures figures={figures.information} />
      <CountTable conditions={conditions} />
      <Sensitivity conditions={conditions} />
      <Spectra {...props} />
      <Kernels {...props} />
    </>
  );
}

export const theory: Chapter = {
  id: 'theory',
  nav: 'Fisher and kernels',
  title: 'Fisher information and tangent kernels',
  concerns: ({ theorem, input: { goals } }) =>
    theorem || goals.includes('spectrum') || goals.includes('divergence'),
  parts: [Outputs, Measured, Delta, Regime, Divergence, WeightSpectrum, TheoryMap],
};

/** Returns the optimiser of a training; `unknown` if it is not recorded. */
const optimiserName = (train: JsonObject): string => {
  const { optimizer } = train;
  return typeof optimizer === 'string' ? optimizer : 'unknown';
};

/** A row of the table of regimes. */
interface Line {
  readonly condition: Condition;
  /** A kept step; null for the end of the training. */
  readonly step: number | null;
}
/** Returns a function that reads from a cell what a row shows at its step. */
type LineQuantity = (line: Line) => Quantity;

const regimeMetric =
  (metric: string): LineQuantity =>
  ({ step }) =>
    metricOf('regime', step === null ? metric : `step-${step}.${metric}`);
/**
 * Reads a metric of the kernel over what was trained: LoRA's factors, or for full fine-tuning the
 * full weights.
 */
const trainedKernelMetric =
  (name: string): LineQuantity =>
  (line) =>
  (cell) =>
    regimeMetric(`lora.${name}`)(line)(cell) ??
    (isFull(cell) ? regimeMetric(`full.${name}`)(line)(cell) : null);

/**
 * Every cell with the stage `regime` has at least one of these metrics. It may lack the first,
 * since written answers have no classes to agree on, or the second, since a model that training did
 * not move has no relative error.
 */
const PREDICTIONS = ['linear.agreement', 'linear.relative_error'];

/** Returns the kept steps with a linear prediction, ascending. */
const regimeSteps = ({ cells }: Condition): readonly number[] =>
  distinct(
    cells.flatMap(({ metrics }) =>
      Object.keys(metrics['regime'] ?? {}).flatMap((name) => {
        const step = /^step-(\d+)\.linear\.(?:agreement|relative_error)$/.exec(name)?.[1];
        return step === undefined ? [] : [Number(step)];
      }),
    ),
  ).sort((a, b) => a - b);

/** Says how large errors and drifts are at the end; '' if no error was measured. */
function regimeSummary(lines: readonly Line[]): string {
  // Writes the least and the largest mean at the end of training; null if there is none.
  const range = (quantity: LineQuantity): string | null => {
    const means = lines
      .filter(({ step }) => step === null)
      .flatMap((line) => seriesOf(line.condition, quantity(line)).summary?.mean ?? []);
    return means.length === 0
      ? null
      : `${formatNumber(Math.min(...means))} to ${formatNumber(Math.max(...means))}`;
  };
  const error = range(regimeMetric('linear.relative_error')),
    drift = range(trainedKernelMetric('drift'));
  if (error === null) return '';
  const moved = drift === null ? '' : `, and the kernel has moved by ${drift} of its norm`;
  return (
    `At the end of training its mean error is ${error} over these conditions${moved}: where an ` +
    'error is near 1, what a kernel at the start predicts does not account for the trained model.'
  );
}

const regimeColumn = (title: string, quantity: LineQuantity, kind?: NumberKind): Column<Line> =>
  numbers(title, (line) => summaryText(line.condition, quantity(line), kind));
/** Returns a column of means of a kernel; estimates are marked with ≈. */
const kernelColumn = (title: string, quantity: LineQuantity): Column<Line> =>
  numbers(title, (line) => {
    const text = summaryText(line.condition, quantity(line));
    return text !== '–' && isEstimated(line.condition.cells, 'regime') ? `≈ ${text}` : text;
  });

const STEP: Column<Line> = names('At', ({ step }) => (step === null ? 'the end' : `step ${step}`));
/**
 * Returns the columns of the table of regimes. Leaves out the column of steps if all rows are about
 * the end of training.
 */
const regimeColumns = (lines: readonly Line[]): readonly Column<Line>[] => [
  names('Attack', ({ condition }) => blockLabel(condition)),
  names('Adapter', ({ condition }) => condition.adapterLabel),
  ...(lines.some(({ step }) => step !== null) ? [STEP] : []),
  names('Optimiser', ({ condition }) => optimiserName(condition.cells[0].train)),
  kernelColumn('‖K(T)−K(0)‖/‖K(0)‖', trainedKernelMetric('drift')),
  kernelColumn('1 − cos(K(T), K(0))', trainedKernelMetric('rotation')),
  regimeColumn('error of the linear prediction', regimeMetric('linear.relative_error')),
  regimeColumn('its cosine', regimeMetric('linear.cosine')),
  // A kernel of log p(answer) predicts no class.
  ...(lines.every(({ condition }) => condition.cells[0].outputs !== undefined)
    ? []
    : [
        regimeColumn('same class as f_T', regimeMetric('linear.agreement'), 'proportion'),
        regimeColumn('f₀: same class', regimeMetric('linear.agreement_start'), 'proportion'),
      ]),
];

/** Shows whether the regime of tangent kernels holds; null if no cell has the stage `regime`. */
function Regime({ conditions }: OfConditions): JSX.Element | null {
  const rows = conditions.filter((condition) =>
    PREDICTIONS.some((name) => conditionsWith([condition], 'regime', name).length > 0),
  );
  if (rows.length === 0) return null;
  const lines = rows.flatMap((condition) =>
    [...regimeSteps(condition), null].map((step): Line => ({ condition, step })),
  );
  const hasEstimates = rows.some(({ cells }) => isEstimated(cells, 'regime'));
  return (
    <>
      <h3>Does the tangent kernel’s regime hold?</h3>
      <p>
        It holds where the kernel over what is trained stays put and f₀ + J₀(Θ<sub>T</sub> − Θ₀), J₀
        being the Jacobian of every trained parameter, predicts the trained model: an error of 0 is
        a linear model, an error of 1 is no better than predicting that nothing moved. The kernel
        describes SGD; AdamW follows a sign-like kernel (Malladi et al. 2023), so its rows speak of
        the prediction alone. {regimeSummary(lines)}
      </p>
      <Table
        label="Regime"
        most={240}
        rows={lines}
        starts={(line, above) => blockLabel(line.condition) !== blockLabel(above.condition)}
        caption={`${OVER_SEEDS}${hasEstimates ? ` ${ESTIMATED}` : ''}`}
        columns={regimeColumns(lines)}
      />
    </>
  );
}

/** The σ²d of PEFT's own initialisation, Kaiming-uniform with a = √5. */
const PEFT_SCALE = 1 / 3;

const closestScale = ({ points }: MapFacts): number =>
  nearest(points, ({ scale }) => Math.abs(Math.log(scale / PEFT_SCALE)))[0]?.scale ?? PEFT_SCALE;

const mapColumn = (title: string, get: (point: MapPointFacts) => number | null): Column<MapMean> =>
  numbers(title, (row) => formatNumber(row.mean(get)));

const MAP_COLUMNS: readonly Column<MapMean>[] = [
  names('A', ({ point }) => point.distribution),
  numbers('r', ({ point }) => point.rank),
  mapColumn('log σ²rd', ({ closed }) => closed.h1),
  mapColumn('drawn', ({ drawn }) => drawn.h1),
  mapColumn('H₂ as published', ({ closed }) => closed.h2_published),
  mapColumn('exact', ({ closed }) => closed.h2),
  mapColumn('drawn', ({ drawn }) => drawn.h2),
  mapColumn('Fisher: log Σλ', ({ model }) => model?.h1 ?? null),
  mapColumn('H₂', ({ model }) => model?.h2 ?? null),
  mapColumn('H₂ normalised', ({ model }) => model?.h2_normalised ?? null),
  mapColumn('eigenvalues', ({ model }) => model?.count ?? null),
  mapColumn('IB, α = r', ({ model }) => model?.information_bits ?? null),
  mapColumn('IB, α = 16', (point) => bitsAt(point, 16)),
  mapColumn('IB normalised', ({ model }) => model?.information_bits_normalised ?? null),
];

function mapCaption({ name, maps }: SeedMaps, scale: number): string {
  const full = fullKernelMean(maps),
    [{ information, outputs }] = maps;
  const ofFull = [
    `log Σλ ${formatNumber(full(({ h1 }) => h1))}`,
    `H₂ ${formatNumber(full(({ h2 }) => h2))}`,
    `${formatNumber(full(({ count }) => count))} eigenvalues`,
    `IB ${formatNumber(full((facts) => facts.information_bits))}`,
    `normalised ${formatNumber(full((facts) => facts.information_bits_normalised))}`,
    `H₂ normalised ${formatNumber(full((facts) => facts.h2_normalised))}`,
  ].join(', ');
  return (
    `${name === '' ? '' : `${name}. `}At σ²·d = ${formatNumber(scale)}; ` +
    `means over ${plural(maps.length, 'seed')}. ` +
    `The full kernel at the same point: ${ofFull}. ` +
    `The Fisher information is the ${information} one of ${outputs}.`
  );
}

/**
 * Shows the maps of rank and variance, as tables at one variance and as figures; null if there are
 * none.
 */
function TheoryMap({ conditions, figures }: PageProps): JSX.Element | null {
  const every = collectMaps(conditions);
  if (every.length === 0) return null;
  const inits = distinct(every.map(({ maps: [{ init }] }) => init));
  return (
    <>
      <h3>The map of rank and variance</h3>
      <p>
        The paper’s Figure 3 reads robustness off the spectrum of AᵀA in closed form. As published
        its H₂ sums squared diagonal entries of AᵀA and drops the entropy’s minus; exactly, E Σλ² =
        σ⁴rd(d + r + 1) for a Gaussian A, σ⁴rd(d + r − 1/5) for a uniform one, and H₂ = −log Σλ².
        Beside it stands what is measured on {every.length > 1 ? 'each' : 'this'} model, with{' '}
        {inits.join(' or ')} weights, as LoRA’s training starts: at B = 0 its kernel is proportional
        to s²σ², so that a change of the variance shifts raw values by a constant and does nothing
        more.
      </p>
      {every.map((of) => {
        const scale = closestScale(of.maps[0]);
        return (
          <Table
            label={joinLabels('Map at one variance', of.name)}
            rows={averageOverSeeds(of.maps).filter(({ point }) => point.scale === scale)}
            starts={(row, above) => row.point.distribution !== above.point.distribution}
            caption={mapCaption(of, scale)}
            columns={MAP_COLUMNS}
          />
        );
      })}
      <Figures figures={figures.map} layout="wide" />
    </>
  );
}
