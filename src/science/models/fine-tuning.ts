/** Adapters that train the model's own parameters: all of them, some, or some vectors. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Problem, UserFault } from '../../api.ts';
import type { Adapter, AdapterContext, AdapterImplementation, SaveContext } from './adapter.ts';
import { writeCheckpoint } from './io/checkpoint.ts';
import { readSafetensors, writeSafetensors } from './io/safetensors.ts';
import { checkShape, forTransformers, storedShape, turned } from './io/stored.ts';
import { linear } from './linear.ts';
import { within } from './modules.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

/** Returns an adapter that adds nothing, and trains the model's parameters that `trains` allows. */
const adapterOfModel = (
  { linears }: AdapterContext,
  trains: (name: string) => boolean,
  save: Adapter['save'],
): Adapter => ({
  trains,
  parameters: [],
  initial: () => new Map(),
  targets: linears.filter(({ adaptable }) => adaptable).map(({ name }) => name),
  linear: (_layer, x, weight, bias) => linear(x, weight, bias),
  factors: () => null,
  save,
});

async function readAll(
  names: readonly string[],
  read: SaveContext['read'],
): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>();
  for (const name of names) tensors.set(name, await read(name));
  return tensors;
}

/**
 * Returns an adapter that trains some of the model's parameters, and saves only the changed ones.
 * @param trains whether the parameter of this canonical name is trained; the head always is
 */
export const partialAdapter = (
  context: AdapterContext,
  trains: (name: string) => boolean,
): Adapter => ({
  ...adapterOfModel(
    context,
    trains,
    async (outDir, { architecture, changed, parameters, read }) => {
      await mkdir(outDir, { recursive: true });
      const tensors = forTransformers(architecture, parameters, await readAll(changed, read));
      await writeSafetensors(join(outDir, FILE), tensors);
    },
  ),
  ofModel: trains,
});

const FILE = 'changed.safetensors';

/** Whether the folder has a file of changed parameters. */
export const isPartial = (dir: string): boolean => existsSync(join(dir, FILE));

/**
 * Reads a folder's changed parameters, by canonical name. Throws UserFault if the model has no such
 * parameter, or one of another shape.
 */
export async function readPartial(
  dir: string,
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
): Promise<Map<string, HostTensor>> {
  const path = join(dir, FILE);
  const specs = new Map(parameters.map((spec) => [architecture.externalName(spec.name), spec]));
  const tensors = new Map<string, HostTensor>();
  for (const [name, tensor] of await readSafetensors(path)) {
    const spec = specs.get(name);
    if (spec === undefined)
      throw new UserFault(`${path}: tensor "${name}" is not a parameter of this model`);
    checkShape(path, name, tensor.shape, storedShape(spec));
    tensors.set(spec.name, turned(spec, tensor));
  }
  return tensors;
}

export const full: AdapterImplementation = {
  check: () => Promise.resolve([]),
  create: (_params, context) =>
    Promise.resolve(
      adapterOfModel(
        context,
        () => true,
        async (outDir, { architecture, modelDir, classes, read, parameters }) => {
          const names = parameters.map(({ name }) => name);
          await writeCheckpoint(
            join(outDir, 'model'),
            modelDir,
            classes,
            architecture.transformersName,
            forTransformers(architecture, parameters, await readAll(names, read)),
          );
        },
      ),
    ),
};

/**
 * Returns an implementation that trains some of the model's parameters beside the head.
 * @param check returns the problems on a model; `create` throws the first that is not a warning
 * @param trained returns whether the parameter of a name is trained
 */
export const checkedPartial = (
  check: (context: AdapterContext) => Problem[],
  trained: (context: AdapterContext) => (name: string) => boolean,
): AdapterImplementation => ({
  check: (_params, context) => Promise.resolve(check(context)),
  create: (_params, context) =>
    // A throw becomes a rejection.
    Promise.resolve().then(() => {
      const fault = check(context).find(({ warning }) => warning !== true);
      if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
      return partialAdapter(context, trained(context));
    }),
});

/**
 * Returns an implementation that trains some of the model's vectors and the head.
 * @param type the adapter's name, for messages
 * @param what what messages call the vectors
 * @param trained returns whether the parameter of a name is trained
 */
export function vectorAdapter(
  type: string,
  what: string,
  trained: (parameters: AdapterContext['parameters']) => (name: string) => boolean,
): AdapterImplementation {
  const trainedVectors = ({ architecture, parameters }: AdapterContext): Set<string> => {
    const isTrained = trained(parameters);
    const below = parameters.filter(({ name }) => !within(name, architecture.headModules));
    return new Set(below.map(({ name }) => name).filter(isTrained));
  };
  /** Returns a problem if the model has no such vectors: a warning if a head is left to train. */
  const check = (context: AdapterContext): Problem[] => {
    if (trainedVectors(context).size > 0) return [];
    const { modelType, head, headModules } = context.architecture;
    const path = ['adapter', 'type'],
      lacks = `${type} trains the ${what} of a model, and this ${modelType} has none`;
    if (headModules.length === 0) {
      const message = `${lacks}: with a ${head.type} head nothing is left to train`;
      return [{ path, message, hint: 'Choose another adapter.' }];
    }
    const message = `${lacks}: the head alone is trained, as by head-only`,
      hint = 'Write `type: head-only`, or choose another adapter.';
    return [{ path, message, hint, warning: true }];
  };
  return checkedPartial(check, (context) => {
    const vectors = trainedVectors(context);
    return (name) => vectors.has(name);
  });
}
