import { defineStage } from '../../../src/api.ts';
import type { Alpha } from '../../../src/science/measures/fisher.ts';
import {
  type FisherParams,
  fisherParams,
  onlyCell,
  refuseRegression,
  trueFisherFaults,
} from '../shared/definition.ts';

export type Params = FisherParams & {
  readonly tolerance: number;
  readonly alphas: readonly Alpha[];
  /** Present if the kernels would be estimates, which are refused. */
  readonly method?: 'projected';
};

export default defineStage<Params>({
  name: 'fisher',
  summary:
    'Computes the spectra of the true and the empirical Fisher information from the kernels, ' +
    'their information bits and their Rényi entropies.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'fisher');
    const { tolerance, alphas } = cell.fisher;
    return {
      params: {
        tolerance,
        alphas,
        ...fisherParams(cell),
        ...(cell.ntk.method === 'projected' && { method: 'projected' }),
      },
      inputs: { ntk: { kind: 'ntk', cell } },
    };
  },
  preflight: ({ params }) =>
    Promise.resolve([
      ...(params.method === 'projected'
        ? [{ path: ['ntk', 'method'], message: REFUSED, hint: WAY_OUT }]
        : []),
      ...trueFisherFaults(params),
    ]),
  run: async (context) => (await import('./run.ts')).run(context),
});

/**
 * Why Fisher information is not computed from projected kernels, as preflight and run say it.
 *
 * A kernel's noise does not average out under a logarithm, and the standard error of ‖K‖ says
 * nothing about its small eigenvalues. Measured by bench/projected-fisher.ts (MiniLM, LoRA r = 8 at
 * its start, 4 replicates; means over projections minus the exact value, in nats): with 32 rows at
 * dimension 64, normalised information bits are off by +0.6 for LoRA and by −0.9 for full, while
 * the margin of the verdict rule is 0.7; with 128 rows at dimension 16, raw bits are off by −1.4
 * for LoRA and by −35 for full, and so is LoRA − full. The bias grows with the square of the rows,
 * and all seeds share it, so that no interval over them covers it.
 */
export const REFUSED =
  'Fisher information is not computed from projected kernels: their noise biases ' +
  "log-determinants and entropies, by an amount that the kernels' standard error does not " +
  'show and that differs between LoRA and full fine-tuning';
export const WAY_OUT =
  'Write ntk.method: auto, whose kernels are exact (fewer ntk.rows make them cheaper), ' +
  'or leave `fisher` out of `stages`.';
