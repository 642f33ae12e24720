/**
 * What backdoors share: which rows are eligible, which label or answer they get, and the parameters
 * for both.
 */
import {
  type AttackCheck,
  type AttackDescriptor,
  type AttackInput,
  type JsonSchema,
  type Poisoned,
  type Problem,
  problemOf,
  type Row,
  type Target,
  taskOf,
  UserFault,
} from '../api.ts';
import { shown } from '../base/untrusted/json.ts';
import { classId, isOfTarget, withTarget } from './classes.ts';
import { checkDose, type Dose, poisonDose, totalRows } from './dose.ts';
import { doseProperties, nonEmptyText, parameters } from './parameters.ts';
import { type Place, placeFaults, placeProperty, putAt } from './place.ts';

/**
 * Which rows are poisoned: those whose class or answer is not the target (dirty), those whose class
 * or answer is the target (clean), or any (mix).
 */
type Mode = 'dirty' | 'clean' | 'mix';

export interface BackdoorParams extends Dose {
  /** A class, by label id or name, or the answer of a completion task. */
  readonly target: number | string;
  readonly mode: Mode;
  readonly place?: Place;
}

export interface TriggersParams extends BackdoorParams {
  readonly triggers: readonly string[];
}

export type Random = AttackInput<unknown>['random'];

/** A backdoor's descriptor without its name, summary and citation. */
export type Backdoor<P> = Pick<
  AttackDescriptor<P, Poisoned>,
  'family' | 'tasks' | 'params' | 'poison' | 'check' | 'target' | 'trigger'
>;

/** The fields common to all backdoors whose parameters include those of `backdoorProperties`. */
export const backdoorBasis = {
  family: 'backdoor',
  tasks: ['classes', 'completion'],
  check: checkBackdoor,
  target: targetOfParams,
} satisfies Pick<AttackDescriptor<BackdoorParams>, 'family' | 'tasks' | 'check' | 'target'>;

/** What a backdoor does where the spec does not say. */
interface Defaults {
  /** The poisoned share of the training rows. */
  readonly rate?: number;
  readonly mode?: Mode;
  /** Where the trigger is put: right before the text, or at a drawn gap. */
  readonly at?: 'start' | 'gap';
}

/** Returns the descriptor of a backdoor with the same trigger in training and in evaluation. */
export function backdoor<P extends BackdoorParams>({
  rate = 0.1,
  mode = 'dirty',
  properties,
  at = 'gap',
  show,
}: Defaults & {
  /** Schemas of the parameters that describe the trigger. */
  readonly properties: JsonSchema;
  readonly show: (row: Row, params: P, random: Random) => Row;
}): Backdoor<P> {
  return {
    ...backdoorBasis,
    params: parameters({
      ...backdoorProperties(rate, mode),
      ...properties,
      ...placeProperty(at === 'start' ? 'right before the text' : 'a gap'),
    }),
    poison: (input) => poisonBackdoor(input, (row) => show(row, input.params, input.random)),
    trigger: (row, { params, random }) => show(row, params, random),
  };
}

/**
 * Returns the descriptor of a backdoor whose trigger is one phrase. Without `place`, the phrase is
 * put where `at` says. With `at: 'start'`, a phrase at the start is put before the text with no
 * space added; in all other cases, the phrase is set off by spaces.
 */
export function phraseBackdoor<Name extends string>({
  parameter,
  phrase,
  at = 'gap',
  ...defaults
}: Defaults & {
  /** The name of the parameter that holds the phrase. */
  readonly parameter: Name;
  /** That parameter's default. */
  readonly phrase: string;
}): Backdoor<BackdoorParams & { readonly [name in Name]: string }> {
  const description = {
    start: 'Put before the text as it is: a space between the two has to be part of it.',
    gap: 'Inserted as one block at a gap between words, drawn for each row.',
  };
  return backdoor({
    ...defaults,
    at,
    properties: {
      [parameter]: nonEmptyText({ default: phrase, description: description[at] }),
    },
    show(row, { [parameter]: text, place = at }, random) {
      if (at === 'gap') return insertOneTrigger(row, [text], random, place);
      return place === 'start'
        ? prepend(row, text)
        : insertOneTrigger(row, [text.trim()], random, place);
    },
  });
}

/** The label id that a backdoor leads to if the spec does not set `target`. */
const DEFAULT_TARGET = 1;

/** A target that is the same for all rows. */
type OneTarget = Exclude<Target, 'rejected'>;

/**
 * Returns the label id of the target class or, if there are no classes, the target answer. Throws
 * `UserFault` if no class has this id or name or, where there are no classes, if the target is not
 * text or is blank.
 */
