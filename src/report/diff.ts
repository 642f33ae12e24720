/** Two experiments' results side by side. Pure. */
import type { Json, JsonObject } from '../api.ts';
import { pairedDifference, summarise } from '../stats/summary.ts';
import { voidReason } from './evidence.ts';
import { ACCURACY } from './metrics.ts';
import type { CellMetrics } from './results.ts';

export interface ComparedName {
  /** Axis values by full path. */
  readonly axes: JsonObject;
  /** Everything the cell is made of: gives the value of a field that is an axis in the other experiment only. */
  readonly config: unknown;
}

export interface ComparedCell extends Pick<CellMetrics, 'seed' | 'metrics'> {
  /** Its own name first; more where the grid has one training under several (α = r and α = 16 at rank 16). */
  readonly names: readonly ComparedName[];
}

export interface DifferenceRow {
  /** By full path: the axes of either experiment. */
  readonly cell: JsonObject;
  readonly seed: number;
  readonly stage: string;
  readonly metric: string;
  /** Null where that experiment has no such number. */
  readonly a: number | null;
  readonly b: number | null;
  /** b − a; null where either is missing. */
  readonly difference: number | null;
  /** Why the pair is no evidence (evidence.ts), so that no mean difference counts it; null where it is, or where either is missing. */
  readonly excluded: string | null;
}

/** Keys in order, so that two ways to write one value are one. */
function ordered(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(ordered);
  return Object.fromEntries(
    Object.entries(value)
      .sort(([x], [y]) => (x < y ? -1 : 1))
      .map(([key, child]) => [key, ordered(child)]),
  );
}
const nameOf = (value: unknown): string => JSON.stringify(ordered(value));

function valueAt(config: unknown, path: string): Json | undefined {
  let at: unknown = config;
  for (const part of path.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as { readonly [key: string]: unknown })[part];
  }
  return at as Json;
}

/**
 * Under which of their names cells are listed: the first that two cells share, so that two cells of several names are
 * compared once; its own first name where the other experiment has no such cell.
 * @param a each cell's names, `b` likewise
 * @returns by `nameOf` all of a cell's names
 */
function listedNames(
  a: readonly (readonly JsonObject[])[],
  b: readonly (readonly JsonObject[])[],
): ReadonlyMap<string, readonly JsonObject[]> {
  const listed = new Map<string, JsonObject[]>();
  const others = new Map(b.flatMap((names) => names.map((name) => [nameOf(name), nameOf(names)])));
  const pairs = new Set<string>();
  for (const names of a)
    for (const name of names) {
      const other = others.get(nameOf(name)),
        own = nameOf(names);
      if (other === undefined || pairs.has(nameOf([own, other]))) continue;
      pairs.add(nameOf([own, other]));
      for (const cell of new Set([own, other]))
        listed.set(cell, [...(listed.get(cell) ?? []), name]);
    }
  for (const names of [...a, ...b])
    if (!listed.has(nameOf(names))) listed.set(nameOf(names), [names[0]!]);
  return listed;
}

/**
 * Every number of either, matched by cell, seed, stage and metric. A cell's name is its values along the axes of both
 * experiments: a field that is fixed in one and varied in the other still tells cells apart; one that is fixed in both,
 * and may be what the two differ in, does not.
 */
