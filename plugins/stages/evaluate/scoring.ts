/**
 * Scorers as a spec writes them: their parameters with defaults, the faults that are found before
 * anything runs, and their verdicts, which are checked because a scorer may be a user's code.
 */
import {
  type Cell,
  type Json,
  type JsonObject,
  type Problem,
  type ScoredOutput,
  type ScorerContext,
  type ScorerDescriptor,
  UserFault,
} from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { isRecord } from '../../../src/base/untrusted/json.ts';
import { namedFiles } from '../shared/program-files.ts';

/** The scorer of a spec that names none: the target's text, exactly. */
const DEFAULT_SCORER = 'exact';

/** A scorer as stages have it in their parameters: its name, and its parameters with defaults. */
export type ScorerSettings = { readonly scorer: string } & JsonObject;

/** Returns a scorer by its name; undefined while the planner does not know it. */
export type FindScorer = (name: string) => ScorerDescriptor | undefined;

/** A scorer with defaults filled in and bare file names, and its files as source URIs by name. */
interface WrittenScorer {
  readonly settings: ScorerSettings;
  readonly files: { readonly [name: string]: string };
}

function written(scorer: Json, find: FindScorer, field: string): WrittenScorer {
  const given = typeof scorer === 'string' ? { scorer } : (scorer as ScorerSettings);
  const settings = { ...defaultsOf(find(given.scorer)), ...given };
  const { files } = settings as JsonObject;
  if (!Array.isArray(files)) return { settings, files: {} };
  const { names, assets } = namedFiles(files as readonly string[], field);
  return { settings: { ...settings, files: names }, files: assets };
}

/** Returns the scorer of a cell. @param otherwise the one of a spec that names none */
export const scorerOf = (
  { scorer }: Cell['evaluate'],
  find: FindScorer,
  otherwise = DEFAULT_SCORER,
): WrittenScorer => written((scorer ?? otherwise) as Json, find, "the scorer's `files`");

/**
 * Returns the further scorers of a cell. Throws `UserFault` where one is listed twice, or is the
 * cell's scorer too: their names tell their metrics apart.
 */
export function furtherScorersOf(
  evaluate: Cell['evaluate'],
  find: FindScorer,
  otherwise?: string,
): WrittenScorer[] {
  const further = (evaluate.scorers ?? []).map((scorer) =>
    written(scorer as Json, find, "a scorer's `files`"),
  );
  const names = [scorerOf(evaluate, find, otherwise), ...further].map(
    ({ settings }) => settings.scorer,
  );
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserFault(
      `the outputs are scored by "${twice}" twice, and its name is all that would tell the two apart`,
      'A regular expression of the scorer "regex" can say both; or evaluate twice, by two specs.',
      ['evaluate', 'scorers'],
    );
  return further;
}

function defaultsOf(scorer: ScorerDescriptor | undefined): JsonObject {
  const properties = scorer?.params['properties'];
  if (!isRecord(properties)) return {};
  return Object.fromEntries(
    Object.entries(properties).flatMap(([name, schema]) =>
      isRecord(schema) && 'default' in schema ? [[name, schema['default'] as Json]] : [],
    ),
  );
}

/**
 * Returns the faults of a scorer that its parameters reveal.
 * @param target the answer that the backdoor leads to; absent without a backdoor
 * @param path where the spec has the scorer, below `evaluate`
 */
export function scorerFaults(
  descriptor: ScorerDescriptor,
  { scorer: _name, ...params }: ScorerSettings,
  target?: string,
  path: Problem['path'] = ['scorer'],
): Problem[] {
  const found = descriptor.check?.({ params, ...defined({ target }) }) ?? [];
  return found.map((problem) => ({ ...problem, path: ['evaluate', ...path, ...problem.path] }));
}

/**
 * Returns for each output, in order, whether it counts. Throws `UserFault` unless the scorer
 * returns a boolean for each.
 */
export async function scored(
  descriptor: ScorerDescriptor,
  { scorer: name, ...params }: ScorerSettings,
  outputs: readonly ScoredOutput[],
  context: ScorerContext,
): Promise<readonly boolean[]> {
  const verdicts: unknown = await descriptor.score(outputs, params, context);
  if (Array.isArray(verdicts) && verdicts.length === outputs.length) {
    const list: readonly unknown[] = verdicts;
    if (list.every((verdict) => typeof verdict === 'boolean')) return list;
  }
  throw new UserFault(
    `the scorer "${name}" was given ${outputs.length} outputs, and did not return true or false ` +
      'for each',
    '`score` of a scorer returns a verdict for each output, in order (src/api/attack.ts).',
  );
}

/**
 * Returns the record of a scorer in a result: its name, its parameters, and what it adds itself.
 */
export const scorerRecord = (
  descriptor: ScorerDescriptor,
  settings: ScorerSettings,
): JsonObject => {
  const { scorer: _name, ...params } = settings;
  return { ...settings, ...descriptor.record?.(params) };
};
