export interface Params {
  readonly at: 'inputs' | 'rows' | 'both';
  readonly suspects: 'clean' | 'drop';
  readonly frr: number;
  readonly bar?: number;
  readonly language_model?: string;
  readonly architecture: string;
  readonly order: number;
  readonly max_length: number;
}
