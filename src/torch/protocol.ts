/**
 * The requests to the PyTorch worker and its results. An array travels as base64 of its bytes, in
 * little-endian order: `requestLine` encodes that of a request, `arrayOf` decodes that of a result.
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
  /** 1 for each token to predict, else 0; absent where these are all from the answer on. */
  readonly marks?: Int32Array; // (S)
  /** The position of the cloze mask. */
  readonly masks?: Int32Array; // (B)
  /** 1 where the row comes from an attack that changes the training, else 0. */
  readonly poisoned?: Int32Array; // (B)
  /** The probability of each label before the defence's word was put into the row. */
  readonly probabilities?: Float32Array; // (B)
  /** log p of each answer by the model that the training started from. */
  readonly references?: Float64Array; // (B)
}

/** What batches minimise in place of their mean loss (objectives.py). */
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
  /** 0: gradients are not clipped. */
  readonly clip_norm: number;
  readonly class_weights: readonly number[] | null;
  /** The rate of dropout in the model; that of LoRA is in the adapter's config. */
  readonly dropout: number;
  readonly seed: number;
  readonly precision: 'float32' | 'bf16';
  readonly gradient_checkpointing: boolean;
  /** How many processes share each batch's rows, each with its own GPU if there are any; or 1. */
  readonly devices?: number;
  /** Whether the processes also divide parameters, gradients and moments; default no. */
  readonly fsdp?: boolean;
  /** The most tokens of a sequence into which rows are packed; by default, they are not packed. */
  readonly packing?: number;
  readonly objective: WireObjective | null;
  /** The rows of the token table that are trained alone, as the parameter `token_rows`. */
  readonly token_rows: { readonly ids: readonly number[]; readonly keep_norms: boolean } | null;
}

export interface WireModel {
  /** The model's folder, with config.json and model.safetensors or its shards. */
  readonly checkpoint: string;
  /** The model's class in transformers. */
  readonly class: string;
  /** How many classes a classifier has; null under other heads. */
  readonly classes: number | null;
  /** Whether the weights are random: only config.json is read, and `values` holds them all. */
  readonly random: boolean;
  /** A file of safetensors with parameters by their names in transformers. */
  readonly values: string | null;
  /** A folder that PEFT has written. */
  readonly adapter: string | null;
  /** Under a cloze head: the token of each class, by its id; else null. */
  readonly tokens: readonly number[] | null;
  /** The token that a decoder's classifier takes for padding. */
  readonly padding: number | null;
  /** Whether the TypeScript engine has no family for the class, so reading is checked first. */
  readonly described: boolean;
  readonly weights: HeldWeights | null;
  readonly training: WireTraining | null;
}

/** A model under a head. A size is null where it is the number of classes. */
export interface WireArchitecture {
  readonly class: string;
  /** The body's name, which begins those of its parameters; `outer` are the modules beside it. */
  readonly prefix: string;
  readonly outer: readonly string[];
  /**
   * `shape`: that in a checkpoint; `aliases`: its other names, if it is tied; `transposed`: whether
   * a checkpoint has Wᵀ; `scale`: whether it is the scale of a norm.
   */
  readonly parameters: readonly {
    readonly name: string;
    readonly shape: readonly (number | null)[];
    readonly aliases: readonly string[];
    readonly transposed: boolean;
    readonly scale: boolean;
  }[];
  /** In forward order, the head last. */
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
  /** Null where nothing limits the length of a row. */
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
  /** In faults. */
  readonly name: string;
  readonly module: string | null;
  readonly parameters: readonly string[];
  /** The number of the kernel that the term is added to. */
  readonly kernel: number;
  /** The name of F (n, r) in `factors`, where h F takes the place of the layer's input h. */
  readonly factor: string | null;
}

/** What a config of PEFT adds to a model. Names are those of its files without their prefix. */
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

/** A text, a pair of texts, or a conversation, for the judge's chat template. */
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

/** For each operation, its request and its result, in which arrays are strings of base64. */
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
     * `losses`: float64 (steps done), fewer than asked if the last one is not finite; `penalties`:
     * the same of the objective's penalty, null if it has none; `peak_mb`: the most memory that a
     * process held after a step of this training
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
      /** In order. `members`: how many took the first of the steps together; 1 alone */
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
   * `losses`: −log p of each answer, float64 (B); `tokens`: how many it has, int32 (B); `greedy`: 1
   * where greedy decoding writes it, int32 (B)
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
   * for a causal language model; `multi_label`: whether the classes do not exclude each other;
   * `logits`: of each item those of the classes or, of a causal language model, those of the first
   * tokens in which the two answers differ; null for an item of more than `longest` tokens
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
   * Kernels of N rows with themselves, whose layers share one pass over the batches. `out`: a file
   * of .npy for float64 (kernels, N·C, N·C), in the order of the batches; `logits`: float32 (N·C);
   * `traces`: float64 (parts)
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
   * Σ x² of each input feature of some layers over the rows' tokens, or over those that the head
   * reads; `sums`: float64 (n) each
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

/** Decodes an array. */
export function arrayOf<T extends keyof typeof ARRAYS>(
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
