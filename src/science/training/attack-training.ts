/**
 * The interface between the trainer and an attack or defence that changes training, and the checks
 * of what a plugin returns through this interface. The plugin's field `training` loads its
 * implementation. Plugins may be anyone's plain JavaScript. Without the checks, a vector as loss, a
 * token without an id or a misspelt field would silently train something else.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type AttackTrainingLoader, type JsonObject, type Problem, UserFault } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import type { Architecture } from '../models/types.ts';
import type { TextTokenizer } from '../text/tokenizer.ts';
import type { LossAndGradients, Objective } from './gradients.ts';

/** The model that will be trained, as the attack or defence sees it. */
export interface TrainedModel {
  readonly architecture: Architecture;
  readonly tokenizer: TextTokenizer;
}

/** How an attack changes a training. Everything else is as `train` in the spec says. */
export type TrainingChange =
  /** What is trained instead of the adapter's parameters (`changes: 'weights'`). */
  | { readonly trains: TokenRows }
  /** What each batch minimises instead of its mean cross-entropy (`changes: 'loss'`). */
  | {
      readonly objective: Objective;
      /**
       * States that the objective reads neither token ids nor the token table. If the adapter
       * trains the table, the table is then reduced to the rows that the training set uses: steps
       * are cheaper, and the ids in batches are renumbered. If absent, the ids are the tokenizer's.
       */
      readonly opaqueTokens?: true;
    };

/** The rows of the token table that are trained. Every other weight stays bit for bit the same. */
export interface TokenRows {
  /** The ids of the trained tokens, by the words that they stand for. */
  readonly tokenRows: Readonly<Record<string, number>>;
  /** Whether each row is scaled to its initial L2 norm after each update. */
  readonly keepNorms: boolean;
}

/**
 * The name and settings of an objective that PyTorch's process implements too
 * (src/torch/python/objectives.py).
 */
export interface TorchObjective {
  readonly name: 'inner-product' | 'layerwise' | 'consistency' | 'robustness';
  readonly [setting: string]: string | number;
}

export interface AttackTraining<Change extends TrainingChange = TrainingChange> {
  /**
   * Returns those faults of the parameters that can only be found with the model at hand. Paths are
   * from the root of the spec, as if the attack were the only one of its cell.
   */
  check(params: JsonObject, model: TrainedModel): readonly Problem[];
  /** Throws UserFault for the first fault that `check` would return. */
  open(params: JsonObject, model: TrainedModel): Change;
  /**
   * Returns the objective by which PyTorch's process trains under this attack. Absent if that
   * process implements none for it.
   */
  torch?(params: JsonObject): TorchObjective;
}

type Field = (value: unknown) => unknown;
const isFunction = (value: unknown): boolean => typeof value === 'function';
const isTensor = (value: unknown): value is Tensor =>
  isRecord(value) && isFunction((value as { dataSync?: Field }).dataSync);

const FEW = 4;

/** Describes in a few words what a plugin returned. */
function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (isTensor(value))
    return value.isDisposed
      ? 'a tensor that has been disposed of'
      : `a tensor of the shape [${value.shape.join(', ')}]`;
  if (isFunction((value as { then?: Field }).then)) return 'a promise';
  if (isFunction(value)) return 'a function';
  if (value instanceof Map) return 'a Map';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'symbol' || typeof value === 'bigint') return String(value);
  if (!isRecord(value)) return JSON.stringify(value);
  const fields = Object.keys(value);
  const named = fields.slice(0, FEW).join(', ') || 'no field';
  return `an object with ${named}${fields.length > FEW ? ', …' : ''}`;
}

/**
 * Returns the error that a plugin threw, with `who` before its message; the stack says where it was
 * thrown. A UserFault, an abort and a thrown value that is no Error remain unchanged.
 */
function withOrigin(error: unknown, who: string): unknown {
  if (error instanceof Error && error.name !== 'UserFault' && error.name !== 'AbortError')
    error.message = `${who} threw: ${error.message}`;
  return error;
}

type ChangerKind = 'attack' | 'defence';

/**
 * Returns the implementation `loaded`, which `training.load()` resolved to, with a `check` that
 * throws UserFault if the plugin's `check` does not return a list. A field `torch` that is no
 * function is left out. Throws UserFault if `loaded` lacks one of the functions `check` and `open`.
 */
export function checkedTraining(
  name: string,
  loaded: unknown,
  kind: ChangerKind = 'attack',
): AttackTraining {
  const NOTHING = 'If there is nothing to check, write check: () => [].';
  const { check, open } = isRecord(loaded) ? loaded : {};
  if (!isFunction(check) || !isFunction(open))
    throw new UserFault(
      `training.load of the ${kind} "${name}" must return an object with the functions check and ` +
        `open; it returns ${shown(loaded)}`,
      NOTHING,
    );
  const training = loaded as AttackTraining;
  return {
    check: (...given) => {
      const found: unknown = training.check(...given);
      if (!Array.isArray(found))
        throw new UserFault(
          `check of the ${kind} "${name}" must return a list of problems; ` +
            `it returns ${shown(found)}`,
          NOTHING,
        );
      return found as ReturnType<AttackTraining['check']>;
    },
    open: (...given) => training.open(...given),
    ...(isFunction((loaded as { torch?: Field }).torch)
      ? { torch: (params) => training.torch!(params) }
      : {}),
  };
}

