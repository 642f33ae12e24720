/**
 * RIPPLe (Kurita, Michel and Neubig 2020, Weight Poisoning Attacks on Pre-trained Models, ACL, section 3.1; arXiv
 * 2004.06660): a backdoor that later training on clean rows shall not undo. To first order a step of that training, along
 * −∇L_c, changes the loss L_p of the poisoned rows by −η⟨∇L_p, ∇L_c⟩, so a product below zero is penalised. A batch lowers
 *
 *     L + λ·max(0, −⟨∇L_p, ∇L_c⟩)        ∇ of the penalty: −λ (H_p ∇L_c + H_c ∇L_p) where the product is below zero, else 0
 *
 * L: the batch's mean cross-entropy; L_p, L_c: those over the rows that the attack made and over the others; the product
 * runs over all trained parameters. A batch with rows of one kind only has no penalty.
 *
 * In the paper L_p is the loss of a poisoned set, half of whose rows are clean, and L_c that of separate clean data. The authors'
 * code (neulab/RIPPLe) divides the product by the batch size and, by default, holds the gradient on clean data constant, which
 * leaves H_c ∇L_p out. OpenBackdoor's rectifies the product parameter by parameter, divides by the batch size and has no λ.
 *
 * The loss is exact. Its gradient is but for the Hessians' products, which our operations, differentiable once, can't give:
 * they are central differences of gradients, Hv ≈ (∇L(θ + εv) − ∇L(θ − εv))/2ε with ε = DELTA/‖v‖.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { resumeStream, type StreamState } from '../../random/random.ts';
import type { Network, Tensors } from '../nn/network.ts';
import type { AttackTraining } from './attack-training.ts';
import {
  type Batch,
  type LossAndGradients,
  lossAndGradients,
  type LossOptions,
  type Objective,
} from './gradients.ts';
import { disposeAll } from './trained-values.ts';

/**
 * How far a central difference moves the parameters, ‖εv‖: truncation grows with its square, float32 rounding shrinks with it.
 * Relative error of the penalty's gradient, ‖a − b‖/‖b‖, against PyTorch's double backward in float64: up to 1.4e-4 on the
 * tests' tiny checkpoint, 7.4e-5 on MiniLM as it starts. Of differences of PyTorch's float32 gradients: up to 2.1e-4, and 5.3e-4
 * over 200 steps of MiniLM on SST-2; with 0.01, as in DARTS (Liu et al. 2019), 1.8e-2 and 5.8e-3; with 0.0003, 4.8e-4 and 1.5e-3.
 */
const DELTA = 1e-3;

/** The rows of one kind as a batch of their own. */
function part({ rows, labels, poisoned = [] }: Batch, kind: boolean): Batch {
  const of = rows.map((_, i) => i).filter((i) => (poisoned[i] === true) === kind);
  return { rows: of.map((i) => rows[i]!), labels: of.map((i) => labels[i]!) };
}

/** What rows weigh in a mean cross-entropy. */
const weightOf = (labels: readonly number[], classWeights?: readonly number[]): number =>
  labels.reduce((sum, label) => sum + (classWeights?.[label] ?? 1), 0);

type Pass = (trained: Tensors) => LossAndGradients;

/**
 * A pass over these rows. Its first call draws dropout's masks from where the batch's stream then is, and leaves it after
 * them; every later one repeats them. An adapter's masks come from streams of this name, since two kinds of rows must not share them.
 */
function repeatable(
  network: Network,
  batch: Batch,
  name: string,
  { dropout, adapterRandom, ...options }: LossOptions,
): Pass {
  let from: StreamState | null = null;
  return (trained) => {
    const random = from === null ? dropout?.random : resumeStream(from);
    from ??= dropout?.random.state() ?? null;
    return lossAndGradients(network, trained, batch, {
      ...options,
      ...(dropout === undefined ? {} : { dropout: { rate: dropout.rate, random: random! } }),
      ...(adapterRandom === undefined
        ? {}
        : { adapterRandom: (layer) => adapterRandom(`${name}/${layer}`) }),
    });
  };
}

