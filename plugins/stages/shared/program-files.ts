/**
 * Files that a spec hands to a program by source URI. A stage's parameters contain their bare names
 * alone, and the files themselves are assets, so that a key depends on their content and not on
 * where they are.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
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
import { renamed } from './files.ts';

/** URIs or paths of files, by name. */
type Files = { readonly [name: string]: string };

interface NamedFiles {
  readonly names: readonly string[];
  /** The URIs by name. */
  readonly assets: Files;
}

/**
 * Separates a cell's attack from its `files`. Returns the attack with bare names, and the files as
 * assets. With several steps, the assets are named `ATTACK/NAME`.
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
      ...steps.map(({ attack, assets }) => renamed(assets, (name) => `${attack}/${name}`)),
    ) as Files,
  };
}

/** Returns an attack's parameters with bare names as `files`, and their URIs by name. */
function splitFiles(params: JsonObject): { readonly params: JsonObject; readonly assets: Files } {
  const { files } = params;
  if (!Array.isArray(files)) return { params, assets: {} };
  const { names, assets } = namedFiles(files as readonly string[], "the attack's `files`");
  return { params: { ...params, files: names }, assets };
}

/**
 * Names files by the last part of their URIs. Throws a UserFault if two files have the same name.
 * @param field the name of the list in the spec
 */
export function namedFiles(uris: readonly string[], field: string): NamedFiles {
  const named = uris.map((uri) => ({ uri, name: fileName(uri) }));
  const names = named.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserFault(
      `two of ${field} are named ${twice}`,
      'they lie in one folder when the program runs: rename one',
    );
  return { names, assets: Object.fromEntries(named.map(({ name, uri }) => [name, uri])) };
}

/** Returns the name of a file: `words.txt` for `file:data/words.txt`. */
const fileName = (uri: string): string =>
  uri.replace(/^\w+:/, '').replace(/\/+$/, '').split('/').at(-1) ?? '';

/** The prefix of the files of a trigger among a stage's assets. */
const TRIGGER = 'trigger/';
/** Returns the prefix of a scorer's files. @param further its name; absent for `evaluate.scorer` */
const scorerPrefix = (further?: string): string =>
  further === undefined ? 'scorer/' : `scorers/${further}/`;

/**
 * Returns the assets whose names begin with a prefix, by the rest of their names. Reads no other
 * asset, since it may not be fetched yet.
 */
export const assetsBelow = (prefix: string, assets: RunContext['assets']): [string, Asset][] =>
  Object.keys(assets)
    .filter((name) => name.startsWith(prefix))
    .map((name) => [name.slice(prefix.length), assets[name]!]);

const pathsOf = (assets: readonly [string, Asset][]): Files =>
  Object.fromEntries(assets.map(([name, { path }]) => [name, path]));

/** Returns a trigger's files (from `filesApart`) as assets of a stage that shows the trigger. */
export const triggerAssets = (files: Files): Files => renamed(files, (name) => TRIGGER + name);

/** Returns the paths of a trigger's files by name, from the assets of a stage that shows it. */
export const triggerFiles = (assets: RunContext['assets']): Files =>
  pathsOf(assetsBelow(TRIGGER, assets));

/**
 * Returns a scorer's files as assets of a stage that scores.
 * @param further the scorer's name, if it is one of `evaluate.scorers`
 */
export const scorerAssets = (files: Files, further?: string): Files =>
  renamed(files, (name) => scorerPrefix(further) + name);

/** Returns the paths of a scorer's `files` by name, from the assets of a stage that scores. */
export const scorerFiles = (assets: RunContext['assets'], further?: string): Files =>
  pathsOf(assetsBelow(scorerPrefix(further), assets).filter(([name]) => !name.startsWith(SOURCES)));

/** The prefix, after the scorer's, of files that a parameter other than `files` names. */
export const SOURCES = 'sources/';

/** Returns the sources that a scorer's parameters name, by parameter. */
export const scorerSources = (
  assets: RunContext['assets'],
  further?: string,
): { readonly [param: string]: Asset } =>
  Object.fromEntries(assetsBelow(scorerPrefix(further) + SOURCES, assets));

/** The file in which a poison stage writes the triggers that its attacks have learnt. */
export const LEARNT = 'learnt.json';

/**
 * Requests the poison stage in which the trigger was learnt. Empty if no attack learns its trigger.
 * @param poisoning the attacks whose trigger is shown; null if none is
 */
export function learntInput(
  cell: Cell,
  poisoning: Poisoning | null,
  plugin: DefineRequest['plugin'],
): { readonly learnt?: StageRequest } {
  const learns =
    poisoning !== null &&
    stepsOf(poisoning).some(
      ({ attack }) => plugin?.<AttackDescriptor>('attack', attack)?.learns === true,
    );
  if (learns && basesOf(cell).some(({ data }) => data !== undefined))
    throw new UserFault(
      `the attack "${poisoning.attack}" learns its trigger from its training rows, and the ` +
        'trainings have different rows (base, data)',
      'Leave out the data of each base, or take an attack whose trigger is given.',
      ['poisoning', 'attack'],
    );
  return learns ? { learnt: { kind: 'poison', cell: { ...cell, poisoning } } } : {};
}

/** Returns the triggers that the attacks have learnt; empty if none learns. */
async function readLearnt({ inputs }: Pick<RunContext, 'inputs'>): Promise<JsonObject> {
  const dir = inputs['learnt']?.dir;
  return dir === undefined
    ? {}
    : (JSON.parse(await readFile(join(dir, LEARNT), 'utf8')) as JsonObject);
}

/**
 * Returns the rows as evaluation shows them: those that don't belong to the target, without and
 * with the trigger. Null if none of the attacks is a backdoor. The trigger's files are assets of
 * this stage, and what the attacks learnt is its input `learnt`.
 */
export const showTriggerInStage = async (
  context: Pick<RunContext, 'assets' | 'inputs' | 'plugin' | 'log'>,
  trigger: Poisoning,
  rows: readonly Row[],
  { classes, seed }: { readonly classes: readonly string[]; readonly seed: number },
): Promise<ShownTrigger | null> =>
  showTrigger(trigger, rows, {
    classes,
    seed,
    plugin: (name) => context.plugin<AttackDescriptor>('attack', name),
    files: triggerFiles(context.assets),
    learnt: await readLearnt(context),
    log: context.log,
  });
