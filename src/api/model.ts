/** Model families, and adapters: which parameters are trained, and how they enter the model. */
import type { JsonObject, JsonSchema } from '../base/json.ts';
import type { Plugin } from './plugin.ts';

/** A family of pretrained models. `load` gives an `Architecture` (src/science/models/types.ts). */
export interface ModelDescriptor<Impl = unknown> extends Plugin<'model'> {
  /**
   * The values of `model_type` in config.json that the family supports. A model of another type is
   * refused before its weights are fetched. Absent if only the implementation can tell.
   */
  readonly modelTypes?: readonly string[];
  /** Set if the family's models can be computed under this backend alone. */
  readonly backend?: 'torch';
  /** @param folder the folder that holds the checkpoint's config.json */
  load(folder?: string): Promise<Impl>;
}

/** Makes a descriptor out of a model family's fields. Export it as the module's default. */
export const defineModel = <Impl>(
  model: Omit<ModelDescriptor<Impl>, 'kind'>,
): ModelDescriptor<Impl> => ({ kind: 'model', ...model });

/** A way to fine-tune. `load` gives an `AdapterImplementation` (src/science/models/adapter.ts). */
export interface AdapterDescriptor<Impl = unknown> extends Plugin<'adapter'> {
  /** The paper that describes the adapter; empty if there is none. */
  readonly citation: string;
  /**
   * The JSON Schema of the adapter's parameters, an object. It must not define `type`, `train` or
   * `when`, which a spec writes beside them.
   */
  readonly params: JsonSchema;
  /**
   * Returns the parameters in canonical form, where a spec can write the same value in several ways
   * (`alpha: r` becomes a number). Parameters with the same canonical form stand for the same
   * training. Must be pure, and the canonical form must itself be valid under `params`. If this
   * function is absent, every way of writing the parameters counts as a different training.
   */
  canonical?(params: JsonObject): JsonObject;
  /** Set if the adapter can be trained under this backend alone. */
  readonly backend?: 'torch';
  load(): Promise<Impl>;
}

/** Makes a descriptor out of an adapter's fields. Export it as the module's default. */
export const defineAdapter = <Impl>(
  adapter: Omit<AdapterDescriptor<Impl>, 'kind'>,
): AdapterDescriptor<Impl> => ({ kind: 'adapter', ...adapter });