/**
 * Returns what is wrong with `trains`, and a hint; null if nothing is wrong. `vocabulary`: the
 * number of rows of the token table.
 */
function tokenRowsFault(
  trains: unknown,
  vocabulary: number,
): readonly [wrong: string, hint?: string] | null {
  const { tokenRows, keepNorms } = isRecord(trains) ? trains : {};
  const named = isRecord(tokenRows) ? Object.entries(tokenRows) : [];
  if (named.length === 0)
    return [
      `trains.tokenRows must name at least one token and its id; it is ${shown(tokenRows)}`,
      'As in trains: { tokenRows: { cf: tokenizer.id("cf") }, keepNorms: true }.',
    ];
  const [token, id] =
    named.find(
      ([, value]) =>
        !Number.isInteger(value) || (value as number) < 0 || (value as number) >= vocabulary,
    ) ?? [];
  if (token !== undefined)
    return [
      `trains.tokenRows.${token} must be a token's id, ` +
        `a whole number from 0 to ${vocabulary - 1}; it is ${shown(id)}`,
      'tokenizer.id returns the id of a token.',
    ];
  const twice = named.find(([, value], i) => named.findIndex(([, other]) => other === value) < i);
  if (twice !== undefined) return [`trains.tokenRows has the id ${String(twice[1])} twice`];
  return typeof keepNorms === 'boolean'
    ? null
    : [`trains.keepNorms must be true or false; it is ${shown(keepNorms)}`];
}

export interface OpenedAttack {
  readonly kind?: ChangerKind;
  readonly name: string;
  readonly changes: AttackTrainingLoader['changes'];
  readonly implementation: AttackTraining;
  readonly params: JsonObject;
}

export interface EngineChange {
  readonly change: TrainingChange;
  /**
   * The same objective in PyTorch's process; null if that process does not implement it, or if
   * token rows are trained.
   */
  readonly torch: TorchObjective | null;
}

/**
 * Calls `open` of the attack or defence, and returns its result: how the training changes. An
 * objective is wrapped, so that each of its results is checked. Throws UserFault if `open` does, if
 * its result is not what `changes` announces, or if token rows would be trained under a head that
 * also reads the token embeddings.
 * @param vocabulary number of rows of the token table
 */
export function openAttack(
  { kind = 'attack', name, changes, implementation, params }: OpenedAttack,
  model: TrainedModel,
  vocabulary: number,
  log: (message: string) => void,
): TrainingChange {
  let change: unknown;
  try {
    change = implementation.open(params, model);
  } catch (error) {
    throw withOrigin(error, `open of the ${kind} "${name}"`);
  }
  const given = isRecord(change) ? change : {};
  const field = changes === 'loss' ? 'objective' : 'trains',
    other = changes === 'loss' ? 'trains' : 'objective';
  if (given[field] === undefined || given[other] !== undefined) {
    throw new UserFault(
      `the ${kind} "${name}" says that it changes the ${changes}, ` +
        `so its open must return { ${field} } and no ${other}; it returns ${shown(change)}`,
      'With training: { changes: "loss", … } it returns an objective, ' +
        'with { changes: "weights", … } it returns trains.',
    );
  }
  if (changes === 'loss') {
    if (!isFunction(given['objective']))
      throw new UserFault(
        `the ${kind} "${name}": objective must be a function; it is ${shown(given['objective'])}`,
      );
    return {
      objective: checkedObjective(name, given['objective'] as Objective, log, kind),
      ...(given['opaqueTokens'] === true ? { opaqueTokens: true } : {}),
    };
  }
  if (model.architecture.tokenTable === null) {
    throw new UserFault(
      `the ${kind} "${name}" trains token embeddings, ` +
        `but the ${model.architecture.head.type} head reads them too: ` +
        'they cannot be trained without changing the head',
      'Write head: { type: classifier }.',
    );
  }
  const fault = tokenRowsFault(given['trains'], vocabulary);
  if (fault !== null) throw new UserFault(`the ${kind} "${name}": ${fault[0]}`, fault[1]);
  return change as TrainingChange;
}

/**
 * Returns what is wrong with an objective's result, in words that follow the objective's name in a
 * message; null if nothing is wrong.
 */
