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
} from '../api.ts';
import { namedFiles } from '../command/files.ts';
import { isRecord } from '../untrusted/json.ts';

/** The scorer of a spec that names none: the target's text, exactly. */
const DEFAULT_SCORER = 'exact';

/** A scorer as stages have it in their parameters: its name, and its parameters with defaults. */
export type ScorerSettings = { readonly scorer: string } & JsonObject;

/**
 * Returns the scorer of a cell, with its defaults and with the bare names of its files, and the
 * source URIs of these files by name.
 * @param scorer returns a scorer by its name; undefined while the planner does not know it
 */
export function scorerOf(
  { scorer: written = DEFAULT_SCORER }: Cell['evaluate'],
  scorer: (name: string) => ScorerDescriptor | undefined,
): { readonly settings: ScorerSettings; readonly files: { readonly [name: string]: string } } {
  const given = typeof written === 'string' ? { scorer: written } : (written as ScorerSettings);
  const settings = { ...defaultsOf(scorer(given.scorer)), ...given };
  const { files } = settings as JsonObject;
  if (!Array.isArray(files)) return { settings, files: {} };
  const { names, assets } = namedFiles(files as readonly string[], "the scorer's `files`");
  return { settings: { ...settings, files: names }, files: assets };
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
 */
export function scorerFaults(
  descriptor: ScorerDescriptor,
  { scorer: _name, ...params }: ScorerSettings,
  target?: string,
): Problem[] {
  const found = descriptor.check?.({ params, ...(target === undefined ? {} : { target }) }) ?? [];
  return found.map((problem) => ({ ...problem, path: ['evaluate', 'scorer', ...problem.path] }));
}

/**
 * Returns for each output, in order, whether it counts. Throws `UserFault` unless the scorer returns
 * a boolean for each.
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
    '`score` of a scorer returns a verdict for each output, in order (src/api/scorer.ts).',
  );
}

/** Returns the record of a scorer in a result: its name, its parameters, and what it adds itself. */
export const scorerRecord = (
  descriptor: ScorerDescriptor,
  settings: ScorerSettings,
): JsonObject => {
  const { scorer: _name, ...params } = settings;
  return { ...settings, ...descriptor.record?.(params) };
};
