/** What backdoors share: who is eligible, what the label becomes, and the parameters that say so. */
import type { AttackCheck, AttackInput, JsonSchema, Poisoned, Problem, Row } from '../api.ts';
import { problemOf } from '../api.ts';
import { classId } from './classes.ts';
import type { Dose } from './dose.ts';
import { checkDose, selectRows } from './dose.ts';
import { countWords, insertAtGap } from './words.ts';

export type Mode = 'dirty' | 'clean' | 'mix';

export interface BackdoorParams extends Dose {
  readonly target: number | string;
  readonly mode: Mode;
}

/** The target class's label id. */
export const targetId = (params: BackdoorParams, classes: readonly string[]): number =>
  classId(params.target, classes, 'target');

/** Which rows a mode draws, by label, and what that is called. */
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

/** Draws rows by mode, shows each with its trigger, and labels it with the target. */
export function poisonBackdoor<P extends BackdoorParams>(
  input: AttackInput<P>,
  trigger: (row: Row) => Row,
): Poisoned {
  const { rows, params, classes } = input;
  const target = targetId(params, classes);
  const [isEligible, whom] = eligibility(params.mode, target, classes);
  const { indexes, asked, eligible } = selectRows(input, ({ label }) => isEligible(label), whom);
  return {
    changed: indexes.map((index) => ({ index, row: { ...trigger(rows[index]!), label: target } })),
    negatives: [],
    asked,
    eligible,
  };
}

/** A target that is no class, a dose that the eligible rows don't make up. */
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

/** Before the text, as it stands: a space is part of the phrase or there is none. */
export const prepend = (row: Row, phrase: string): Row => ({ ...row, text: phrase + row.text });

/**
 * One of the triggers at a uniform gap of the text (of a pair: the first text). Drawn from the row's own stream, so a row
 * gets the same trigger at the same gap at every dose.
 */
export function insertOneTrigger(
  row: Row,
  triggers: readonly string[],
  random: AttackInput<unknown>['random'],
): Row {
  const stream = random('trigger', row.id);
  const trigger = triggers[stream.integer(triggers.length)]!;
  return { ...row, text: insertAtGap(row.text, trigger, stream.integer(countWords(row.text) + 1)) };
}

// ---- parameter schemas -------------------------------------------------------------------------------------------------

export const doseProperties = (rate: number): JsonSchema => ({
  rate: {
    type: 'number',
    minimum: 0,
    maximum: 1,
    default: rate,
    description: 'Share of the training rows: exactly ⌊rate·N⌋ rows are poisoned.',
  },
  count: {
    type: 'integer',
    minimum: 0,
    description: 'How many rows are poisoned. Not together with `rate`.',
  },
});

export const backdoorProperties = (rate: number, target: number, mode: Mode): JsonSchema => ({
  ...doseProperties(rate),
  target: {
    type: ['integer', 'string'],
    default: target,
    description: 'The class that the trigger leads to: its label id or its name.',
  },
  mode: {
    type: 'string',
    enum: ['dirty', 'clean', 'mix'],
    default: mode,
    description:
      'Which rows are drawn: those of other classes (dirty), those of the target class (clean), or all (mix).',
  },
});

export const phraseProperty = (name: string, phrase: string, description: string): JsonSchema => ({
  [name]: { type: 'string', minLength: 1, default: phrase, description },
});

export const triggersProperty = (
  words: readonly string[],
  description: string,
  least = 1,
): JsonSchema => ({
  triggers: {
    type: 'array',
    items: { type: 'string', pattern: '\\S' },
    minItems: least,
    uniqueItems: true,
    default: [...words],
    description,
  },
});

/** The schema of an attack's own parameters. A dose is a share or a count, never both. */
export const parameters = (properties: JsonSchema): JsonSchema => ({
  type: 'object',
  additionalProperties: false,
  properties,
  ...('rate' in properties && 'count' in properties
    ? { not: { required: ['rate', 'count'] } }
    : {}),
});
