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
  /** Where in `ids` the mask stands that a cloze head reads. */
  readonly mask?: number;
}

/** What makes logits of hidden states. */
export type Head =
  /** A linear layer of the task's own, over the token that the model pools ([CLS], or a decoder's last). */
  | { readonly type: 'classifier' }
  /** The masked-LM head, at the mask: class c's logit is that of token `tokens[c]` (Schick & Schütze 2021; Gao et al. 2021). */
  | { readonly type: 'cloze'; readonly tokens: readonly number[] };

/** One linear layer, y = x Wᵀ + b, named as the checkpoint names its module (`encoder.layer.0.attention.self.query`). */
export interface LinearLayer {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  /** False in `headModules`: adapters leave these alone and train them in full. */
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
  /** Other names that checkpoints have for it, as transformers spells them. */
  readonly aliases?: readonly string[];
  /** Whether a checkpoint may lack it, since a task brings its own: it is drawn then. */
  readonly mayBeMissing?: boolean;
  /** How it is drawn: weights normal, but of a norm 1 and of a table's padding row 0; biases 0. */
  readonly draw?: { readonly fill: 1 } | { readonly zeroRow: number };
}

/** One model family under one head. A new architecture is one file under plugins/models that loads one of these (family.ts makes it of its parts). */
export interface Architecture<Config = unknown> {
  readonly modelType: string;
  readonly head: Head;
  /** The same model under another head. Throws UserFault where the family has none of its type. */
  withHead(head: Head): Architecture<Config>;
  /** Modules that a task brings anew: trained in full whatever the adapter, and PEFT's `modules_to_save`. None where the head is pretrained. */
  readonly headModules: readonly string[];
  /** transformers' class with this head, for config.json's `architectures`. */
  readonly transformersName: string;
  /** Throws UserFault where config.json lacks a field or asks for what is not implemented (its name and value in the message). */
  parseConfig(config: unknown, classes: number): Config;
  /** Every linear layer, in forward order, the head last. */
  linears(config: Config): readonly LinearLayer[];
  /** Every parameter with its shape, by canonical name (transformers' without the `bert.` prefix). */
  parameters(config: Config): readonly ParameterSpec[];
  /** Whether a parameter is the head's own (`classifier.…`, `cls.…`), not the body's. */
  isHead(canonical: string): boolean;
  /** A parameter's name in transformers and PEFT: the canonical one after the model's prefix (`bert.`), which the head (`classifier.…`, `cls.…`) goes without. */
  externalName(canonical: string): string;
  initializerRange(config: Config): number;
  /** The table that token ids index and nothing else reads, so that rows of unused ids get no gradient; null where it is tied to an output. */
  readonly tokenTable: string | null;
  vocabularySize(config: Config): number;
  maxPositions(config: Config): number;
  /** Logits (B, C). Rows do not influence each other. */
  forward(config: Config, batch: readonly TokenRow[], context: ForwardContext): Tensor2D;
  /**
   * What the head makes of its token after each of the L layers: (L·B, C), the first layer's rows first, `forward`'s last.
   * Left out where a model offers none.
   */
  layerwise?(config: Config, batch: readonly TokenRow[], context: ForwardContext): Tensor2D;
}

/** What of a model an adapter sees. */
export interface ModelShape {
  readonly architecture: Architecture;
  /** Every linear layer, in forward order, the head last. */
  readonly linears: readonly LinearLayer[];
  readonly parameters: readonly ParameterSpec[];
}

/** Called after each adaptable linear layer; returns y or y plus something of its shape. x: (S, n), y: (S, m). */
export type Tap = (layer: string, x: Tensor2D, y: Tensor2D, tokens: TokenMap) => Tensor2D;

export interface LoraFactors {
  readonly A: Tensor2D; // (r, n)
  readonly B: Tensor2D; // (m, r)
  /** s = α/r, or α/√r for rsLoRA. */
  readonly scale: number;
  /** σ² of the distribution that A's entries were drawn from, where it is known. It tells nothing of a trained A. */
  readonly variance?: number;
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
