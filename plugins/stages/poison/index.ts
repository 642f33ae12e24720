import {
  defineStage,
  orderedLike,
  type Poisoning,
  stepsOf,
  withoutOrder,
} from '../../../src/api.ts';
import { filesApart } from '../../../src/command/files.ts';
import { onlyCell } from '../../../src/stages/definition.ts';

export type Params = {
  readonly poisoning: Poisoning;
  /** Null for the clean baseline. It draws nothing, so all seeds share one. */
  readonly seed: number | null;
};

export default defineStage<Params>({
  name: 'poison',
  summary: 'Poisons the training rows, and writes a receipt of what was changed.',
  compute: false,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    const like = orderedLike(cell.poisoning);
    const { poisoning, assets } = filesApart(
      like === null ? withoutOrder(cell.poisoning, 'mixed') : { attack: 'none' },
    );
    return {
      params: { poisoning, seed: poisoning.attack === 'none' ? null : cell.seed },
      inputs: {
        data: { kind: 'data', cell, with: { split: 'train' } },
        ...(like === null
          ? {}
          : { ordered: { kind: 'poison', cell: { ...cell, poisoning: like } } }),
      },
      assets,
      uses: stepsOf(poisoning).map(({ attack }) => ({ kind: 'attack', name: attack })),
    };
  },
  preflight: async (context) => (await import('./preflight.ts')).preflight(context),
  run: async (context) => (await import('./run.ts')).run(context),
});