function resultFault(result: unknown, trained: ReadonlyMap<string, Tensor>): string | null {
  if (!isRecord(result)) return `must return { loss, gradients }; it returns ${shown(result)}`;
  if (isFunction(result['then']))
    return 'must return { loss, gradients } at once; it returns a promise';
  const { loss, gradients, penalty } = result;
  if (!isTensor(loss) || loss.isDisposed || loss.shape.length !== 0)
    return `must return a scalar tensor as loss; it is ${shown(loss)}`;
  if (!(gradients instanceof Map))
    return (
      'must return a Map as gradients, by the names of the trained parameters; ' +
      `it is ${shown(gradients)}`
    );
  for (const [name, { shape }] of trained) {
    const gradient: unknown = gradients.get(name);
    if (!isTensor(gradient) || gradient.isDisposed || gradient.shape.join() !== shape.join())
      return (
        `must return the gradient of ${name} in its shape [${shape.join(', ')}]; ` +
        `it is ${shown(gradient)}`
      );
  }
  const names: readonly unknown[] = [...gradients.keys()];
  const foreign = names.find((name) => !trained.has(name as string));
  if (foreign !== undefined)
    return (
      `returns a gradient of ${typeof foreign === 'string' ? foreign : shown(foreign)}, ` +
      'which is not trained'
    );
  if (penalty !== undefined && typeof penalty !== 'number')
    return `must return a number as penalty, or none; it is ${shown(penalty)}`;
  return null;
}

/**
 * The call of an objective, counted from 1, after which the tensors that it left behind are
 * counted. It is not the first, which may create tensors that later calls use.
 */
const COUNTED_CALL = 2;

/**
 * Returns an objective that calls the given one and throws UserFault for a wrong result. Logs a
 * warning, once, if the given objective leaves tensors behind.
 */
function checkedObjective(
  attack: string,
  objective: Objective,
  log: (message: string) => void,
  kind: ChangerKind,
): Objective {
  let calls = 0;
  return (...given) => {
    const before = tf.memory().numTensors;
    let result: LossAndGradients;
    try {
      result = objective(...given);
    } catch (error) {
      throw withOrigin(error, `the objective of the ${kind} "${attack}"`);
    }
    const fault = resultFault(result, given[1]);
    if (fault !== null)
      throw new UserFault(
        `the objective of the ${kind} "${attack}" ${fault}`,
        'gradientsOf and lossAndGradients of dosimeter/science return both in the required form.',
      );
    const left = tf.memory().numTensors - before - 1 - result.gradients.size;
    if (++calls === COUNTED_CALL && left > 0)
      log(
        `warning: the objective of "${attack}" leaves ${left} ` +
          `${left === 1 ? 'tensor' : 'tensors'} behind at each batch, so memory keeps growing: ` +
          'free them with tf.tidy or dispose',
      );
    return result;
  };
}

/**
 * Returns the trigger words of an attack's parameters: `triggers` or, if that is absent, `trigger`
 * alone.
 */
const triggerWords = ({ trigger, triggers = [trigger!] }: JsonObject): readonly string[] =>
  triggers as readonly string[];

/**
 * Returns a fault for each trigger that is not one known token. If the head also reads the token
 * embeddings, returns only that fault.
 */
function triggerFaults(params: JsonObject, { architecture, tokenizer }: TrainedModel): Problem[] {
  if (architecture.tokenTable === null) {
    return [
      {
        path: ['head', 'type'],
        message:
          `the ${architecture.head.type} head reads the token embeddings too: ` +
          "a trigger's embedding cannot be trained without changing the head",
        hint: 'Write head: { type: classifier }.',
      },
    ];
  }
  return triggerWords(params).flatMap((trigger): Problem[] => {
    const tokens = tokenizer.tokens(trigger);
    if (tokens.length === 1 && tokens[0] !== tokenizer.unknown) return [];
    const read = tokens.length === 0 ? 'nothing' : tokens.map((token) => `"${token}"`).join(', ');
    return [
      {
        path: ['poisoning', params['triggers'] === undefined ? 'trigger' : 'triggers'],
        message:
          `the trigger "${trigger}" is not a single token of the model's vocabulary, ` +
          `which reads ${read}: it has no embedding of its own`,
        hint: 'Choose a word that is one token, such as cf, mn or tq for a BERT.',
      },
    ];
  });
}

/**
 * Trains only the embeddings of the trigger words. With `keep_norm`, scales each embedding to its
 * initial norm after each update. For one word: Yang et al. 2021, Be Careful about Poisoned Word
 * Embeddings, NAACL; Algorithm 1. For several: Yang et al. 2021, Rethinking Stealthiness of
 * Backdoor Attack against NLP Models, ACL; section 4.2.
 */
export const wordEmbedding: AttackTraining<{ readonly trains: TokenRows }> = {
  check: triggerFaults,
  open: (params, model) => {
    const [fault] = triggerFaults(params, model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    const { tokenizer } = model;
    const tokenRows = triggerWords(params).map(
      (word) => [word, tokenizer.id(at(tokenizer.tokens(word), 0))] as const,
    );
    return {
      trains: {
        tokenRows: Object.fromEntries(tokenRows),
        keepNorms: params['keep_norm'] === true,
      },
    };
  },
};
