/** The attacks of a cell: one, or several that are applied one after the other. */
import type { JsonObject } from './json.ts';

/**
 * `attack` and the parameters of that attack, with defaults filled in. If a spec composes several
 * steps, `attack` is their names joined by `JOINT`, and `steps` holds the parameters of each step
 * by name.
 */
export type Poisoning = { readonly attack: string } & JsonObject;

/** Joins the names of composed attacks: `label-flip+badnets`. No plugin's name contains it. */
export const JOINT = '+';

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
