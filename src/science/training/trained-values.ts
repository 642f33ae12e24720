/**
 * The trained parameters in the form of the training loop: with a reduced token table, and small
 * tensors grouped.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Network, Tensors } from '../models/network.ts';
import type { TokenRow } from '../models/types.ts';
import { type Grouping, makeGrouping } from './optim/groups.ts';
import { tokenTable, worthShrinking } from './token-table.ts';

/** Disposes of all tensors in the maps and lists. */
export const disposeAll = (...maps: (ReadonlyMap<string, Tensor> | readonly Tensor[])[]): void => {
  for (const map of maps) map.forEach((tensor) => tensor.dispose());
};

export interface TrainedValues<R extends TokenRow> extends Grouping {
  /** The rows with the token ids of the reduced table. */
  readonly rows: readonly R[];
  /** The groups of initial values, in new tensors. */
  start(): Map<string, Tensor>;
  /**
   * The parameters with the names and shapes of the network, as new handles.
   * @param unusedFactor the factor that weight decay has applied to those rows of the token table
   * that no training row uses
   */
  whole(trained: Tensors, unusedFactor: number): Map<string, Tensor>;
}

/**
 * @param kind parameters of different kinds never share a group
 * @param shrinks whether the token table may be reduced
 */
export function trainedValues<R extends TokenRow>(
  network: Network,
  rows: readonly R[],
  kind?: (name: string) => string,
  shrinks = true,
): TrainedValues<R> {
  const tableName = network.architecture.tokenTable;
  const whole =
    tableName === null ? undefined : (network.initial.get(tableName) as Tensor2D | undefined);
  const table =
    shrinks && whole !== undefined && worthShrinking(whole, rows) ? tokenTable(rows) : null;
  const first = (): Map<string, Tensor> =>
    new Map(
      [...network.initial].map(([name, tensor]) => [
        name,
        table !== null && tensor === whole ? table.shrink(whole) : tensor.clone(),
      ]),
    );
  const shapes = first();
  const grouping = makeGrouping(shapes, kind);
  disposeAll(shapes);
  return {
    ...grouping,
    rows: table === null ? rows : table.compact(rows),
    start: () => {
      const values = first(),
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
