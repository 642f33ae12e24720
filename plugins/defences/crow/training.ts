/**
 * CROW (Min et al. 2025, section 4; arXiv 2411.12768): a backdoor makes hidden states jump between
 * layers, so a model is tuned on clean rows to keep them similar, even when its input is perturbed.
 * With L layers and H_l, (S, h), the hidden states of all S tokens after layer l,
 *
 *     L_cons = mean over l = 1 … L − 1 and tokens t of 1 − cos(H_l[t], H_{l+1}[t])
 *     δ = ε·sign(∇_E L_cons),  E the tokens' embeddings
 *     L = L_task + α·L_cons(E + δ)
 *
 * δ counts as a constant. The paper's L_task is that of a language model; here it is the
 * cross-entropy of any head. In the authors' code the mean includes padding; here rows have none.
 */
import type { Scalar, Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type JsonObject, type Problem, UserFault } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at } from '../../../src/base/lookup.ts';
import type { Network, Tensors } from '../../../src/science/models/network.ts';
import type { TokenRow } from '../../../src/science/models/types.ts';
import type {
  AttackTraining,
  TrainedModel,
} from '../../../src/science/training/attack-training.ts';
import {
  gradientsOf,
  lossAndGradients,
  type Objective,
} from '../../../src/science/training/gradients.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import {
  differentiable,
  differentiate,
  withEagerDisposal,
} from '../../../src/tensor/differentiable.ts';
import { scalarOf } from '../../../src/tensor/rows.ts';

/** Returns a fault if the architecture does not offer its hidden states. */
function hiddenStateFaults({ architecture }: TrainedModel): Problem[] {
  if (architecture.hiddenStates !== undefined) return [];
  return [
    {
      path: ['model', 'architecture'],
      message:
        `the model family "${architecture.modelType}" does not offer its hidden states, which ` +
        'the loss of crow compares',
      hint: 'Choose another defence, or give the architecture `hiddenStates`.',
    },
  ];
}

const settingsOf = ({ alpha, epsilon }: JsonObject) => ({
  alpha: alpha as number,
  epsilon: epsilon as number,
});

export const crow = {
  check: (_params, model) => hiddenStateFaults(model),
  open: (params, model) => {
    const [fault] = hiddenStateFaults(model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    return { objective: layerConsistency(settingsOf(params)), opaqueTokens: true };
  },
  torch: (params) => ({ name: 'consistency', ...settingsOf(params) }),
} satisfies AttackTraining;

/** Smaller norms count as this one, as in torch.nn.functional.cosine_similarity. */
const LEAST_NORM = 1e-8;

/** Returns max(‖x‖, LEAST_NORM) of each row. (S, h) → (S, 1) */
const norms = (x: Tensor2D): Tensor => tf.maximum(tf.norm(x, 'euclidean', 1, true), LEAST_NORM);

/**
 * Returns L_cons, as defined above, of the states H_l, (S, h), of at least two layers. Its
 * gradient, for one of the n pairs a = H_l[t], b = H_{l+1}[t], whose cosine is c, is
 *
 *     dL/da = −(b/(‖a‖‖b‖) − c·a/‖a‖²)/n,  dL/db = −(a/(‖a‖‖b‖) − c·b/‖b‖²)/n.
 */
export function layerInconsistency(states: readonly Tensor2D[]): Scalar {
  if (states.length < 2) throw new Error('a model of one layer has no layers to compare');
  const pairs = (states.length - 1) * at(states, 0).shape[0];
  return differentiable([...states], {
    forward: () => {
      const unit = states.map((x) => tf.div<Tensor2D>(x, norms(x))); // (S, h) each
      const cosines = unit.slice(1).map((b, l) => tf.sum(tf.mul(at(unit, l), b)));
      return {
        value: tf.sub<Scalar>(1, tf.div(tf.addN(cosines), pairs)),
        saved: [...states],
      };
    },
    backward: (dy, saved, needs) => {
      const size = saved.map(norms),
        unit = saved.map((x, l) => tf.div<Tensor2D>(x, at(size, l)));
      const cosine = unit.slice(1).map((b, l) => tf.sum(tf.mul(at(unit, l), b), 1, true)); // (S, 1)
      /**
       * Returns (c·x̂ − ŷ)/(n‖x‖), (S, h), for layer x and its neighbour y, with x̂, ŷ their unit
       * states.
       */
      const pairGradient = (x: number, y: number): Tensor =>
        tf.div(
          tf.sub(tf.mul(at(cosine, Math.min(x, y)), at(unit, x)), at(unit, y)),
          tf.mul(at(size, x), pairs),
        );
      return saved.map((_, l) => {
        if (needs[l] !== true) return null;
        const parts = [
          ...(l > 0 ? [pairGradient(l, l - 1)] : []),
          ...(l < saved.length - 1 ? [pairGradient(l, l + 1)] : []),
        ];
        return tf.mul(dy, tf.addN(parts));
      });
    },
  });
}

type HiddenStatesOptions = Parameters<Network['hiddenStates']>[2];

/** Returns δ = ε·sign(∇_E L_cons), (S, h). The caller disposes of it. */
export function adversarialShift(
  network: Network,
  trained: Tensors,
  batch: readonly TokenRow[],
  epsilon: number,
  options: HiddenStatesOptions = {},
): Tensor2D {
  return tf.tidy(() => {
    const width = at(network.hiddenStates(batch, trained, options), 0).shape[1];
    const tokens = batch.reduce((sum, { ids }) => sum + ids.length, 0);
    const zero = tf.zeros<tf.Rank.R2>([tokens, width]);
    const { grads } = withEagerDisposal(() =>
      differentiate(
        () => layerInconsistency(network.hiddenStates(batch, trained, { ...options, shift: zero })),
        [zero],
      ),
    );
    return tf.mul<Tensor2D>(tf.sign(at(grads, 0)!), epsilon);
  });
}

/**
 * Returns the objective L_task + α·L_cons(E + δ). The second term is reported as its penalty. A
 * parameter on which the second term does not depend has only the gradient of the first term.
 */
export const layerConsistency =
  ({ alpha, epsilon }: { readonly alpha: number; readonly epsilon: number }): Objective =>
  (network, trained, batch, options) => {
    const task = lossAndGradients(network, trained, batch, options);
    const passes = defined({ adapterRandom: options.adapterRandom });
    const shift = adversarialShift(network, trained, batch.rows, epsilon, passes);
    const consistent = gradientsOf(trained, () =>
      tf.mul<Scalar>(
        layerInconsistency(network.hiddenStates(batch.rows, trained, { ...passes, shift })),
        alpha,
      ),
    );
    const penalty = scalarOf(consistent.loss);
    const loss = tf.tidy(() => tf.add<Scalar>(task.loss, consistent.loss));
    const gradients = new Map(
      [...task.gradients].map(([name, tensor]) => {
        const other = consistent.gradients.get(name);
        return [
          name,
          tf.tidy(() => (other === undefined ? tensor.clone() : tf.add(tensor, other))),
        ];
      }),
    );
    disposeAll(task.gradients, consistent.gradients, [task.loss, consistent.loss, shift]);
    return { loss, gradients, penalty };
  };
