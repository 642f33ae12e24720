import { beforeTraining, defineStage, startInputs } from '../../../src/api.ts';
import { type ModelNames, modelNames, modelUses, onlyCell, workOf } from '../shared/definition.ts';

export type Params = ModelNames & {
  /**
   * The effective rank is the least number of singular values σ whose squares make up this share of
   * Σσ².
   */
  readonly energy: number;
  /** How many of the trained weight's leading singular vectors are examined. */
  readonly vectors: number;
  /**
   * A singular vector of the trained weight is an intruder if its largest |cos| with those of the
   * initial weight is below this.
   */
  readonly cosine: number;
  readonly seed: number;
  /** The number of rows whose tokens are masked: the first ones of the validation split. */
  readonly masked_rows: number;
  readonly max_length: number;
  /** Set if the base was trained from random weights. */
  readonly drawn?: true;
};

export default defineStage<Params>({
  name: 'spectrum',
  summary:
    "Decomposes what training did to each adapted layer's effective weight: singular values " +
    'of ΔW, its effective rank, and intruder dimensions; and what was forgotten of ' +
    'masked-language modelling.',
  compute: true,
  torch: true,
  scope: 'cell',
  define(cells) {
    const cell = onlyCell(cells);
    const { energy, intruder_vectors: vectors, intruder_cosine: cosine, masked_rows } = cell.theory;
    const isDrawn = cell.base !== undefined && cell.model.init === 'random';
    return {
      params: {
        ...modelNames(cell),
        energy,
        vectors,
        cosine,
        seed: cell.seed,
        masked_rows,
        max_length: cell.train.max_length,
        ...(isDrawn && { drawn: true }),
      },
      inputs: {
        start: { kind: 'train', cell: beforeTraining(cell) },
        model: { kind: 'train', cell },
        // Mask clean texts of the task: a checkpoint does not hold the corpus of its pretraining.
        rows: { kind: 'data', cell, with: { split: 'validation' } },
        ...startInputs(cell),
      },
      assets: { model: cell.model.source },
      uses: modelUses(cell),
      work: workOf(1, cell.model, vectors, masked_rows, cell.train.max_length),
    };
  },
  run: async (context) => (await import('./run.ts')).run(context),
});
