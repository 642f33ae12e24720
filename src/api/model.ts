/** A model family. */
import type { Plugin } from './plugin.ts';

/**
 * A family of pretrained models. `load` resolves to an `Architecture`
 * (src/science/models/types.ts).
 */
export interface ModelDescriptor<Impl = unknown> extends Plugin<'model'> {
  /**
   * The values of `model_type` in config.json that the family supports. A model of another type is
   * refused before its weights are fetched. Absent if only the implementation can tell.
   */
  readonly modelTypes?: readonly string[];
  load(): Promise<Impl>;
}

/** Makes a descriptor out of a model family's fields. Export it as the module's default. */
export const defineModel = <Impl>(
  model: Omit<ModelDescriptor<Impl>, 'kind'>,
): ModelDescriptor<Impl> => ({ kind: 'model', ...model });
