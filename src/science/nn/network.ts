/** A model under an adapter: its parameters parted into trained and frozen, and the forward pass over them. */
import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { RandomStream } from '../../random/random.ts';
import { markConstant } from '../tensor/differentiable.ts';
import type { Adapter } from './adapter.ts';
import { type BaseModel, type ModelSource, openBase } from './base.ts';
import { drawParameter } from './draw.ts';
import { within } from './family.ts';
import type {
  Architecture,
  ForwardContext,
  HostTensor,
  LinearLayer,
  ParameterSpec,
  Tap,
  TokenRow,
} from './types.ts';

export type Tensors = ReadonlyMap<string, Tensor>;

export interface ForwardOptions {
  readonly dropout?: ForwardContext['dropout'];
  /** Set while training: streams by name for the adapter's own dropout, of this step alone. */
  readonly adapterRandom?: (name: string) => RandomStream;
  readonly tap?: Tap;
  /** Logits after every layer in place of the last one's alone, (L·B, C), as the architecture's `layerwise` has them: it must have it. */
  readonly layerwise?: boolean;
}

export interface Network {
  readonly architecture: Architecture;
  readonly adapter: Adapter;
  readonly classes: number;
  /** The architecture's own, for `Architecture.forward`. */
  readonly config: unknown;
  readonly linears: readonly LinearLayer[];
  /** Every parameter, the model's and the adapter's. */
  readonly parameters: readonly ParameterSpec[];
  /** Names of the trained ones, in order. */
  readonly trainable: readonly string[];
  /** Where the trained ones start. They belong to the network. */
  readonly initial: Tensors;
  /** The model's parameters that are not the checkpoint's: trained, given, or drawn because it lacks them. */
  readonly changed: readonly string[];
  /** Any parameter as it starts, frozen ones too. */
  frozen(name: string): Tensor;
  /** A parameter's name in the base checkpoint's file; transformers' own where the file lacks it. */
  fileName(name: string): string;
  /** Logits (B, C), or with `layerwise` (L·B, C), with `trained` in place of the initial values. Call it within tf.tidy. */
  forward(batch: readonly TokenRow[], trained?: Tensors, options?: ForwardOptions): Tensor2D;
  dispose(): void;
}

export interface NetworkOptions {
  readonly architecture: Architecture;
  readonly model: ModelSource;
  readonly adapter: Adapter;
  readonly classes: number;
  /** Of what the model lacks: each weight from its own stream (seed, 'head', name); of a random model all of it. */
  readonly seed: number;
  /** Parameters by canonical name in place of the checkpoint's: a head, or whatever a training changed. */
  readonly head?: ReadonlyMap<string, HostTensor>;
  /** Nothing is trained: evaluation and kernels, which differentiate by a tap at most. */
  readonly evaluation?: boolean;
  /** Parameters' names in the base checkpoint, where it isn't the checkpoint that is opened. */
  readonly fileNames?: ReadonlyMap<string, string>;
}

/** Opens a checkpoint under an adapter. Throws UserFault where the checkpoint doesn't fit. */
export async function openNetwork(options: NetworkOptions): Promise<Network> {
  const { architecture, adapter, classes, seed } = options;
  const base: BaseModel = await openBase(options.model, architecture, classes, seed);
  const config = architecture.parseConfig(base.config, classes);
  const own = new Map<string, Tensor>(); // tensors that aren't the base's
  const hold = (name: string, { data, shape }: HostTensor): void => {
    own.set(name, tf.keep(tf.tensor(data, shape.slice(), 'float32')));
  };
  const isTasks = (name: string): boolean => within(name, architecture.headModules);
  const modelParameters = architecture.parameters(config);
  for (const spec of modelParameters) {
    const given = options.head?.get(spec.name);
    if (given !== undefined) hold(spec.name, given);
    else if (!base.tensors.has(spec.name))
      hold(spec.name, drawParameter(spec, architecture.initializerRange(config), seed, 'head'));
  }
  for (const [name, tensor] of adapter.initial(seed)) {
    own.get(name)?.dispose();
    hold(name, tensor);
  }

  const value = (name: string): Tensor => {
    const tensor = own.get(name) ?? base.tensors.get(name);
    if (tensor === undefined) throw new Error(`no parameter is named ${name}`);
    return tensor;
  };
  const trained = modelParameters
    .map(({ name }) => name)
    .filter((name) => isTasks(name) || adapter.trains(name));
  const trainable = [
    ...adapter.parameters.map(({ name }) => name).filter((name) => adapter.trains(name)),
    ...trained,
  ];
  const initial = new Map<string, Tensor>();
  for (const name of trainable) {
    // The base's own tensors are marked constant for good: a trained one is a handle of its own on the same data.
    if (!own.has(name)) own.set(name, tf.keep(tf.clone(value(name))));
    initial.set(name, value(name));
  }
  for (const [name, tensor] of own)
    if (options.evaluation === true || !initial.has(name)) markConstant(tensor);

  const forward = (
    batch: readonly TokenRow[],
    values: Tensors = initial,
    { dropout, adapterRandom: random, tap, layerwise = false }: ForwardOptions = {},
  ): Tensor2D => {
    const parameter = (name: string): Tensor => values.get(name) ?? value(name);
    const layerContext = { parameter, ...(random === undefined ? {} : { random }) };
    const context: ForwardContext = {
      parameter,
      linear: (layer, x, tokens) => {
        const y = adapter.linear(
          layer,
          x,
          parameter(`${layer}.weight`) as Tensor2D,
          parameter(`${layer}.bias`) as Tensor1D,
          layerContext,
        );
        return tap === undefined || isTasks(layer) ? y : tap(layer, x, y, tokens);
      },
      // A tap may hold on to what it is shown.
      scope: (part) => (tap === undefined ? tf.tidy(part) : part()),
      ...(dropout === undefined ? {} : { dropout }),
    };
    if (!layerwise) return architecture.forward(config, batch, context);
    if (architecture.layerwise === undefined)
      throw new Error(`${architecture.modelType} offers no logits after each layer`);
    return architecture.layerwise(config, batch, context);
  };
  return {
    architecture,
    adapter,
    classes,
    config,
    trainable,
    initial,
    forward,
    linears: architecture.linears(config),
    parameters: [...modelParameters, ...adapter.parameters],
    changed: modelParameters.map(({ name }) => name).filter((name) => own.has(name)),
    frozen: value,
    fileName: (name) =>
      (options.fileNames ?? base.fileNames).get(name) ?? architecture.externalName(name),
    dispose: () => {
      own.forEach((tensor) => tensor.dispose());
      base.release();
    },
  };
}
