/**
 * An attack's hand in the training, checked where it is taken: plugins may be plain JavaScript, written by anyone, and a loss
 * that is a vector, a token that has no id or a misspelt field would else train something, and nobody would know.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type AttackTrainingLoader, type JsonObject, UserFault } from '../../api.ts';
import { isRecord } from '../../untrusted/json.ts';
import type { AttackTraining, TrainedModel, TrainingChange } from './attack-training.ts';
import type { LossAndGradients, Objective } from './gradients.ts';

type Field = (value: unknown) => unknown;
const method = (value: unknown): boolean => typeof value === 'function';
const isTensor = (value: unknown): value is Tensor =>
  isRecord(value) && method((value as { dataSync?: Field }).dataSync);

/** Of an object so many fields are named. */
const FEW = 4;

/** What was found in its place, in a few words. */
function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (isTensor(value))
    return value.isDisposed
      ? 'a tensor that is disposed of'
      : `a tensor of the shape [${value.shape.join(', ')}]`;
  if (method((value as { then?: Field }).then)) return 'a promise';
  if (method(value)) return 'a function';
  if (value instanceof Map || Array.isArray(value))
    return value instanceof Map ? 'a Map' : 'a list';
  if (!isRecord(value)) return JSON.stringify(value) ?? String(value);
  const fields = Object.keys(value);
  return `an object with ${fields.slice(0, FEW).join(', ') || 'no field'}${fields.length > FEW ? ', …' : ''}`;
}

/** An error of a plugin's own with its author named; its stack says where. A user's fault and an abort are told as they are. */
function blamed(error: unknown, who: string): unknown {
  if (error instanceof Error && error.name !== 'UserFault' && error.name !== 'AbortError')
    error.message = `${who} threw: ${error.message}`;
  return error;
}

/** What `training.load()` resolves to. @throws UserFault where it is none */
export function checkedTraining(name: string, loaded: unknown): AttackTraining {
  const NOTHING = 'Without anything to check, write check: () => [].';
  const { check, open } = isRecord(loaded) ? loaded : {};
  if (!method(check) || !method(open))
    throw new UserFault(
      `training.load of the attack "${name}" must give an object with the functions check and open; it gives ${shown(loaded)}`,
      NOTHING,
    );
  const hand = loaded as AttackTraining;
  return {
    check: (...given) => {
      const found: unknown = hand.check(...given);
      if (!Array.isArray(found))
        throw new UserFault(
          `check of the attack "${name}" must return a list of problems; it returns ${shown(found)}`,
          NOTHING,
        );
      return found as ReturnType<AttackTraining['check']>;
    },
    open: (...given) => hand.open(...given),
  };
}

/** Message and hint of what `trains` has wrong. @param vocabulary how many rows the token table has */
function rowsFault(
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
      `trains.tokenRows.${token} must be a token's id, a whole number from 0 to ${vocabulary - 1}; it is ${shown(id)}`,
      "tokenizer.id gives a token's.",
    ];
  const twice = named.find(([, value], i) => named.findIndex(([, other]) => other === value) < i);
  if (twice !== undefined) return [`trains.tokenRows has the id ${String(twice[1])} twice`];
  return typeof keepNorms === 'boolean'
    ? null
    : [`trains.keepNorms must be true or false; it is ${shown(keepNorms)}`];
}

/** An attack that touches training, with its own parameters. */
export interface OpenedAttack {
  readonly name: string;
  readonly changes: AttackTrainingLoader['changes'];
  readonly implementation: AttackTraining;
  readonly params: JsonObject;
}

/**
 * What the attack makes of this training; each result of its objective is checked.
 * @param vocabulary how many rows the token table has
 * @param log a line for the stage's log
 * @throws UserFault of `open`, or where that returns something else than `changes` of the plugin says
 */
