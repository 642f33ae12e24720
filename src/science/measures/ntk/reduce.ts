/**
 * What is kept of a batch where the adapter's kernel alone is computed: h and δ of its tokens or,
 * where that takes less memory, the gradients of its rows with respect to the adapter's parameters.
 * They are what the explicit contraction makes of h and δ in any case, so that no entry changes;
 * and as more rows fit into the memory, fewer passes are needed over them.
 */
import * as tf from '@tensorflow/tfjs-core';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import type { AdaptedLayer } from '../../models/types.ts';
import { type BlockShape, cheaper, costs, type Method } from './contractions.ts';
import { rowGradients } from './explicit.ts';
import type { LayerBatch } from './layerwise.ts';
import { layerBytes } from './passes.ts';
import { type GradientTerm, ownTerms, ownWidths, zeroTerms } from './terms.ts';

export interface Reduction {
  /** The bytes that are kept of a layer for a batch of this shape. */
  bytes(layer: AdaptedLayer, shape: BlockShape): number;
  /**
   * Returns the gradients that take the place of a batch's h and δ, which the caller disposes of;
   * null where h and δ are kept.
   */
  reduce(layer: AdaptedLayer, batch: Pick<LayerBatch, 'rows' | 'tokens'>): GradientTerm[] | null;
}

/** What `explicit` and `auto` contract. */
export interface Contracted {
  readonly classes: number;
  readonly method: 'auto' | Method;
  /** The batches of each set. */
  readonly shapes: readonly (readonly BlockShape[])[];
}

/** The bytes of a row's gradients; null where its terms are not all contracted by gradients. */
function gradientBytes(
  layer: AdaptedLayer,
  { classes, method, shapes }: Contracted,
): number | null {
  const [left = [], right] = shapes;
  // Other rows than the batch's tokens enter these layers, and the latter have few.
  if (layer.relative === true || layer.onePerText === true) return null;
  if (layer.rowsPerToken !== undefined) return null;
  const widths = ownWidths(layer, zeroTerms(layer));
  const explicit =
    method === 'explicit' ||
    (method === 'auto' &&
      widths.every(
        ({ p, q }) => cheaper(costs(left, right ?? null, classes, p, q)) === 'explicit',
      ));
  return explicit ? widths.reduce((sum, { p, q }) => sum + 4 * classes * p * q, 0) : null;
}

/** @param layers those that are walked */
export function reductionOf(layers: readonly AdaptedLayer[], contracted: Contracted): Reduction {
  const { classes } = contracted;
  const byRow = new Map(layers.map((layer) => [layer.name, gradientBytes(layer, contracted)]));
  const gradientsOf = ({ name }: AdaptedLayer, rows: number): number =>
    rows * (byRow.get(name) ?? Infinity);
  return {
    bytes: (layer, shape) =>
      Math.min(gradientsOf(layer, shape.rows), layerBytes(layer, shape, classes)),
    reduce: (layer, { rows, tokens }) => {
      const { example } = tokens;
      const shape = { rows: rows.length, tokens: example.length };
      if (gradientsOf(layer, rows.length) >= layerBytes(layer, shape, classes)) return null;
      return compiled(() => {
        const terms: GradientTerm[] = [];
        tf.tidy(() => {
          for (const { a, b, parameter, coefficient } of ownTerms(layer, tokens, zeroTerms(layer)))
            terms.push({
              parameter,
              coefficient,
              p: a[0]!.shape[1],
              q: b.shape[1],
              gradients: rowGradients({ a, b, example, rows }).map((own) => tf.keep(own)),
            });
        });
        return terms;
      });
    },
  };
}
