/** What a table for a paper says of the experiment behind its numbers, as sentences. Pure. */
import type { AttackTarget, JsonObject } from '../api.ts';
import { capital, list, plural } from './format.ts';
import { distinct } from './groups.ts';
import { sourceNames } from './sources.ts';
import type { ReportInput } from './types.ts';

/** A model or a split of the data. */
interface Source {
  readonly source: string;
  /** `data.NAME.limit`: how many rows are read. */
  readonly limit?: unknown;
}

/** Each list may name the same thing several times. */
export interface TableFacts {
  readonly models: readonly Source[];
  readonly train: readonly Source[];
  readonly validation: readonly Source[];
  readonly computedBy: readonly string[];
  /** How many goal stages of cells have no result. */
  readonly missing: number;
}

/**
 * Returns sentences that name the models, the data, what computed the numbers, and how much is
 * missing.
 */
export function factSentences({
  models,
  train,
  validation,
  computedBy,
  missing,
}: TableFacts): readonly string[] {
  const name = sourceNames([...models, ...train, ...validation].map(({ source }) => source));
  const listed = (sources: readonly Source[]): string =>
    list(
      distinct(
        sources.map(
          ({ source, limit }) =>
            `${name(source)}${typeof limit === 'number' ? ` (limit ${limit})` : ''}`,
        ),
      ),
    );
  const [trained, validated] = [listed(train), listed(validation)];
  return [
    `Model: ${listed(models)}.`,
    trained === validated
      ? `Data: ${trained}.`
      : `Training data: ${trained}; validation data: ${validated}.`,
    computedBy.length === 0 ? '' : `Computed by ${computedBy.join('; ')}.`,
    missing === 0
      ? ''
      : `${plural(missing, 'stage')} of this experiment had no result when the table was made.`,
  ].filter((sentence) => sentence !== '');
}

/** Returns the facts of a report's experiment. */
export function reportFacts(input: ReportInput): TableFacts {
  const { cells, goals, sources, stages } = input;
  /** Returns the sources of a role: `model`, `model (2)`. */
  const of = (role: string): readonly Source[] =>
    Object.entries(sources).flatMap(([name, { source, limit, asked }]) =>
      typeof source === 'string' && new RegExp(`^${role}(?: \\(\\d+\\))?$`).test(name)
        ? [{ source, limit: (asked as JsonObject | undefined)?.['limit'] ?? limit }]
        : [],
    );
  const lost = new Set(
    stages.filter(({ state }) => state === 'failed' || state === 'blocked').map(({ id }) => id),
  );
  return {
    models: of('model'),
    train: of('training data'),
    validation: of('validation data'),
    computedBy: backendNames(input),
    missing: cells.flatMap((cell) => goals.filter((goal) => lost.has(cell.stages[goal] ?? '')))
      .length,
  };
}

/**
 * Returns the backends' names; the backend of this run is named with its release. One release
 * computed every result of the run, because the release is part of their keys.
 */
export function backendNames({ backends, environment }: ReportInput): readonly string[] {
  const { name: own, version } = (environment['backend'] ?? {}) as JsonObject;
  return backends.map((name) => (name === own && typeof version === 'string' ? version : name));
}

/** Returns a line for each target class, with the attacks that lead to it. */
export function targetLines(targets: Iterable<AttackTarget>): string[] {
  const attacks = new Map<string, Set<string>>();
  for (const { attack, label, class: name } of targets) {
    const target = `${JSON.stringify(name)} (label ${label})`;
    attacks.set(target, (attacks.get(target) ?? new Set()).add(attack));
  }
  return [...attacks].map(([target, of]) => `target of ${[...of].join(', ')}: ${target}`);
}

/**
 * Returns the sentences that qualify the numbers: the attacks' targets, the caveats, and the
 * stages' warnings.
 */
export const caveatSentences = (
  targets: Iterable<AttackTarget>,
  caveats: readonly string[],
  warnings: readonly string[],
): readonly string[] => [
  ...targetLines(targets).map((line) => `${capital(line)}.`),
  ...caveats,
  ...warnings.map(capital),
];
