/** Adapters that PEFT makes from a config of its own form, in PyTorch's process. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type JsonObject, type Problem, UserFault } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import type {
  Adapter,
  AdapterContext,
  AdapterImplementation,
} from '../../../src/science/models/adapter.ts';
import { CONFIG, taskType } from '../../../src/science/models/io/peft-config.ts';
import { modelTensors, PREFIX, WEIGHTS } from '../../../src/science/models/io/peft-files.ts';
import { readSafetensors, writeSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { checkShape } from '../../../src/science/models/io/stored.ts';
import { moduleName } from '../../../src/science/models/modules.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { adapterProblem, readHeadAndBiases } from '../shared/parts.ts';

/** A parameter that the config adds to a layer. `file`: its name in PEFT's file without prefix. */
interface Added {
  readonly layer: string;
  readonly name: string;
  readonly file: string;
  readonly shape: readonly number[];
}

/** Returns a problem of the config's field `field`, or of the whole config if that is null. */
const problemAt = (field: string | null, message: string, hint?: string | null): Problem =>
  adapterProblem(field === null ? ['config'] : ['config', field], message, hint);

/**
 * Asks PyTorch's process what PEFT adds to the model: returns the parameters, and the config with
 * all fields filled in; or, if PEFT refuses the config, the fault. If `out` is not null, PEFT also
 * draws the values from `seed` and writes them to the file `out`.
 */
async function askPeft(
  { config }: JsonObject,
  { architecture, modelDir }: AdapterContext,
  { seed, out }: { readonly seed: number; readonly out: string | null },
) {
  if (modelDir === undefined) throw new Error('type: peft needs the folder of the model');
  const { askAdapter } = await import('../../../src/science/torch/described.ts');
  const head = architecture.headModules;
  return askAdapter({
    checkpoint: modelDir,
    class: architecture.transformersName,
    head,
    task: taskType(architecture, head.length > 0 ? head : null),
    config: config as JsonObject,
    seed,
    out,
  });
}

/**
 * Returns what PEFT adds to which layer, and the config with all fields filled in; or a problem, if
 * PEFT refuses the config, or adapts anything but linear layers that are `adaptable`.
 */
async function describeAdapter(
  params: JsonObject,
  context: AdapterContext,
): Promise<{ readonly added: readonly Added[]; readonly config: JsonObject } | Problem> {
  const answer = await askPeft(params, context, { seed: 0, out: null });
  if ('fault' in answer)
    return problemAt(answer.fault.field, answer.fault.message, answer.fault.hint);
  const layers = context.linears
    .filter(({ adaptable }) => adaptable)
    .map(({ name }) => [name, `${moduleName(context.architecture, name)}.`] as const);
  const added: Added[] = [];
  for (const { name: file, shape } of answer.parameters) {
    const found = layers.find(([, module]) => file.startsWith(module));
    if (found === undefined)
      return problemAt('target_modules', `${file} adapts what is no linear layer below the head`);
    const [layer, module] = found;
    added.push({ layer, file, shape, name: `${layer}.${file.slice(module.length)}` });
  }
  return { added, config: answer.config };
}

/**
 * Reads the values of the added parameters from PEFT's folder. Throws UserFault if one is missing
 * or has another shape.
 */
async function readValues(dir: string, added: readonly Added[]): Promise<Map<string, HostTensor>> {
  const path = join(dir, WEIGHTS);
  const tensors = await readSafetensors(path);
  return new Map(
    added.map(({ name, file, shape }) => {
      const tensor = tensors.get(`${PREFIX}${file}`);
      if (tensor === undefined) throw new UserFault(`${path} has no tensor "${PREFIX}${file}"`);
      checkShape(path, file, tensor.shape, shape);
      return [name, tensor];
    }),
  );
}

/**
 * Returns the adapter, whose layers are computed in PyTorch's process: `linear` throws. Throws
 * UserFault where PEFT refuses the config, or the folder of `init_from` does not fit it.
 */
async function create(params: JsonObject, context: AdapterContext): Promise<Adapter> {
  const found = await describeAdapter(params, context);
  if ('message' in found) throw new UserFault(found.message, found.hint);
  const { added, config } = found;
  const { initFrom } = context;
  const values =
    initFrom === undefined ? new Map<string, HostTensor>() : await readValues(initFrom, added);
  const names = new Set(added.map(({ name }) => name)),
    layers = new Set(added.map(({ layer }) => layer));
  return {
    trains: (name) => names.has(name),
    parameters: added.map(({ name, shape }) => ({ name, shape })),
    initial: () => values,
    ...(initFrom === undefined
      ? { draw: (seed: number) => drawInitialValues(params, context, added, seed) }
      : {}),
    targets: context.linears.map(({ name }) => name).filter((name) => layers.has(name)),
    linear: () => {
      throw new Error('this adapter is computed in PyTorch alone');
    },
    factors: () => null,
    save: async (outDir, saving) => {
      const dir = join(outDir, 'adapter');
      const { architecture, base, read } = saving;
      const ofModel = await readHeadAndBiases(saving, () => false);
      const tensors = modelTensors({ layers: new Map(), ...ofModel }, architecture);
      for (const { name, file } of added) tensors.set(`${PREFIX}${file}`, await read(name));
      await mkdir(dir, { recursive: true });
      const saved = { ...config, base_model_name_or_path: base ?? null, inference_mode: true };
      await writeFile(join(dir, CONFIG), `${JSON.stringify(saved, null, 2)}\n`);
      await writeSafetensors(join(dir, WEIGHTS), tensors);
    },
  };
}

async function drawInitialValues(
  params: JsonObject,
  context: AdapterContext,
  added: readonly Added[],
  seed: number,
): Promise<Map<string, HostTensor>> {
  const { withFolder } = await import('../../../src/science/torch/model.ts');
  return withFolder(async (dir) => {
    const out = join(dir, 'drawn.safetensors');
    await askPeft(params, context, { seed, out });
    const values = await readSafetensors(out);
    return new Map(added.map(({ name, file }) => [name, named(values, file)]));
  });
}

export const peft: AdapterImplementation = {
  check: async (params, context) => {
    const found = await describeAdapter(params, context);
    return 'message' in found ? [found] : [];
  },
  create,
};
