/**
 * The interface between a model, an adapter and everything that looks inside them (training, NTK, …).
 * Shapes: B rows, T tokens of the longest row, S = Σ lengths real tokens, C classes; a linear layer maps n → m.
 * Padding never enters a linear layer: hidden states are carried as (S, n), attention alone builds (B, T).
 */
import type { Tensor, Tensor2D, TypedArray } from '@tensorflow/tfjs-core';
import type { RandomStream } from '../../random/random.ts';

/** A row as the model reads it, special tokens included, no padding. `ids.length ≤ max_length`. */
export interface TokenRow {
  readonly ids: Int32Array;
  readonly typeIds: Int32Array;
}

/** One linear layer, y = x Wᵀ + b, named as the checkpoint names its module (`encoder.layer.0.attention.self.query`). */
export interface LinearLayer {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  /** False for the classification head: adapters leave it alone and train it in full. */
  readonly adaptable: boolean;
}

/** Which batch row each of the S rows of an activation belongs to. */
export interface TokenMap {
  readonly batch: number;
  readonly example: Int32Array; // (S)
}

/** What a model calls for every linear layer, and the only way it multiplies by a weight. x: (S, n) → (S, m). */
export type LinearFn = (layer: string, x: Tensor2D, tokens: TokenMap) => Tensor2D;

export interface ForwardContext {
  /** A parameter that is no linear layer's, by checkpoint name: embeddings, norms. */
  readonly parameter: (name: string) => Tensor;
  readonly linear: LinearFn;
  /** Runs a part of the model, a layer say, and frees what it made but its result. */
  readonly scope: <T extends Tensor>(part: () => T) => T;
  /** Set while training with dropout. */
  readonly dropout?: { readonly rate: number; readonly random: RandomStream };
}

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/** One model family. A new architecture is one file under plugins/models that loads one of these. */
export interface Architecture<Config = unknown> {
  readonly modelType: string;
  /** transformers' class with this head, for config.json's `architectures`. */
  readonly transformersName: string;
  /** Throws UserFault where config.json lacks a field or asks for what is not implemented (its name and value in the message). */
  parseConfig(config: unknown, classes: number): Config;
  /** Every linear layer, in forward order, the head last. */
  linears(config: Config): readonly LinearLayer[];
  /** Every parameter with its shape, by canonical name (transformers' BertForSequenceClassification names without the `bert.` prefix). */
  parameters(config: Config): readonly ParameterSpec[];
  /** The prefix that transformers and PEFT put before a parameter's canonical name (`bert.`; none for `classifier.…`). */
  externalName(canonical: string): string;
  initializerRange(config: Config): number;
  /** The table that token ids index and nothing else reads, so that rows of unused ids get no gradient; null where it is tied to an output. */
  readonly tokenTable: string | null;
  vocabularySize(config: Config): number;
  maxPositions(config: Config): number;
  /** Logits (B, C). Rows do not influence each other. */
  forward(config: Config, batch: readonly TokenRow[], context: ForwardContext): Tensor2D;
}

/** Called after each adaptable linear layer; returns y or y plus something of its shape. x: (S, n), y: (S, m). */
export type Tap = (layer: string, x: Tensor2D, y: Tensor2D, tokens: TokenMap) => Tensor2D;

export interface LoraFactors {
  readonly A: Tensor2D; // (r, n)
  readonly B: Tensor2D; // (m, r)
  /** s = α/r, or α/√r for rsLoRA. */
  readonly scale: number;
  /** A stays where it started (LoRA-FA): the kernel is over B alone. */
  readonly freezeA?: boolean;
}

export interface AdaptedLayer extends LinearLayer {
  /** Present where LoRA adapts the layer. */
  readonly lora?: LoraFactors;
}

/** A model at one point of training: what NTK and evaluation see. In eval mode, no dropout. */
export interface AdaptedModel {
  readonly classes: number;
  /** The layers the kernels are over: those the adapter targets; for full fine-tuning every adaptable layer. */
  readonly layers: readonly AdaptedLayer[];
  /** The layer's own name in the checkpoint's file, plus `.weight`. */
  weightName(layer: string): string;
  /** Logits (B, C), differentiable with respect to what `tap` adds. Call it within tf.tidy: what it makes on the way belongs to the scope around. */
  forward(batch: readonly TokenRow[], tap?: Tap): Tensor2D;
  dispose(): void;
}

/** A trainable or frozen tensor on the host. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: TypedArray;
}
