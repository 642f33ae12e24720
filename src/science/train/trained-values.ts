/** The trained parameters as the loop carries them: the token table shrunk to the rows in use, small tensors grouped. */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import type { Network, Tensors } from '../nn/network.ts';
import type { TokenRow } from '../nn/types.ts';
import { type Grouping, makeGrouping } from '../optim/groups.ts';
import { tokenTable, worthShrinking } from './token-table.ts';

export const disposeAll = (...maps: (ReadonlyMap<string, Tensor> | readonly Tensor[])[]): void => {
  for (const map of maps) map.forEach((tensor) => tensor.dispose());
};

export interface TrainedValues<R extends TokenRow> extends Grouping {
  /** The rows as the shrunk table numbers their tokens. */
  readonly rows: readonly R[];
  /** The groups where training starts, tensors of their own. */
  start(): Map<string, Tensor>;
  /**
   * The parameters as the network names and shapes them, handles of their own.
   * @param unusedFactor what decay has made of the token table's rows that no training row uses
   */
  whole(trained: Tensors, unusedFactor: number): Map<string, Tensor>;
}

/**
 * @param kind parts groups further: parameters of two kinds never share one
 * @param shrinks whether the token table may be shrunk
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
          table !== null && name === tableName
            ? table.expand(whole!, tensor as Tensor2D, unusedFactor)
            : tensor.clone(),
        ]),
      ),
  };
}
