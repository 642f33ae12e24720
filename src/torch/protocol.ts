/**
 * The requests to the PyTorch worker and its results. An array travels as base64 of its bytes, in
 * little-endian order: `requestLine` encodes the arrays of a request, `decodeArray` decodes an
 * array of a result. C is the number of classes, h the width of the model.
 */
import type { HeldWeights, JsonObject } from '../api.ts';

/** The tokens of B rows, one row after another and without padding: S in all. */
export interface WireRows {
  readonly ids: Int32Array; // (S)
  readonly lengths: Int32Array; // (B)
  readonly types?: Int32Array; // (S)
  readonly labels?: Float32Array; // (B)
  /** Where the answer begins in the row; the row's length where there is none. */
  readonly answers?: Int32Array; // (B)
  /** 1 for each token to predict, else 0. Default: all tokens from the answer on are predicted. */
  readonly marks?: Int32Array; // (S)
  /** The position of the cloze mask in each row. */
  readonly masks?: Int32Array; // (B)
  /** 1 where the row comes from an attack that changes the training, else 0. */
  readonly poisoned?: Int32Array; // (B)
  /** The probability of each row's label before the defence's word was put into the row. */
  readonly probabilities?: Float32Array; // (B)
  /** log p of each answer by the model that the training started from. */
  readonly references?: Float64Array; // (B)
}

/** What a training minimises in place of each batch's mean loss (objectives.py). */
export interface WireObjective {
  readonly name: 'inner-product' | 'layerwise' | 'consistency' | 'robustness' | 'dpo';
  readonly [setting: string]: string | number;
}

/** What of a model is trained, and how. Parameters have the names that PEFT's files give them. */
export interface WireTraining {
  readonly trainable: readonly string[];
  readonly groups: readonly {
    readonly names: readonly string[];
    readonly decay: boolean;
    /** The factor on the step's learning rate. */
    readonly rate: number;
  }[];
  readonly optimizer: 'adamw' | 'sgd';
  readonly weight_decay: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** The norm to which gradients are clipped; 0 if they are not clipped. */
  readonly clip_norm: number;
  readonly class_weights: readonly number[] | null;
  /** The rate of dropout in the model; that of LoRA is in the adapter's config. */
  readonly dropout: number;
  readonly seed: number;
  readonly precision: 'float32' | 'bf16';
  readonly gradient_checkpointing: boolean;
  /** How many processes share each batch's rows, each with its own GPU, if any. Default: 1. */
  readonly devices?: number;
  /** Whether the processes also divide parameters, gradients and moments. Default: false. */
  readonly fsdp?: boolean;
  /** The most tokens of a sequence into which rows are packed; by default, they are not packed. */
  readonly packing?: number;
  readonly objective: WireObjective | null;
  /**
   * If nothing but rows of the token table is trained: which rows, as the parameter `token_rows`,
   * and whether each keeps its norm. Otherwise null.
   */
  readonly token_rows: { readonly ids: readonly number[]; readonly keep_norms: boolean } | null;
}

export interface WireModel {
  /** The model's folder, with config.json and model.safetensors or its shards. */
  readonly checkpoint: string;
  /** The model's class in transformers. */
  readonly class: string;
  /** How many classes a classifier has; null under other heads. */
  readonly classes: number | null;
  /** Whether the weights are random: only config.json is read, and `values` holds all weights. */
  readonly random: boolean;
  /** A file of safetensors with parameters by their names in transformers; null for none. */
  readonly values: string | null;
  /** A folder in PEFT's format with the model's adapter; null for none. */
  readonly adapter: string | null;
  /** Under a cloze head: the id of each class's token, by the class's id; else null. */
  readonly tokens: readonly number[] | null;
  /** The id of the token that a decoder's classifier takes for padding; null for none. */
  readonly padding: number | null;
  /** Whether the TypeScript engine lacks the class; if so, how the model reads rows is checked. */
  readonly described: boolean;
  readonly weights: HeldWeights | null;
  readonly training: WireTraining | null;
}

/** A model under a head. A size is null where it is the number of classes. */
export interface WireArchitecture {
  readonly class: string;
  /** The body's name, with which the names of its parameters begin. */
  readonly prefix: string;
  /** The names of the modules beside the body. */
  readonly outer: readonly string[];
  /**
   * `shape`: as in a checkpoint; `aliases`: the parameter's other names, if it is tied;
   * `transposed`: whether a checkpoint has Wᵀ; `scale`: whether it is the scale of a norm.
   */
  readonly parameters: readonly {
    readonly name: string;
    readonly shape: readonly (number | null)[];
    readonly aliases: readonly string[];
    readonly transposed: boolean;
    readonly scale: boolean;
  }[];
  /** The linear layers in the order of a forward pass, the head's last. */
  readonly linears: readonly {
    readonly name: string;
    readonly in: number;
    readonly out: number | null;
    readonly bias: boolean;
    readonly transposed: boolean;
    readonly adaptable: boolean;
  }[];
  /** Norms, and other modules with a bias that are no linear layer. */
  readonly vectors: readonly {
    readonly name: string;
    readonly size: number;
    readonly bias: boolean;
    readonly norm: boolean;
  }[];
  /** Parameters of the body that a checkpoint may lack. */
  readonly optional: readonly string[];
  readonly vocabulary: number;
  /** The most tokens that a row may have; null where nothing limits their number. */
  readonly positions: number | null;
  /** The standard deviation of drawn weights. */
  readonly range: number;
}

