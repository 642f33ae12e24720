/**
 * Cells that differ in their seed alone are one condition: the unit of every table and figure. Its name holds what
 * varies over the grid and nothing else.
 */
import canonicalize from 'canonicalize';
import type { JsonObject, StageFacts } from '../api.ts';
import { summarise, type Summary } from '../stats/summary.ts';
import { formatValue } from './format.ts';
import type { AttackFamily, ReportCell } from './types.ts';

export interface Labels {
  /** `badnets, rate 0.1` */
  readonly attackLabel: string;
  /** `LoRA r = 4`; with it what of its training varies, `LoRA r = 4, learning rate = 0.001`. */
  readonly adapterLabel: string;
  /** Other axes that vary: `train.limit = 600`; empty where none does. */
  readonly setting: string;
}

export interface Condition extends Labels {
  readonly key: string;
  readonly attack: string;
  readonly family: AttackFamily;
  /** The attack is on the base, whose model is then trained on clean rows: the paper claims nothing of that. */
  readonly ofBase: boolean;
  readonly adapter: string;
  readonly axes: JsonObject;
  /** Under each of its names, where it has several (α = r and α = 16 at rank 16): for a figure along an axis, on which each name has a place of its own. They are one condition everywhere else. */
  readonly named: readonly Condition[];
  /** One a seed, in the order of the spec. */
  readonly cells: readonly ReportCell[];
  /** By cell: why it has no result, where a stage of it failed. */
  readonly failures: ReadonlyMap<ReportCell, readonly StageFacts[]>;
  /** Its labels when one axis is drawn, not named. */
  labelsWithout(path: string): Labels;
}

/** Equal for structures with equal content, whatever the order of keys. */
export const contentKey = (value: unknown): string => canonicalize(value) ?? '';

export const isFull = (condition: { readonly adapter: string }): boolean =>
  condition.adapter === 'full';

/** An attack's dose, or that of one of several: `poisoning.steps.badnets.rate`. */
const DOSE = /^poisoning\.(steps\.[^.]+\.)?(rate|count)$/;
export const doseUnit = (path: string): 'rate' | 'count' | null =>
  (DOSE.exec(path)?.[2] ?? null) as 'rate' | 'count' | null;
const NAMES: Readonly<Record<string, string>> = {
  'adapter.rank': 'r',
  'adapter.alpha': 'α',
  'adapter.init.variance': 'σ²',
  'adapter.init.distribution': 'init',
  'train.learning_rate': 'learning rate',
  'adapter.train.learning_rate': 'learning rate',
};
const BASE = 'base.';
/** `adapter.init.variance` → `σ²`, `poisoning.steps.badnets.rate` → `badnets rate`, `base.adapter.rank` → `base r`. */
export const axisName = (path: string): string =>
  path.startsWith(BASE)
    ? `base ${axisName(path.slice(BASE.length))}`
    : (NAMES[path] ??
      path
        .replace(/^poisoning\.steps\.([^.]+)\./, 'poisoning.$1 ')
        .split('.')
        .slice(1)
        .join('.'));

type Named = Pick<ReportCell, 'axes' | 'also'>;
const namesOf = ({ axes, also = [] }: Named): readonly JsonObject[] => [axes, ...also];

/** `r = 4`; `α = r = 16` where a cell's names differ in it. */
function part(path: string, cell: Named, at = path): string {
  const values = distinct(
    namesOf(cell)
      .filter((axes) => axes[at] !== undefined)
      .map((axes) => formatValue(axes[at])),
  ).join(' = ');
  return doseUnit(path) !== null ? `${axisName(path)} ${values}` : `${axisName(path)} = ${values}`;
}

/** Paths with more than one value among these cells; a path that only some have counts by its values. */
export function varyingPaths(cells: readonly Named[]): ReadonlySet<string> {
  const first = new Map<string, string>();
  const varying = new Set<string>();
  for (const axes of cells.flatMap(namesOf)) {
    for (const [path, value] of Object.entries(axes)) {
      const key = contentKey(value);
      const known = first.get(path);
      if (known === undefined) first.set(path, key);
      else if (known !== key) varying.add(path);
    }
  }
  return varying;
}

const pathsOf = (cell: Named): string[] =>
  distinct(namesOf(cell).flatMap((axes) => Object.keys(axes)));

/** For a figure along an axis: a condition of several names under each of them. */
export const byName = (conditions: readonly Condition[]): readonly Condition[] =>
  conditions.flatMap((condition) => (condition.named.length === 0 ? [condition] : condition.named));

const groupBy = <T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> => {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const name = key(item);
    const group = groups.get(name);
    if (group) group.push(item);
    else groups.set(name, [item]);
  }
  return groups;
};

export const adapterTitle = (adapter: string): string =>
  ({ full: 'full', lora: 'LoRA' })[adapter] ?? adapter;

