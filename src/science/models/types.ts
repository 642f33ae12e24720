/**
 * The interface between a model, an adapter and everything that looks inside them (training,
 * kernels, …). Shapes: B rows, T tokens in the longest row, S = Σ lengths real tokens, Q tokens
 * that the head reads, O outputs (C classes, or the V tokens of the vocabulary); a linear layer
 * maps n → m. Padding never enters a linear layer: hidden states are (S, n), and only attention
 * builds (B, T).
 */
import type { Tensor, Tensor1D, Tensor2D, TypedArray } from '@tensorflow/tfjs-core';
import type { RandomStream } from '../../base/random.ts';
import type { KeyValueCache } from './generate.ts';

/** One text as tokens, with special tokens, without padding, at most `max_length` tokens long. */
export interface TokenRow {
  readonly ids: Int32Array;
  /** The ids in the vocabulary. Present where `ids` number the rows of a smaller token table. */
  readonly vocabularyIds?: Int32Array;
  readonly typeIds: Int32Array;
  /** The position in `ids` of the mask that a cloze head reads. */
  readonly mask?: number;
  /** Where the answer, which a causal-LM head is to predict, begins in `ids`. */
  readonly answer?: number;
  /**
   * 1 for each of `ids` that is to be predicted, never for the first; 0 for every other. Absent
   * where all tokens from `answer` on are to be predicted, and no others.
   */
  readonly marks?: Int32Array;
}

/** The tokens that a head reads, row by row and in order within a row, (Q). */
export interface Reads {
  /** The row of the batch. */
  readonly example: Int32Array;
  /** The position of the token in its row. */
  readonly place: Int32Array;
}

/** The part of a model that turns hidden states into logits. */
export type Head =
  /** A classifier that the task adds. It reads a text's first or last token, or the mean of all. */
  | { readonly type: 'classifier' }
  /**
   * The masked-LM head, at the mask: the logit of class c is the logit of token `tokens[c]` (Schick
   * & Schütze 2021; Gao et al. 2021).
   */
  | { readonly type: 'cloze'; readonly tokens: readonly number[] }
  /** The language-model head of a decoder, which predicts each token of the answer. */
  | { readonly type: 'causal-lm' };

/** y = x Wᵀ + b, named as its module in the checkpoint. */
export interface LinearLayer {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
  /** `transposed`: the checkpoint holds W as (n, m), as Conv1D of transformers does. */
  readonly stored?: 'transposed' | undefined;
  /**
   * Whether an adapter may adapt the layer. False for the layers of `headModules`, which every
   * adapter trains in full, and for some layers of pretrained heads.
   */
  readonly adaptable: boolean;
  /**
   * Whether the layer also reads a table of relative positions: up to 2T − 1 rows for each copy of
   * the table (`ForwardContext.copies`).
   */
  readonly relative?: boolean;
  /** Whether the layer is applied to only one token of each text, the one that the head reads. */
  readonly onePerText?: boolean;
}

/** For each of the S rows of an activation, the row of the batch that it belongs to. */
export interface TokenMap {
  readonly batch: number; // B
  readonly example: Int32Array; // (S)
}

/** Keys and values of some of the tokens that a layer has read, (B, Hk, T, d). */
export interface KeyValueBlock {
  readonly keys: Tensor;
  readonly values: Tensor;
}

export interface ForwardContext {
  /** Returns a parameter that belongs to no linear layer (embeddings, norms), by canonical name. */
  readonly parameter: (name: string) => Tensor;
  /** Applies a linear layer as the adapter changes it. x: (S, n) → (S, m). */
  readonly linear: (layer: string, x: Tensor2D, tokens: TokenMap) => Tensor2D;
  /**
   * Present where a kernel over vectors is computed: called after each norm, and after a bias that
   * belongs to no linear layer. Returns y, or y plus a tensor of the shape of y.
   */
  readonly vectorTap?: VectorTap | undefined;
  /**
   * Runs a part of the model, and frees all tensors that it made except its result. Frees none if
   * there is a tap, which may keep what it is shown.
   */
  readonly scope: <T extends Tensor>(part: () => T) => T;
  /**
   * For each row of the batch, the number of the copy that it reads of the table of relative
   * positions, (B). Rows that read the same copy follow each other. Absent where all rows may read
   * one copy.
   */
  readonly copies?: Int32Array | undefined;
  /**
   * Present while text is generated: the keys and values of the tokens before those of the batch.
   * Such a pass has no gradient.
   */
  readonly cache?: KeyValueCache | undefined;
  /** Present while training with dropout. */
  readonly dropout?: { readonly rate: number; readonly random: RandomStream } | undefined;
}

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** Other names of the parameter in checkpoints, as transformers spells them. */
  readonly aliases?: readonly string[] | undefined;
  /** Whether a checkpoint may lack the parameter, which is drawn at random in that case. */
  readonly mayBeMissing?: boolean;
  /** `transposed`: checkpoints hold the matrix transposed; `shape` is its shape in the model. */
  readonly stored?: 'transposed' | undefined;
  /**
   * How the parameter is drawn. Default: a matrix from a normal distribution, a vector as zeros.
   * `fill`: every entry has this value, for the scale of a norm. `zeroRow`: as by default, but this
   * row is zero, for the padding row of a table.
   */
  readonly draw?: { readonly fill: 0 | 1 } | { readonly zeroRow: number } | undefined;
}

