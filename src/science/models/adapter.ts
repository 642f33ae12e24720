/** The interface between the network and an adapter: what of a model is trained, and how. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { JsonObject, Problem, RandomStream } from '../../api.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from './types.ts';

/** Returns a parameter: one of the model by its canonical name, one of the adapter by its own. */
export type ParameterLookup = (name: string) => Tensor;

export type WeightReader = (name: string) => HostTensor;

/** A layer's low-rank factors and scale s: W' = W + s·B·A − s·B₀·A₀; DoRA: diag(m/‖W'‖)·W'. */
export interface FactorNames {
  readonly A: string; // (r, n)
  readonly B: string; // (m, r)
  readonly scale: number;
  /** σ² of A's distribution. Absent where it is unknown, as for an A from a folder. */
  readonly variance?: number | undefined;
  /** A₀ and B₀, which are not trained. */
  readonly fixed?: { readonly A: string; readonly B: string } | undefined;
  /** DoRA's m, (m). */
  readonly magnitude?: string | undefined;
}

/** The names of VeRA's vectors at a layer: W' = W + diag(b)·B·diag(d)·A. */
export interface VectorNames {
  /** The factors that all layers share; a layer reads their first n columns and m rows. */
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
  /** Digest of the base model's content, where that is not the checkpoint that the spec names. */
  readonly base?: string;
  /** Reads any parameter of the model or of the adapter. */
  readonly read: (name: string) => Promise<HostTensor>;
  readonly parameters: readonly ParameterSpec[];
  /** The model's parameters that were trained, given, or drawn since the checkpoint lacks them. */
  readonly changed: readonly string[];
}

export interface LayerContext {
  readonly parameter: ParameterLookup;
  /** Present while training: the stream of this name for the adapter's dropout in this step. */
  readonly random?: ((name: string) => RandomStream) | undefined;
}

export interface Adapter {
  /** Whether a parameter is trained, by canonical name or the adapter's. The head always is. */
  trains(name: string): boolean;
  /** The parameters that the adapter adds to the model's. */
  readonly parameters: readonly ParameterSpec[];
  /**
   * Returns the initial values of the adapter's parameters, and of model parameters that `initFrom`
   * holds.
   * @param read reads a parameter as it is before training; needed where the adapter starts from a
   *   weight
   */
  initial(seed: number, read?: WeightReader): ReadonlyMap<string, HostTensor>;
  /** What PyTorch draws from the seed, in place of `initial`. Absent where it draws nothing. */
  draw?(seed: number): Promise<ReadonlyMap<string, HostTensor>>;
  /** The parameters of the model that `initial` reads. Default: none. */
  readonly reads?: readonly string[] | undefined;
  /** The names of the layers that the adapter adapts; kernels are taken over these. */
  readonly targets: readonly string[];
  /** x: (S, n), weight: (m, n), bias: (m), or null for a layer without one → (S, m). */
  linear(
    layer: string,
    x: Tensor2D,
    weight: Tensor2D,
    bias: Tensor1D | null,
    context: LayerContext,
  ): Tensor2D;
  /** A layer's low-rank factors, or null. Kernels are made of what `factors` and `vectors` name. */
  factors(layer: string): FactorNames | null;
  /** VeRA's vectors at a layer; null, or absent, where it has none. */
  vectors?(layer: string): VectorNames | null;
  /**
   * Whether the adapter's kernel is also over this parameter of the model: a bias, or a norm's
   * scale. If it returns true for any other below the head, the kernel is over none of the model's.
   */
  ofModel?(name: string): boolean;
  /** The factor on the learning rate of a parameter. Default: 1. */
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
  /** Returns the faults that only the model or `initFrom` shows, by paths from the spec's root. */
  check(params: JsonObject, context: AdapterContext): Promise<readonly Problem[]>;
  /** Returns the adapter. Throws UserFault for the first fault that `check` would return. */
  create(params: JsonObject, context: AdapterContext): Promise<Adapter>;
}