/** Every condition, in the order of the spec. Linear in the number of cells. */
export function conditionsOf(
  cells: readonly ReportCell[],
  stages: readonly StageFacts[],
): readonly Condition[] {
  const byId = new Map(stages.map((stage) => [stage.id, stage]));
  const vary = varyingPaths(cells);
  const byAttack = new Map(
    [...groupBy(cells, (cell) => cell.attack)].map(([name, group]) => [name, varyingPaths(group)]),
  );
  const byAdapter = new Map(
    [...groupBy(cells, (cell) => cell.adapter)].map(([name, group]) => [name, varyingPaths(group)]),
  );

  // An adapter may bring its own learning rate. One that goes with the adapter names nothing; one that varies within an adapter does.
  const training = new Set<string>();
  for (const group of groupBy(cells, ({ axes }) =>
    contentKey(Object.entries(axes).filter(([path]) => path.startsWith('adapter.'))),
  ).values()) {
    for (const path of varyingPaths(group))
      if (path.startsWith('train.')) training.add(contentKey([group[0]!.adapter, path]));
  }

  const label = (
    head: string,
    prefix: string,
    cell: ReportCell,
    varying: ReadonlySet<string>,
    unnamed: readonly string[],
    within = '',
  ): string => {
    const paths = pathsOf(cell)
      .filter((path) => path.startsWith(within))
      .map((path) => path.slice(within.length))
      .filter(
        (path) =>
          !unnamed.includes(path) &&
          ((path.startsWith(prefix) &&
            (varying.has(`${within}${path}`) ||
              doseUnit(path) !== null ||
              path === 'adapter.rank')) ||
            (prefix === 'adapter.' && training.has(contentKey([cell.adapter, path])))),
      );
    return paths.length === 0
      ? head
      : `${head}${paths[0] === 'adapter.rank' ? ' ' : ', '}${paths.map((path) => part(path, cell, `${within}${path}`)).join(', ')}`;
  };
  const labelsOf = (cell: ReportCell, path?: string): Labels => ({
    attackLabel:
      cell.family === 'none'
        ? 'no attack'
        : label(
            cell.ofBase ? `${cell.attack} in the base` : cell.attack,
            'poisoning.',
            cell,
            byAttack.get(cell.attack)!,
            ['poisoning.attack', path ?? ''],
            cell.ofBase ? BASE : '',
          ),
    adapterLabel: label(
      adapterTitle(cell.adapter),
      'adapter.',
      cell,
      byAdapter.get(cell.adapter)!,
      ['adapter.type', path ?? ''],
    ),
    // What is poisoned of a base is the attack's to name, unless the cell has an attack of its own.
    setting: pathsOf(cell)
      .filter(
        (other) =>
          !/^(poisoning|adapter|train)\./.test(other) &&
          other !== path &&
          vary.has(other) &&
          !(other.startsWith(`${BASE}poisoning.`) && (cell.ofBase || cell.family === 'none')),
      )
      .map((other) => part(other, cell))
      .join(', '),
  });
  return [...groupBy(cells, (cell) => contentKey([cell.axes, cell.train])).entries()].map(
    ([key, group]): Condition => {
      const cell = group[0]!,
        { also: _also, ...single } = cell;
      const failures = new Map<ReportCell, readonly StageFacts[]>();
      for (const one of group) {
        const failed = Object.values(one.stages)
          .map((id) => byId.get(id))
          .filter(
            (stage): stage is StageFacts =>
              stage !== undefined && (stage.state === 'failed' || stage.state === 'blocked'),
          );
        if (failed.length > 0) failures.set(one, [...new Set(failed)]);
      }
      const under = (name: ReportCell): Condition => ({
        key,
        attack: cell.attack,
        family: cell.family,
        ofBase: cell.ofBase === true,
        adapter: cell.adapter,
        ...labelsOf(name),
        axes: name.axes,
        named: [],
        cells: group,
        failures,
        labelsWithout: (path) => labelsOf(name, path),
      });
      const names = namesOf(cell);
      return {
        ...under(cell),
        named: names.length === 1 ? [] : names.map((axes) => under({ ...single, axes })),
      };
    },
  );
}

/** An attack at one dose and one setting: what conditions are compared within. */
export const blockLabel = ({ attackLabel, setting }: Labels): string =>
  setting === '' ? attackLabel : `${attackLabel} · ${setting}`;

/** A number of a cell; null where it has none. */
export type Quantity = (cell: ReportCell) => number | null;

export const metricOf =
  (stage: string, metric: string): Quantity =>
  (cell) =>
    cell.metrics[stage]?.[metric] ?? null;

/** Over the seeds of a condition. */
export interface Series {
  /** One a seed that has the number. */
  readonly values: readonly { readonly seed: number; readonly value: number }[];
  /** Null where no seed has it. */
  readonly summary: Summary | null;
  /** Seeds without it because a stage of theirs failed. */
  readonly failed: number;
  /** Seeds without it though nothing failed, or whose value is not finite. */
  readonly missing: number;
}

export function seriesOf(condition: Condition, quantity: Quantity): Series {
  const values: { seed: number; value: number }[] = [];
  let failed = 0,
    missing = 0;
  for (const cell of condition.cells) {
    const value = quantity(cell);
    if (value !== null && Number.isFinite(value)) values.push({ seed: cell.seed, value });
    else if (condition.failures.has(cell)) failed++;
    else missing++;
  }
  return {
    values,
    failed,
    missing,
    summary: values.length === 0 ? null : summarise(values.map(({ value }) => value)),
  };
}

/** The condition's value on a numeric axis; null where it has none. Of an attack on the base, `poisoning` is the base's. */
export function numericAxis(condition: Condition, path: string): number | null {
  const value =
    condition.axes[condition.ofBase && path.startsWith('poisoning.') ? `${BASE}${path}` : path];
  return typeof value === 'number' ? value : null;
}

export const distinct = <T>(items: readonly T[]): T[] => [...new Set(items)];
