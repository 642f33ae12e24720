/**
 * The trained parameters in the form of the training loop: with a reduced token table, and small
 * tensors grouped.
 *
 * Only the rows of the token table that a training set uses have a gradient; the others merely
 * decay. So the used rows are trained as a smaller table, and the others are multiplied by their
 * total decay at the end. The numbers are the same, without moments, gradients and updates for the
 * nine tenths of a vocabulary that a typical set never uses.
 *
 * Small tensors are concatenated, so that an optimiser's update takes a dozen operations instead of
 * a dozen for each tensor. Every update rule here is elementwise, so grouping does not change any
 * result.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../base/lookup.ts';
import { joined, separated, takeRows } from '../../tensor/rows.ts';
import type { Adapter } from '../models/adapter.ts';
import type { Network, Tensors } from '../models/network.ts';
import { inTable } from '../models/outputs.ts';
import type { TokenRow } from '../models/types.ts';
import type { TrainSettings } from './settings.ts';

/** Tensors of at least this many entries are not grouped: copying them costs more than it saves. */
const LARGE = 1 << 16;

interface Group {
  readonly names: string[];
  /**
   * The axis along which the tensors are concatenated. Along the other axis they have one length.
   */
  readonly axis: 0 | 1;
  /** How long each tensor is along the axis. */
  readonly extents: number[];
}

interface Grouping {
  /**
   * Makes a tensor for each group, by group key. For a group of one tensor, this is another handle
   * on that tensor.
   */
  readonly pack: (tensors: Tensors) => Map<string, Tensor>;
  /** Splits groups into new tensors, by name. */
  readonly unpack: (groups: Tensors) => Map<string, Tensor>;
}

/**
 * Returns the key of a tensor's group, and the axis along which the group is concatenated. LoRA's
 * factors A (r, n) are concatenated along n, its factors B (m, r) along m, and biases and norms end
 * to end. A large tensor is a group of its own, and so is a tensor of rank 0, 3 or more.
 */
function groupPlace(
  name: string,
  shape: readonly number[],
  size: number,
): { key: string; axis: 0 | 1 } {
  const [rows, columns] = shape;
  if (size >= LARGE || shape.length > 2 || rows === undefined) return { key: name, axis: 0 };
  if (columns === undefined) return { key: '(·)', axis: 0 };
  return rows <= columns ? { key: `(${rows}, ·)`, axis: 1 } : { key: `(·, ${columns})`, axis: 0 };
}

/**
 * Groups small tensors by shape.
 * @param kind prefix of a group's key: tensors of different kinds never share one
 */
export function makeGrouping(
  parameters: Tensors,
  kind: (name: string) => string = () => '',
): Grouping {
  const groups = new Map<string, Group>();
  for (const [name, { shape, size }] of parameters) {
    const { key: like, axis } = groupPlace(name, shape, size),
      key = `${kind(name)}${like}`;
    const group = groups.get(key) ?? { names: [], axis, extents: [] };
    group.names.push(name);
    group.extents.push(shape[axis] ?? 1);
    groups.set(key, group);
  }
  return {
    pack: (tensors) =>
      new Map(
        [...groups].map(([key, { names, axis }]) => {
          const parts = names.map((name) => named(tensors, name));
          return [key, tf.keep(joined(parts, axis))];
        }),
      ),
    unpack: (packed) => {
      const out = new Map<string, Tensor>();
      for (const [key, { names, axis, extents }] of groups) {
        const parts = separated(named(packed, key), extents, axis);
        names.forEach((name, i) => out.set(name, tf.keep(at(parts, i))));
      }
      return out;
    },
  };
}

interface TokenTable {
  /** Returns the rows with the ids of the smaller table. */
  readonly compact: <R extends TokenRow>(rows: readonly R[]) => R[];
  /** Returns the V′ used rows of the table, in the order of their ids. (V, h) → (V′, h) */
  readonly shrink: (table: Tensor2D) => Tensor2D;
  /**
   * Returns `table` (V, h) with the trained rows (V′, h) in their places, and all other rows
   * multiplied by `factor`.
   */
  readonly expand: (table: Tensor2D, trained: Tensor2D, factor: number) => Tensor2D;
}

