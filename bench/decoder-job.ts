/**
 * The job of each side of the decoder bench, and its result. Rows and prompts come from the bench,
 * the model and the adapter's start from the peer, which writes them once, so both sides have the
 * same.
 */
export interface DecoderJob {
  /** `write`: the peer writes the model and the adapter's start, and ends. */
  readonly mode: 'write' | 'train' | 'generate';
  /** The fields of the model's config.json that matter for `write`. */
  readonly shape: DecoderShape;
  readonly model: string;
  /** The PEFT folder that the training starts from. */
  readonly adapter: string;
  readonly threads: number;
  readonly batch_size: number;
  readonly learning_rate: number;
  /** Steps before the first turn (`warmup`) and in each turn, and the number of turns. */
  readonly warmup: number;
  readonly steps: number;
  readonly rounds: number;
  /** Token ids in the order of training, and where the answer of each row begins. */
  readonly rows: readonly { readonly ids: readonly number[]; readonly answer: number }[];
  /** Token ids of the prompts, all continued as one batch in each turn. */
  readonly prompts: readonly (readonly number[])[];
  readonly new_tokens: number;
}

export interface DecoderShape {
  readonly n_layer: number;
  readonly n_embd: number;
  readonly n_head: number;
  readonly n_positions: number;
  readonly vocab_size: number;
}

export interface DecoderTurn {
  readonly seconds: number;
  readonly last: boolean;
}

export interface DecoderResult {
  /** The loss of each step. */
  readonly losses: readonly number[];
  /** The new tokens of each prompt, in the last turn. */
  readonly ids: readonly (readonly number[])[];
  readonly peak_memory_mb: number;
  readonly versions: Readonly<Record<string, string>>;
}
