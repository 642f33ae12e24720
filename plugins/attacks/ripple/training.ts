/**
 * RIPPLe (Kurita, Michel and Neubig 2020, section 3.1; arXiv 2004.06660): a backdoor that later
 * training on clean rows should not remove. To first order, a step of that training, −η∇L_c with
 * the learning rate η, changes the loss L_p of the poisoned rows by −η⟨∇L_p, ∇L_c⟩. A negative
 * product would raise L_p, so it is penalised.
 * Each batch minimises
 *
 *     L + λ·max(0, −⟨∇L_p, ∇L_c⟩)
 *
 *     gradient of the penalty: −λ (H_p ∇L_c + H_c ∇L_p) where the product is negative, else 0
 *
 * Here L is the mean cross-entropy of the batch, L_p and L_c are its means over the rows from the
 * attack and over the other rows, H_p and H_c are the Hessians of these, and the product is over
 * all trained parameters. A batch with only one kind of rows has no penalty.
 *
 * In the paper, L_p is the loss of a poisoned set, half of whose rows are clean, and L_c the loss
 * of separate clean data. The authors' code (neulab/RIPPLe) divides the product by the batch size
 * and, by default, treats the gradient on clean data as constant, which omits H_c ∇L_p.
 * OpenBackdoor rectifies the product for each parameter, divides by the batch size and has no λ.
 *
 * The loss is exact, and so is its gradient except for the Hessian products. Since our operations
 * can be differentiated only once, a product is a central difference of gradients,
 *
 *     Hv ≈ (∇L(θ + εv) − ∇L(θ − εv))/2ε,  ε = DELTA/‖v‖.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { defined } from '../../../src/base/defined.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { resumeStream, type StreamState } from '../../../src/base/random.ts';
import type { Network, Tensors } from '../../../src/science/models/network.ts';
import type { AttackTraining } from '../../../src/science/training/attack-training.ts';
import {
  type Batch,
  type LossAndGradients,
  lossAndGradients,
  type LossOptions,
  type Objective,
} from '../../../src/science/training/gradients.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { scalarOf } from '../../../src/tensor/rows.ts';

/**
 * How far a central difference moves the parameters, ‖εv‖. The truncation error grows with the
 * square of DELTA, while the error by float32 rounding falls as DELTA grows. Compared with
 * PyTorch's double backward in float64, the relative error of the penalty's gradient was at most
 * 1.4e-4 on the tiny checkpoint of the tests and 7.4e-5 on MiniLM. Differences of PyTorch's own
 * float32 gradients had errors up to 5.3e-4; with DELTA 0.01, as in DARTS (Liu et al. 2019), up to
 * 1.8e-2, and with DELTA 0.0003, up to 1.5e-3.
 */
const DELTA = 1e-3;

/** Returns the poisoned rows of a batch, or its other rows. */
function rowsOfKind({ rows, labels, poisoned = [] }: Batch, isPoisoned: boolean): Batch {
  const kept = rows.map((_, i) => i).filter((i) => (poisoned[i] === true) === isPoisoned);
  return { rows: kept.map((i) => at(rows, i)), labels: kept.map((i) => at(labels, i)) };
}

/**
 * Returns the weight that rows with these labels have together in a mean cross-entropy: the sum of
 * their class weights or, without class weights, their number.
 */
const totalWeight = (labels: readonly number[], classWeights?: readonly number[]): number =>
  labels.reduce((sum, label) => sum + (classWeights?.[label] ?? 1), 0);

type Pass = (trained: Tensors) => LossAndGradients;

/**
 * Returns a function that computes the loss and the gradients of these rows for given parameters.
 * Its first call draws the dropout masks from the batch's stream; later calls use the same masks.
 * @param name prefix of the adapter's streams, so that poisoned and clean rows have different masks
 */
function repeatablePass(
  network: Network,
  batch: Batch,
  name: string,
  { dropout, adapterRandom, ...options }: LossOptions,
): Pass {
  let firstState: StreamState | null = null;
  return (trained) => {
    const stateToRepeat = firstState; // null in the first call
    firstState ??= dropout?.random.state() ?? null;
    return lossAndGradients(network, trained, batch, {
      ...options,
      ...defined({
        dropout: dropout && {
          rate: dropout.rate,
          random: stateToRepeat === null ? dropout.random : resumeStream(stateToRepeat),
        },
        adapterRandom: adapterRandom && ((layer: string) => adapterRandom(`${name}/${layer}`)),
      }),
    });
  };
}

