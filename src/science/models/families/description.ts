/**
 * The description of a transformer: what its config.json says of its parts, as data. A model plugin
 * (plugins/models) returns one; `family.ts` computes from it. Shapes: V tokens in the vocabulary, h
 * the width of the hidden states, H heads of width d.
 */

/** What a size in config.json counts. Each kind has an upper bound, in family.ts. */
export type Size =
  'vocabulary' | 'width' | 'heads' | 'layers' | 'wide width' | 'positions' | 'types';

/**
 * The fields of a config.json. Each function throws UserFault, naming the field and its value,
 * where the field is missing and has no fallback, or does not hold what is expected. A field whose
 * value is null counts as missing, except where a function says what null means.
 */
export interface ConfigFields {
  readonly modelType: string;
  /** Returns a size within its bound, a whole number from 1. */
  count(field: string, size: Size, fallback?: number): number;
  /** Returns a number above 0 and at most 10⁹. */
  positive(field: string, fallback?: number): number;
  /**
   * Returns the size `total` divided by the size `parts`, both of which `count` has read. Throws if
   * the quotient is not a whole number.
   */
  quotient(total: string, parts: string): number;
  flag(field: string, fallback: boolean): boolean;
  /** Returns a text that is among `accepted`, the values that are implemented. */
  choice<T extends string>(field: string, accepted: readonly T[], fallback?: T): T;
  /** Returns the name of an activation that is implemented. */
  activation(field: string, fallback?: string): string;
  /** Throws unless the field is absent or has one of these values. Null counts as a value. */
  only(field: string, accepted: readonly unknown[]): void;
  /**
   * Returns the id of a token, below `vocabulary`; null where the field is null, or is absent and
   * `fallback` is null.
   */
  token(field: string, vocabulary: number, fallback: number | null): number | null;
  /** Returns the fields of an object; null where the field is absent or null. */
  inner(field: string): ConfigFields | null;
  /** Returns the value as config.json has it, unchecked. */
  raw(field: string): unknown;
  /** Every size that was read, as `field value`, for messages about the model's size. */
  sizes(): string;
}

/** A linear layer, y = x Wᵀ + b, named as its module in the checkpoint. */
export interface Projection {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
  /** `transposed`: the checkpoint holds W as (in, out), as Conv1D of transformers does. */
  readonly stored?: 'transposed' | undefined;
}

/**
 * A norm over the last axis, named as its module. `rms` divides by the root mean square (Zhang &
 * Sennrich 2019) and has no bias.
 */
export interface Norm {
  readonly name: string;
  readonly kind: 'layer' | 'rms';
  readonly epsilon: number;
  /** Whether the norm has a bias. Default: true for `layer`, false for `rms`. */
  readonly bias?: boolean;
  /** Whether the scale is 1 + w, as in Gemma, whose w starts at zero. */
  readonly offset?: boolean;
}

/** Rotary position embeddings (Su et al. 2021), applied to queries and keys. */
export interface Rotary {
  /**
   * By which angle, in radians, a step of one position rotates each pair of features, (r/2). Only
   * the first r of a head's d features are rotated.
   */
  readonly frequencies: readonly number[];
  /** A factor on both cosine and sine. Default: 1. */
  readonly factor?: number;
}

/** A table of relative positions, (2·span, h), which the layers of a model share. */
export interface RelativeTable {
  readonly name: string;
  /** Half the number of rows; also the row of distance 0: query and key at the same position. */
  readonly span: number;
  /**
   * Distances beyond count/2 share rows by their logarithm, up to the distance `positions`. Null:
   * each distance has a row of its own, and distances beyond the table have its first or last row.
   */
  readonly buckets: { readonly count: number; readonly positions: number } | null;
  /** The norm layer that is applied to the table's rows; null: none is. */
  readonly norm: Norm | null;
}

/** Disentangled attention (He et al. 2021). `Attention.scale` multiplies its terms too. */
export interface Relative {
  readonly table: RelativeTable;
  /**
   * Maps the table's rows to keys, for the term of content to position (c2p). It may be the layer
   * that makes the tokens' keys. Null: there is no such term.
   */
  readonly key: Projection | null;
  /**
   * Maps the table's rows to queries, for the term of position to content (p2c). It may be the
   * layer that makes the tokens' queries. Null: there is no such term.
   */
  readonly query: Projection | null;
}

export interface Attention {
  /**
   * Three layers, or one layer `fused`. Its output has all queries, then all keys, then all values
   * (`blocks`) or, head after head, the head's query, key and value (`heads`).
   */
  readonly input:
    | { readonly query: Projection; readonly key: Projection; readonly value: Projection }
    | { readonly fused: Projection; readonly order: 'blocks' | 'heads' };
  readonly output: Projection;
  readonly heads: number;
  /** The number of heads of keys and values, each shared by `heads / kvHeads` heads of queries. */
  readonly kvHeads: number;
  readonly headWidth: number;
  /** The factor on the scores. Default: 1/√d. */
  readonly scale?: number;
  /** Whether a token sees only itself and the tokens before it. */
  readonly causal: boolean;
  /** A token sees tokens less than this many positions away. Default: all. */
  readonly window?: number | undefined;
  readonly rotary?: Rotary;
  /** Norms of each head's queries and keys, (d). Default: none. */
  readonly headNorms?: { readonly query: Norm; readonly key: Norm } | undefined;
  readonly relative?: Relative;
}

