/** A cell of the grid. Every stage is defined from cells. */
import type { JsonObject } from '../base/json.ts';
import type {
  ColumnsSpec,
  DataSpec,
  EvaluateSpec,
  FisherSpec,
  HeadSpec,
  ModelSpec,
  NtkSpec,
  SplitSpec,
  TheorySpec,
  TrainSpec,
} from '../spec/pipeline.generated.ts';
import type { Poisoning } from './poisoning.ts';

/** `T` with its defaults filled in: every field is present except, perhaps, those in `Optional`. */
type Filled<T, Optional extends keyof T = never> = {
  readonly [K in Exclude<keyof T, Optional>]-?: Exclude<T[K], undefined>;
} & { readonly [K in Optional]?: T[K] };

/** A column, given by name or by number, from 0. */
export type Column = string | number;

/** The columns of labelled texts. */
export type ClassColumns = {
  readonly text: Column;
  readonly text_pair?: Column;
  readonly label: Column;
};

/** The columns of prompts and answers, in one of three forms. */
export type CompletionColumns =
  | { readonly prompt: Column; readonly answer: Column }
  | { readonly messages: string }
  | { readonly instruction: Column; readonly input?: Column; readonly output: Column };

/** A split as a data set's reader receives it. */
export interface ResolvedSplit extends Filled<
  Omit<SplitSpec, 'columns' | 'sample' | 'hold_out'>,
  'classes' | 'limit' | 'max_words' | 'digest' | 'header' | 'delimiter'
> {
  readonly sample?: { readonly rows: number; readonly seed: number };
  readonly hold_out?: { readonly share: number; readonly take: 'rest' | 'held' };
  /** Whether the first line of a table names its columns. */
  readonly header: boolean;
  /** Set for a table that is known to have lines with a wrong number of fields. */
  readonly ragged?: 'left out';
  /** Where the rows are: those of a completion task have no `text` and no `label`. */
  readonly columns: ClassColumns | CompletionColumns;
}

/**
 * A split of a cell. `header` is absent where the spec does not set it, and `columns` are as the
 * spec has them.
 */
export type CellSplit = Omit<ResolvedSplit, 'header' | 'ragged' | 'columns'> &
  Pick<SplitSpec, 'header'> & { readonly columns: Readonly<ColumnsSpec> };

/**
 * The spec with every axis resolved to one value, every default filled in, every `file:` path
 * absolute, and one seed. Overrides under `adapter.train` are merged into `train` and removed from
 * `adapter`.
 */
export interface Cell {
  readonly name: string;
  readonly seed: number;
  readonly model: Filled<ModelSpec>;
  readonly data: {
    readonly train: CellSplit;
    readonly validation: CellSplit;
    readonly clean?: CellSplit;
    /** Rows that are evaluated beside the validation rows, and used for nothing else. */
    readonly test?: CellSplit;
  } & Pick<DataSpec, 'classes' | 'clean_share'>;
  /**
   * The training whose model this cell's training starts from. If absent, this cell's training
   * starts from the checkpoint.
   */
  readonly base?: Pick<Cell, 'poisoning' | 'adapter' | 'train'>;
  readonly poisoning: Poisoning;
  /** `defence` and the parameters of that defence. Absent if the cell has none. */
  readonly defence?: { readonly defence: string } & JsonObject;
  /** `type` and the parameters of that adapter, with defaults filled in. */
  readonly adapter: { readonly type: string } & JsonObject;
  readonly head: Filled<HeadSpec, 'init_from' | 'verbalizer' | 'template'>;
  /** Three epochs if neither `epochs` nor `steps` is set. */
  readonly train: Filled<TrainSpec, 'epochs' | 'steps'>;
  readonly evaluate: Filled<EvaluateSpec, 'max_length' | 'sampling' | 'scorer' | 'scorers'>;
  readonly ntk: Filled<NtkSpec>;
  readonly fisher: Filled<FisherSpec>;
  readonly theory: Filled<TheorySpec>;
}