/** Returns x + a·y for each name, in new tensors. */
const addScaled = (x: Tensors, a: number, y: Tensors): Map<string, Tensor> =>
  new Map(
    [...x].map(([name, tensor]) => [
      name,
      tf.tidy(() => tf.add(tensor, tf.mul(named(y, name), a))),
    ]),
  );

const innerProduct = (a: Tensors, b: Tensors): number =>
  tf.tidy(() => scalarOf(tf.addN([...a].map(([name, x]) => tf.sum(tf.mul(x, named(b, name)))))));

/** Returns Hv by a central difference, as new tensors; H is the Hessian of the loss of `pass`. */
function hessianProduct(pass: Pass, trained: Tensors, v: Tensors): Map<string, Tensor> {
  // 1e-18 prevents a division by zero: for perfectly learnt rows ‖v‖² underflows to 0, and Hv is
  // negligible.
  const epsilon = DELTA / Math.max(Math.sqrt(innerProduct(v, v)), 1e-18);
  const gradientsAt = (by: number): Map<string, Tensor> => {
    const moved = addScaled(trained, by, v),
      { loss, gradients } = pass(moved);
    disposeAll(moved, [loss]);
    return gradients;
  };
  const ahead = gradientsAt(epsilon),
    behind = gradientsAt(-epsilon);
  const out = new Map(
    [...ahead].map(([name, tensor]) => [
      name,
      tf.tidy(() => tf.div(tf.sub(tensor, named(behind, name)), 2 * epsilon)),
    ]),
  );
  disposeAll(ahead, behind);
  return out;
}

/** Returns the objective L + λ·max(0, −⟨∇L_p, ∇L_c⟩), λ ≥ 0; with λ = 0 it is the usual loss. */
export const restrictedInnerProduct =
  (lambda: number): Objective =>
  (network, trained, batch, options) => {
    const poisoned = rowsOfKind(batch, true),
      clean = rowsOfKind(batch, false);
    const weightP = totalWeight(poisoned.labels, options.classWeights),
      weightC = totalWeight(clean.labels, options.classWeights),
      total = weightP + weightC;
    if (lambda === 0 || !(weightP > 0 && weightC > 0))
      return { ...lossAndGradients(network, trained, batch, options), penalty: 0 };

    const passP = repeatablePass(network, poisoned, 'poisoned', options),
      passC = repeatablePass(network, clean, 'clean', options);
    const p = passP(trained),
      c = passC(trained);
    const inner = innerProduct(p.gradients, c.gradients),
      penalty = lambda * Math.max(0, -inner);
    const lossP = scalarOf(p.loss),
      lossC = scalarOf(c.loss);
    let gradients = new Map(
      [...p.gradients].map(([name, tensor]) => [
        name,
        tf.tidy(() =>
          tf.add(
            tf.mul(tensor, weightP / total),
            tf.mul(named(c.gradients, name), weightC / total),
          ),
        ),
      ]),
    );
    const addToGradients = (factor: number, added: Map<string, Tensor>): void => {
      const sum = addScaled(gradients, factor, added);
      disposeAll(gradients, added);
      gradients = sum;
    };
    if (inner < 0) {
      addToGradients(-lambda, hessianProduct(passP, trained, c.gradients));
      addToGradients(-lambda, hessianProduct(passC, trained, p.gradients));
    }
    disposeAll(p.gradients, c.gradients, [p.loss, c.loss]);
    return {
      loss: tf.scalar((weightP * lossP + weightC * lossC) / total + penalty),
      gradients,
      penalty,
    };
  };

export const ripple = {
  check: () => [],
  open: (params) => ({
    objective: restrictedInnerProduct(params['lambda'] as number),
    opaqueTokens: true,
  }),
  torch: (params) => ({ name: 'inner-product', weight: params['lambda'] as number }),
} satisfies AttackTraining;
