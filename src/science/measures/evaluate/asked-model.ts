/** A trained model as a defence asks it: its logits, and the hidden states that its head reads. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { AskedModel, Row } from '../../../api.ts';
import { at } from '../../../base/lookup.ts';
import type { Network } from '../../models/network.ts';
import { similarLengths } from '../../models/similar-lengths.ts';
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

/** The representations of N rows, row-major. */
interface Pooled {
  readonly values: Float64Array; // (N·h)
  readonly count: number;
  readonly dimensions: number;
}

/** What enters the network's last linear layer. (B, h) */
function lastInput(network: Network, batch: readonly TokenRow[]): Tensor2D {
  const { architecture, adapter, config, linears } = network;
  const biased = new Set(linears.flatMap(({ name, bias }) => (bias ? [name] : [])));
  const parameter = (name: string): Tensor => network.frozen(name);
  let last: Tensor2D | undefined;
  architecture.forward(config, batch, {
    parameter,
    linear: (layer, x) => {
      last = x;
      const W = parameter(`${layer}.weight`) as Tensor2D,
        b = biased.has(layer) ? (parameter(`${layer}.bias`) as Tensor1D) : null;
      return adapter.linear(layer, x, W, b, { parameter });
    },
    scope: (part) => tf.tidy(part),
  });
  if (last === undefined) throw new Error('a model has at least one linear layer');
  return last;
}

/**
 * Returns what the head's last linear layer reads of each row, (N, h), in the order of `rows`:
 * under a classifier the pooled token before the output layer (BERT: after the pooler and its
 * activation), under a cloze head the last hidden state at the mask. Throws where the head predicts
 * tokens of an answer, of which a row has several.
 * @param onBatch called after each batch with the number of rows done, and awaited
 */
export async function pooledRepresentations(
  network: Network,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch: (done: number) => Promise<void> | void = () => undefined,
): Promise<Pooled> {
  if (network.architecture.head.type === 'causal-lm')
    throw new Error('a causal-LM head has no representation of a whole row');
  let values = new Float64Array(0),
    dimensions = 0,
    done = 0;
  for (const some of similarLengths(rows, batchSize)) {
    const batch = some.map((i) => at(rows, i));
    const found = tf.tidy(() => {
      const x = lastInput(network, batch); // (B, h)
      return { width: x.shape[1], data: x.dataSync<'float32'>() };
    });
    if (dimensions === 0) {
      dimensions = found.width;
      values = new Float64Array(rows.length * dimensions);
    }
    some.forEach((row, b) =>
      values.set(found.data.subarray(b * dimensions, (b + 1) * dimensions), row * dimensions),
    );
    await onBatch((done += some.length));
  }
  return { values, count: rows.length, dimensions };
}
