/** The attacks of a cell: one, or several that are applied one after the other. */
import type { JsonObject } from '../base/json.ts';

/**
 * `attack` and the parameters of that attack, with defaults filled in. If a spec composes several
 * steps, `attack` is their names joined by `JOINT`, and `steps` holds the parameters of each step
 * by name.
 */
export type Poisoning = { readonly attack: string } & JsonObject;

/** Joins the names of composed attacks: `label-flip+badnets`. No plugin's name contains it. */
export const JOINT = '+';

/** Where in each epoch of the training an attack's poisoned rows stand. */
export type Order = 'mixed' | 'first' | 'last';

/** One attack with its parameters. */
export interface AttackStep {
  readonly attack: string;
  readonly params: JsonObject;
}

/**
 * Returns the attacks of a cell in the order in which they are applied. There is only one unless
 * the spec composes `steps`. Throws an Error if `steps` lacks the parameters of an attack.
 */
export function stepsOf({ attack, ...params }: Poisoning): readonly AttackStep[] {
  if (!attack.includes(JOINT)) return [{ attack, params }];
  const steps = params['steps'] as { readonly [attack: string]: JsonObject };
  return attack.split(JOINT).map((name) => {
    const own = steps[name];
    if (own === undefined) throw new Error(`\`steps\` has no parameters of "${name}"`);
    return { attack: name, params: own };
  });
}

/**
 * Where a step's rows are put on purpose, or null if they stay where the epoch's order has them.
 */
export const placeInEpoch = ({ params: { order } }: AttackStep): 'first' | 'last' | null =>
  order === 'first' || order === 'last' ? order : null;

/** Whether any attack of the cell has an `order` other than mixed. */
export const hasOrder = (poisoning: Poisoning): boolean =>
  stepsOf(poisoning).some((step) => placeInEpoch(step) !== null);

/**
 * Returns the attacks without `order`, which no trigger depends on.
 * @param which `mixed` leaves out only the order that changes nothing
 */
export function withoutOrder(poisoning: Poisoning, which: 'mixed' | 'any' = 'any'): Poisoning {
  const out: readonly unknown[] = which === 'mixed' ? ['mixed'] : ['mixed', 'first', 'last'];
  const bare = ({ order, ...params }: JsonObject): JsonObject =>
    order === undefined || out.includes(order) ? params : { ...params, order };
  const { attack, ...params } = poisoning;
  if (!attack.includes(JOINT)) return { attack, ...bare(params) };
  const steps = stepsOf(poisoning).map((step) => [step.attack, bare(step.params)] as const);
  return { ...poisoning, steps: Object.fromEntries(steps) };
}

/**
 * The poisoning of a clean twin whose rows stand where those of the poisoned cell stand: nothing is
 * poisoned, and the rows that the attack would poison are put first or last.
 */
export const inOrderOf = (poisoning: Poisoning): Poisoning => ({
  attack: 'none',
  order_of: poisoning,
});

/** Returns what `inOrderOf` was given, or null for any other poisoning. */
export const orderedLike = (poisoning: Poisoning): Poisoning | null =>
  (poisoning['order_of'] as Poisoning | undefined) ?? null;
