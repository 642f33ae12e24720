/** Faults in `evaluate.triggers`. */
import { minimal } from '../rig.ts';
import { type Fault, testFaults } from './check.ts';

const spec = (triggers: string): string => `${minimal}poisoning: { attack: badnets }
evaluate:
  triggers: [${triggers}]
`;

/** A fault in the first trigger, at `mark`. */
function one(
  fault: string,
  trigger: string,
  mark: string,
  ...[code, message, hint]: readonly [code: string, message: string, hint: string]
): Fault {
  const line = `  triggers: [${trigger}]`,
    column = line.lastIndexOf(mark);
  const shows = [
    `error[${code}]: ${message}`,
    ` --> DIR/spec.yaml:6:${column + 1}`,
    '  |',
    `6 | ${line}`,
    `  | ${' '.repeat(column)}${'^'.repeat(mark.length)}`,
    `  = ${hint}`,
  ].join('\n');
  return { fault, spec: spec(trigger), shows };
}

testFaults('triggers', [
  one(
    'a held-out trigger of an attack that no cell is under',
    '{ name: a, attack: label-flip, map: { a: b } }',
    'label-flip',
    'matches-nothing',
    'no cell of the grid is under the attack "label-flip"',
    'name an attack of "poisoning"',
  ),
  one(
    'a held-out trigger with a parameter of the training',
    '{ name: a, attack: badnets, rate: 0.5 }',
    'rate',
    'unknown-key',
    'unknown key "rate" in "evaluate.triggers"',
    'did you mean "poisoning.rate"?',
  ),
  one(
    'a held-out trigger whose parameter is of the wrong type',
    '{ name: a, attack: badnets, triggers: CF }',
    'CF',
    'wrong-type',
    '"evaluate.triggers.triggers" must be a list of texts, not "CF"',
    'as a list: [CF]',
  ),
  one(
    'two held-out triggers of one name',
    '{ name: q, attack: badnets, triggers: [x] }, { name: q, attack: badnets, triggers: [y] }',
    'q',
    'duplicate-value',
    'two triggers of "badnets" are called "q"',
    'their metrics would have one name: give one of them another',
  ),
]).run();
