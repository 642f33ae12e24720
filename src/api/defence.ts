/**
 * A defence: what a defender does about rows that may be poisoned, or about a model that may have
 * learnt a backdoor. It sees what a defender has, and nothing more: the rows as they are, never
 * what was changed in them; a small set of clean rows; the model.
 */
import type { Problem, Warning } from '../base/fault.ts';
import type { BackendName, Json, JsonObject, JsonSchema } from '../base/json.ts';
import type { RandomStream } from '../base/random.ts';
import type { Cell } from './cell.ts';
import type { Asset, Row, Task } from './data.ts';
import type { Plugin } from './plugin.ts';
import type { UsedKind } from './stage.ts';

/**
 * When a defence acts.
 * - `rows`: it drops or cleans rows before the training.
 * - `training`: it changes the training itself.
 * - `model`: it edits the trained model, or trains it further.
 * - `inputs`: it rejects or cleans rows that the model is asked about.
 * - `detection`: it says whether a model has a backdoor.
 */
export type DefenceMoment = 'rows' | 'training' | 'model' | 'inputs' | 'detection';

/** The moments in the order of a run. */
export const DEFENCE_MOMENTS: readonly DefenceMoment[] = [
  'rows',
  'training',
  'model',
  'inputs',
  'detection',
];

/**
 * What a part of a defence needs beside the rows.
 * - `clean`: clean rows, of which a defender has few.
 * - `model`: the model that was trained, without a defence, on the very rows that are judged
 *   (`RowsHook.trainedFor` says for how long).
 * - `receipt`: which rows are poisoned. No defender knows that: a defence that reads it is a bound
 *   on what others can reach, and the result says so.
 */
export type DefenceNeed = 'clean' | 'model' | 'receipt';

/** What a defence may ask of a model, a classifier: its outputs and its hidden states. */
export interface AskedModel {
  /** The number of classes, C. */
  readonly classes: number;
  /**
   * Returns the logits of N rows, (N, C), in the order of the rows. They are one flat array,
   * row-major: the logit of class c of row i is at `i * classes + c`.
   */
  logits(rows: readonly Row[]): Promise<Float32Array>;
  /**
   * Returns the vector of D numbers that the head's last linear layer reads of each of N rows, in
   * the order of the rows: the pooled token of a classifier, the state at the mask under a cloze
   * head. `count` is N and `dimensions` D. `values` is (N, D), row-major: number j of row i is at
   * `i * dimensions + j`. Throws under a causal-LM head.
   */
  representations(rows: readonly Row[]): Promise<{
    readonly values: Float64Array;
    readonly count: number;
    readonly dimensions: number;
  }>;
}

/** What a defence receives. `Model` is the type of the model that it asks. */
export interface DefenceContext<P = JsonObject, Model = AskedModel> {
  /**
   * The parameters. One with `format: source` holds only the URI here; its source is in `assets`.
   */
  readonly params: P;
  readonly backend: BackendName;
  /** Class names by label id. Empty in a completion task. */
  readonly classes: readonly string[];
  /** Clean rows with their labels, frozen. Empty unless `needs` names `clean`. */
  readonly clean: readonly Row[];
  /**
   * The model. Present if `needs` names `model`, and always for `inputs`, where it is the model
   * that is defended.
   */
  readonly model?: Model;
  /** The ids of the poisoned rows. Present only if `needs` names `receipt`. */
  readonly poisoned?: ReadonlySet<string>;
  /** The sources that parameters with `format: source` name, by parameter. */
  readonly assets: { readonly [parameter: string]: Asset };
  /** Returns a plugin that `DefenceDescriptor.uses` names. */
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller's D
  plugin<D>(kind: UsedKind, name: string): D;
  /**
   * Returns the defence's random stream for a purpose and, if given, a name, such as a row's id.
   * The stream depends on the seed, the defence, the purpose and the name only.
   */
  readonly random: (purpose: string, name?: string) => RandomStream;
  readonly log: (message: string) => void;
  /** Warns of what a reader of the numbers must know, as `RunContext.warn` does. */
  readonly warn: (warning: Warning) => void;
  readonly progress: (done: number, total: number, unit: string) => void;
  readonly signal: AbortSignal;
}

/** What a judge says of rows. Every list has one value for each row, in the order of the rows. */
export interface Judgement {
  /** How suspicious each row is: the larger, the more. Never NaN; may be infinite. */
  readonly scores: readonly number[];
  /** Whether the row was found suspicious. A suspected row is left out, or has been cleaned. */
  readonly suspected: readonly boolean[];
  /** What is left of each row: the row itself, a cleaned copy, or null where it is left out. */
  readonly rows: readonly (Row | null)[];
}

/** A judge of rows that has been fitted. */
export interface Judge {
  /** A row whose score is at least this is suspected. Null where no threshold decides. */
  readonly threshold: number | null;
  /** What the receipt says of the fit, such as the language model. */
  readonly record?: JsonObject;
  judge(rows: readonly Row[]): Judgement | Promise<Judgement>;
  /** Frees what the judge holds, such as a language model. Called once, at the end. */
  close?(): void;
}

/**
 * What `load` resolves to in the part `rows`, which filters training rows, and in the part
 * `inputs`, which filters the rows that the model is asked about.
 */
