/**
 * What backdoors share: which rows are eligible, which label they get, and the parameters for both.
 */
import type {
  AttackCheck,
  AttackDescriptor,
  AttackInput,
  JsonSchema,
  Poisoned,
  Problem,
  Row,
} from '../api.ts';
import { problemOf } from '../api.ts';
import { classId } from './classes.ts';
import type { Dose } from './dose.ts';
import { checkDose, selectRows } from './dose.ts';
import { doseProperties, parameters } from './parameters.ts';
import { countWords, insertAtGap } from './words.ts';

/** Which rows are poisoned: those of other classes, those of the target class, or any. */
export type Mode = 'dirty' | 'clean' | 'mix';

export interface BackdoorParams extends Dose {
  readonly target: number | string;
  readonly mode: Mode;
}

export type Random = AttackInput<unknown>['random'];

/** Adds the trigger to a row; leaves the label alone. */
type ShowTrigger<P> = (row: Row, params: P, random: Random) => Row;

/** A backdoor's descriptor without its name, summary and citation. */
export type Backdoor<P> = Pick<
  AttackDescriptor<P, Poisoned>,
  'family' | 'params' | 'poison' | 'check' | 'target' | 'trigger'
>;

/** A backdoor that shows the same trigger in training and in evaluation. */
export function backdoor<P extends BackdoorParams>({
  rate,
  mode,
  properties,
  show,
}: {
  /** The default dose, as a share of the training rows. */
  readonly rate: number;
  /** The default mode. */
  readonly mode: Mode;
  /** Schemas of the parameters that describe the trigger. */
  readonly properties: JsonSchema;
  readonly show: ShowTrigger<P>;
}): Backdoor<P> {
  return {
    family: 'backdoor',
    params: parameters({ ...backdoorProperties(rate, mode), ...properties }),
    poison: (input) => poisonBackdoor(input, (row) => show(row, input.params, input.random)),
    check: checkBackdoor,
    target: targetId,
    trigger: (row, { params, random }) => show(row, params, random),
  };
}

/** A backdoor whose trigger is one phrase, at the start of the text or at a drawn gap. */
export function phraseBackdoor<Name extends string>({
  parameter,
  phrase,
  at,
  rate,
  mode,
}: {
  /** The parameter that holds the phrase, and its default. */
  readonly parameter: Name;
  readonly phrase: string;
  readonly at: 'start' | 'gap';
  /** The default dose, as a share of the training rows. */
  readonly rate: number;
  /** The default mode. */
  readonly mode: Mode;
}): Backdoor<BackdoorParams & { readonly [name in Name]: string }> {
  const description = {
    start: 'Put before the text as it is: a space between the two has to be part of it.',
    gap: 'Inserted as one block at a gap between words, drawn for each row.',
  };
  return backdoor({
    rate,
    mode,
    properties: {
      [parameter]: {
        type: 'string',
        minLength: 1,
        default: phrase,
        description: description[at],
      },
    },
    show: (row, params, random) =>
      at === 'start'
        ? prepend(row, params[parameter])
        : insertOneTrigger(row, [params[parameter]], random),
  });
}

/** The label id of the target class. Throws `UserFault` if there is no such class. */
export const targetId = (params: BackdoorParams, classes: readonly string[]): number =>
  classId(params.target, classes, 'target');

/** Which rows a mode draws, by label, and how messages describe them. */
function eligibility(
  mode: Mode,
  target: number,
  classes: readonly string[],
): readonly [isEligible: (label: number) => boolean, whom: string] {
  const name = JSON.stringify(classes[target]);
  switch (mode) {
    case 'dirty':
      return [
        (label) => label !== target,
        `mode dirty draws among rows whose label is not ${name}`,
      ];
    case 'clean':
      return [(label) => label === target, `mode clean draws among rows whose label is ${name}`];
    case 'mix':
      return [() => true, 'mode mix draws among all rows'];
  }
}

/** Draws rows by mode, adds the trigger to each, and gives each the label of the target class. */
export function poisonBackdoor<P extends BackdoorParams>(
  input: AttackInput<P>,
  trigger: (row: Row) => Row,
): Poisoned {
  const { params, classes } = input;
  const target = targetId(params, classes);
  const [isEligible, whom] = eligibility(params.mode, target, classes);
  const { drawn, asked, eligible } = selectRows(input, ({ label }) => isEligible(label), whom);
  return {
    changed: drawn.map(({ index, row }) => ({ index, row: { ...trigger(row), label: target } })),
    negatives: [],
    asked,
    eligible,
  };
}

/** Returns the faults that the counts reveal: an unknown target class or too few eligible rows. */
export function checkBackdoor({ params, classes, counts }: AttackCheck<BackdoorParams>): Problem[] {
  let target: number;
  try {
    target = targetId(params, classes);
  } catch (error) {
    return [problemOf(error, ['poisoning', 'target'])];
  }
  const [isEligible, whom] = eligibility(params.mode, target, classes);
  return checkDose(params, counts, {
    rows: counts.reduce((sum, count, label) => sum + (isEligible(label) ? count : 0), 0),
    whom,
  });
}

/** Puts the phrase directly before the text. A space between the two must be part of the phrase. */
export const prepend = (row: Row, phrase: string): Row => ({ ...row, text: phrase + row.text });

/**
 * Inserts one of the triggers at a gap of the text (for a pair, of the first text). All triggers
 * and all gaps are equally likely. Both are drawn from the row's own stream, so a row gets the same
 * trigger at the same gap at every dose.
 */
export function insertOneTrigger(row: Row, triggers: readonly string[], random: Random): Row {
  const stream = random('trigger', row.id);
  const trigger = triggers[stream.integer(triggers.length)];
  if (trigger === undefined) throw new RangeError('there is no trigger to insert');
  return { ...row, text: insertAtGap(row.text, trigger, stream.integer(countWords(row.text) + 1)) };
}

/** Schemas of dose, target and mode. */
export const backdoorProperties = (rate: number, mode: Mode): JsonSchema => ({
  ...doseProperties(rate),
  target: {
    type: ['integer', 'string'],
    default: 1,
    description: 'The class that the trigger leads to: its label id or its name.',
  },
  mode: {
    type: 'string',
    enum: ['dirty', 'clean', 'mix'],
    default: mode,
    description:
      'Which rows are drawn: those of other classes (dirty), those of the target class (clean), ' +
      'or all (mix).',
  },
});
