import {
  beforeTraining,
  type Cell,
  cleanTwin,
  defineStage,
  isAttacked,
  isAttacksOwn,
  startInputs,
  type TrainingRequest,
  trainingsOf,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { type ModelNames, modelNames, modelUses, onlyCell } from '../shared/definition.ts';

export type Params = ModelNames & {
  /**
   * The adapter of the base in whose training the two runs first differ. Absent if they first
   * differ in the cell's own training.
   */
  readonly base_adapter?: string;
  /** The number of poisoned rows that are paired with their originals for M′. */
  readonly pairs: number;
  readonly max_length: number;
  /** Present if the first training in which the runs differ may use dropout in either of them. */
  readonly dropout?: true;
  /** Why no noise floor is measured. Absent if it is measured. */
  readonly no_floor?: string;
};

/** Whether a training may use dropout, set by the spec or else by the folder of an adapter. */
const mayUseDropout = (cell: Cell): boolean => hasDropout(cell) || hasFolderDropout(cell);

const hasDropout = ({ train, adapter }: Cell): boolean =>
  train.dropout > 0 || Number(adapter['dropout'] ?? 0) > 0;

/** Whether the dropout, if any, is set by the folder from which the adapter starts. */
const hasFolderDropout = ({ adapter }: Cell): boolean =>
  adapter['init_from'] !== undefined && adapter['dropout'] === undefined;

/**
 * Returns why no noise floor is measured: it is off, the runs differ already in a base, or a clean
 * run repeated with the rows of each batch reversed would differ in nothing, or in more than
 * rounding. Null if it is measured.
 * @param parting the cell of `firstDifferingTraining(cell)`
 */
function whyNoFloor(cell: Cell, parting: Cell): string | null {
  if (!cell.theory.noise_floor) return 'theory.noise_floor is off';
  if (parting !== cell)
    return "the runs already differ in their bases, and only a cell's own training is repeated";
  if (cell.train.batch_size === 1)
    return 'the only row of a batch has no other order (train.batch_size: 1)';
  if (cell.train.batch_size === 2 && cell.train.devices > 1)
    return (
      'the two rows of a batch are on two devices, and their sum has no other order ' +
      '(train.batch_size: 2, train.devices)'
    );
  if (hasDropout(cell))
    return (
      'dropout draws a mask for each place in the batch: reversed rows would get other masks, ' +
      'and the runs would differ by more than rounding'
    );
  // The folder's rate is read only when the training runs.
  if (hasFolderDropout(cell))
    return (
      'the folder that adapter.init_from names may set a dropout, so that the runs would differ ' +
      'by more than rounding: write adapter.dropout: 0 to train without dropout and measure the ' +
      'noise floor'
    );
  return null;
}

/**
 * Returns the first training that a run and its clean twin do not share; the cell's own if no
 * attack is on any training.
 */
const firstDifferingTraining = (cell: Cell): TrainingRequest =>
  trainingsOf(cell).find((training) => isAttacked(training.cell)) ?? { cell };

export default defineStage<Params>({
  name: 'divergence',
  summary:
    "Measures M, the distance of the poisoned run's weights from those of the paired clean run, " +
    "and M', the kernel at the start of training between poisoned rows and their originals.",
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells, { plugin }) {
    const cell = onlyCell(cells);
    const parting = firstDifferingTraining(cell),
      partingCell = parting.cell;
    const noFloor = whyNoFloor(cell, partingCell);
    const params: Params = {
      ...modelNames(cell),
      ...(partingCell !== cell && { base_adapter: partingCell.adapter.type }),
      pairs: cell.theory.pairs,
      max_length: partingCell.train.max_length,
      ...((mayUseDropout(cell) || mayUseDropout(partingCell)) && { dropout: true }),
      ...(noFloor && { no_floor: noFloor }),
    };
    if (!isAttacked(cell) || isAttacksOwn(cell.poisoning, plugin)) return { params, inputs: {} };
    const twin = cleanTwin(cell, plugin);
    return {
      params,
      inputs: {
        start: { kind: 'train', ...parting, cell: beforeTraining(partingCell) },
        model: { kind: 'train', cell },
        clean: { kind: 'train', cell: twin },
        // Each clean run is repeated once. Every attack and dose that is compared with that clean
        // run shares the repetition.
        ...(!noFloor && { again: { kind: 'train', cell: twin, with: { batch_rows: 'reversed' } } }),
        poison: { kind: 'poison', ...parting },
        ...startInputs(cell),
        ...(partingCell !== cell &&
          defined({
            clean_base: startInputs(twin).base,
            start_base: startInputs(partingCell).base,
          })),
      },
      assets: { model: cell.model.source },
      uses: modelUses(cell, [cell.adapter.type, partingCell.adapter.type]),
    };
  },
  run: async (context) => (await import('./run.ts')).run(context),
});
