/**
 * Learning rates chosen per adapter at poisoning rate 0, on rows apart from the test set: an experiment derived from
 * the spec, whose cells run by the same engine and lie in the same store, and what its results say.
 */
import type { Json, JsonObject } from '../api.ts';
import { UserFault } from '../api.ts';
import type { ExperimentCell } from '../experiment/types.ts';
import { canonical } from '../plan/canonical.ts';
import { shortNames, tellingAxes } from '../plan/label.ts';
import type { ResultRow } from '../report/results.ts';
import { summarise } from '../stats/summary.ts';

export const RATE = 'train.learning_rate';
export const RULE =
  'the highest mean accuracy on the held-out rows; of equal means the smallest rate';

/** Half decades around what is usual: 2e-5 to 5e-5 for a whole BERT (Devlin et al. 2019), 1e-4 to 5e-4 for LoRA (Hu et al. 2022). */
const FULL = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4],
  FEW_PARAMETERS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2];

/** By adapter type; `*` for every other. */
export type Rates = { readonly [type: string]: readonly number[] };

const ratesOf = (types: readonly string[], given: Rates): readonly number[] =>
  [
    ...new Set(
      types.flatMap(
        (type) => given[type] ?? given['*'] ?? (type === 'full' ? FULL : FEW_PARAMETERS),
      ),
    ),
  ].sort((a, b) => a - b);

export interface SweepOptions {
  readonly rates: Rates;
  /** How many of the spec's seeds, from its first. */
  readonly seeds: number;
  /** Share of the training rows that is held out. */
  readonly share: number;
}

/**
 * The spec of the sweep: no attack, each adapter at each rate, trained on a part of the training rows and scored on the
 * rest of them. What the original's validation rows are is in none of its keys.
 * @param resolved the original's, axes unexpanded and defaults filled in
 * @throws UserFault where the training rows can't be divided
 */
export function sweepSpec(resolved: JsonObject, { rates, seeds, share }: SweepOptions): JsonObject {
  const {
    commands: _commands,
    include: _include,
    exclude: _exclude,
    tags: _tags,
    ...kept
  } = resolved;
  const data = resolved['data'] as JsonObject,
    train = data['train'] as JsonObject,
    clean = [{ attack: 'none' }];
  if (train['hold_out'] !== undefined)
    throw new UserFault(
      'data.train.hold_out is set already, and rates are chosen on a part of the training rows that is held out',
      'give the test rows a file of their own, as data.validation.source',
    );
  const axis = Object.entries(train).find(
    ([name, value]) => name !== 'classes' && Array.isArray(value),
  );
  if (axis !== undefined)
    throw new UserFault(
      `data.train.${axis[0]} is an axis of the grid: rates are chosen on one set of training rows`,
      `choose one of its values: --set data.train.${axis[0]}=${String((axis[1] as Json[])[0])}`,
    );
  const classes =
    data['classes'] ?? train['classes'] ?? (data['validation'] as JsonObject)['classes'];
  const part = (take: string): JsonObject => ({ ...train, hold_out: { share, take } });
  const base = resolved['base'] as JsonObject | undefined;
  return {
    ...kept,
    name: `${String(resolved['name'])}-learning-rates`,
    seeds: (resolved['seeds'] as Json[]).slice(0, seeds),
    stages: ['train', 'evaluate'],
    data: {
      ...(classes === undefined ? {} : { classes }),
      train: part('rest'),
      validation: part('held'),
    },
    poisoning: clean,
    ...(base === undefined ? {} : { base: { ...base, poisoning: clean } }),
    adapter: (resolved['adapter'] as JsonObject[]).map(({ when: _when, ...variant }) => ({
      ...variant,
      train: {
        ...(variant['train'] as JsonObject | undefined),
        learning_rate: [...ratesOf([variant['type'] as string | string[]].flat(), rates)],
      },
    })),
  };
}

