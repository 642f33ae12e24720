/** A model under an adapter: its trained and frozen parameters, and the forward pass. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type HeldWeights, UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import type { RandomStream } from '../../base/random.ts';
import { markConstant } from '../../tensor/differentiable.ts';
import { type MergedWeights, mergedWeights } from './adapted-layer.ts';
import type { Adapter } from './adapter.ts';
import { type BaseModel, type ModelSource, openBase } from './base.ts';
import type { KeyValueCache } from './generate.ts';
import { linear } from './linear.ts';
import { within } from './modules.ts';
import { ownValues, trainedNames } from './start.ts';
import type {
  Architecture,
  ForwardContext,
  HostTensor,
  LinearLayer,
  ParameterSpec,
  Tap,
  TokenRow,
  VectorTap,
} from './types.ts';

export type Tensors = ReadonlyMap<string, Tensor>;

export interface ForwardOptions {
  readonly dropout?: ForwardContext['dropout'];
  /** Present while training: returns the stream of a name for the adapter's dropout in a step. */
  readonly adapterRandom?: (name: string) => RandomStream;
  /** Called with the input of each linear layer, the head's too, (S, n). */
  readonly onLinear?: (x: Tensor2D) => void;
  readonly tap?: Tap;
  /** Give `tap` too: without it, tensors that this tap may keep are freed. */
  readonly vectorTap?: VectorTap;
  /** Weights by layer that include what the adapter adds, as `Network.merged` returns them. */
  readonly merged?: ReadonlyMap<string, Tensor2D>;
  /** Present while text is generated: holds the tokens before those of the batch. */
  readonly cache?: KeyValueCache;
  /** Whether to return the outputs after every layer, (L·Q, O), as `Architecture.layerwise`. */
  readonly layerwise?: boolean;
}

export interface Network {
  readonly architecture: Architecture;
  readonly adapter: Adapter;
  readonly classes: number;
  /** The parsed config, for `Architecture.forward`. */
  readonly config: unknown;
  readonly linears: readonly LinearLayer[];
  /** Every parameter of the model and of the adapter. */
  readonly parameters: readonly ParameterSpec[];
  /** The names of the trained parameters: the adapter's, then the model's. */
  readonly trainable: readonly string[];
  /** The initial values of the trained parameters. The network disposes of them. */
  readonly initial: Tensors;
  /**
   * The names of the model's parameters that may differ from the checkpoint's: those that are
   * trained, given (`NetworkOptions.head`), set by the adapter, or `drawn`.
   */
  readonly changed: readonly string[];
  /** The names of the model's parameters that were drawn, since the checkpoint lacks them. */
  readonly drawn: readonly string[];
  /** Returns the initial value of any parameter, trained or frozen. */
  frozen(name: string): Tensor;
  /** Reads the initial value of any parameter into main memory. */
  read(name: string): Promise<HostTensor>;
  /**
   * Returns the weights that include what the adapter adds at the start, by layer. They belong to
   * the network.
   */
  merged(): ReadonlyMap<string, Tensor2D>;
  /** Returns a parameter's name in the base checkpoint's file or, if not there, in transformers. */
  fileName(name: string): string;
  /**
   * Returns the head's outputs (Q, O), such as logits (B, C); with `layerwise`, (L·Q, O). Must be
   * called within tf.tidy.
   * @param trained values of the trained parameters. Default: their initial values
   */
  forward(batch: readonly TokenRow[], trained?: Tensors, options?: ForwardOptions): Tensor2D;
  /**
   * As `Architecture.hiddenStates`. Throws if the architecture has no such function. Must be called
   * within tf.tidy.
   */
  hiddenStates(
    batch: readonly TokenRow[],
    trained?: Tensors,
    options?: Pick<ForwardOptions, 'dropout' | 'adapterRandom'> & { readonly shift?: Tensor2D },
  ): Tensor2D[];
  dispose(): void;
}

export interface NetworkOptions {
  readonly architecture: Architecture;
  readonly model: ModelSource;
  readonly adapter: Adapter;
  readonly classes: number;
  /** Seeds a random model, and what a checkpoint lacks (by stream (seed, 'head', name)). */
  readonly seed: number;
  /** Parameters in place of the checkpoint's, by name: a head, or all that a training changed. */
  readonly head?: ReadonlyMap<string, HostTensor>;
  /**
   * Whether nothing is trained: all parameters are constants. Kernels need no more, since they
   * differentiate with respect to what a tap adds.
   */
  readonly evaluation?: boolean;
  /** Names of parameters in the base checkpoint, where `model` is another checkpoint. */
  readonly fileNames?: ReadonlyMap<string, string>;
  /** How PyTorch holds the frozen weights. Default: float32, as always in the other engines. */
  readonly weights?: HeldWeights;
}

/**
 * Returns a function like `random`, but with a new stream each time that a name comes again, as for
 * a layer that is applied twice.
 */
function perUse(random: (name: string) => RandomStream): (name: string) => RandomStream {
  const uses = new Map<string, number>();
  return (name) => {
    const use = (uses.get(name) ?? 0) + 1;
    uses.set(name, use);
    return random(use === 1 ? name : `${name}/${use}`);
  };
}

/**
 * Returns a network's forward passes. `frozen` returns the initial value of any parameter, and
 * `initial` has those of the trained ones.
 */
