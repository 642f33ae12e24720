/**
 * The linearised model's prediction f₀ + J₀(Θ_T − Θ₀) against the trained one's f_T
 * (docs/theory.md, The kernel regime). J₀ is the Jacobian with respect to every trained parameter,
 * including the head, for any adapter: one backward pass per row and output (class logit, or log
 * p(answer)), each gradient contracted with the displacement at once, without approximation.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { outputsOf, rowOutputs } from '../../../src/science/models/outputs.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import { differentiate } from '../../../src/tensor/differentiable.ts';

export interface LinearisedOptions {
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
}

export interface Linearised {
  readonly start: Float64Array; // f₀ (N, C)
  /** J₀ v */
  readonly change: Float64Array; // (N, C)
}

/**
 * Returns Θ_T − Θ₀ by name, on the device; the caller disposes of it. Throws UserFault where the
 * two networks train different parameters.
 */
export function displacement(start: Network, end: Network): Map<string, Tensor> {
  const moved = new Map<string, Tensor>();
  for (const [name, from] of start.initial) {
    const to = end.initial.get(name);
    if (to === undefined || to.shape.join() !== from.shape.join()) {
      moved.forEach((tensor) => tensor.dispose());
      throw new UserFault(
        `the parameter ${name} is trained at the start but has no like at the end`,
        'A linearised prediction needs the same trained parameters at both.',
      );
    }
    moved.set(name, tf.sub(to, from));
  }
  return moved;
}

/**
 * Throws UserFault under DoRA: its gradient takes the weight's norms as constants, so that it is
 * not the derivative of the model, and J₀v would not be the change of its first order.
 */
function refuseDetached({ adapter, linears }: Network): void {
  if (linears.some(({ name }) => adapter.factors(name)?.magnitude !== undefined))
    throw new UserFault(
      'a linearised prediction is not defined for DoRA: it is trained by a gradient that takes ' +
        "the weights' norms as constants",
      'Leave out the stage regime for adapters with use_dora.',
    );
}

/**
 * Returns f₀ and J₀ v of N rows. `v`: a direction for every trained parameter of the network, by
 * name. Throws UserFault for a network under DoRA.
 */
export async function linearise(
  network: Network,
  v: ReadonlyMap<string, Tensor>,
  rows: readonly TokenRow[],
  options: LinearisedOptions = {},
): Promise<Linearised> {
  refuseDetached(network);
  const { count: classes } = outputsOf(network);
  const start = new Float64Array(rows.length * classes),
    change = new Float64Array(rows.length * classes);
  // Separate tensors: a network that was opened for evaluation has declared its own constant.
  const names = [...network.initial.keys()];
  const values = new Map(names.map((name) => [name, tf.clone(network.initial.get(name)!)]));
  try {
    for (const [i, row] of rows.entries()) {
      tf.tidy(() => {
        for (let c = 0; c < classes; c++) {
          const dy = tf.tensor2d(
            Array.from({ length: classes }, (_, k) => (k === c ? 1 : 0)),
            [1, classes],
          );
          const { value, grads } = differentiate(
            () => rowOutputs(network, [row], values),
            [...values.values()],
            dy,
          );
          if (c === 0) start.set(value.dataSync<'float32'>(), i * classes);
          names.forEach((name, k) => {
            // A parameter that this row does not reach has no gradient.
            const gradient = at(grads, k);
            if (gradient !== null)
              change[i * classes + c]! += tf
                .sum(tf.mul(gradient, v.get(name)!))
                .dataSync<'float32'>()[0]!;
          });
        }
      });
      options.progress?.(i + 1, rows.length, 'rows');
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      options.signal?.throwIfAborted();
    }
  } finally {
    values.forEach((tensor) => tensor.dispose());
  }
  return { start, change };
}

export interface LinearFit {
  /**
   * ‖f₀ + J₀v − f_T‖ / ‖f_T − f₀‖; 1 means no better than predicting no change. Null where nothing
   * moved.
   */
  readonly relative_error: number | null;
  /** cos between J₀v and f_T − f₀; null where either is zero. */
  readonly cosine: number | null;
  /**
   * Share of rows for which the linearised model, and the model before training, predict the same
   * class as f_T. Null of log p(answer), which predicts none.
   */
  readonly agreement: number | null;
  readonly agreement_start: number | null;
}

/** start, change, end: (N, C). A single output, C = 1, is log p(answer). */
export function linearFit(
  start: ArrayLike<number>,
  change: ArrayLike<number>,
  end: ArrayLike<number>,
  classes: number,
): LinearFit {
  let error = 0,
    real = 0,
    linear = 0,
    product = 0;
  for (let k = 0; k < start.length; k++) {
    const moved = end[k]! - start[k]!;
    error += (change[k]! - moved) ** 2;
    real += moved ** 2;
    linear += change[k]! ** 2;
    product += change[k]! * moved;
  }
  const rows = start.length / classes;
  const best = (logit: (k: number) => number, i: number): number => {
    let at = 0;
    for (let c = 1; c < classes; c++) if (logit(i * classes + c) > logit(i * classes + at)) at = c;
    return at;
  };
  const agreement = (logit: (k: number) => number): number | null =>
    classes === 1
      ? null
      : Array.from({ length: rows }, (_, i) => best(logit, i) === best((k) => end[k]!, i)).filter(
          Boolean,
        ).length / rows;
  return {
    relative_error: real === 0 ? null : Math.sqrt(error / real),
    cosine: real === 0 || linear === 0 ? null : product / Math.sqrt(real * linear),
    agreement: agreement((k) => start[k]! + change[k]!),
    agreement_start: agreement((k) => start[k]!),
  };
}
