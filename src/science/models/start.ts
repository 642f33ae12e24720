/**
 * The values that a model under an adapter starts from, in main memory: those that are given in
 * place of the checkpoint's, those that are drawn since the checkpoint lacks them, and the
 * adapter's. Every engine starts from them.
 */
import { named } from '../../base/lookup.ts';
import type { Adapter, WeightReader } from './adapter.ts';
import { checkTied, drawBody, drawParameter, readParameters, resolveNames } from './base.ts';
import { readConfig } from './head.ts';
import { openCheckpoint } from './io/checkpoint.ts';
import { within } from './modules.ts';
import type { NetworkOptions } from './network.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

/**
 * Returns the initial values that differ from the checkpoint's, or that it lacks, by canonical
 * name.
 * @param base reads the parameters that the checkpoint holds or, for a random model, the drawn body
 */
export function ownValues(
  { architecture, adapter, seed, head }: NetworkOptions,
  config: unknown,
  parameters: readonly ParameterSpec[],
  base: { has(name: string): boolean; readonly read: WeightReader },
): Map<string, HostTensor> {
  const own = new Map<string, HostTensor>();
  for (const spec of parameters) {
    const given = head?.get(spec.name);
    if (given !== undefined) own.set(spec.name, given);
    else if (!base.has(spec.name))
      own.set(spec.name, drawParameter(spec, architecture.initializerRange(config), seed, 'head'));
  }
  const initial = adapter.initial(seed, (name) => own.get(name) ?? base.read(name));
  for (const [name, tensor] of initial) own.set(name, tensor);
  return own;
}

/** Returns the names of the trained parameters: the adapter's, then the model's. */
export const trainedNames = (
  architecture: Architecture,
  adapter: Adapter,
  parameters: readonly ParameterSpec[],
): string[] => [
  ...adapter.parameters.map(({ name }) => name).filter((name) => adapter.trains(name)),
  ...parameters
    .map(({ name }) => name)
    .filter((name) => within(name, architecture.headModules) || adapter.trains(name)),
];

export interface Start {
  readonly config: unknown;
  /** The model's parameters, without the adapter's. */
  readonly parameters: readonly ParameterSpec[];
  /** Initial values that differ from the checkpoint's, or that it lacks, by canonical name. */
  readonly own: ReadonlyMap<string, HostTensor>;
  /** The names of the trained parameters: the adapter's, then the model's. */
  readonly trained: readonly string[];
  /** The names of the model's parameters that were drawn, since the checkpoint lacks them. */
  readonly drawn: readonly string[];
  /** Names in the file of the base checkpoint, by canonical name. */
  readonly fileNames: ReadonlyMap<string, string>;
  /** Reads the initial value of any parameter. */
  read(name: string): Promise<HostTensor>;
}

/**
 * Reads the values that a model under an adapter starts from. Of the checkpoint's weights it reads
 * those that `adapter.reads` names, and compares tied ones; the others are read when asked for.
 * Throws UserFault where the checkpoint does not fit.
 */
export async function readStart(options: NetworkOptions): Promise<Start> {
  const { architecture, adapter, classes, model, seed } = options;
  const config = architecture.parseConfig(await readConfig(model.path), classes);
  const parameters = architecture.parameters(config);
  const checkpoint = model.init === 'random' ? null : await openCheckpoint(model.path);
  if (checkpoint !== null) await checkTied(checkpoint, architecture, parameters);
  const inFile = checkpoint === null ? null : resolveNames(checkpoint, architecture, parameters);
  const specs = new Map(parameters.map((spec) => [spec.name, spec]));
  /** Reads parameters from the checkpoint, by canonical name; empty if there is no checkpoint. */
  const readStored = async (names: readonly string[]): Promise<Map<string, HostTensor>> =>
    checkpoint === null || inFile === null
      ? new Map()
      : readParameters(
          checkpoint,
          new Map(names.flatMap((name) => (inFile.has(name) ? [[name, named(inFile, name)]] : []))),
          names.map((name) => named(specs, name)),
        );
  const body = inFile === null ? new Map(drawBody(architecture, config, seed)) : null;
  const weights = body ?? (await readStored(adapter.reads ?? []));
  /** Whether the checkpoint holds the parameter or, for a random model, `drawBody` drew it. */
  const has = (name: string): boolean => (inFile ?? weights).has(name);
  const own = ownValues(options, config, parameters, {
    has,
    read: (name) => named(weights, name),
  });
  for (const [name, tensor] of (await adapter.draw?.(seed)) ?? []) own.set(name, tensor);
  return {
    config,
    parameters,
    own: new Map([...(body ?? []), ...own]),
    trained: trainedNames(architecture, adapter, parameters),
    drawn: parameters
      .map(({ name }) => name)
      .filter((name) => !has(name) && options.head?.has(name) !== true),
    fileNames: options.fileNames ?? inFile ?? new Map<string, string>(),
    read: async (name) => own.get(name) ?? body?.get(name) ?? named(await readStored([name]), name),
  };
}