export interface WireDescription {
  readonly model_type: string;
  /** The release of transformers. */
  readonly release: string;
  /** For each head the model's architecture, or why it can't be used under it. */
  readonly heads: {
    readonly [head in 'classifier' | 'cloze' | 'causal-lm']:
      WireArchitecture | { readonly fault: string };
  };
}

/** A term of a kernel: over a layer's effective weight, or over parameters. */
export interface WirePart {
  /** What messages call the term. */
  readonly name: string;
  readonly module: string | null;
  readonly parameters: readonly string[];
  /** The number of the kernel that the term is added to. */
  readonly kernel: number;
  /** The name of F (n, r) in `factors` if h F replaces the layer's input h; otherwise null. */
  readonly factor: string | null;
}

/** What a config of PEFT adds to a model. Names are those in PEFT's files without the prefix. */
interface WireAdapter {
  readonly parameters: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** All fields, as PEFT has resolved them. */
  readonly config: JsonObject;
}
interface WireAdapterFault {
  readonly fault: {
    /** The config's field; null where PEFT names none. */
    readonly field: string | null;
    readonly message: string;
    readonly hint?: string | null;
  };
}

/** What is judged: a text, a pair of texts, or a conversation that the chat template writes. */
type WireJudged =
  | { readonly text: string; readonly pair?: string }
  | { readonly messages: readonly { readonly role: string; readonly content: string }[] };

interface OfModel {
  readonly model: number;
}
interface OfRows extends OfModel {
  readonly rows: WireRows;
}
export interface WireSteps extends OfModel {
  readonly steps: readonly { readonly rate: number; readonly batches: readonly WireRows[] }[];
}
type Nothing = { readonly [name in never]: never };

/**
 * For each operation, its request and its result. In a result, an array is a string of base64. The
 * comments give its type and shape: `float32 (B·C)` is a flat list of B·C numbers.
 */
