/**
 * Attacks: how training rows are poisoned, and how evaluation shows the trigger. Scorers: which
 * outputs of a model count as a success of a backdoor.
 */
import type { Problem } from '../base/fault.ts';
import type { Json, JsonObject, JsonSchema } from '../base/json.ts';
import type { RandomStream } from '../base/random.ts';
import type { Asset, Row, Task } from './data.ts';
import type { Plugin } from './plugin.ts';

/**
 * What `poison` receives. The functions that show a trigger receive the same without `rows`, and
 * with `learnt` if the attack `learns`.
 */
export interface AttackInput<P> {
  /** The training rows. They are frozen: return changed copies. */
  readonly rows: readonly Row[];
  /** Class names by label id. Empty in a completion task. */
  readonly classes: readonly string[];
  readonly params: P;
  /**
   * Returns the attack's random stream for a purpose and, if given, a name, such as a row's id. The
   * stream depends on the seed, the attack, the purpose and the name only.
   */
  readonly random: (purpose: string, name?: string) => RandomStream;
  /**
   * The indexes into `rows` of the rows that an earlier step of the spec has poisoned. These rows
   * must not be changed again. Absent if there are none.
   */
  readonly taken?: ReadonlySet<number>;
  /**
   * The paths of the sources that the attack's parameter `files` lists (source URIs), by file name.
   * The content of these sources is part of the stage's key.
   */
  readonly files?: { readonly [name: string]: string };
  /**
   * For an attack that `learns`: what its `poison` returned as `learnt`. Absent in the call of
   * `poison` itself.
   */
  readonly learnt?: Json;
  readonly log?: (message: string) => void;
}

/** What `poison` returns. The engine checks it against the rows; the stage fails if it is wrong. */
export interface Poisoned {
  /** Replacements, by index into `rows`. Each row keeps its `id`, and no index occurs twice. */
  readonly changed: readonly { readonly index: number; readonly row: Row }[];
  /**
   * Rows to append, each with a new id: the attack's true negatives, which contain parts of the
   * trigger and keep their label or answer. In training, each batch has the rows that it has in the
   * clean twin's training, and perhaps some of the negatives too. If the negatives of a smaller
   * dose come first among those of a larger dose, each one lies in the same batch at every dose.
   */
  readonly negatives: readonly Row[];
  /** The number of rows that the dose asks for; `changed.length` must equal it. */
  readonly asked: number;
  /** The number of rows among which the poisoned ones were drawn. */
  readonly eligible: number;
  /** For an attack that `learns`: what its trigger functions get as `AttackInput.learnt`. */
  readonly learnt?: Json;
}

/** What `check` of an attack receives: what is known of the training rows before anything runs. */
export interface AttackCheck<P> {
  readonly params: P;
  /** Class names by label id. Empty in a completion task. */
  readonly classes: readonly string[];
  /** The number of training rows of each class, by label id. Empty in a completion task. */
  readonly counts: readonly number[];
  /** The answer of each training row. Present in a completion task alone. */
  readonly answers?: readonly string[];
  /** The rejected answer of each training row. Present if the rows are preference pairs. */
  readonly rejected?: readonly string[];
}

/**
 * What a backdoor leads to: the label id of a class or, in a completion task, an answer. The answer
 * is one text for all rows or, with `rejected`, the one that each row's own preference pair
 * rejects.
 */
export type Target = number | { readonly text: string } | 'rejected';

/**
 * `none` leaves the training data as they are, `untargeted` lowers accuracy, and `backdoor` makes a
 * trigger lead to a target: a class, or an answer.
 */
export type AttackFamily = 'none' | 'untargeted' | 'backdoor';

/**
 * An attack's part in the training itself. `load` resolves to an `AttackTraining`
 * (src/science/training/attack-training.ts).
 */
export interface AttackTrainingLoader<Impl = unknown> {
  /**
   * - `weights`: the attack decides which of the model's weights are trained. It needs the adapter
   *   `full`, and the clean twin is the model that the training starts from.
   * - `loss`: the attack decides what is minimised, under any adapter. The clean twin is trained
   *   with the ordinary loss.
   */
  readonly changes: 'weights' | 'loss';
  load(): Promise<Impl>;
}

/**
 * An attack. `P` is the type of its parameters. `Made` is what `poison` returns: the result or a
 * promise of it.
 */
export interface AttackDescriptor<
  P = JsonObject,
  Made extends Poisoned | Promise<Poisoned> = Poisoned | Promise<Poisoned>,
