/** Adapters that PEFT makes of its own config, in PyTorch's process. */
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
import { readOfModel } from '../shared/parts.ts';

/** A parameter that the config adds: its layer, and its name in PEFT's file. */
interface Added {
  readonly layer: string;
  readonly name: string;
  readonly file: string;
  readonly shape: readonly number[];
}
interface Described {
  readonly added: readonly Added[];
  /** As PEFT has resolved it. */
  readonly config: JsonObject;
}

const problem = (field: string | null, message: string, hint?: string | null): Problem => ({
  path: ['adapter', 'config', ...(field === null ? [] : [field])],
  message,
  ...(typeof hint === 'string' ? { hint } : {}),
});

async function asked(
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

async function described(
  params: JsonObject,
  context: AdapterContext,
): Promise<Described | Problem> {
  const answer = await asked(params, context, { seed: 0, out: null });
  if ('fault' in answer)
    return problem(answer.fault.field, answer.fault.message, answer.fault.hint);
  const layers = context.linears
    .filter(({ adaptable }) => adaptable)
    .map(({ name }) => [name, `${moduleName(context.architecture, name)}.`] as const);
  const added: Added[] = [];
  for (const { name: file, shape } of answer.parameters) {
    const found = layers.find(([, module]) => file.startsWith(module));
    if (found === undefined)
      return problem('target_modules', `${file} adapts what is no linear layer below the head`);
    const [layer, module] = found;
    added.push({ layer, file, shape, name: `${layer}.${file.slice(module.length)}` });
  }
  return { added, config: answer.config };
}

const unavailable = (): never => {
  throw new Error('this adapter is computed in PyTorch alone');
};

async function folderValues(
  dir: string,
  added: readonly Added[],
): Promise<Map<string, HostTensor>> {
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

async function create(params: JsonObject, context: AdapterContext): Promise<Adapter> {
  const found = await described(params, context);
  if ('message' in found) throw new UserFault(found.message, found.hint);
  const { added, config } = found;
  const { initFrom } = context;
  const values =
    initFrom === undefined ? new Map<string, HostTensor>() : await folderValues(initFrom, added);
  const names = new Set(added.map(({ name }) => name)),
    layers = new Set(added.map(({ layer }) => layer));
  return {
    trains: (name) => names.has(name),
    parameters: added.map(({ name, shape }) => ({ name, shape })),
    initial: () => values,
    ...(initFrom === undefined
      ? { draw: (seed: number) => drawn(params, context, added, seed) }
      : {}),
    targets: context.linears.map(({ name }) => name).filter((name) => layers.has(name)),
    linear: unavailable,
    factors: () => null,
    save: async (outDir, saving) => {
      const dir = join(outDir, 'adapter');
      const { architecture, base, read } = saving;
      const ofModel = await readOfModel(saving, () => false);
      const tensors = modelTensors({ layers: new Map(), ...ofModel }, architecture);
      for (const { name, file } of added) tensors.set(`${PREFIX}${file}`, await read(name));
      await mkdir(dir, { recursive: true });
      const own = { ...config, base_model_name_or_path: base ?? null, inference_mode: true };
      await writeFile(join(dir, CONFIG), `${JSON.stringify(own, null, 2)}\n`);
      await writeSafetensors(join(dir, WEIGHTS), tensors);
    },
  };
}

async function drawn(
  params: JsonObject,
  context: AdapterContext,
  added: readonly Added[],
  seed: number,
): Promise<Map<string, HostTensor>> {
  const { withFolder } = await import('../../../src/science/torch/model.ts');
  return withFolder(async (dir) => {
    const out = join(dir, 'drawn.safetensors');
    await asked(params, context, { seed, out });
    const values = await readSafetensors(out);
    return new Map(added.map(({ name, file }) => [name, named(values, file)]));
  });
}

export const peft: AdapterImplementation = {
  check: async (params, context) => {
    const found = await described(params, context);
    return 'message' in found ? [found] : [];
  },
  create,
};
