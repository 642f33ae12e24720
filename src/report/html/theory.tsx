/** Information bits, entropies, spectra, kernels, and what training did to weights and kernels. */
import type { JSX } from 'preact';
import { plural } from '../format.ts';
import { distinct } from '../groups.ts';
import type { Figure } from '../types.ts';
import { CountTable, OrderTable, Predictions, Relations } from './kernel-tables.tsx';
import { TheoryMap } from './map.tsx';
import { type Chapter, Figures, type OfConditions, type PageProps } from './parts.tsx';
import { optimiserOf, Regime } from './regime.tsx';
import { Sensitivity } from './sensitivity.tsx';
import { Delta, Divergence, WeightSpectrum } from './weights.tsx';

const Spectra = ({ figures }: { readonly figures: readonly Figure[] }): JSX.Element | null =>
  figures.length === 0 ? null : (
    <>
      <h3>Eigenvalue spectra</h3>
      <p>
        After training the Fisher information is dominated by p(1 − p), that is by confidence; the
        kernel’s own spectrum stands beside it.
      </p>
      <Figures figures={figures} />
    </>
  );

const Kernels = ({
  figures,
  undrawn,
}: {
  readonly figures: readonly Figure[];
  readonly undrawn: number;
}): JSX.Element | null =>
  figures.length === 0 ? null : (
    <>
      <h3>Tangent kernels</h3>
      {undrawn > 0 ? (
        <p class="muted small">
          The kernels of {plural(undrawn, 'other cell')} are not drawn; their .npy files are in the
          store, under the keys below.
        </p>
      ) : null}
      <Figures figures={figures} />
    </>
  );

/** Says what the kernels are of, where that is not the logits of the classes. */
const Outputs = ({ conditions }: OfConditions): JSX.Element | null =>
  conditions.some(({ cells }) => cells.some(({ outputs }) => outputs !== undefined)) ? (
    <p>
      In a completion task every kernel, Δ<sub>r</sub> and prediction below is of log p(answer |
      prompt), one number a row. Its true Fisher information cannot be computed; the empirical one
      is among the metrics, and the paper’s claims are not tested by it.
    </p>
  ) : null;

/** What was measured of kernels and Fisher information. */
function Measured({
  conditions,
  comparisons: { kernels },
  undrawn,
  figures,
}: PageProps): JSX.Element {
  if (kernels.length === 0 && figures.spectra.length === 0 && figures.kernels.length === 0)
    return (
      <p>
        This run has no kernels or Fisher spectra (the stages <code>ntk</code> and{' '}
        <code>fisher</code> were not asked for, or failed).
      </p>
    );
  const optimisers = distinct(
    conditions.flatMap(({ cells }) => cells.map(({ train }) => optimiserOf(train))),
  );
  return (
    <>
      <p>
        The claims are IB<sub>full</sub> ≥ IB<sub>LoRA</sub> and H<sub>full</sub> ≥ H<sub>LoRA</sub>
        . Both kernels are taken at the same weights: over A and B, and over the weights of the same
        layers. Trained with {optimisers.join(', ')}; the tangent kernel describes SGD, and only
        near its start.
      </p>
      <Predictions kernels={kernels} />
      {kernels.length === 0 ? null : (
        <details>
          <summary>
            Order of LoRA and full for every quantity ({plural(kernels.length, 'row')})
          </summary>
          <OrderTable kernels={kernels} />
        </details>
      )}
      <Relations conditions={conditions} />
      <Figures figures={figures.information} />
      <CountTable conditions={conditions} />
      <Sensitivity conditions={conditions} />
      <Spectra figures={figures.spectra} />
      <Kernels figures={figures.kernels} undrawn={undrawn} />
    </>
  );
}

export const theory: Chapter = {
  id: 'theory',
  nav: 'Fisher and kernels',
  title: 'Fisher information and tangent kernels',
  concerns: ({ theorem, input: { goals } }) =>
    theorem || goals.includes('spectrum') || goals.includes('divergence'),
  parts: [
    Outputs,
    Measured,
    Delta,
    Regime,
    Divergence,
    WeightSpectrum,
    ({ input, figures }) => <TheoryMap cells={input.cells} figures={figures.map} />,
  ],
};
