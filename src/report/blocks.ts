/** What the first screen is about: of each kind of attack a few, each at its highest dose. */
import { blockLabel, type Condition, distinct, doseUnit, numericAxis } from './conditions.ts';

const MOST = { none: 1, untargeted: 2, backdoor: 3 } as const;

/** A family's conditions as blocks (one attack at one dose and one setting): of each attack the highest dose. */
export function headlineBlocks(
  conditions: readonly Condition[],
  family: Condition['family'],
): readonly (readonly Condition[])[] {
  const having = conditions.filter((condition) => condition.family === family);
  const attacks = distinct(having.map(({ attack }) => attack)).slice(0, MOST[family]);
  return attacks
    .map((attack) => {
      const of = having.filter(
        (condition) => condition.attack === attack && condition.setting === having[0]!.setting,
      );
      const dose = (condition: Condition): number =>
        Object.keys(condition.axes).reduce(
          (sum, path) => sum + (doseUnit(path) === null ? 0 : (numericAxis(condition, path) ?? 0)),
          0,
        );
      const top = of.reduce<Condition | null>(
        (best, condition) => (best === null || dose(condition) > dose(best) ? condition : best),
        null,
      );
      return top === null
        ? []
        : of.filter((condition) => blockLabel(condition) === blockLabel(top));
    })
    .filter((block) => block.length > 0);
}