export interface TorchOperations {
  readonly check: [Nothing, { readonly product: readonly number[] }];
  readonly adapter: [
    {
      readonly checkpoint: string;
      readonly class: string;
      /** The head's modules, which are trained beside it. */
      readonly head: readonly string[];
      readonly task: string | null;
      readonly config: JsonObject;
      readonly seed: number;
      /** A file of safetensors for the values that PEFT draws, or null. */
      readonly out: string | null;
    },
    WireAdapter | WireAdapterFault,
  ];
  readonly describe: [{ readonly checkpoint: string }, WireDescription];
  readonly open: [WireModel, OfModel & { readonly parameters: number; readonly trained: number }];
  readonly train: [
    WireSteps,
    /**
     * `losses`: the loss of each step done, float64, fewer than asked if the last loss is not
     * finite; `penalties`: the objective's penalty in each, float64, null if it has none;
     * `peak_mb`: the most memory that a process held after a step of this training
     */
    {
      readonly losses: string;
      readonly penalties: string | null;
      readonly seconds: number;
      readonly peak_mb: number;
    },
  ];
  /** `train` for several models, whose steps are taken together where they can be. */
  readonly train_pack: [
    { readonly members: readonly WireSteps[] },
    {
      readonly seconds: number;
      /**
       * The models in order. `members`: how many models took the first of the steps together; 1 if
       * this one took it alone
       */
      readonly members: readonly {
        readonly losses: string;
        readonly peak_mb: number;
        readonly members: number;
        /** Why the model took the first step alone; null if it did not. */
        readonly alone: string | null;
      }[];
    },
  ];
  /** `logits`: float32 (B·C) */
  readonly predict: [OfRows, { readonly logits: string }];
  /**
   * `losses`: −log p of each answer, float64 (B); `tokens`: its number of tokens, int32 (B);
   * `greedy`: 1 where greedy decoding writes the answer, else 0, int32 (B)
   */
  readonly answers: [
    OfRows,
    { readonly losses: string; readonly tokens: string; readonly greedy: string },
  ];
  /** log p of the answers by a model in training, as a step computes it; `values`: float64 (B) */
  readonly references: [OfRows, { readonly values: string }];
  /** `values`: float32 (B·h) */
  readonly representations: [OfRows, { readonly values: string; readonly width: number }];
  readonly generate: [
    OfRows & {
      readonly max_new_tokens: number;
      readonly stops: readonly number[];
      readonly sampling: {
        readonly temperature: number;
        readonly top_k?: number;
        readonly top_p?: number;
        readonly uniforms: Float64Array; // (B·max_new_tokens)
      } | null;
    },
    { readonly texts: readonly { readonly ids: readonly number[]; readonly ended: boolean }[] },
  ];
  /**
   * Judges texts by a checkpoint with its own tokenizer. `labels`: the names of its classes; empty
   * for a causal language model. `multi_label`: whether the classes do not exclude each other.
   * `logits`: for each item, the logits of the classes or, by a causal language model, of the first
   * token in which each of the two answers differs from the other; null for an item that is too
   * long. `longest`: the most tokens that the checkpoint reads
   */
  readonly judge: [
    {
      readonly checkpoint: string;
      readonly dtype: string;
      readonly items: readonly WireJudged[];
      readonly answers: readonly [string, string];
      readonly max_length: number | null;
      readonly batch_size: number;
    },
    {
      readonly labels: readonly string[];
      readonly multi_label: boolean;
      readonly logits: readonly (readonly number[] | null)[];
      readonly longest: number;
    },
  ];
  /**
   * Computes kernels of N rows with themselves. All layers share one pass over the batches. `out`:
   * the file of .npy to write, float64 (kernels, N·C, N·C), rows in the order of the batches;
   * `logits`: the outputs, float32 (N·C); `traces`: the trace of each part's term, float64 (parts)
   */
  readonly kernel: [
    OfModel & {
      readonly batches: readonly WireRows[];
      readonly parts: readonly WirePart[];
      /** A file of safetensors. */
      readonly factors: string | null;
      readonly out: string;
    },
    { readonly logits: string; readonly traces: string },
  ];
  /** −log p of the rows' labels; `losses`: float64 (B) */
  readonly surprisals: [OfRows, { readonly losses: string }];
  /**
   * Σ x² of each of the n input features of some layers, over the rows' tokens or, if `reads_one`,
   * over the one token of each row that the head reads; `sums`: float64 (n) for each layer
   */
  readonly squared_inputs: [
    OfRows & {
      readonly layers: readonly { readonly module: string; readonly reads_one: boolean }[];
    },
    { readonly sums: readonly string[] },
  ];
  /**
   * The outputs of rows, and their derivative along a direction. `direction`: a file of safetensors
   * by wire name; `outputs`: float32 (B·C); `change`: float64 (B·C)
   */
  readonly linearised: [
    OfRows & { readonly direction: string },
    { readonly outputs: string; readonly change: string },
  ];
  /** Evaluates tasks of lm-evaluation-harness. `tokenizer`: a folder */
  readonly harness: [
    OfModel & {
      readonly tokenizer: string;
      readonly tasks: readonly string[];
      readonly num_fewshot: number | null;
      readonly limit: number | null;
      readonly chat_template: boolean;
      readonly batch_size: number;
      /** The folder of further tasks and their files. */
      readonly include: string | null;
    },
    {
      readonly metrics: { readonly [task: string]: { readonly [metric: string]: number } };
      readonly examples: { readonly [task: string]: number };
      readonly shots: JsonObject;
      readonly versions: JsonObject;
      /** The files and data sets that were not read from the folder `include`. */
      readonly outside: readonly string[];
    },
  ];
  /** Writes the trained parameters to the file of safetensors `out`. */
  readonly values: [OfModel & { readonly out: string }, Nothing];
  /** Whether all trained parameters are finite. */
  readonly finite: [OfModel, { readonly finite: boolean }];
  /** Keeps a copy of the trained parameters, which `use_kept` puts back. */
  readonly keep: [OfModel, Nothing];
  readonly use_kept: [OfModel, Nothing];
  /** Writes a training's state to the file `out`, from which `load_state` goes on. */
  readonly save_state: [OfModel & { readonly out: string; readonly facts: string }, Nothing];
  readonly load_state: [OfModel & { readonly path: string }, Nothing];
  readonly close: [OfModel, Nothing];
}

const ARRAYS = { int32: Int32Array, float32: Float32Array, float64: Float64Array } as const;

/** Decodes an array of numbers of this type from base64. */
export function decodeArray<T extends keyof typeof ARRAYS>(
  type: T,
  base64: string,
): InstanceType<(typeof ARRAYS)[T]> {
  // A copy, because a small Buffer shares memory with others and may begin at an odd address.
  const { buffer } = new Uint8Array(Buffer.from(base64, 'base64'));
  return new ARRAYS[type](buffer) as InstanceType<(typeof ARRAYS)[T]>;
}

/** Returns a request as the line that the worker reads. */
export const requestLine = (request: object): string =>
  `${JSON.stringify(request, (_, value: unknown) =>
    ArrayBuffer.isView(value)
      ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
      : value,
  )}\n`;
