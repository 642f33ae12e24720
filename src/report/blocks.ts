/**
 * The conditions that the first screen shows: a few attacks of each kind, at their highest dose.
 * What it leaves out is named there.
 */
import { type Condition, numericAxis } from './conditions.ts';
import { distinct, groupBy, type NonEmpty } from './groups.ts';
import { blockLabel, doseUnit } from './labels.ts';

/** The number of attacks of each family that fit on the first screen. */
const MOST = { none: 1, untargeted: 2, backdoor: 3 } as const;

/** The sum of a condition's doses. */
const doseOf = (condition: Condition): number =>
  Object.keys(condition.axes)
    .filter((path) => doseUnit(path) !== null)
    .reduce((sum, path) => sum + (numericAxis(condition, path) ?? 0), 0);

/**
 * Returns a family's blocks for the first screen; a block is one attack at one dose and one
 * setting. For each attack, this is the block of its highest dose, in the setting of the family's
 * first condition.
 */
export function headlineBlocks(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly NonEmpty<Condition>[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = [...groupBy(having, ({ attack }) => attack).values()].slice(0, MOST[family]);
  return attacks.flatMap((ofAttack) => {
    const alike = ofAttack.filter(({ setting }) => setting === having[0]?.setting);
    const [first] = alike;
    if (first === undefined) return [];
    const top = alike.reduce((best, one) => (doseOf(one) > doseOf(best) ? one : best), first);
    const block = groupBy(alike, blockLabel).get(blockLabel(top));
    return block === undefined ? [] : [block];
  });
}

/**
 * Returns the labels of a family's blocks that are not among its headlines: those of the same
 * attack for each headline and, for the last one, those of the attacks without any.
 */
export function blocksBeside(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly (readonly string[])[] {
  const having = conditions.filter((condition) => condition.family === family);
  const headlines = headlineBlocks(conditions, family).map(([first]) => first);
  const shown = new Set(headlines.map(blockLabel)),
    attacks = new Set(headlines.map(({ attack }) => attack));
  const labelsOf = (isWanted: (condition: Condition) => boolean): string[] =>
    distinct(having.filter(isWanted).map(blockLabel)).filter((name) => !shown.has(name));
  return headlines.map(({ attack }, i) => [
    ...labelsOf((condition) => condition.attack === attack),
    ...(i < headlines.length - 1 ? [] : labelsOf((condition) => !attacks.has(condition.attack))),
  ]);
}