export function openAttack(
  { name, changes, implementation, params }: OpenedAttack,
  model: TrainedModel,
  vocabulary: number,
  log: (message: string) => void,
): TrainingChange {
  let change: unknown;
  try {
    change = implementation.open(params, model);
  } catch (error) {
    throw blamed(error, `open of the attack "${name}"`);
  }
  const given = isRecord(change) ? change : {};
  const field = changes === 'loss' ? 'objective' : 'trains',
    other = changes === 'loss' ? 'trains' : 'objective';
  if (given[field] === undefined || given[other] !== undefined) {
    throw new UserFault(
      `the attack "${name}" says that it changes the ${changes}, so its open must return { ${field} } and no ${other}; it returns ${shown(change)}`,
      'training: { changes: "loss", … } goes with an objective, { changes: "weights", … } with trains.',
    );
  }
  if (changes === 'loss') {
    if (!method(given['objective']))
      throw new UserFault(
        `the attack "${name}": objective must be a function; it is ${shown(given['objective'])}`,
      );
    return {
      ...(given as unknown as Extract<TrainingChange, { objective: unknown }>),
      objective: checkedObjective(name, given['objective'] as Objective, log),
    };
  }
  if (model.architecture.tokenTable === null) {
    throw new UserFault(
      `the attack "${name}" trains token embeddings, and the ${model.architecture.head.type} head reads them too: they can't be trained apart from it`,
      'Write head: { type: classifier }.',
    );
  }
  const fault = rowsFault(given['trains'], vocabulary);
  if (fault !== null) throw new UserFault(`the attack "${name}": ${fault[0]}`, fault[1]);
  return change as TrainingChange;
}

/** What of a result is wrong; null: nothing. */
function resultFault(result: unknown, trained: ReadonlyMap<string, Tensor>): string | null {
  if (!isRecord(result)) return `must return { loss, gradients }; it returns ${shown(result)}`;
  if (method(result['then']))
    return 'must return { loss, gradients } at once; it returns a promise';
  const { loss, gradients, penalty } = result;
  if (!isTensor(loss) || loss.isDisposed || loss.shape.length !== 0)
    return `must return a scalar tensor as loss; it is ${shown(loss)}`;
  if (!(gradients instanceof Map))
    return `must return a Map as gradients, by the names of the trained parameters; it is ${shown(gradients)}`;
  for (const [name, { shape }] of trained) {
    const gradient: unknown = gradients.get(name);
    if (!isTensor(gradient) || gradient.isDisposed || gradient.shape.join() !== shape.join())
      return `must return the gradient of ${name} in its shape [${shape.join(', ')}]; it is ${shown(gradient)}`;
  }
  const foreign = [...gradients.keys()].find((name) => !trained.has(name as string));
  if (foreign !== undefined)
    return `returns a gradient of ${String(foreign)}, which is not trained`;
  if (penalty !== undefined && typeof penalty !== 'number')
    return `must return a number as penalty, or none; it is ${shown(penalty)}`;
  return null;
}

/** Of the second batch: a first one may have made what the later ones need. */
const COUNTED = 2;

function checkedObjective(
  attack: string,
  objective: Objective,
  log: (message: string) => void,
): Objective {
  let calls = 0;
  return (...given) => {
    const before = tf.memory().numTensors;
    let result: LossAndGradients;
    try {
      result = objective(...given);
    } catch (error) {
      // Its stack says where, its message who.
      throw blamed(error, `the objective of the attack "${attack}"`);
    }
    const fault = resultFault(result, given[1]);
    if (fault !== null)
      throw new UserFault(
        `the objective of the attack "${attack}" ${fault}`,
        'gradientsOf and lossAndGradients of dosimeter/science return both as they must be.',
      );
    const left = tf.memory().numTensors - before - 1 - result.gradients.size;
    if (++calls === COUNTED && left > 0)
      log(
        `warning: the objective of "${attack}" leaves ${left} ${left === 1 ? 'tensor' : 'tensors'} behind at each batch, and memory grows by them: tf.tidy or dispose frees them`,
      );
    return result;
  };
}