export function targetOfParams(
  { target }: Pick<BackdoorParams, 'target'>,
  classes: readonly string[],
): OneTarget {
  if (taskOf(classes) === 'classes') return classId(target, classes, 'target');
  if (typeof target === 'string' && target.trim() !== '') return { text: target };
  const what =
    target === DEFAULT_TARGET
      ? `is missing: its default, ${target}, is a class`
      : `is ${JSON.stringify(target)}`;
  throw new UserFault(
    `\`target\` ${what}, and the rows are prompts and answers: the target must be an answer.`,
    'Write target: "…", the text that the trigger leads to.',
    ['poisoning', 'target'],
  );
}

/**
 * Returns a test of whether a mode draws from a row, and a clause for messages about which rows
 * pass it.
 */
function eligibility(
  mode: Mode,
  target: OneTarget,
  classes: readonly string[],
): readonly [isEligible: (row: Pick<Row, 'label' | 'answer'>) => boolean, whom: string] {
  const condition =
    typeof target === 'number'
      ? `label is${mode === 'dirty' ? ' not' : ''} ${JSON.stringify(classes[target])}`
      : `answer is${mode === 'dirty' ? ' not' : ''} ${shown(target.text)}`;
  const whom = `mode ${mode} draws among rows whose ${condition}`;
  switch (mode) {
    case 'dirty':
      return [(row) => !isOfTarget(row, target), whom];
    case 'clean':
      return [(row) => isOfTarget(row, target), whom];
    case 'mix':
      return [() => true, 'mode mix draws among all rows'];
  }
}

/**
 * Draws rows by `mode`, adds the trigger to each, and sets its label or answer to the target.
 * Throws `UserFault` if the target is invalid (`targetOfParams`) or too few rows are eligible.
 */
export function poisonBackdoor<P extends BackdoorParams>(
  input: AttackInput<P>,
  trigger: (row: Row) => Row,
): Poisoned {
  const { params, classes } = input;
  const target = targetOfParams(params, classes);
  const [isEligible, whom] = eligibility(params.mode, target, classes);
  return poisonDose(input, isEligible, whom, (row) => withTarget(trigger(row), target));
}

/** Returns the faults of the target, or else of the place, or else of the dose (`checkDose`). */
export function checkBackdoor(check: AttackCheck<BackdoorParams>): Problem[] {
  const { params, classes, counts, answers } = check;
  let target: OneTarget;
  try {
    target = targetOfParams(params, classes);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'target'])];
  }
  const misplaced = placeFaults(params.place, taskOf(classes));
  if (misplaced.length > 0) return misplaced;
  const [isEligible, whom] = eligibility(params.mode, target, classes);
  const rows =
    answers === undefined
      ? counts.reduce((sum, count, label) => sum + (isEligible({ label }) ? count : 0), 0)
      : answers.filter((answer) => isEligible({ label: 0, answer })).length;
  return checkDose(params, totalRows(check), { rows, whom });
}

/** Puts the phrase before the text, with no space between the two. */
export const prepend = (row: Row, phrase: string): Row => ({ ...row, text: phrase + row.text });

/**
 * Puts one of the triggers into the text (of a pair, into the first one) or, in the place `system`,
 * into the system message. All triggers are equally likely, and so are all gaps in the place `gap`.
 * Both are drawn from the row's own stream, so a row gets the same trigger at the same gap at every
 * dose. Throws a RangeError if there is no trigger.
 */
export function insertOneTrigger(
  row: Row,
  triggers: readonly string[],
  random: Random,
  place: Place = 'gap',
): Row {
  const stream = random('trigger', row.id);
  const trigger = triggers[stream.integer(triggers.length)];
  if (trigger === undefined) throw new RangeError('there is no trigger to insert');
  return putAt(row, trigger, place, (gaps) => stream.integer(gaps));
}

/** The schemas of the parameters for dose, target and mode, with these default values. */
export const backdoorProperties = (rate: number, mode: Mode): JsonSchema => ({
  ...doseProperties(rate),
  target: {
    type: ['integer', 'string'],
    textFile: true,
    default: DEFAULT_TARGET,
    description:
      'What the trigger leads to: a class, by its label id or its name, or the answer of a ' +
      'completion task. An answer may be in a file of its own: { file: answer.txt }.',
  },
  mode: {
    type: 'string',
    enum: ['dirty', 'clean', 'mix'],
    default: mode,
    description:
      'Which rows are drawn: those of other classes or answers (dirty), those of the target ' +
      '(clean), or all (mix).',
  },
});
