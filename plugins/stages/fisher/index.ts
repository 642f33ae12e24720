import { defineStage } from '../../../src/api.ts';
import type { Alpha } from '../../../src/science/measures/fisher/fisher.ts';
import { onlyCell, refuseRegression } from '../shared/definition.ts';
import { type FisherParams, fisherParams, trueFisherFaults } from '../shared/true-fisher.ts';
import { REFUSED, WAY_OUT } from './refused.ts';

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
        ...(cell.ntk.method === 'projected' ? { method: 'projected' } : {}),
      },
      inputs: { ntk: { kind: 'ntk', cell } },
    };
  },
  resources: () => ({ cpu: 1 }),
  preflight: ({ params }) =>
    Promise.resolve([
      ...(params.method === 'projected'
        ? [{ path: ['ntk', 'method'], message: REFUSED, hint: WAY_OUT }]
        : []),
      ...trueFisherFaults(params),
    ]),
  run: async (context) => (await import('./run.ts')).run(context),
});
