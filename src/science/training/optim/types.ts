/**
 * The interface of an optimiser: its initial state, and one update. Parameters, gradients and
 * moments have names.
 */
import type { Tensor } from '@tensorflow/tfjs-core';

export type Tensors = ReadonlyMap<string, Tensor>;

export interface Updated<State> {
  readonly parameters: Map<string, Tensor>;
  readonly state: State;
}

export interface Optimizer<State> {
  init(parameters: Tensors): State;
  /**
   * Returns new parameters and state in new tensors. It disposes of the old ones and of the
   * gradients, each as soon as its successor exists, so that memory never holds two of everything.
   */
  update(
    parameters: Tensors,
    gradients: Tensors,
    state: State,
    learningRate: number,
  ): Updated<State>;
  /** The tensors of the state, for disposal. */
  tensors(state: State): readonly Tensor[];
  /** The tensors of the state by name, to be saved. */
  named(state: State): Tensors;
  /** The state after `step` updates, from the tensors that `named` returned. */
  restore(tensors: Tensors, step: number): State;
}

export const disposeOf = (...tensors: readonly Tensor[]): void =>
  tensors.forEach((tensor) => tensor.dispose());