/** A model family under one head. `family` (family.ts) makes it from the family's description. */
export interface Architecture<Config = unknown> {
  readonly modelType: string;
  /** Present where the model is computed in PyTorch's process alone: `forward` throws. */
  readonly engine?: 'torch';
  readonly head: Head;
  /** Returns the family under another head. Throws UserFault if it has no head of that type. */
  withHead(head: Head): Architecture<Config>;
  /**
   * The modules that a task adds, which are trained in full under every adapter and are PEFT's
   * `modules_to_save`. Empty where the head is pretrained.
   */
  readonly headModules: readonly string[];
  /** The class of transformers with this head, for `architectures` in config.json. */
  readonly transformersName: string;
  /**
   * Parses a config.json. Throws UserFault, naming field and value, where a field is missing or
   * asks for something that is not implemented.
   */
  parseConfig(config: unknown, classes: number): Config;
  /** Every linear layer, in forward order, the head last. */
  linears(config: Config): readonly LinearLayer[];
  /**
   * The norms, and the biases that belong to no linear layer. Absent where the model does not call
   * `vectorTap` for them, so that no kernel can be taken over its vectors.
   */
  vectors?(config: Config): readonly VectorLayer[];
  /** Every parameter, by canonical name: its name in transformers without the prefix `bert.`. */
  parameters(config: Config): readonly ParameterSpec[];
  /** Whether a parameter belongs to the head (`classifier.…`, `cls.…`) and not to the body. */
  isHead(canonical: string): boolean;
  /**
   * The parameter's name in transformers and PEFT: the canonical name after the model's prefix
   * (`bert.`) or, for a parameter of the head, the canonical name alone.
   */
  externalName(canonical: string): string;
  /** The standard deviation of drawn weights. */
  initializerRange(config: Config): number;
  /**
   * The canonical name of the table that is read by token ids and nothing else, so that the rows of
   * unused ids have no gradient. Null where the head reads the table too, or if the table is not
   * known.
   */
  readonly tokenTable: string | null;
  vocabularySize(config: Config): number;
  maxPositions(config: Config): number;
  /**
   * The head's outputs, (Q, O): the logits of the classes, (B, C); or under a causal-LM head the
   * logits of each token of the answers, (Q, V), in the order of `targetsOf` (outputs.ts). Rows
   * do not influence each other.
   */
  forward(config: Config, batch: readonly TokenRow[], context: ForwardContext): Tensor2D;
  /**
   * What the head's outputs would be after each of the L layers, in order, (L·Q, O). Absent where
   * the model does not offer it.
   */
  layerwise?(config: Config, batch: readonly TokenRow[], context: ForwardContext): Tensor2D;
  /**
   * The hidden states after each of the L layers, (S, h) each, as transformers'
   * `output_hidden_states`, without the embeddings. Absent where the model does not offer it.
   * @param shift is added to the rows of the token table, (S, h)
   */
  hiddenStates?(
    config: Config,
    batch: readonly TokenRow[],
    context: ForwardContext,
    shift?: Tensor2D,
  ): Tensor2D[];
}

/** The part of a model that an adapter sees. */
export interface ModelShape {
  readonly architecture: Architecture;
  readonly linears: readonly LinearLayer[];
  readonly parameters: readonly ParameterSpec[];
}

/**
 * Called after each linear layer outside `headModules`. Returns y, or y plus a tensor of y's
 * shape. x: the layer's input, (S, n). y: its output, (S, m).
 */