export function differenceRows(
  a: readonly ComparedCell[],
  b: readonly ComparedCell[],
): DifferenceRow[] {
  const paths = [
    ...new Set([...a, ...b].flatMap(({ names }) => names.flatMap(({ axes }) => Object.keys(axes)))),
  ];
  const fullNames = ({ names }: ComparedCell): JsonObject[] =>
    names.map(({ axes, config }) =>
      Object.fromEntries(
        paths.flatMap((path) => {
          const value = axes[path] ?? valueAt(config, path);
          return value === undefined ? [] : [[path, value]];
        }),
      ),
    );
  const listed = listedNames(a.map(fullNames), b.map(fullNames));
  const rows = new Map<
    string,
    {
      cell: JsonObject;
      seed: number;
      stage: string;
      metric: string;
      a: number | null;
      b: number | null;
      reasons: readonly string[];
    }
  >();
  for (const [side, cells] of [
    ['a', a],
    ['b', b],
  ] as const) {
    for (const one of cells) {
      const { seed, metrics } = one;
      for (const cell of listed.get(nameOf(fullNames(one)))!)
        for (const [stage, values] of Object.entries(metrics))
          for (const [metric, value] of Object.entries(values)) {
            if (!Number.isFinite(value)) continue;
            const name = nameOf([cell, seed, stage, metric]);
            const row = rows.get(name) ?? {
              cell,
              seed,
              stage,
              metric,
              a: null,
              b: null,
              reasons: [],
            };
            row[side] = value;
            const reason = stage === ACCURACY.stage ? voidReason({ metrics }, { metric }) : null;
            if (reason !== null) row.reasons = [...row.reasons, `${side.toUpperCase()} ${reason}`];
            rows.set(name, row);
          }
    }
  }
  return [...rows.values()].map(({ reasons, ...row }) => {
    const difference = row.a === null || row.b === null ? null : row.b - row.a;
    return {
      ...row,
      difference,
      excluded: difference === null || reasons.length === 0 ? null : reasons.join('; '),
    };
  });
}

export interface DifferenceSummary {
  readonly cell: JsonObject;
  readonly stage: string;
  readonly metric: string;
  /** Means over the seeds that have the number; null where none has. */
  readonly a: number | null;
  readonly b: number | null;
  /** Over the seeds that both have, paired: the mean of b − a, and its 95% interval (null below two pairs). */
  readonly difference: number | null;
  readonly low: number | null;
  readonly high: number | null;
  readonly pairs: number;
  /** Seeds that both have and that are no evidence: in the means of each, and in no difference. */
  readonly excluded: number;
}

/** One row a cell and metric, over its seeds. */
export function summariseDifferences(rows: readonly DifferenceRow[]): DifferenceSummary[] {
  const groups = new Map<string, DifferenceRow[]>();
  for (const row of rows) {
    const name = nameOf([row.cell, row.stage, row.metric]),
      group = groups.get(name);
    if (group) group.push(row);
    else groups.set(name, [row]);
  }
  return [...groups.values()].map((group) => {
    const { cell, stage, metric } = group[0]!;
    const mean = (values: readonly (number | null)[]): number | null => {
      const there = values.filter((value) => value !== null);
      return there.length === 0 ? null : summarise(there).mean;
    };
    const both = group.filter(
      (row): row is DifferenceRow & { a: number; b: number } => row.a !== null && row.b !== null,
    );
    const pairs = both.filter(({ excluded }) => excluded === null);
    const paired =
      pairs.length === 0
        ? null
        : pairedDifference(
            pairs.map((row) => row.b),
            pairs.map((row) => row.a),
          );
    return {
      cell,
      stage,
      metric,
      a: mean(group.map((row) => row.a)),
      b: mean(group.map((row) => row.b)),
      difference: paired?.mean ?? null,
      low: paired?.low ?? null,
      high: paired?.high ?? null,
      pairs: pairs.length,
      excluded: both.length - pairs.length,
    };
  });
}

export interface FieldDifference {
  readonly path: string;
  /** Null where it is not set. */
  readonly a: Json;
  readonly b: Json;
}

/** The fields in which two resolved specs differ, by full path; lists are compared whole. */
export function fieldDifferences(a: unknown, b: unknown, path = ''): FieldDifference[] {
  const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isRecord(a) && isRecord(b)) {
    return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
      fieldDifferences(a[key], b[key], path === '' ? key : `${path}.${key}`),
    );
  }
  return nameOf(a ?? null) === nameOf(b ?? null)
    ? []
    : [{ path, a: (a ?? null) as Json, b: (b ?? null) as Json }];
}
