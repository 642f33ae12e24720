/** A scorer: which outputs of a model count as a success of a backdoor. */
import type { Problem } from '../base/fault.ts';
import type { JsonObject, JsonSchema } from '../base/json.ts';
import type { Plugin } from './plugin.ts';

/** What a model wrote for a prompt, as a scorer sees it. */
export interface ScoredOutput {
  /** The prompt as the model was given it, with the trigger if it was shown one. */
  readonly prompt: string;
  /** What the model wrote, without the tokens that end it. */
  readonly output: string;
  /** The row's own answer. */
  readonly answer: string;
  /** The answer that the backdoor leads to. Absent without a backdoor. */
  readonly target?: string;
}

export interface ScorerContext {
  /**
   * The paths of the sources listed in the scorer's parameter `files` (source URIs), by file name.
   */
  readonly files: { readonly [name: string]: string };
  /** Writes a line to the stage's log. */
  readonly log: (message: string) => void;
  readonly signal?: AbortSignal;
}

/** What is known of a scorer before anything runs. */
export interface ScorerCheck<P> {
  readonly params: P;
  /** The answer that the backdoor leads to. Absent without a backdoor. */
  readonly target?: string;
}

/** A scorer. `P` is the type of its parameters. */
export interface ScorerDescriptor<P = JsonObject> extends Plugin<'scorer'> {
  /** The paper that describes the scorer; empty if there is none. */
  readonly citation: string;
  /** The JSON Schema of its parameters: an object without `scorer`. */
  readonly params: JsonSchema;
  /**
   * Returns the faults that the parameters reveal before anything runs. The path of a problem
   * starts with the parameter: `['text']`.
   */
  check?(input: ScorerCheck<P>): readonly Problem[];
  /**
   * Set if `score` reads nothing but the outputs and the parameters. `plan` then asks it whether
   * the target still counts where `evaluate.max_new_tokens` cuts it.
   */
  readonly pure?: true;
  /**
   * Returns for each output, in order, whether it counts. Throws `UserFault` if it can't tell.
   */
  score(
    outputs: readonly ScoredOutput[],
    params: P,
    context: ScorerContext,
  ): readonly boolean[] | Promise<readonly boolean[]>;
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