export type Tap = (layer: string, x: Tensor2D, y: Tensor2D, tokens: TokenMap) => Tensor2D;

/**
 * Like `Tap`, but called after each norm, and after each bias that belongs to no linear layer.
 * x: computes the input, (S, n), which for a norm includes the residual. y: the output after scale
 * and bias, (S, m), where m is n for a norm.
 */
export type VectorTap = (
  name: string,
  x: () => Tensor2D,
  y: Tensor2D,
  tokens: TokenMap,
) => Tensor2D;

/** Vectors that belong to no linear layer: the scale and bias of a norm, or a bias alone. */
export interface VectorLayer extends Omit<LinearLayer, 'stored' | 'adaptable'> {
  /** Present for a norm: computes from its input x what its scale multiplies. (S, n) → (S, n). */
  readonly unit?: ((x: Tensor2D) => Tensor2D) | undefined;
  /**
   * The number of rows of x for each token. Default: 1. A norm of each attention head's features
   * has a row for each head.
   */
  readonly rowsPerToken?: number;
}

export interface LoraFactors {
  readonly A: Tensor2D; // (r, n)
  readonly B: Tensor2D; // (m, r)
  /** s = α/r, or α/√r for rsLoRA. */
  readonly scale: number;
  /** The variance σ² that A was drawn with, where known. It says nothing about a trained A. */
  readonly variance?: number | undefined;
  /** Whether A keeps its initial value (LoRA-FA), so that the kernel is over B only. */
  readonly freezeA?: boolean;
  /** The layer's magnitudes under DoRA. */
  readonly dora?: {
    readonly magnitude: Tensor1D; // (m)
    /** Computes the adapted weight V, (m, n), whose rows the magnitudes scale. */
    weight(): Tensor2D;
  };
}

/**
 * VeRA's vectors at a layer: W' = W + diag(b)·B·diag(d)·A. The layer reads the first n columns of A
 * and the first m rows of B, which all layers share.
 */
export interface VeraVectors {
  readonly A: Tensor2D; // (r, ≥ n)
  readonly B: Tensor2D; // (≥ m, r)
  readonly d: Tensor1D; // (r)
  readonly b: Tensor1D; // (m)
}

/** Which of the model's own vectors the adapter trains at a layer or norm: at least one. */
export interface TrainedVectors {
  readonly bias: boolean;
  /** Present where the scale of a norm is trained: the norm's `unit`, as in `VectorLayer`. */
  readonly unit?: (x: Tensor2D) => Tensor2D;
}

export interface AdaptedLayer extends LinearLayer {
  readonly lora?: LoraFactors;
  readonly vera?: VeraVectors;
  /** Present where the adapter trains vectors of the model itself (BitFit's biases). */
  readonly trained?: TrainedVectors;
  /**
   * Present where the adapter does not target W and only trains vectors: the kernel over the
   * adapter's parameters includes this layer, and the kernel over the weights does not.
   */
  readonly ownOnly?: true;
  /** As in `VectorLayer`. */
  readonly rowsPerToken?: number;
}

/**
 * The outputs of a row from which kernels are computed: the logits of the C classes or, in a
 * completion task, log p(answer | prompt), a single number.
 */
export type OutputsOf = 'class logits' | 'log p(answer)';

/** A model at one point of its training, without dropout, as kernels and evaluation see it. */
export interface AdaptedModel {
  readonly outputsOf: OutputsOf;
  /** The number of outputs of a row: C, or 1 for log p(answer). */
  readonly outputs: number;
  /**
   * The layers that kernels are taken over: those the adapter targets, or under full fine-tuning
   * all adaptable ones; and those layers and norms whose vectors the adapter trains.
   */
  readonly layers: readonly AdaptedLayer[];
  /**
   * Returns the name of the layer's weight in the checkpoint's file, or of its bias if the adapter
   * trains that bias alone.
   */
  weightName(layer: string): string;
  /** How many logits the head makes for a row, which bounds batches. Default: 0. */
  logits?(row: TokenRow): number;
  /**
   * Returns the outputs of each row, (B, O), differentiable with respect to what the taps add. Must
   * be called within tf.tidy. Throws where log p(answer) is asked of a row that has no answer.
   */
  forward(batch: readonly TokenRow[], tap?: Tap, vectorTap?: VectorTap): Tensor2D;
  dispose(): void;
}

/** A tensor in main memory. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: TypedArray;
}
