import { defineStage, UserFault } from '../../../src/api.ts';
import { onlyCell } from '../shared/definition.ts';

const DEFAULT_SHARE = 0.2;

export type Params = {
  /**
   * The share of the validation rows that are taken as clean rows. Null if the spec names the clean
   * rows as `data.clean`.
   */
  readonly share: number | null;
};

export default defineStage<Params>({
  name: 'clean',
  summary:
    'The clean rows that a defender has: those of data.clean, or a part of the validation rows, ' +
    'on which the cells with a defence are not evaluated.',
  compute: false,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    const given = cell.data.clean !== undefined;
    if (given && cell.data.clean_share !== undefined)
      throw new UserFault(
        'data.clean names the clean rows, and data.clean_share asks for a part of the validation ' +
          'rows',
        'Leave out one of the two.',
        ['data', 'clean_share'],
      );
    return {
      params: { share: given ? null : (cell.data.clean_share ?? DEFAULT_SHARE) },
      inputs: {
        rows: { kind: 'data', cell, with: { split: given ? 'clean' : 'validation' } },
      },
    };
  },
  run: async (context) => (await import('./run.ts')).run(context),
});
