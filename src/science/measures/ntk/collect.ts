/**
 * Runs one forward pass and C backward passes over a batch. For every tapped layer they give its
 * input h and, for each output c, the derivative δ^c = ∂f_c/∂y with respect to the layer's output
 * y. An output is a class's logit; or it is log p(answer), and then C = 1. Rows of a batch don't
 * influence each other, so one backward pass of Σ_i f_c(x_i) gives δ^c of every row at once.
 */
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { at } from '../../../base/lookup.ts';
import { compiled } from '../../../tensor/compiled/compiled.ts';
import { differentiate, unrecorded } from '../../../tensor/differentiable.ts';
import { joined } from '../../../tensor/rows.ts';
import type { AdaptedModel, Tap, TokenRow, VectorTap } from '../../models/types.ts';

/**
 * The input of one linear layer or norm for a batch, and the derivatives with respect to its
 * output. S is the number of rows of its input, which need not be the number of the batch's tokens.
 */
export interface LayerTokens {
  readonly h: Tensor2D; // (S, n)
  /** δ^c by output. */
  readonly deltas: readonly Tensor2D[]; // C × (S, m)
  /** For each of the S rows, the row of the batch that it belongs to, in any order. */
  readonly example: Int32Array; // (S)
}

export interface Collected {
  readonly logits: Float32Array; // (B, C)
  readonly layers: ReadonlyMap<string, LayerTokens>;
  /** Disposes of the tensors of one layer. */
  release(layer: string): void;
  dispose(): void;
}

/** One application of a layer in the forward pass. */
interface Use {
  readonly h: Tensor2D; // (S, n)
  readonly y: Tensor2D; // (S, m)
  readonly example: Int32Array; // (S)
}

/** Returns 1 at output c of each row and 0 at the others, (B, C). */
const onesAt = (c: number, batch: number, outputs: number): Tensor2D =>
  tf.tensor2d(
    Float32Array.from({ length: batch * outputs }, (_, k) => (k % outputs === c ? 1 : 0)),
    [batch, outputs],
  );

interface Passes {
  readonly outputs: Tensor; // (B, C)
  /**
   * The uses of each layer. Each list of `gradients` has one derivative for each use, in this
   * order, layer by layer.
   */
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly gradients: readonly (readonly Tensor[])[]; // C × uses
}

/**
 * Runs the forward pass and one backward pass per output. `keep` makes a tensor of `layer` outlive
 * the passes.
 */
function runPasses(
  model: AdaptedModel,
  batch: readonly TokenRow[],
  wanted: ReadonlySet<string>,
  keep: <T extends Tensor>(tensor: T, layer: string) => T,
): Passes {
  const uses = new Map<string, Use[]>();
  const gradients: Tensor[][] = [];
  let outputs: Tensor | undefined;
  /**
   * Fills `uses`, `gradients` and `outputs` while the tape is open. The scalar that it returns is
   * only there because `differentiate` needs a value.
   */
  const recordPasses = (): Tensor => {
    /**
     * Records one use of a wanted layer, and returns the tensor that takes the place of its output
     * y. Returns y itself for any other layer. `x` computes the layer's input.
     */
    const vector: VectorTap = (layer, x, y, tokens) => {
      if (!wanted.has(layer)) return y;
      // δ is the derivative with respect to `output`, a tensor of its own over y's data.
      const output = tf.clone(y);
      const list = uses.get(layer) ?? [];
      list.push({ h: keep(tf.clone(x()), layer), y: output, example: tokens.example });
      uses.set(layer, list);
      return output;
    };
    const linear: Tap = (layer, x, y, tokens) => vector(layer, () => x, y, tokens);
    const showsVectors = model.layers.some(
      ({ name, ownOnly }) => ownOnly === true && wanted.has(name),
    );
    const f = model.forward(batch, linear, showsVectors ? vector : undefined); // (B, C)
    unrecorded(() => {
      outputs = tf.keep(tf.clone(f));
      const tapped = [...uses].flatMap(([layer, list]) => list.map(({ y }) => ({ layer, y })));
      const ys = tapped.map(({ y }) => y);
      if (ys.length === 0) return;
      for (let c = 0; c < model.outputs; c++) {
        // The tape of the one forward pass serves every output.
        const { grads } = differentiate(() => f, ys, onesAt(c, batch.length, model.outputs));
        gradients.push(
          tapped.map(({ y, layer }, k) => keep(tf.clone(at(grads, k) ?? tf.zerosLike(y)), layer)),
        );
      }
    });
    return tf.scalar(0);
  };
  // This asks for no gradients: it opens the tape for `recordPasses` and frees what the tape holds.
  tf.tidy(() => {
    differentiate(recordPasses, []);
  });
  if (outputs === undefined) throw new Error('the forward pass did not run');
  return { outputs, uses, gradients };
}

/**
 * Returns the outputs of `batch` as `logits`, and h and δ of the `wanted` layers that the model
 * applies. The caller disposes of h and δ.
 */
export function collect(
  model: AdaptedModel,
  batch: readonly TokenRow[],
  wanted: ReadonlySet<string>,
): Collected {
  const kept = new Map([...wanted].map((layer): [string, Tensor[]] => [layer, []]));
  const keep = <T extends Tensor>(tensor: T, layer: string): T => {
    kept.get(layer)?.push(tf.keep(tensor));
    return tensor;
  };
  const release = (layer: string): void => {
    kept.get(layer)?.forEach((tensor) => tensor.dispose());
  };
  const layers = new Map<string, LayerTokens>();
  const outputs = compiled(() => {
    const { outputs: f, uses, gradients } = runPasses(model, batch, wanted, keep);
    let first = 0;
    for (const [layer, list] of uses) {
      const place = first;
      // A layer that is applied more than once has one weight: all uses count as tokens of one sum,
      // with cross terms.
      layers.set(layer, {
        h: keep(
          joined(
            list.map(({ h }) => h),
            0,
          ) as Tensor2D,
          layer,
        ),
        deltas: gradients.map((byUse) =>
          keep(joined(byUse.slice(place, place + list.length), 0) as Tensor2D, layer),
        ),
        example: Int32Array.from(list.flatMap(({ example }) => [...example])),
      });
      first += list.length;
    }
    return f;
  });
  const logits = outputs.dataSync<'float32'>().slice();
  outputs.dispose();
  return {
    logits,
    layers,
    release,
    dispose: () => wanted.forEach(release),
  };
}
