/** An adapter: which parameters are trained, and how they enter the model. */
import type { JsonObject, JsonSchema } from './json.ts';
import type { Plugin } from './plugin.ts';

/**
 * A way to fine-tune. What `load` resolves to is an `AdapterImplementation` of
 * src/science/nn/adapter.ts.
 */
export interface AdapterDescriptor<Impl = unknown> extends Plugin<'adapter'> {
  /** The paper that describes it; empty if there is none. */
  readonly citation: string;
  /** The JSON Schema of its parameters: an object without `type`, `train` and `when`. */
  readonly params: JsonSchema;
  /**
   * The parameters in a canonical form, for those that can be written in several ways (α as a
   * number where a spec has `alpha: r`). Parameters with the same form are one training under
   * several names. Pure; the form must itself be valid. If absent, every way to write them is a
   * training of its own.
   */
  canonical?(params: JsonObject): JsonObject;
  load(): Promise<Impl>;
}

/** Makes a descriptor out of an adapter's fields; it should be its module's default export. */
export const defineAdapter = <Impl>(
  adapter: Omit<AdapterDescriptor<Impl>, 'kind'>,
): AdapterDescriptor<Impl> => ({ kind: 'adapter', ...adapter });