export interface FeedForward {
  readonly activation: string;
  /**
   * Without `gate`, the features are act(up x); with it, act(gate x) ⊙ up x. `fused`: one layer
   * whose output has the features of `gate` before those of `up`.
   */
  readonly input:
    { readonly up: Projection; readonly gate?: Projection } | { readonly fused: Projection };
  readonly down: Projection;
}

export interface Layer {
  /**
   * post: x ← norm(x + f(x)), as in BERT. pre: x ← x + f(norm(x)), as in GPT-2 and Llama.
   * parallel: x ← x + attention(norm₁(x)) + feedForward(norm₂(x)), as in GPT-NeoX.
   */
  readonly arrangement: 'post' | 'pre' | 'parallel';
  readonly attention: Attention;
  readonly feedForward: FeedForward;
  readonly norms: {
    /** Null where the input has been normalised already (the first layer of ModernBERT). */
    readonly attention: Norm | null;
    readonly feedForward: Norm;
  };
}

export interface Embeddings {
  /** A factor on the token embeddings. Default: 1. */
  readonly scale?: number | undefined;
  /** Learnt positions. */
  readonly positions?:
    | {
        readonly table: string;
        readonly rows: number;
        /** The row of a text's first token. */
        readonly first: number;
        /** Whether padding tokens are not counted, and read the row before `first` (RoBERTa). */
        readonly skipsPadding?: boolean;
      }
    | undefined;
  readonly types?: { readonly table: string; readonly rows: number } | undefined;
  readonly norm?: Norm;
  /** The padding token, whose row starts at zero and has no gradient; null: there is none. */
  readonly padding: number | null;
}

/** A classification head over the hidden state of the first or last token, or over their mean. */
export interface ClassifierHead {
  readonly reads: 'first' | 'last' | 'mean';
  /** The padding token, which is skipped where the last token is read; null: there is none. */
  readonly padding?: number | null;
  /** A layer before the output. */
  readonly dense?: {
    readonly layer: Projection;
    readonly activation: string;
    readonly norm?: Norm;
    /** Whether an adapter may adapt the layer. False where it is always trained in full. */
    readonly adaptable: boolean;
    /** Whether training applies dropout to the layer's input too, as in RoBERTa. */
    readonly dropsInput?: boolean;
  };
  /** The output layer without its number of classes. */
  readonly output: Omit<Projection, 'out'>;
}

/** A masked-LM head: LN(act(x Wᵀ + b)) Eᵀ + bias, with E the token table. */
export interface MaskedLmHead {
  readonly dense: Projection;
  /** Whether an adapter may adapt the dense layer. Default: true. */
  readonly adaptable?: boolean;
  readonly activation: string;
  readonly norm: Norm;
  /** The bias over the vocabulary, (V), with its other names in checkpoints. */
  readonly bias: { readonly name: string; readonly aliases?: readonly string[] };
  /** Whether config.json asks for an output table beside the token table: not implemented. */
  readonly untied: boolean;
}

/** A causal-LM head: x Eᵀ, with E the token table or the weight of the layer `output`. */
export interface CausalLmHead {
  readonly output: Projection;
  /** Whether the output's weight is the token table. */
  readonly tied: boolean;
  /** Other names of the output's weight in checkpoints. */
  readonly aliases?: readonly string[];
}

export interface Heads {
  readonly classifier: ClassifierHead;
  readonly cloze?: MaskedLmHead;
  readonly causalLm?: CausalLmHead;
}

/**
 * A place where training may apply dropout. In this order: the sum of the embeddings, the attention
 * weights, the output of attention, the input of the feed-forward's `down`, the output of `down`,
 * and the input of the classification head's output layer.
 */
export type DropoutPlace =
  | 'embeddings'
  | 'attention'
  | 'attention-output'
  | 'feed-forward-input'
  | 'feed-forward-output'
  | 'head';

export interface Transformer {
  readonly vocabulary: number;
  readonly hidden: number;
  /** The longest text, in tokens. */
  readonly positions: number;
  /** The standard deviation of drawn weights. */
  readonly initializerRange: number;
  readonly embeddings: Embeddings;
  readonly layers: readonly Layer[];
  /** The norm after the last layer. Default: none. */
  readonly norm?: Norm;
  readonly dropout: readonly DropoutPlace[];
  readonly heads: Heads;
}

/** transformers' classes of a family under each head. A head that is left out is refused. */
export interface HeadNames {
  readonly classifier: {
    readonly transformersName: string;
    /** The modules that are trained in full under every adapter (PEFT's `modules_to_save`). */
    readonly modules: readonly string[];
  };
  readonly cloze?: { readonly transformersName: string };
  readonly causalLm?: { readonly transformersName: string };
}

/** A model family: names, and the function that reads a config.json. */
export interface Family {
  /** `model_type` in config.json: the first is the family's name. */
  readonly modelTypes: readonly [string, ...string[]];
  /** The prefix of the body's names in transformers (`bert.`). */
  readonly prefix: string;
  /** The modules of the heads, which lack the prefix (`classifier`, `lm_head`). */
  readonly outer: readonly string[];
  readonly heads: HeadNames;
  /** The name of the token table, (V, h). */
  readonly tokenTable: string;
  /** Throws UserFault, by `fields`, where a field asks for something that is not implemented. */
  describe(fields: ConfigFields): Transformer;
}
