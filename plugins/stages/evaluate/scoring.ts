import {
  type AttackDescriptor,
  type Cell,
  type DefineRequest,
  type Json,
  type JsonObject,
  type Poisoning,
  type PreflightContext,
  type Problem,
  type ScoredOutput,
  type ScorerContext,
  type ScorerDescriptor,
  type ScorerVerdict,
  stepsOf,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { mapValues } from '../../../src/base/record.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import {
  assetsBelow,
  namedFiles,
  scorerFiles,
  scorerPrefix,
  SOURCES,
} from '../shared/program-files.ts';
import type { Params } from './index.ts';

/**
 * A scorer in the parameters of stages: its plugin (`scorer`), a name of its own if the spec gives
 * one (`name`), and its parameters with defaults.
 */
export type ScorerSettings = { readonly scorer: string; readonly name?: string } & JsonObject;

/** Returns the name by which a scorer's metrics are told apart from those of other scorers. */
export const nameOf = ({ scorer, name = scorer }: ScorerSettings): string => name;

/** Returns the descriptor of the scorer plugin of this name; undefined if there is none. */
type FindScorer = (name: string) => ScorerDescriptor | undefined;

/** A scorer as a cell's spec has it. */
export interface WrittenScorer {
  /**
   * The scorer's settings, with defaults filled in and bare names in `files`, without sources and
   * `limits`.
   */
  readonly settings: ScorerSettings;
  /** The URIs of `files` by name, and of other sources by `sources/PARAMETER`. */
  readonly files: { readonly [name: string]: string };
  /** The parameters that are in no stage's key. Absent if the scorer has none. */
  readonly limits?: JsonObject;
}

type Schemas = { readonly [field: string]: { readonly format?: string; readonly default?: Json } };

/**
 * Takes a scorer of the spec apart into its settings, files and limits. A parameter that it does
 * not give has its default.
 * @param field the name of its `files` in messages
 */
