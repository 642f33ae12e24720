/** Files that a program is given by source URI: in parameters stand their own names alone, their content is read as assets. */
import type { JsonObject, Poisoning, RunContext } from '../api.ts';
import { stepsOf, UserFault } from '../api.ts';

export interface NamedFiles {
  readonly names: readonly string[];
  /** URI by name. */
  readonly assets: { readonly [name: string]: string };
}

/** A cell's attack with its `files` by name alone: where they lie is no part of a key, what is in them is. Those of several steps are `STEP/NAME`. */
export function filesApart(poisoning: Poisoning): {
  readonly poisoning: Poisoning;
  readonly assets: NamedFiles['assets'];
} {
  const steps = stepsOf(poisoning).map(({ attack, params }) => ({ attack, ...apart(params) }));
  const [only] = steps;
  if (steps.length === 1)
    return { poisoning: { attack: only!.attack, ...only!.params }, assets: only!.assets };
  return {
    poisoning: {
      ...poisoning,
      steps: Object.fromEntries(steps.map(({ attack, params }) => [attack, params])),
    },
    assets: Object.fromEntries(
      steps.flatMap(({ attack, assets }) =>
        Object.entries(assets).map(([name, uri]) => [`${attack}/${name}`, uri]),
      ),
    ),
  };
}

function apart(params: JsonObject): {
  readonly params: JsonObject;
  readonly assets: NamedFiles['assets'];
} {
  const { files } = params;
  if (!Array.isArray(files)) return { params, assets: {} };
  const { names, assets } = namedFiles(files as readonly string[], "the attack's `files`");
  return { params: { ...params, files: names }, assets };
}

/** @param field as the spec names the list. @throws UserFault where two have one name */
export function namedFiles(uris: readonly string[], field: string): NamedFiles {
  const names = uris.map((uri) => uri.replace(/^\w+:/, '').replace(/\/+$/, '').split('/').at(-1)!);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserFault(
      `two of ${field} are named ${twice}`,
      'they lie in one folder when it runs: rename one',
    );
  return { names, assets: Object.fromEntries(names.map((name, i) => [name, uris[i]!])) };
}

/** Names of a trigger's files among a stage's assets, beside its model. */
const TRIGGER = 'trigger/';

/** A trigger's files, by `filesApart`, as assets of a stage that shows it. */
export const triggerAssets = (files: NamedFiles['assets']): NamedFiles['assets'] =>
  Object.fromEntries(Object.entries(files).map(([name, uri]) => [`${TRIGGER}${name}`, uri]));

/** Where they lie when it runs: paths by name. */
export const triggerFiles = (assets: RunContext['assets']): { readonly [name: string]: string } =>
  Object.fromEntries(
    Object.entries(assets)
      .filter(([name]) => name.startsWith(TRIGGER))
      .map(([name, { path }]) => [name.slice(TRIGGER.length), path]),
  );