/** Returns the smaller token table of the ids that occur in `rows`. */
function reducedTable(rows: readonly TokenRow[]): TokenTable {
  const used = Int32Array.from(new Set(rows.flatMap(({ ids }) => [...ids]))).sort();
  const place = new Map([...used].map((id, i) => [id, i]));
  return {
    compact: (some) => some.map((row) => inTable(row, place)),
    shrink: (table) => tf.tidy(() => takeRows(table, tf.tensor1d(used, 'int32'))),
    expand: (table, trained, factor) => {
      const values = table.dataSync().map((x) => x * factor),
        width = table.shape[1],
        rows = trained.dataSync();
      used.forEach((id, i) => {
        values.set(rows.subarray(i * width, (i + 1) * width), id * width);
      });
      return tf.tensor2d(values, table.shape);
    },
  };
}

/**
 * Whether the token table is trained (`table` is defined) and less than 80% of its ids occur in
 * `rows`.
 */
export const isWorthShrinking = (table: Tensor | undefined, rows: readonly TokenRow[]): boolean =>
  table !== undefined && new Set(rows.flatMap(({ ids }) => [...ids])).size < 0.8 * table.shape[0];

export const disposeAll = (...maps: (ReadonlyMap<string, Tensor> | readonly Tensor[])[]): void => {
  for (const map of maps) map.forEach((tensor) => tensor.dispose());
};

export interface TrainedValues<R extends TokenRow> extends Grouping {
  /** The rows to train on, with the ids of the smaller table if the table is reduced. */
  readonly rows: readonly R[];
  /** The groups of initial values, in new tensors. */
  start(): Map<string, Tensor>;
  /**
   * Returns the trained parameters with the network's names and shapes, as new handles.
   * @param unusedFactor the factor by which decay has scaled the unused rows of the token table
   */
  whole(trained: Tensors, unusedFactor: number): Map<string, Tensor>;
}

/**
 * Returns how the training loop holds a network's trained parameters: in groups of small tensors.
 * @param kind parameters of different kinds never share a group
 * @param shrinks whether the token table may be reduced to the rows that are used
 */
export function trainedValues<R extends TokenRow>(
  network: Network,
  rows: readonly R[],
  kind: (name: string) => string,
  shrinks: boolean,
): TrainedValues<R> {
  const tableName = network.architecture.tokenTable;
  // The token table's initial value; undefined if the table is not trained.
  const whole =
    tableName === null ? undefined : (network.initial.get(tableName) as Tensor2D | undefined);
  const table =
    shrinks && whole !== undefined && isWorthShrinking(whole, rows) ? reducedTable(rows) : null;
  /**
   * Returns the initial values by name, in new tensors; of a reduced token table only the used
   * rows.
   */
  const initialValues = (): Map<string, Tensor> =>
    new Map(
      [...network.initial].map(([name, tensor]) => [
        name,
        table !== null && tensor === whole ? table.shrink(whole) : tensor.clone(),
      ]),
    );
  const shapes = initialValues();
  const grouping = makeGrouping(shapes, kind);
  disposeAll(shapes);
  return {
    ...grouping,
    rows: table === null ? rows : table.compact(rows),
    start: () => {
      const values = initialValues(),
        groups = grouping.pack(values);
      disposeAll(values);
      return groups;
    },
    whole: (trained, unusedFactor) =>
      new Map(
        [...trained].map(([name, tensor]) => [
          name,
          table !== null && whole !== undefined && name === tableName
            ? table.expand(whole, tensor as Tensor2D, unusedFactor)
            : tensor.clone(),
        ]),
      ),
  };
}

/**
 * Whether a parameter is a bias or belongs to a norm. transformers' Trainer exempts these from
 * decay.
 */
export const isBiasOrNorm = (name: string): boolean =>
  /(^|[._])bias$/.test(name) || /norm|(^|\.)ln_/i.test(name);

const NO_DECAY = 'free ';

/**
 * Returns a function from a parameter's name to its kind, the prefix of its group's key. Parameters
 * of one kind have the same rate, and all or none of them decay. `decays` and `groupRate` read both
 * from the key.
 */
export const groupKind =
  (
    { rate = () => 1 }: Pick<Adapter, 'rate'>,
    { decay }: Pick<TrainSettings, 'decay'>,
  ): ((name: string) => string) =>
  (name) =>
    (decay === 'weights' && isBiasOrNorm(name) ? NO_DECAY : '') +
    (rate(name) === 1 ? '' : `rate ${rate(name)} `);

/** Whether weight decay applies to a group of parameters, by the group's key. */
export const decays = (group: string): boolean => !group.startsWith(NO_DECAY);

/** Returns the factor on the learning rate of a group of parameters, by the group's key. */
export const groupRate = (group: string): number =>
  Number(/^(?:free )?rate (\S+) /.exec(group)?.[1] ?? 1);
