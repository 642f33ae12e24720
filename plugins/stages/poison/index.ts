import {
  type AttackDescriptor,
  defineStage,
  orderedLike,
  type Poisoning,
  stepsOf,
  withoutOrder,
} from '../../../src/api.ts';
import { refuseOtherTasks } from '../../../src/poisoning/steps.ts';
import { attackUses, onlyCell } from '../shared/definition.ts';
import { filesApart } from '../shared/program-files.ts';

export type Params = {
  readonly poisoning: Poisoning;
  /** Null for the clean baseline, which draws nothing, so that all seeds share it. */
  readonly seed: number | null;
};

export default defineStage<Params>({
  name: 'poison',
  summary: 'Poisons the training rows, and writes a receipt of what was changed.',
  compute: false,
  scope: 'cell',
  define(cells, { plugin }) {
    const cell = onlyCell(cells);
    // Whether an attack is for classes or for answers is checked when the rows are known.
    if (cell.head.type === 'regression')
      for (const { attack: name } of stepsOf(cell.poisoning)) {
        const attack = plugin?.<AttackDescriptor>('attack', name);
        if (attack !== undefined) refuseOtherTasks([{ attack }], 'regression');
      }
    const like = orderedLike(cell.poisoning);
    const { poisoning, assets } = filesApart(
      like === null ? withoutOrder(cell.poisoning, 'mixed') : { attack: 'none' },
    );
    return {
      params: { poisoning, seed: poisoning.attack === 'none' ? null : cell.seed },
      inputs: {
        data: { kind: 'data', cell, with: { split: 'train' } },
        ...(like && { ordered: { kind: 'poison', cell: { ...cell, poisoning: like } } }),
      },
      assets,
      uses: attackUses(poisoning),
    };
  },
  preflight: async (context) => (await import('./run.ts')).preflight(context),
  resolved: async (context) => (await import('./run.ts')).resolved(context),
  target: async (context, dir) => (await import('./run.ts')).target(context, dir),
  run: async (context) => (await import('./run.ts')).run(context),
});
