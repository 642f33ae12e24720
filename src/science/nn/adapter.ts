/** The interface between an adapter (what of a model is trained, and how) and the network. One adapter is one plugin. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { JsonObject, Problem, RandomStream } from '../../api.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from './types.ts';

/** A parameter's tensor by name: the model's by canonical name, the adapter's by its own. */
export type ParameterLookup = (name: string) => Tensor;

/** Names of a layer's low-rank factors, and s. */
export interface FactorNames {
  readonly A: string; // (r, n)
  readonly B: string; // (m, r)
  readonly scale: number;
  /** σ² of the distribution that A's entries were drawn from; left out where nothing tells, as where A came from a folder. */
  readonly variance?: number;
}

/** What the base model is, as an adapter sees it when it is saved. */
export interface SaveContext {
  readonly architecture: Architecture;
  /** The folder of the base checkpoint. */
  readonly modelDir: string;
  readonly classes: readonly string[];
  /** The base's name where it is not the checkpoint that the spec names: by its content. */
  readonly base?: string;
  /** Every parameter of the model and of the adapter. */
  readonly read: (name: string) => Promise<HostTensor>;
  readonly parameters: readonly ParameterSpec[];
  /** The model's parameters that are not the checkpoint's any more: trained, given, or drawn because it lacks them. */
  readonly changed: readonly string[];
}

/** What a layer may look up. */
export interface LayerContext {
  readonly parameter: ParameterLookup;
  /** Set while training: the stream by this name of the adapter's own dropout, of this step alone. */
  readonly random?: (name: string) => RandomStream;
}

export interface Adapter {
  /** Whether a parameter is trained, the model's by canonical name or one of the adapter's own. The head always is; that is the network's business. */
  trains(name: string): boolean;
  /** Parameters of the adapter's own. */
  readonly parameters: readonly ParameterSpec[];
  /** Where they start; and parameters of the model that don't start from the checkpoint (biases that `initFrom` holds). */
  initial(seed: number): ReadonlyMap<string, HostTensor>;
  /** Layers that the kernels are over. */
  readonly targets: readonly string[];
  /** One linear layer under the adapter: x (S, n), weight (m, n), bias (m) → (S, m). */
  linear(
    layer: string,
    x: Tensor2D,
    weight: Tensor2D,
    bias: Tensor1D,
    context: LayerContext,
  ): Tensor2D;
  /** A layer's low-rank factors, where it has them. */
  factors(layer: string): FactorNames | null;
  /**
   * Whether the factors say all of it, so that several adapters can share one pass over the frozen base: each layer is
   * y = xWᵀ + b + s(xAᵀ)Bᵀ, A and B of every layer and the head are trained, and nothing else is random or trained.
   */
  readonly packable: boolean;
  /** Writes `adapter/` (PEFT), `model/` (the whole checkpoint) or changed.safetensors (io/partial.ts) into a train stage's output folder. */
  save(outDir: string, context: SaveContext): Promise<void>;
}

export interface AdapterContext extends ModelShape {
  /** A PEFT folder to start from. */
  readonly initFrom?: string;
}

export interface AdapterImplementation {
  /** Faults that only the model (or `initFrom`) can show; paths from the spec's root. */
  check(params: JsonObject, context: AdapterContext): Promise<readonly Problem[]>;
  /** Throws UserFault with the first fault that `check` would find. */
  create(params: JsonObject, context: AdapterContext): Promise<Adapter>;
}
