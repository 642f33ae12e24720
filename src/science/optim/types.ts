/** An optimiser is a pure pair: where its state starts, and one update. Parameters, gradients and moments go by name. */
import type { Tensor } from '@tensorflow/tfjs-core';

export type Tensors = ReadonlyMap<string, Tensor>;

export interface Updated<State> {
  readonly parameters: Map<string, Tensor>;
  readonly state: State;
}

export interface Optimizer<State> {
  init(parameters: Tensors): State;
  /**
   * New parameters and state, in tensors of their own. The old ones and the gradients are disposed of, each as soon as its
   * successor is there: memory never holds two of everything.
   */
  update(
    parameters: Tensors,
    gradients: Tensors,
    state: State,
    learningRate: number,
  ): Updated<State>;
  /** The state's tensors, for disposal. */
  tensors(state: State): readonly Tensor[];
  /** The same by name, from which `restore` makes the state after `step` updates. */
  named(state: State): Tensors;
  restore(tensors: Tensors, step: number): State;
}

export const disposeOf = (...tensors: readonly Tensor[]): void =>
  tensors.forEach((tensor) => tensor.dispose());