function passesOf(
  { architecture, adapter }: NetworkOptions,
  config: unknown,
  initial: Tensors,
  frozen: (name: string) => Tensor,
): Pick<Network, 'forward' | 'hiddenStates'> {
  const biased = new Set(
    architecture.linears(config).flatMap(({ name, bias }) => (bias ? [name] : [])),
  );
  const contextOf = (
    batch: readonly TokenRow[],
    values: Tensors,
    { dropout, adapterRandom: random, onLinear, tap, vectorTap, merged, cache }: ForwardOptions,
  ): ForwardContext => {
    const parameter = (name: string): Tensor => values.get(name) ?? frozen(name);
    const layerContext = { parameter, random: random && perUse(random) };
    return {
      parameter,
      linear: (layer, x, tokens) => {
        onLinear?.(x);
        const bias = biased.has(layer) ? (parameter(`${layer}.bias`) as Tensor1D) : null,
          mergedWeight = merged?.get(layer);
        const y =
          mergedWeight === undefined
            ? adapter.linear(layer, x, parameter(`${layer}.weight`) as Tensor2D, bias, layerContext)
            : linear(x, mergedWeight, bias);
        return tap === undefined || within(layer, architecture.headModules)
          ? y
          : tap(layer, x, y, tokens);
      },
      vectorTap:
        vectorTap &&
        ((name, x, y, tokens) =>
          within(name, architecture.headModules) ? y : vectorTap(name, x, y, tokens)),
      // A tap may keep the tensors that it is shown, so nothing is freed while there is one.
      scope: (part) => (tap === undefined ? tf.tidy(part) : part()),
      // A tap looks at each row by itself, so each row reads its own copy of relative positions.
      copies: tap && Int32Array.from(batch, (_, b) => b),
      dropout,
      cache,
    };
  };
  return {
    forward: (batch, values = initial, options = {}) => {
      const context = contextOf(batch, values, options);
      if (options.layerwise !== true) return architecture.forward(config, batch, context);
      if (architecture.layerwise === undefined)
        throw new Error(`${architecture.modelType} offers no logits after each layer`);
      return architecture.layerwise(config, batch, context);
    },
    hiddenStates: (batch, values = initial, { shift, ...options } = {}) => {
      if (architecture.hiddenStates === undefined)
        throw new Error(`${architecture.modelType} offers no hidden states`);
      return architecture.hiddenStates(config, batch, contextOf(batch, values, options), shift);
    },
  };
}

/** Opens a model under an adapter. Throws UserFault where the checkpoint does not fit. */
export async function openNetwork(options: NetworkOptions): Promise<Network> {
  const { architecture, adapter, classes, seed } = options;
  if (options.weights !== undefined)
    throw new UserFault(
      "this model's frozen weights are quantised or in bfloat16, which only PyTorch computes with",
      'Run it with --backend torch, or leave out model.quantize and model.dtype.',
    );
  const base: BaseModel = await openBase(options.model, architecture, classes, seed);
  const config = architecture.parseConfig(base.config, classes);
  const parameters = architecture.parameters(config);
  const own = new Map<string, Tensor>();
  const values = ownValues(options, config, parameters, {
    has: (name) => base.tensors.has(name),
    read: (name) => {
      const tensor = named(base.tensors, name);
      return { shape: tensor.shape, data: tensor.dataSync<'float32'>() };
    },
  });
  for (const [name, { data, shape }] of values)
    own.set(name, tf.keep(tf.tensor(data, shape.slice(), 'float32')));
  const drawn = parameters
    .map(({ name }) => name)
    .filter((name) => !base.tensors.has(name) && options.head?.has(name) !== true);
  // Returns the initial value of any parameter, the adapter's too. Throws for another name.
  const frozen = (name: string): Tensor => {
    const tensor = own.get(name) ?? base.tensors.get(name);
    if (tensor === undefined) throw new Error(`no parameter is named ${name}`);
    return tensor;
  };
  const names = parameters.map(({ name }) => name);
  const trainable = trainedNames(architecture, adapter, parameters);
  const initial = new Map<string, Tensor>();
  for (const name of trainable) {
    // The tensors of the base are marked constant for good, so a trained one is another handle on
    // the same data.
    if (!own.has(name)) own.set(name, tf.keep(tf.clone(frozen(name))));
    initial.set(name, frozen(name));
  }
  const linears = architecture.linears(config);
  let merged: MergedWeights | null = null;
  for (const [name, tensor] of own)
    if (options.evaluation === true || !initial.has(name)) markConstant(tensor);
  return {
    architecture,
    adapter,
    classes,
    config,
    trainable,
    initial,
    ...passesOf(options, config, initial, frozen),
    linears,
    parameters: [...parameters, ...adapter.parameters],
    changed: names.filter((name) => own.has(name)),
    drawn,
    frozen,
    read: async (name) => {
      const tensor = frozen(name);
      return { shape: tensor.shape, data: await tensor.data<'float32'>() };
    },
    merged: () => (merged ??= mergedWeights(adapter, linears, frozen)).weights,
    fileName: (name) =>
      (options.fileNames ?? base.fileNames).get(name) ?? architecture.externalName(name),
    dispose: () => {
      merged?.dispose();
      own.forEach((tensor) => tensor.dispose());
      base.release();
    },
  };
}

/**
 * Returns a network that computes each batch in reverse order, and returns its logits in the order
 * of the batch. Rows do not influence each other, so logits and gradients, which are sums over the
 * rows, differ only by rounding. Not for training with dropout, whose masks go by position in the
 * batch.
 */
export function readReversed(network: Network): Network {
  return {
    ...network,
    forward: (batch, trained, options = {}) => {
      if (options.layerwise === true)
        throw new Error('the logits of several layers cannot be put back in order');
      const logits = network.forward([...batch].reverse(), trained, options); // (B, C), reversed
      return tf.reverse<Tensor2D>(logits, 0);
    },
  };
}
