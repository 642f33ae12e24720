import { defineStage, pointName } from '../../../src/api.ts';
import { onlyCell, refuseRegression } from '../shared/definition.ts';

export default defineStage({
  name: 'ntk',
  summary:
    "Gathers the kernels of the checkpoints, and measures how far LoRA's is from the full one " +
    'and how far training moved each; of projected kernels, with their standard errors.',
  compute: false,
  scope: 'cell',
  define(cells, { with: narrowed }) {
    const cell = onlyCell(cells);
    refuseRegression(cell, 'ntk');
    return {
      params: {},
      inputs: Object.fromEntries(
        cell.ntk.at.map((at) => [
          pointName(at),
          { kind: 'kernel', cell, with: { at, ...(at === 'final' ? narrowed : {}) } },
        ]),
      ),
    };
  },
  run: async (context) => (await import('./run.ts')).run(context),
});
