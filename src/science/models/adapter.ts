/** The interface between the network and an adapter: what of a model is trained, and how. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { JsonObject, Problem, RandomStream } from '../../api.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from './types.ts';

/**
 * Returns the parameter of a name: the canonical name for a parameter of the model, the name in
 * `Adapter.parameters` for one that the adapter adds.
 */
export type ParameterLookup = (name: string) => Tensor;

export type WeightReader = (name: string) => HostTensor;

/**
 * The names of a layer's low-rank factors, and their scale s. With V = W + s·B·A − s·B₀·A₀, the
 * layer's weight is V or, under DoRA with magnitudes g, diag(g/‖V‖)·V.
 */
export interface FactorNames {
  readonly A: string; // (r, n)
  readonly B: string; // (m, r)
  readonly scale: number;
  /** The variance σ² that A was drawn with. Absent where it is unknown, as for A from a folder. */
  readonly variance?: number | undefined;
  /** The names of A₀ and B₀, which are not trained. Absent where nothing is subtracted. */
  readonly fixed?: { readonly A: string; readonly B: string } | undefined;
  /** The name of DoRA's magnitudes g, one for each of the m outputs, (m). Absent without DoRA. */
  readonly magnitude?: string | undefined;
}

/** The names of VeRA's vectors at a layer: W' = W + diag(b)·B·diag(d)·A. */
export interface VectorNames {
  /** All layers share A and B: a layer reads the first n columns of A and the first m rows of B. */
  readonly A: string; // (r, ≥ n)
  readonly B: string; // (≥ m, r)
  readonly d: string; // (r)
  readonly b: string; // (m)
}

export interface SaveContext {
  readonly architecture: Architecture;
  /** The folder of the base checkpoint. */
  readonly modelDir: string;
  readonly classes: readonly string[];
  /** The digest of the base model. Absent where the base is the checkpoint that the spec names. */
  readonly base?: string;
  /** Reads any parameter of the model or of the adapter. */
  readonly read: (name: string) => Promise<HostTensor>;
  readonly parameters: readonly ParameterSpec[];
  /** As `Network.changed`. */
  readonly changed: readonly string[];
}

export interface LayerContext {
  readonly parameter: ParameterLookup;
  /** Present while training: returns the stream of a name for the adapter's dropout in a step. */
  readonly random?: ((name: string) => RandomStream) | undefined;
}

export interface Adapter {
  /**
   * Whether the parameter of this name, of the model or of the adapter, is trained. The modules of
   * `headModules` are trained whatever it returns.
   */
  trains(name: string): boolean;
  /** The parameters that the adapter adds to the model's. */
  readonly parameters: readonly ParameterSpec[];
  /**
   * Returns the initial values of the adapter's parameters, and of model parameters that `initFrom`
   * holds.
   * @param read reads a parameter of the model as it is before training; needed where `reads` names
   *   any
   */
  initial(seed: number, read?: WeightReader): ReadonlyMap<string, HostTensor>;
  /**
   * Returns the values that PyTorch's process draws from the seed; they replace those of `initial`.
   * Absent for an adapter for which that process draws none.
   */
  draw?(seed: number): Promise<ReadonlyMap<string, HostTensor>>;
  /** The parameters of the model that `initial` reads. Default: none. */
  readonly reads?: readonly string[] | undefined;
  /** The names of the layers that the adapter adapts; kernels are taken over these. */
  readonly targets: readonly string[];
  /**
   * Applies a linear layer, whether the adapter adapts it or not. x: (S, n), weight: (m, n), bias:
   * (m), or null for a layer without one → (S, m).
   */
  linear(
    layer: string,
    x: Tensor2D,
    weight: Tensor2D,
    bias: Tensor1D | null,
    context: LayerContext,
  ): Tensor2D;
  /**
   * Returns the names of a layer's low-rank factors; null if the layer has none. A parameter that
   * the adapter adds is in the adapter's kernel only if `factors` or `vectors` names it.
   */
  factors(layer: string): FactorNames | null;
  /** Returns the names of VeRA's vectors at a layer; null if it has none. Absent without VeRA. */
  vectors?(layer: string): VectorNames | null;
  /**
   * Whether the adapter's kernel is to be over this parameter of the model too, which the adapter
   * trains. Only biases and the scales of norms can be in the kernel: if this returns true for any
   * other parameter below the head, the kernel is over none of the model's parameters.
   */
  ofModel?(name: string): boolean;
  /** Returns the factor on the learning rate of a parameter. Default: 1. */
  rate?(name: string): number;
  /**
   * Writes `adapter/` (PEFT), `model/` (the whole checkpoint) or `changed.safetensors`
   * (fine-tuning.ts) into `outDir`, the output folder of a train stage.
   */
  save(outDir: string, context: SaveContext): Promise<void>;
}

export interface AdapterContext extends ModelShape {
  /** A PEFT folder to start from. */
  readonly initFrom?: string;
  /** The folder of the model's config.json. */
  readonly modelDir?: string;
}

export interface AdapterImplementation {
  /**
   * Returns the faults that cannot be found without the model or `initFrom`. Their paths begin at
   * the root of the spec.
   */
  check(params: JsonObject, context: AdapterContext): Promise<readonly Problem[]>;
  /** Returns the adapter. Throws UserFault for the first fault that `check` would return. */
  create(params: JsonObject, context: AdapterContext): Promise<Adapter>;
}
