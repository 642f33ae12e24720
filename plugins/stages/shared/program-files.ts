/**
 * Files that a spec hands to a program by source URI. A stage's parameters contain their bare names
 * alone, and the files themselves are assets, so that a key depends on their content and not on
 * where they are.
 */
import { posix } from 'node:path';
import {
  type Asset,
  type AttackDescriptor,
  basesOf,
  type Cell,
  type DefineRequest,
  type JsonObject,
  type Poisoning,
  type Row,
  type RunContext,
  type StageRequest,
  stepsOf,
  UserFault,
} from '../../../src/api.ts';
import { type ShownTrigger, showTrigger } from '../../../src/poisoning/evaluation.ts';
import { prefixed, readJson } from './files.ts';

/** URIs or paths of files, by name. */
type Files = { readonly [name: string]: string };

/**
 * Separates a cell's attack from its `files`. Returns the attack with bare names in `files`, and
 * the URIs as assets: by name or, with several steps, by `ATTACK/NAME`.
 */
export function filesApart(poisoning: Poisoning): {
  readonly poisoning: Poisoning;
  readonly assets: Files;
} {
  const steps = stepsOf(poisoning).map(({ attack, params }) => ({ attack, ...splitFiles(params) }));
  const [only] = steps;
  if (only !== undefined && steps.length === 1)
    return { poisoning: { attack: only.attack, ...only.params }, assets: only.assets };
  return {
    poisoning: {
      ...poisoning,
      steps: Object.fromEntries(steps.map(({ attack, params }) => [attack, params])),
    },
    assets: Object.assign(
      {},
      ...steps.map(({ attack, assets }) => prefixed(assets, `${attack}/`)),
    ) as Files,
  };
}

function splitFiles(params: JsonObject): { readonly params: JsonObject; readonly assets: Files } {
  const { files } = params;
  if (!Array.isArray(files)) return { params, assets: {} };
  const { names, assets } = namedFiles(files as readonly string[], "the attack's `files`");
  return { params: { ...params, files: names }, assets };
}

/**
 * Names files by the last part of their URIs: `words.txt` for `file:data/words.txt`. Returns the
 * names, and the URIs by name. Throws a UserFault if two files have the same name.
 * @param field the name of the list in the spec
 */
export function namedFiles(
  uris: readonly string[],
  field: string,
): { readonly names: readonly string[]; readonly assets: Files } {
  const names = uris.map((uri) => posix.basename(uri.replace(/^\w+:/, '')));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserFault(
      `two of ${field} are named ${twice}`,
      'they lie in one folder when the program runs: rename one',
    );
  return { names, assets: Object.fromEntries(names.map((name, i) => [name, uris[i]!])) };
}

/** The prefix of a trigger's files among the assets of a stage that shows the trigger. */
const TRIGGER = 'trigger/';

/**
 * Returns each asset whose name begins with a prefix, paired with the rest of its name. Reads no
 * other asset, since it may not be fetched yet.
 */
export const assetsBelow = (prefix: string, assets: RunContext['assets']): [string, Asset][] =>
  Object.keys(assets)
    .filter((name) => name.startsWith(prefix))
    .map((name) => [name.slice(prefix.length), assets[name]!]);

const pathsOf = (assets: readonly [string, Asset][]): Files =>
  Object.fromEntries(assets.map(([name, { path }]) => [name, path]));

export const triggerAssets = (files: Files): Files => prefixed(files, TRIGGER);

/** Returns the paths of a trigger's files by name, from the assets of a stage that shows it. */
export const triggerFiles = (assets: RunContext['assets']): Files =>
  pathsOf(assetsBelow(TRIGGER, assets));

/**
 * Returns the prefix of a scorer's assets.
 * @param further the name of a scorer of `evaluate.scorers`; absent for `evaluate.scorer`
 */
export const scorerPrefix = (further?: string): string =>
  further === undefined ? 'scorer/' : `scorers/${further}/`;

/** Returns the paths of a scorer's `files` by name. */
export const scorerFiles = (assets: RunContext['assets'], further?: string): Files =>
  pathsOf(assetsBelow(scorerPrefix(further), assets).filter(([name]) => !name.startsWith(SOURCES)));

/**
 * The prefix that follows `scorerPrefix` in the name of an asset which a parameter other than
 * `files` names.
 */
export const SOURCES = 'sources/';

/** The file in which a poison stage writes the triggers that its attacks have learnt. */
export const LEARNT = 'learnt.json';

/**
 * Requests the poison stage in which the shown trigger was learnt; empty if it is not learnt.
 * Throws a `UserFault` if the trainings have different rows to learn from.
 */
export function learntInput(
  cell: Cell,
  poisoning: Poisoning | null,
  plugin: DefineRequest['plugin'],
): { readonly learnt?: StageRequest } {
  if (poisoning === null || !learnsTrigger(poisoning, plugin)) return {};
  if (basesOf(cell).some(({ data }) => data !== undefined))
    throw new UserFault(
      `the attack "${poisoning.attack}" learns its trigger from its training rows, and the ` +
        'trainings have different rows (base, data)',
      'Leave out the data of each base, or take an attack whose trigger is given.',
      ['poisoning', 'attack'],
    );
  return { learnt: { kind: 'poison', cell: { ...cell, poisoning } } };
}

/** Whether one of the attacks learns its trigger from the training rows. */
export const learnsTrigger = (poisoning: Poisoning, plugin: DefineRequest['plugin']): boolean =>
  stepsOf(poisoning).some(({ attack }) => plugin?.<AttackDescriptor>('attack', attack)?.learns);

/**
 * Returns the rows with and without the trigger, as `showTrigger` does; null if no attack is a
 * backdoor. The trigger's files are assets, and what its attacks learnt is the input `learnt`.
 */
export async function showTriggerInStage(
  { assets, inputs, plugin, log }: Pick<RunContext, 'assets' | 'inputs' | 'plugin' | 'log'>,
  trigger: Poisoning,
  rows: readonly Row[],
  { classes, seed }: { readonly classes: readonly string[]; readonly seed: number },
): Promise<ShownTrigger | null> {
  const { learnt } = inputs;
  return showTrigger(trigger, rows, {
    classes,
    seed,
    plugin: (name) => plugin('attack', name),
    files: triggerFiles(assets),
    learnt: learnt === undefined ? {} : ((await readJson(learnt.dir, LEARNT)) as JsonObject),
    log,
  });
}