export interface TriedRate {
  readonly rate: number;
  /** Of accuracy on the held-out rows, over the seeds; null where none was trained. */
  readonly mean: number | null;
  /** Sample standard deviation; null for one seed. */
  readonly std: number | null;
  readonly n: number;
  /** Seeds whose training or evaluation has no result: a rate that has one is not chosen. */
  readonly missing: number;
}

export interface Choice {
  readonly label: string;
  /** The axes that all its cells agree on, the rate apart. */
  readonly cell: JsonObject;
  readonly adapter: JsonObject;
  readonly rates: readonly TriedRate[];
  /** Null where no rate has all its results. */
  readonly chosen: TriedRate | null;
  /** Whether the chosen rate is the lowest or highest of several. */
  readonly edge: 'lowest' | 'highest' | null;
}

/** By adapter (and whatever else is an axis), in the spec's order. */
export function chooseRates(
  cells: readonly ExperimentCell[],
  rows: readonly Pick<ResultRow, 'cell' | 'seed' | 'stage' | 'metric' | 'value'>[],
): Choice[] {
  const accuracy = new Map(
    rows
      .filter(({ stage, metric }) => stage === 'evaluate' && metric === 'accuracy')
      .map(({ cell, seed, value }) => [canonical([cell, seed]), value]),
  );
  const groups = new Map<string, { cell: JsonObject; cells: ExperimentCell[] }>();
  for (const one of cells) {
    const { [RATE]: _rate, ...cell } = one.axes,
      key = canonical(cell);
    const group = groups.get(key) ?? { cell, cells: [] };
    group.cells.push(one);
    groups.set(key, group);
  }
  const telling = tellingAxes([...groups.values()].map(({ cell }) => cell)),
    short = shortNames(telling);
  return [...groups.values()].map(({ cell, cells: own }) => {
    const byRate = new Map<number, (number | undefined)[]>();
    for (const { axes, config } of own) {
      const rate = config.train.learning_rate;
      byRate.set(rate, [...(byRate.get(rate) ?? []), accuracy.get(canonical([axes, config.seed]))]);
    }
    const rates = [...byRate]
      .map(([rate, values]) => tried(rate, values))
      .sort((a, b) => a.rate - b.rate);
    const chosen = best(rates);
    const words = telling
      .filter((path) => path in cell)
      .map((path) => `${short.get(path)!}=${showValue(cell[path]!)}`);
    return {
      label: words.join(' ') || `type=${own[0]!.config.adapter.type}`,
      cell,
      adapter: own[0]!.config.adapter,
      rates,
      chosen,
      edge:
        chosen === null || rates.length < 2
          ? null
          : chosen === rates[0]
            ? 'lowest'
            : chosen === rates.at(-1)
              ? 'highest'
              : null,
    };
  });
}

/** The axes, other than an adapter's own, that one adapter's rates were chosen apart by; a variant of `adapter` has one rate for all of them. */
export function otherAxes(choices: readonly Pick<Choice, 'adapter' | 'cell'>[]): string[] {
  const byAdapter = new Map<string, JsonObject[]>();
  for (const { adapter, cell } of choices) {
    const key = canonical(adapter);
    byAdapter.set(key, [...(byAdapter.get(key) ?? []), cell]);
  }
  return [...new Set([...byAdapter.values()].flatMap(tellingAxes))];
}

function tried(rate: number, values: readonly (number | undefined)[]): TriedRate {
  const there = values.filter((value) => value !== undefined);
  const { mean, std } = there.length === 0 ? { mean: null, std: null } : summarise(there);
  return { rate, mean, std, n: there.length, missing: values.length - there.length };
}

/** RULE. @param rates from the lowest */
function best(rates: readonly TriedRate[]): TriedRate | null {
  let found: TriedRate | null = null;
  for (const one of rates)
    if (one.missing === 0 && one.mean !== null && (found === null || one.mean > found.mean!))
      found = one;
  return found;
}

const showValue = (value: Json): string => (typeof value === 'string' ? value : canonical(value));
