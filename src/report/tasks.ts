/** The named data sets that cells are evaluated on, and the metrics by which each is scored. */
import type { JsonObject } from '../api.ts';
import { cohenKappa, fleissKappa } from '../base/stats.ts';
import type { Condition } from './conditions.ts';
import { plainText } from './format.ts';
import { distinct, groupBy } from './groups.ts';
import { studiedAttack } from './labels.ts';
import type { Metric } from './metrics.ts';
import type { TaskFacts } from './types.ts';

/** Returns `{ task: NAME }` for a metric that scores the data set NAME, and otherwise `{}`. */
export function taskField(
  tasks: readonly TaskFacts[] = [],
  { stage, metric }: Metric,
): { readonly task?: string } {
  const found = tasks.find(({ metrics }) => metrics.includes(metric));
  return found === undefined || stage !== 'evaluate' ? {} : { task: found.dataset };
}

/** Whether the data set of any of the conditions is scored by this metric. */
export const isTaskScore = (conditions: readonly Condition[], metric: Metric): boolean =>
  conditions.some(({ cells }) =>
    cells.some(({ tasks }) => taskField(tasks, metric).task !== undefined),
  );

/**
 * Returns ` mrpc is scored by f1 and accuracy.` for these metrics; '' if they score no data set.
 */
export function taskNote(conditions: readonly Condition[], shown: readonly Metric[]): string {
  const names = new Set(shown.map(({ metric }) => metric));
  const cells = conditions.flatMap((condition) => condition.cells);
  const sentences = cells.flatMap(({ tasks = [] }) =>
    tasks.flatMap(({ dataset, metrics }) => {
      const own = metrics.filter((metric) => names.has(metric));
      return own.length === 0 ? [] : [` ${dataset} is scored by ${own.join(' and ')}.`];
    }),
  );
  return distinct(sentences).join('');
}

/**
 * Returns a scorer's name with its parameters, `refusal, ignore_case true`, but without the list of
 * phrases, which may be long, and the digest of labels, on which no verdict depends.
 */
export function scorerWords(record: JsonObject): string {
  const { scorer, phrases: _phrases, labels: _labels, ...params } = record;
  const own = Object.entries(params).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
  return [plainText(scorer), ...own].join(', ');
}

/** A scorer, and an attack whose successes it counts. */
export interface ScorerUse {
  /** The scorer, as `scorerWords` writes it. */
  readonly scorer: string;
  readonly attack: string;
  /** What its metrics end in: '' for the main scorer, `.NAME` for a further one. */
  readonly suffix: string;
}

/**
 * Returns the scorers, each once. If a metric has different scorers under different attacks, each
 * scorer's attacks follow it: `exact, ignore_case true (badnets, vpi)`.
 */
export function scorerNames(uses: readonly ScorerUse[]): readonly string[] {
  const names = [...groupBy(uses, ({ suffix }) => suffix).values()].flatMap((own) => {
    const scorers = [...groupBy(own, ({ scorer }) => scorer)],
      attacks = (some: typeof own) => distinct(some.map(({ attack }) => attack));
    return scorers.map(([scorer, by]) =>
      scorers.length === 1 || attacks(own).length === 1
        ? scorer
        : `${scorer} (${attacks(by).join(', ')})`,
    );
  });
  return distinct(names);
}

/** Returns `Scorer: refusal, ignore_case true.`; empty without a scorer. */
export function scorerSentence(uses: readonly ScorerUse[]): string {
  const names = scorerNames(uses);
  if (names.length === 0) return '';
  return `${names.length === 1 ? 'Scorer' : 'Scorers'}: ${names.join('; ')}.`;
}

/** Returns the main scorers of the conditions. */
export const scorersOf = (conditions: readonly Condition[]): readonly ScorerUse[] =>
  conditions.flatMap(({ axes, cells }) =>
    cells.flatMap(({ writing }) =>
      writing
        ? [{ scorer: scorerWords(writing.scorer), attack: studiedAttack(axes), suffix: '' }]
        : [],
    ),
  );

export interface AgreementRow {
  readonly name: string;
  /** How many outputs all scorers of the row decide. */
  readonly outputs: number;
  /** How many outputs only the first scorer counts, and only the second; null for more scorers. */
  readonly only: readonly [number, number] | null;
  /** The share of the outputs on which the scorers agree; NaN if `outputs` is 0. */
  readonly agreement: number;
  /** Cohen's κ of a pair, or Fleiss' κ of all scorers; null if it is undefined. */
  readonly kappa: number | null;
}

/** Compares scorers over the outputs of all cells: each pair and, of three or more, all of them. */
export function agreementRows(conditions: readonly Condition[]): readonly AgreementRow[] {
  const found = conditions.flatMap(({ cells }) =>
    cells.flatMap(({ agreement }) => agreement ?? []),
  );
  const bySet = new Map(found.map((one) => [one.scorers.join(), one.scorers]));
  return [...bySet].flatMap(([joined, scorers]) => {
    const own = found.filter((one) => one.scorers.join() === joined);
    // How many outputs none of the scorers counts, exactly one, …, all of them.
    const counts = [0, ...scorers].map((_, hits) =>
      own.reduce((sum, one) => sum + (one.counts[hits] ?? 0), 0),
    );
    const all = counts.reduce((sum, count) => sum + count, 0);
    const pairs = (own[0]?.pairs ?? []).map(({ of }, p): AgreementRow => {
      const total = (a: 0 | 1, b: 0 | 1): number =>
        own.reduce((sum, { pairs }) => sum + (pairs[p]?.counts[a][b] ?? 0), 0);
      // How many outputs the first and the second scorer count: n is no, y is yes.
      const [nn, ny, yn, yy] = [total(0, 0), total(0, 1), total(1, 0), total(1, 1)];
      const outputs = nn + ny + yn + yy;
      return {
        name: of.join(', '),
        outputs,
        only: [yn, ny],
        agreement: (nn + yy) / outputs,
        kappa: cohenKappa([
          [nn, ny],
          [yn, yy],
        ]),
      };
    });
    if (scorers.length < 3) return pairs;
    const agreement = ((counts[0] ?? 0) + (counts.at(-1) ?? 0)) / all;
    const kappa = fleissKappa(counts);
    return [
      ...pairs,
      { name: `all ${scorers.length}`, outputs: all, only: null, agreement, kappa },
    ];
  });
}