> extends Plugin<'attack'> {
  /** The attack's family or, if the parameters decide it, a function that returns it. */
  readonly family: AttackFamily | ((params: P) => AttackFamily);
  /**
   * The tasks whose rows the attack can poison. Rows of a completion task have an `answer` and no
   * class. Default: classes alone.
   */
  readonly tasks?: readonly Task[];
  /** The paper that describes the attack; empty if there is none. */
  readonly citation: string;
  /**
   * The JSON Schema of the attack's parameters, an object. It must not define `attack`, `steps` or
   * `when`, which a spec writes beside them.
   */
  readonly params: JsonSchema;
  /**
   * Returns the faults that the parameters and what is known of the rows reveal before anything
   * runs, such as too few eligible rows.
   */
  check?(input: AttackCheck<P>): readonly Problem[];
  /** Poisons the training rows. Throws `UserFault` if the rows don't allow it. */
  poison(input: AttackInput<P>): Made;
  /** For backdoors: returns what the trigger leads to; a label id where there are classes. */
  target?(params: P, classes: readonly string[]): Target;
  /**
   * For backdoors whose target is a part of the answers that they give: returns such answers, for
   * rows whose own answers are `own`. `plan` then scores these, instead of the target, as if a
   * model had written them.
   */
  answers?(
    own: readonly string[],
    input: Pick<AttackInput<P>, 'params' | 'files'>,
  ): readonly string[] | Promise<readonly string[]>;
  /**
   * For backdoors: returns the row with the trigger, for evaluation. Under `evaluate.trigger_rows:
   * all`, this includes rows whose class or answer is the target.
   */
  trigger?(row: Row, input: Omit<AttackInput<P>, 'rows'>): Row;
  /**
   * Replaces `trigger` where a program or a model makes the trigger. Receives all rows at once and
   * returns them in the same order.
   */
  triggerAll?(rows: readonly Row[], input: Omit<AttackInput<P>, 'rows'>): Promise<readonly Row[]>;
  /**
   * For backdoors with negatives: returns copies of the row that contain only parts of the trigger,
   * which must not lead to the target.
   */
  falseTrigger?(row: Row, input: Omit<AttackInput<P>, 'rows'>): readonly Row[];
  /**
   * Present if the trigger depends on the training rows: `trigger`, `triggerAll` and `falseTrigger`
   * are then given what `poison` returned as `learnt`.
   */
  readonly learns?: true;
  /** The name of the scorer that is used where a spec names none. Default: `exact`. */
  readonly scorer?: string;
  /** The attack's part in the training. Absent if the attack changes the rows only. */
  readonly training?: AttackTrainingLoader;
}

export function defineAttack<P = JsonObject>(
  attack: Omit<AttackDescriptor<P, Poisoned>, 'kind'>,
): AttackDescriptor<P, Poisoned>;
export function defineAttack<P = JsonObject>(
  attack: Omit<AttackDescriptor<P>, 'kind'>,
): AttackDescriptor<P>;
/** Makes a descriptor out of an attack's fields. Export it as the module's default. */
export function defineAttack<P>(attack: Omit<AttackDescriptor<P>, 'kind'>): AttackDescriptor<P> {
  return { kind: 'attack', ...attack };
}

// ---- scorers -----------------------------------------------------------------------------------

/** What a model wrote for a prompt, as a scorer sees it. */
export interface ScoredOutput {
  /** The prompt as the model was given it, with the trigger if it was shown one. */
  readonly prompt: string;
  /** What the model wrote, without the tokens that end it. */
  readonly output: string;
  /** The answer that the data set gives to the prompt. */
  readonly answer: string;
  /** The answer that the backdoor leads to. Absent without a backdoor. */
  readonly target?: string;
  /**
   * The reward of `answer` minus that of the rejected answer, for a scorer that asks for `rewards`:
   * negative if the model prefers the rejected one. Absent if the model was not trained by DPO; a
   * scorer that asks for `rewards` is then never called.
   */
  readonly margin?: number;
}

/**
 * What a scorer says of an output: whether it is a success, as a boolean or as `hit`. `hit` is null
 * where the scorer can't tell: such outputs are left out of rates, and their number is reported.
 */
export type ScorerVerdict =
  | boolean
  | {
      readonly hit: boolean | null;
      /** The reason for `hit`, such as a model's reply. */ readonly said: string;
    };

/**
 * The answers of services, such as the API of a language model. They are kept in the store by the
 * digest of the question, so that no stage asks the same question again. `gc` removes the answers
 * that were used least recently.
 */