export interface RowsDefence<P = JsonObject, Model = AskedModel> {
  /**
   * Fits the judge, such as its threshold, to what the defender has. Throws `UserFault` if that is
   * not enough.
   */
  fit(context: DefenceContext<P, Model>): Judge | Promise<Judge>;
}

/** A part of a defence, whose code is loaded when it is needed. */
export interface DefenceHook<Impl, P = never> {
  readonly needs: readonly DefenceNeed[];
  /**
   * Returns whether the part also works under the backend torch. There it may ask the model and
   * read weights, but must not compute with tensors of tfjs. Default: false.
   */
  torch?(params: P): boolean;
  readonly load: () => Promise<Impl>;
}

export type TrainingLength = { readonly steps: number } | { readonly epochs: number };

/** The part of a defence that filters training rows. */
export interface RowsHook<P, Impl> extends DefenceHook<Impl, P> {
  /**
   * Returns how long the model that `needs` asks for is trained on the rows. Everything else of
   * that training is as in the cell's own. Default: as long as the cell's own.
   */
  readonly trainedFor?: (params: P) => TrainingLength;
}

/**
 * A defence's part in the training. `load` resolves to an `AttackTraining` that changes the loss
 * (src/science/training/attack-training.ts): to the trainer, an attack's objective and a defence's
 * are the same thing.
 */
export interface DefenceTraining<P = JsonObject, Impl = unknown> {
  /**
   * Returns the adapter that is trained instead of the cell's. Throws `UserFault` if the defence
   * does not work with this adapter.
   */
  readonly adapter?: (adapter: Cell['adapter'], params: P) => Cell['adapter'];
  readonly load?: () => Promise<Impl>;
}

/**
 * What is done to a trained model. First it is edited, then trained on the defender's clean rows; a
 * defence may do only one of the two.
 */
export interface DefenceOfModel<P = JsonObject, Impl = unknown> {
  /** Edits the weights. `load` resolves to a `ModelEdit` (src/science/measures/weights/edit.ts). */
  readonly edit?: DefenceHook<Impl, P>;
  /**
   * Returns how the linear layers below the head are quantised, with the adapter merged, when the
   * model is evaluated. Only the backend torch can do so.
   */
  readonly quantize?: (params: P) => 'nf4' | 'int8';
  /**
   * Returns the fields of `train` in which the training on the clean rows differs from the cell's
   * training. If the defence has `training.load`, the training on the clean rows minimises the
   * objective of what it loads.
   */
  readonly retrain?: (params: P) => { readonly [field in keyof Cell['train']]?: Json };
}

export interface Verdict {
  /** How suspicious the model is: the larger, the more. */
  readonly score: number;
  /** A model whose score is at least this is said to have a backdoor. */
  readonly threshold: number;
  /** Further facts for the record, such as the score of each layer. */
  readonly record?: JsonObject;
}

/** A defence. `P` is the type of its parameters. It has at least one of the five parts. */
export interface DefenceDescriptor<P = JsonObject> extends Plugin<'defence'> {
  /** The paper that describes the defence; empty if there is none. */
  readonly citation: string;
  /**
   * The JSON Schema of the defence's parameters, an object. It must not define `defence` or `when`,
   * which a spec writes beside them.
   */
  readonly params: JsonSchema;
  /** The tasks that it can be used in. Default: classes alone. */
  readonly tasks?: readonly Task[];
  /**
   * Returns which of the defence's parts act under these parameters. Default: all parts that it
   * has.
   */
  acts?(params: P): readonly DefenceMoment[];
  /** Returns the plugins whose code the defence runs, such as the family of a language model. */
  uses?(params: P): readonly { readonly kind: UsedKind; readonly name: string }[];
  /**
   * Returns the faults that the parameters reveal before anything runs. The path of a problem
   * starts with the parameter.
   * @param tokens returns the token ids of a text, without special tokens. Given only if the
   *   defence filters inputs and the model's tokenizer is known.
   */
  check?(params: P, tokens?: (text: string) => readonly number[]): readonly Problem[];
  readonly rows?: RowsHook<P, RowsDefence<P, never>>;
  readonly training?: DefenceTraining<P>;
  readonly model?: DefenceOfModel<P>;
  readonly inputs?: DefenceHook<RowsDefence<P, never>, P>;
  /** Judges a model. `load` gives a `ModelDetector` (src/science/measures/weights/edit.ts). */
  readonly detection?: DefenceHook<unknown, P>;
}

type Parts = Pick<DefenceDescriptor, DefenceMoment>;

/** Returns the moments for which a defence has a part. */
export const partsOf = (defence: Parts): readonly DefenceMoment[] =>
  DEFENCE_MOMENTS.filter((moment) => defence[moment] !== undefined);

/**
 * Returns the moments at which a defence with these parameters acts: those that `acts` returns or,
 * without it, those of all its parts.
 */
export const momentsOf = (
  defence: DefenceDescriptor,
  params: JsonObject,
): readonly DefenceMoment[] => defence.acts?.(params) ?? partsOf(defence);

/** Makes a descriptor out of a defence's fields. Export it as the module's default. */
export const defineDefence = <P = JsonObject>(
  defence: Omit<DefenceDescriptor<P>, 'kind'>,
): DefenceDescriptor<P> => ({ kind: 'defence', ...defence });
