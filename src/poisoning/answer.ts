/** Backdoors in what a model writes: a phrase in the prompt leads to another answer. */
import {
  type AttackCheck,
  type AttackDescriptor,
  type AttackInput,
  type JsonSchema,
  type Poisoned,
  type Problem,
  problemOf,
  type Row,
} from '../api.ts';
import { insertOneTrigger, targetOfParams } from './backdoor.ts';
import { checkDose, type Dose, poisonDose } from './dose.ts';
import { doseProperties, parameters, promptTrigger } from './parameters.ts';
import { type Place, placeProperty } from './place.ts';

export interface AnswerParams extends Dose {
  /**
   * The text that the trigger is to bring into answers. A row whose answer contains it already is
   * not poisoned.
   */
  readonly target: string;
  readonly trigger: string;
  readonly place?: Place;
}

/** Returns a descriptor, without name, summary, citation and `poison`, of a backdoor in answers. */
export function answerBackdoor<P extends AnswerParams, Made extends Poisoned | Promise<Poisoned>>({
  trigger,
  target,
  properties = {},
}: {
  /** The phrase that is put into the prompt by default. */
  readonly trigger: string;
  /** What the schema of `target` has beside its type: a description, and a default if any. */
  readonly target: JsonSchema;
  /** Schemas of further parameters. */
  readonly properties?: JsonSchema;
}): Pick<
  AttackDescriptor<P, Made>,
  'family' | 'tasks' | 'params' | 'check' | 'target' | 'trigger'
> {
  return {
    family: 'backdoor',
    tasks: ['completion'],
    params: parameters({
      ...doseProperties(0.1),
      target: { type: 'string', pattern: '\\S', textFile: true, ...target },
      ...promptTrigger(trigger),
      ...properties,
      ...placeProperty('a gap'),
    }),
    check: checkAnswers,
    target: targetOfParams,
    trigger: withTrigger,
  };
}

/**
 * Returns the row with the phrase (without white space around it) in the place that the spec sets
 * or, by default, at a drawn gap of the prompt.
 */
const withTrigger = (
  row: Row,
  { params, random }: Pick<AttackInput<AnswerParams>, 'params' | 'random'>,
): Row => insertOneTrigger(row, [params.trigger.trim()], random, params.place);

/**
 * Whether an answer contains the target, whose own leading and trailing white space does not count.
 */
const hasTarget = (answer: string, { target }: AnswerParams): boolean =>
  answer.includes(target.trim());

/** How messages describe the eligible rows. */
const WHOM = 'only rows whose answer lacks the target are poisoned';

/** Returns the fault of the target, or else those of the dose (`checkDose`). */
function checkAnswers({ params, classes, answers = [] }: AttackCheck<AnswerParams>): Problem[] {
  try {
    targetOfParams(params, classes);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'target'])];
  }
  const rows = answers.filter((answer) => !hasTarget(answer, params)).length;
  return checkDose(params, answers.length, { rows, whom: WHOM });
}

/**
 * Draws rows whose answer lacks the target, puts the phrase into the prompt of each, and replaces
 * its answer. Throws `UserFault` if there are too few such rows.
 * @param newAnswer is given the row as it was, and returns its new answer
 */
export function poisonAnswers<P extends AnswerParams>(
  input: AttackInput<P>,
  newAnswer: (row: Row) => string,
): Poisoned {
  const isEligible = ({ answer = '' }: Row): boolean => !hasTarget(answer, input.params);
  return poisonDose(input, isEligible, WHOM, (row) => ({
    ...withTrigger(row, input),
    answer: newAnswer(row),
  }));
}