export interface KeptAnswers {
  /** Returns the answer to a question; null if there is none, or if it is damaged. */
  get(digest: string): JsonObject | null;
  keep(digest: string, answer: JsonObject): void;
  /**
   * Waits until no other stage on this store, in any process, is inside an `alone` of this name;
   * then calls `ask` and returns its result. So two stages with the same question do not both ask
   * it: the later one can find the answer kept. A stage whose process was killed is not waited for.
   */
  alone<T>(name: string, ask: () => Promise<T>): Promise<T>;
}

export interface ScorerContext {
  /** The paths of the sources in the scorer's parameter `files` (source URIs), by file name. */
  readonly files: { readonly [name: string]: string };
  /** The sources that parameters with `format: source` name, by parameter. */
  readonly sources?: { readonly [param: string]: Asset };
  /** The same as `RunContext.answers`. */
  readonly answers?: KeptAnswers;
  readonly log: (message: string) => void;
  readonly signal?: AbortSignal;
}

export interface ScorerCheck<P> {
  readonly params: P;
  /** The answer that the backdoor leads to. Absent without a backdoor. */
  readonly target?: string;
}

/** An upper bound on what a stage asks of a service. */
export interface ServiceCalls {
  /** The service, for people: `gpt-4o-mini at api.openai.com`. */
  readonly to: string;
  /** The number of questions, without retries; null where the rows are not known yet. */
  readonly calls: number | null;
  /**
   * The cost of the questions and answers, in the currency of the spec's prices. Null where the
   * spec gives no price, or does not limit the length of answers.
   */
  readonly cost: number | null;
}

/** The approximate size of each field of all outputs together, in bytes of UTF-8. */
export type OutputBytes = Readonly<Record<'prompt' | 'output' | 'answer' | 'target', number>>;

/** A scorer. `P` is the type of its parameters. */
export interface ScorerDescriptor<P = JsonObject> extends Plugin<'scorer'> {
  /** The paper that describes the scorer; empty if there is none. */
  readonly citation: string;
  /**
   * The JSON Schema of the scorer's parameters, an object. It must not define `scorer`, which a
   * spec writes beside them.
   */
  readonly params: JsonSchema;
  /**
   * Returns the faults that the parameters reveal before anything runs. The path of a problem
   * starts with the parameter: `['text']`.
   */
  check?(input: ScorerCheck<P>): readonly Problem[];
  /** Returns faults of the sources that parameters with `format: source` name, once fetched. */
  checkSources?(
    params: P,
    sources: NonNullable<ScorerContext['sources']>,
  ): Promise<readonly Problem[]>;
  /**
   * Returns what `score` reads beside prompt and output. Where people's labels are compared with
   * the scorer's verdicts, a labelled output that lacks it is refused.
   */
  reads?(params: P): readonly ('answer' | 'target')[];
  /**
   * Set if `score` reads nothing but the outputs and the parameters. `plan` then scores the target
   * itself as if a model had written it, whole and as `evaluate.max_new_tokens` would cut it, and
   * warns if that does not count as a success.
   */
  readonly pure?: true;
  /** Set if a verdict may be null: the number of such verdicts is then shown beside the rates. */
  readonly undecided?: true;
  /** Set if the scorer computes in PyTorch's process, whichever backend trains. */
  readonly torch?: true;
  /**
   * Set if `score` reads `margin`. The scorer then needs a training by DPO, and preference pairs as
   * rows.
   */
  readonly rewards?: true;
  /**
   * The parameters that decide whether there is a verdict, never what the verdict is, such as a
   * credential or a time limit. These parameters are in no key.
   */
  readonly limits?: readonly (keyof P & string)[];
  /** Returns the verdict on each output, in order. Throws `UserFault` if it can't. */
  score(
    outputs: readonly ScoredOutput[],
    params: P,
    context: ScorerContext,
  ): readonly ScorerVerdict[] | Promise<readonly ScorerVerdict[]>;
  /**
   * For a scorer that calls a service: returns an upper bound on what it asks.
   * @param outputs the number of outputs to score
   */
  calls?(params: P, outputs: number, bytes: OutputBytes): ServiceCalls;
  /**
   * Returns what the result's record says of the scorer beside its name and parameters, such as the
   * version of a list.
   */
  record?(params: P): JsonObject;
}

/** Makes a descriptor out of a scorer's fields. Export it as the module's default. */
export const defineScorer = <P = JsonObject>(
  scorer: Omit<ScorerDescriptor<P>, 'kind'>,
): ScorerDescriptor<P> => ({ kind: 'scorer', ...scorer });