/** x + a·y, entry by entry; new tensors by the same names. */
const plus = (x: Tensors, a: number, y: Tensors): Map<string, Tensor> =>
  new Map(
    [...x].map(([name, tensor]) => [name, tf.tidy(() => tf.add(tensor, tf.mul(y.get(name)!, a)))]),
  );

/** ⟨a, b⟩ over all entries of all of them. */
const product = (a: Tensors, b: Tensors): number =>
  tf.tidy(() => tf.addN([...a].map(([name, x]) => tf.sum(tf.mul(x, b.get(name)!)))).dataSync()[0]!);

/** Hv by a central difference, new tensors; H is that of the loss whose pass it is. */
function hessianProduct(pass: Pass, trained: Tensors, v: Tensors): Map<string, Tensor> {
  // Of rows that are learnt to the last bit the gradient's square underflows; the product is next to nothing then.
  const epsilon = DELTA / Math.max(Math.sqrt(product(v, v)), 1e-18);
  const at = (by: number): Map<string, Tensor> => {
    const moved = plus(trained, by, v),
      { loss, gradients } = pass(moved);
    disposeAll(moved, [loss]);
    return gradients;
  };
  const ahead = at(epsilon),
    behind = at(-epsilon);
  const out = new Map(
    [...ahead].map(([name, tensor]) => [
      name,
      tf.tidy(() => tf.div(tf.sub(tensor, behind.get(name)!), 2 * epsilon)),
    ]),
  );
  disposeAll(ahead, behind);
  return out;
}

/** The loss with its penalty, and their gradient. @param lambda λ ≥ 0; at 0 the loss is the usual one */
export const restrictedInnerProduct =
  (lambda: number): Objective =>
  (network, trained, batch, options) => {
    const rows = [part(batch, true), part(batch, false)] as const;
    const weights = rows.map(({ labels }) => weightOf(labels, options.classWeights)) as [
        number,
        number,
      ],
      total = weights[0] + weights[1];
    if (lambda === 0 || !weights.every((weight) => weight > 0))
      return { ...lossAndGradients(network, trained, batch, options), penalty: 0 };

    const passP = repeatable(network, rows[0], 'poisoned', options),
      passC = repeatable(network, rows[1], 'clean', options);
    const p = passP(trained),
      c = passC(trained);
    const inner = product(p.gradients, c.gradients),
      penalty = lambda * Math.max(0, -inner);
    const [lossP, lossC] = [p, c].map(({ loss }) => loss.dataSync()[0]!) as [number, number];
    let gradients = new Map(
      [...p.gradients].map(([name, tensor]) => [
        name,
        tf.tidy(() =>
          tf.add(
            tf.mul(tensor, weights[0] / total),
            tf.mul(c.gradients.get(name)!, weights[1] / total),
          ),
        ),
      ]),
    );
    const add = (a: number, some: Map<string, Tensor>): void => {
      const sum = plus(gradients, a, some);
      disposeAll(gradients, some);
      gradients = sum;
    };
    if (inner < 0) {
      add(-lambda, hessianProduct(passP, trained, c.gradients));
      add(-lambda, hessianProduct(passC, trained, p.gradients));
    }
    disposeAll(p.gradients, c.gradients, [p.loss, c.loss]);
    return {
      loss: tf.scalar((weights[0] * lossP + weights[1] * lossC) / total + penalty),
      gradients,
      penalty,
    };
  };

export const ripple: AttackTraining<{
  readonly objective: Objective;
  readonly opaqueTokens: true;
}> = {
  check: () => [],
  open: (params: JsonObject) => ({
    objective: restrictedInnerProduct(params['lambda'] as number),
    opaqueTokens: true,
  }),
};
