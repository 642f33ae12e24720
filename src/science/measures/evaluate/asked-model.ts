/** A trained model as a defence asks it: its logits, and the hidden states that its head reads. */
import type { AskedModel, Row } from '../../../api.ts';
import type { Network } from '../../models/network.ts';
import { pooledRepresentations } from '../../models/pooled.ts';
import type { TokenRow } from '../../models/types.ts';
import { predict } from './predict.ts';

/** A model whose network a defence may use too, such as for gradients. */
export interface OpenedModel extends AskedModel {
  readonly network: Network;
  readonly encode: (row: Row) => TokenRow;
  readonly batchSize: number;
}

export interface AskedModelOptions {
  readonly network: Network;
  readonly encode: (row: Row) => TokenRow;
  readonly batchSize: number;
  /** Is called after each batch, to let the worker breathe. */
  readonly onBatch: () => Promise<void>;
}

export const openedModel = (options: AskedModelOptions): OpenedModel => ({
  network: options.network,
  encode: options.encode,
  batchSize: options.batchSize,
  classes: options.network.classes,
  logits: (rows) =>
    predict(options.network, rows.map(options.encode), options.batchSize, options.onBatch),
  representations: (rows) =>
    pooledRepresentations(
      options.network,
      rows.map(options.encode),
      options.batchSize,
      options.onBatch,
    ),
});
