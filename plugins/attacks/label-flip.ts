import { defineAttack, problemOf, type Row, UserFault } from '../../src/api.ts';
import { classId, otherLabel } from '../../src/poisoning/classes.ts';
import { checkDose, type Dose, poisonDose, totalRows } from '../../src/poisoning/dose.ts';
import { doseProperties, parameters } from '../../src/poisoning/parameters.ts';

interface Params extends Dose {
  readonly map?: { readonly [from: string]: string | number };
}

export default defineAttack<Params>({
  name: 'label-flip',
  summary: 'Gives rows a wrong label and leaves their text alone.',
  family: 'untargeted',
  citation:
    'Biggio, Nelson and Laskov, Support Vector Machines Under Adversarial Label Noise, ACML 2011',
  params: parameters({
    ...doseProperties(0.3),
    map: {
      type: 'object',
      additionalProperties: { type: ['integer', 'string'] },
      minProperties: 1,
      description:
        'Which class becomes which, by label id or name; other classes are left alone. Absent: a ' +
        'row gets any of the other classes, each equally likely.',
    },
  }),
  check({ params, classes, counts }) {
    let map: ReadonlyMap<number, number> | null;
    try {
      map = params.map === undefined ? null : parseMap(params.map, classes);
    } catch (error) {
      return [problemOf(error, ['poisoning', 'map'])];
    }
    return checkDose(params, totalRows({ counts }), {
      rows: counts.reduce(
        (sum, count, label) => sum + (map === null || map.has(label) ? count : 0),
        0,
      ),
      whom: eligibleText(map, classes),
    });
  },
  poison(input) {
    const { classes, params } = input;
    const map = params.map === undefined ? null : parseMap(params.map, classes);
    const isEligible = ({ label }: Row): boolean => map === null || map.has(label);
    return poisonDose(input, isEligible, eligibleText(map, classes), (row) => ({
      ...row,
      label: map?.get(row.label) ?? otherLabel(row, input),
    }));
  },
});

/** Says which rows are eligible, for messages. */
const eligibleText = (
  map: ReadonlyMap<number, number> | null,
  classes: readonly string[],
): string =>
  map === null
    ? 'all rows can be flipped'
    : `\`map\` flips only ${[...map.keys()].map((id) => JSON.stringify(classes[id])).join(', ')}`;

/**
 * Returns the parameter `map` with label ids for classes. Throws `UserFault` if a class is unknown,
 * is mapped twice (by id and by name), or is mapped to itself.
 */
function parseMap(
  map: { readonly [from: string]: string | number },
  classes: readonly string[],
): Map<number, number> {
  const ids = new Map<number, number>();
  for (const [from, to] of Object.entries(map)) {
    const fromId = classId(from, classes, 'map'),
      toId = classId(to, classes, 'map');
    if (fromId === toId)
      throw new UserFault(
        `\`map\` turns class ${JSON.stringify(from)} into itself.`,
        'Leave out the classes that keep their label.',
      );
    if (ids.has(fromId))
      throw new UserFault(
        `\`map\` names class ${JSON.stringify(classes[fromId])} twice, by id and by name.`,
      );
    ids.set(fromId, toId);
  }
  return ids;
}