function resolveScorer(scorer: Json, find: FindScorer, field: string): WrittenScorer {
  const given = typeof scorer === 'string' ? { scorer } : (scorer as ScorerSettings);
  const descriptor = find(given.scorer),
    schemas = (descriptor?.params['properties'] ?? {}) as Schemas;
  const sources: { [name: string]: string } = {},
    settings: { [name: string]: Json } = {},
    limits: { [name: string]: Json } = {};
  const defaults = defined(mapValues(schemas, (schema) => schema.default)) as JsonObject;
  for (const [name, value] of Object.entries<Json>({ ...defaults, ...(given as JsonObject) }))
    if (name === LABELS || schemas[name]?.format === 'source')
      sources[SOURCES + name] = value as string;
    else if (descriptor?.limits?.includes(name) === true) limits[name] = value;
    else settings[name] = value;
  const { files } = settings;
  const { names, assets } = namedFiles(Array.isArray(files) ? (files as string[]) : [], field);
  return {
    settings: { ...settings, ...(Array.isArray(files) && { files: names }) } as ScorerSettings,
    files: { ...assets, ...sources },
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}

/** The parameter of every scorer that names a file of outputs that people have labelled. */
export const LABELS = 'labels';

export interface Scorer {
  /** The scorer's name: `nameOf` of its settings. */
  readonly name: string;
  /**
   * The end of the names of the scorer's metrics: '' for `evaluate.scorer`, `.NAME` for a further
   * scorer.
   */
  readonly suffix: string;
  /** Where the spec has the scorer, below `evaluate`. */
  readonly path: Problem['path'];
  readonly descriptor: ScorerDescriptor;
  readonly settings: ScorerSettings;
  /** The settings, and the parameters that are in no stage's key. */
  readonly params: ScorerSettings;
  readonly files: () => ScorerContext['files'];
  /** Returns the assets that parameters name, `labels` too. Throws if one is not fetched yet. */
  readonly sources: () => NonNullable<ScorerContext['sources']>;
}

/** Returns all scorers of a stage, `evaluate.scorer` first. */
export function scorersOf({
  params: { completion },
  assets,
  limits,
  plugin,
}: Pick<PreflightContext<Params>, 'params' | 'assets' | 'limits' | 'plugin'>): Scorer[] {
  const { scorer, scorers = [] } = completion ?? {};
  const unkeyed = (limits?.['scorers'] ?? {}) as { readonly [name: string]: JsonObject };
  /**
   * Returns the scorer with these settings.
   * @param further its name, if it is one of `evaluate.scorers`
   */
  const toScorer = (settings: ScorerSettings, path: Scorer['path'], further?: string): Scorer => ({
    name: nameOf(settings),
    suffix: further === undefined ? '' : `.${further}`,
    path,
    descriptor: plugin('scorer', settings.scorer),
    settings,
    params: { ...settings, ...unkeyed[nameOf(settings)] },
    files: () => scorerFiles(assets, further),
    sources: () => Object.fromEntries(assetsBelow(scorerPrefix(further) + SOURCES, assets)),
  });
  return [
    ...(scorer === undefined ? [] : [toScorer(scorer, ['scorer'])]),
    ...scorers.map((own, i) => toScorer(own, ['scorers', i], nameOf(own))),
  ];
}

/** Returns the main scorer of a cell. @param otherwise the scorer of a spec that names none */
export const scorerOf = (
  { scorer }: Cell['evaluate'],
  find: FindScorer,
  otherwise = 'exact',
): WrittenScorer => resolveScorer((scorer ?? otherwise) as Json, find, "the scorer's `files`");

/**
 * Returns the scorers of a cell, `evaluate.scorer` (`main`) and `evaluate.scorers` (`further`),
 * with `find`, which returns their descriptors.
 * @param trigger the attack whose success is counted, by the attack's own scorer if the spec names
 * none
 * @throws UserFault if two scorers have the same name, so that their metrics could not be told
 * apart
 */
export function scorersOfCell(
  evaluate: Cell['evaluate'],
  trigger: Poisoning | null,
  plugin: DefineRequest['plugin'],
): { readonly find: FindScorer; readonly main: WrittenScorer; readonly further: WrittenScorer[] } {
  const find: FindScorer = (name) => plugin?.<ScorerDescriptor>('scorer', name);
  const [ofAttack] = (trigger === null ? [] : stepsOf(trigger)).flatMap(
    ({ attack }) => plugin?.<AttackDescriptor>('attack', attack)?.scorer ?? [],
  );
  const main = scorerOf(evaluate, find, ofAttack);
  const further = (evaluate.scorers ?? []).map((scorer) =>
    resolveScorer(scorer as Json, find, "a scorer's `files`"),
  );
  const names = [main, ...further].map(({ settings }) => nameOf(settings));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserFault(
      `the outputs are scored by "${twice}" twice, ` +
        'and its name is all that would tell the two apart',
      'Give one of them a name: { scorer: …, name: another }.',
      ['evaluate', 'scorers'],
    );
  return { find, main, further };
}

/** Returns the faults that a scorer's parameters reveal. @param path as in `Scorer` */
export function scorerFaults(
  descriptor: ScorerDescriptor,
  { scorer: _scorer, name: _name, ...params }: ScorerSettings,
  target?: string,
  path: Problem['path'] = ['scorer'],
): Problem[] {
  const found = descriptor.check?.({ params, ...defined({ target }) }) ?? [];
  return found.map((problem) => ({ ...problem, path: ['evaluate', ...path, ...problem.path] }));
}

/** Whether a value is a boolean, or an object with `hit`, a boolean or null, and a text `said`. */
const isVerdict = (value: unknown): value is ScorerVerdict =>
  typeof value === 'boolean' ||
  (isRecord(value) &&
    (typeof value['hit'] === 'boolean' || value['hit'] === null) &&
    typeof value['said'] === 'string');

/**
 * Returns the verdict on each output. Throws `UserFault` if the scorer, which may be a user's code,
 * does not return one for each, or is undecided without the flag `undecided`.
 */
export async function scored(
  descriptor: ScorerDescriptor,
  { scorer: name, name: _name, ...params }: ScorerSettings,
  outputs: readonly ScoredOutput[],
  context: ScorerContext,
): Promise<readonly ScorerVerdict[]> {
  const verdicts: unknown = await descriptor.score(outputs, params, context);
  if (Array.isArray(verdicts) && verdicts.length === outputs.length) {
    const list: readonly unknown[] = verdicts;
    if (list.every(isVerdict)) {
      // Without the flag, no metric would say how many outputs are left out of a rate.
      const isUndecided = (verdict: ScorerVerdict) =>
        typeof verdict === 'object' && verdict.hit === null;
      if (descriptor.undecided === true || !list.some(isUndecided)) return list;
      throw new UserFault(
        `the scorer "${name}" is undecided on an output, and does not say that it may be`,
        'Write `undecided: true` in the scorer (src/api/attack.ts).',
      );
    }
  }
  throw new UserFault(
    `the scorer "${name}" was given ${outputs.length} outputs, and did not return true or false ` +
      'for each',
    '`score` of a scorer returns a verdict for each output, in order (src/api/attack.ts).',
  );
}

/**
 * Returns a scorer's record: its settings, the digests of its sources, and what the scorer itself
 * adds.
 */
export function scorerRecord(
  descriptor: ScorerDescriptor,
  settings: ScorerSettings,
  sources: ScorerContext['sources'] = {},
): JsonObject {
  const { scorer: _scorer, name: _name, ...params } = settings;
  const digests = mapValues(sources, ({ digest }) => digest);
  return { ...settings, ...digests, ...descriptor.record?.(params) };
}
