/**
 * Reads and writes PEFT's adapter folder: adapter_config.json and adapter_model.safetensors,
 * including the classifier that `modules_to_save` keeps and the biases that `bias` trains. A name
 * in the file is made of `base_model.model.`, the module (`bert.encoder.…`) and `.lora_A.weight`;
 * the bias of an adapted layer belongs to its `base_layer`.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { at, named } from '../lookup.ts';
import { moduleName, within } from '../model/names.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from '../model/types.ts';
import {
  CONFIG,
  holds,
  isAdapted,
  type LoraBias,
  moduleScale,
  type PeftConfig,
  readPeftConfig,
  taskType,
  wholeModule,
} from './peft-config.ts';
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from './safetensors.ts';
import { checkShape, sameShape } from './shape.ts';

const PREFIX = 'base_model.model.',
  WEIGHTS = 'adapter_model.safetensors';

export interface PeftFactors {
  readonly A: HostTensor; // (r, n)
  readonly B: HostTensor; // (m, r)
  readonly alpha: number;
}

export interface PeftAdapter {
  /** The name of the base model; null where whoever opens the adapter chooses the model. */
  readonly base?: string | null;
  /** The rank of layers without a pattern. The rank of a given layer is that of its factors. */
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  /** Whether checkpoints hold a layer that is adapted transposed (GPT-2's Conv1D). */
  readonly transposed?: boolean;
  /** Dropout rate on the input of A while training. */
  readonly dropout: number;
  readonly bias: LoraBias;
  /** The factors by canonical name of the layer. */
  readonly layers: ReadonlyMap<string, PeftFactors>;
  /** Model parameters that are saved whole (the classifier), by canonical name. */
  readonly saved: ReadonlyMap<string, HostTensor>;
  /** Trained biases except the classifier's, by canonical name. */
  readonly biases: ReadonlyMap<string, HostTensor>;
}

/** `copy`: a tensor that PEFT writes a second time under another name. */
type Part = 'A' | 'B' | 'saved' | 'bias' | 'copy';
interface Entry {
  readonly part: Part;
  /** Canonical name of the layer for a factor, of the parameter otherwise. */
  readonly name: string;
  readonly module: string;
  /**
   * The expected shape. Null for a module that is saved whole, whose shape depends on the number of
   * classes in the data.
   */
  readonly shape: readonly number[] | null;
}

/**
 * Every name that may occur in the file. PEFT wraps a model with or without the prefix of its task
 * (`bert.`).
 */
function nameTable(
  { architecture, linears, parameters }: ModelShape,
  config: PeftConfig,
): Map<string, Entry> {
  const table = new Map<string, Entry>();
  for (const { name, in: n, out: m } of linears) {
    for (const module of new Set([name, moduleName(architecture, name)])) {
      const { rank: r } = moduleScale(config, module);
      table.set(`${PREFIX}${module}.lora_A.weight`, { part: 'A', name, module, shape: [r, n] });
      table.set(`${PREFIX}${module}.lora_B.weight`, { part: 'B', name, module, shape: [m, r] });
    }
  }
  for (const { name, shape, aliases = [] } of parameters) {
    const [, owner, leaf] = /^(.*)\.([^.]+)$/.exec(name) ?? ['', name, ''];
    for (const module of new Set([
      owner,
      architecture.externalName(name).replace(/\.[^.]+$/, ''),
    ])) {
      const [whole] = config.modulesToSave.flatMap((saved) => wholeModule(module, saved) ?? []);
      if (whole !== undefined) {
        table.set(`${PREFIX}${module}.${leaf}`, { part: 'saved', name, module, shape: null });
        // With `bias: all`, PEFT writes the classifier's biases twice more: as trained, and as they
        // were before.
        for (const copy of ['modules_to_save', 'modules_to_save.default', 'original_module'])
          table.set(`${PREFIX}${whole}.${copy}${module.slice(whole.length)}.${leaf}`, {
            part: 'copy',
            name,
            module,
            shape: null,
          });
      } else if (leaf === 'bias' && config.bias !== 'none') {
        for (const suffix of ['bias', 'base_layer.bias'])
          table.set(`${PREFIX}${module}.${suffix}`, { part: 'bias', name, module, shape });
        for (const alias of aliases)
          // A tied parameter is the same tensor under another name.
          table.set(`${PREFIX}${alias}`, { part: 'copy', name, module, shape });
      }
    }
  }
  return table;
}

/** Throws UserFault where `modules_to_save` names anything but the head. */
function checkSavedModules(
  { architecture, parameters }: ModelShape,
  { modulesToSave }: PeftConfig,
  path: string,
): void {
  const heads = architecture.headModules;
  for (const name of modulesToSave) {
    const whole = parameters
      .map((spec) => architecture.externalName(spec.name).replace(/\.[^.]+$/, ''))
      .filter((module) => holds(module, name));
    const other = whole.find((module) => !within(module, heads));
    if (other !== undefined)
      throw new UserFault(
        `${path}: modules_to_save "${name}" is not implemented`,
        heads.length === 0
          ? 'This model allows no module to be saved whole.'
          : `Only ${heads.join(', ')} may be saved whole.`,
      );
  }
}

/**
 * Reads a folder. Throws UserFault naming file and tensor where one is missing, unknown or of a
 * wrong shape.
 */
export async function readPeft(dir: string, model: ModelShape): Promise<PeftAdapter> {
  const config = await readPeftConfig(dir);
  checkSavedModules(model, config, join(dir, CONFIG));
  const path = join(dir, WEIGHTS);
  if (!existsSync(path)) throw new UserFault(`${dir} holds no ${WEIGHTS}`);
  const table = nameTable(model, config);
  const shapes = (await readSafetensorsHeader(path)).tensors;
  const parts: Record<Exclude<Part, 'copy'>, Map<string, HostTensor>> = {
    A: new Map(),
    B: new Map(),
    saved: new Map(),
    bias: new Map(),
  };
  const modules = new Map<string, string>(); // canonical layer → module in the file
  for (const [name, tensor] of await readSafetensors(path)) {
    const entry = table.get(name);
    if (entry === undefined)
      throw new UserFault(
        `${path}: tensor "${name}" does not belong to this model with this ${CONFIG}`,
      );
    const { shape } = named(shapes, name);
    if (entry.shape !== null) checkShape(path, name, shape, entry.shape);
    if (entry.part === 'copy') continue;
    parts[entry.part].set(entry.name, tensor);
    if (entry.part === 'A' || entry.part === 'B') modules.set(entry.name, entry.module);
  }
  if (modules.size === 0) throw new UserFault(`${path} has no LoRA factors`);
  checkBiases(model, config, parts.bias, modules, path);
  return {
    rank: config.rank,
    alpha: config.alpha,
    rslora: config.rslora,
    transposed: model.linears.some(
      ({ name, stored }) => stored === 'transposed' && modules.has(name),
    ),
    dropout: config.dropout,
    bias: config.bias,
    layers: collectLayers(model, config, parts.A, parts.B, modules, path),
    saved: parts.saved,
    biases: parts.bias,
  };
}

/**
 * The factors of each layer, in forward order. Throws UserFault where they are not exactly those of
 * the layers that the config names, since PEFT loads no others.
 * @param modules canonical layer → module in the file
 */
function collectLayers(
  { architecture, linears }: ModelShape,
  config: PeftConfig,
  As: ReadonlyMap<string, HostTensor>,
  Bs: ReadonlyMap<string, HostTensor>,
  modules: ReadonlyMap<string, string>,
  path: string,
): Map<string, PeftFactors> {
  const bare = [...modules].some(
    ([layer, module]) => module === layer && moduleName(architecture, layer) !== layer,
  );
  const layers = new Map<string, PeftFactors>();
  for (const { name, adaptable } of linears) {
    const A = As.get(name),
      B = Bs.get(name);
    const module = modules.get(name) ?? (bare ? name : moduleName(architecture, name));
    const named = isAdapted(config, module, adaptable);
    if ((A === undefined) !== (B === undefined))
      throw new UserFault(
        `${path}: layer "${name}" has lora_${A === undefined ? 'B' : 'A'} ` +
          `but not lora_${A === undefined ? 'A' : 'B'}`,
      );
    if (A === undefined || B === undefined) {
      if (named)
        throw new UserFault(
          `${path} has no factors of "${module}", which target_modules in ${CONFIG} names`,
        );
      continue;
    }
    if (!named)
      throw new UserFault(
        `${path} has factors of "${module}", which target_modules in ${CONFIG} does not name`,
        'PEFT would silently ignore them.',
      );
    if (!adaptable)
      throw new UserFault(
        `${path}: LoRA on the classification head "${module}" is not implemented`,
        `The head is trained in full: use modules_to_save ["${module}"] in PEFT.`,
      );
    layers.set(name, { A, B, alpha: moduleScale(config, module).alpha });
  }
  return layers;
}

/** Throws UserFault where the biases in the file are not those that `bias` trains. */
function checkBiases(
  { architecture, parameters }: ModelShape,
  { bias, modulesToSave }: PeftConfig,
  found: ReadonlyMap<string, HostTensor>,
  modules: ReadonlyMap<string, string>,
  path: string,
): void {
  for (const { name } of parameters) {
    const [, owner] = /^(.*)\.bias$/.exec(name) ?? [];
    if (
      owner === undefined ||
      modulesToSave.some((saved) => holds(moduleName(architecture, owner), saved))
    )
      continue;
    const trained = bias === 'all' || (bias === 'lora_only' && modules.has(owner));
    if (trained !== found.has(name))
      throw new UserFault(
        `${path} ${trained ? 'lacks' : 'has'} the bias of "${owner}", ` +
          `but bias in ${CONFIG} is "${bias}"`,
      );
  }
}

/**
 * Reads only the parameters that are saved whole (the classifier), as far as they are present, by
 * canonical name. Where a tensor has another shape, throws UserFault, or skips the tensor if
 * `fitting` is true.
 */
export async function readPeftHead(
  dir: string,
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
  which: 'all' | 'fitting' = 'all',
): Promise<Map<string, HostTensor>> {
  const path = join(dir, WEIGHTS);
  const { modulesToSave } = await readPeftConfig(dir);
  if (!existsSync(path)) throw new UserFault(`${dir} holds no ${WEIGHTS}`);
  const { tensors } = await readSafetensorsHeader(path);
  const head = new Map<string, HostTensor>();
  for (const { name, shape } of parameters) {
    const file = `${PREFIX}${architecture.externalName(name)}`;
    const entry = tensors.get(file);
    if (
      entry === undefined ||
      !modulesToSave.some((saved) => holds(architecture.externalName(name), saved))
    )
      continue;
    if (which === 'fitting' && !sameShape(entry.shape, shape)) continue;
    checkShape(path, file, entry.shape, shape);
    head.set(name, named(await readSafetensors(path, [file]), file));
  }
  return head;
}

/** Rank, fan-in and scale s of every layer that a folder adapts. Reads only the file's header. */
export async function readPeftShapes(
  dir: string,
): Promise<{ readonly rank: number; readonly width: number; readonly scale: number }[]> {
  const config = await readPeftConfig(dir);
  const { tensors } = await readSafetensorsHeader(join(dir, WEIGHTS));
  return [...tensors]
    .filter(([name]) => name.endsWith('.lora_A.weight'))
    .map(([name, { shape }]) => ({
      rank: at(shape, 0),
      width: at(shape, 1),
      scale: moduleScale(config, name.slice(PREFIX.length, -'.lora_A.weight'.length)).scale,
    }));
}

/** Whether a folder belongs to a PEFT adapter, not to a checkpoint. */
export function isPeftFolder(dir: string): boolean {
  return existsSync(join(dir, CONFIG));
}

/**
 * Writes a folder that PEFT loads for the class of transformers with this head. Its config gives
 * layers, ranks and alphas by whole module names.
 */
export async function writePeft(
  dir: string,
  adapter: PeftAdapter,
  architecture: Architecture,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const tensors = new Map<string, HostTensor>();
  const rankPattern: Record<string, number> = {},
    alphaPattern: Record<string, number> = {};
  for (const [layer, { A, B, alpha }] of adapter.layers) {
    const module = moduleName(architecture, layer);
    tensors.set(`${PREFIX}${module}.lora_A.weight`, A);
    tensors.set(`${PREFIX}${module}.lora_B.weight`, B);
    const rank = at(A.shape, 0);
    if (rank !== adapter.rank) rankPattern[module] = rank;
    if (alpha !== adapter.alpha) alphaPattern[module] = alpha;
  }
  for (const [name, tensor] of adapter.saved)
    tensors.set(`${PREFIX}${architecture.externalName(name)}`, tensor);
  for (const [name, tensor] of adapter.biases) {
    const wrapped = adapter.layers.has(name.replace(/\.bias$/, ''));
    const external = architecture.externalName(name);
    const file = wrapped ? external.replace(/bias$/, 'base_layer.bias') : external;
    tensors.set(`${PREFIX}${file}`, tensor);
  }
  const whole = adapter.saved.size > 0 ? architecture.headModules : null;
  const config = {
    peft_type: 'LORA',
    task_type: taskType(architecture, whole),
    base_model_name_or_path: adapter.base ?? null,
    inference_mode: true,
    r: adapter.rank,
    lora_alpha: adapter.alpha,
    use_rslora: adapter.rslora,
    lora_dropout: adapter.dropout,
    bias: adapter.bias,
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
    fan_in_fan_out: adapter.transposed,
    init_lora_weights: true,
    target_modules: [...adapter.layers.keys()].map((layer) => moduleName(architecture, layer)),
    modules_to_save: whole,
  };
  await writeFile(join(dir, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  await writeSafetensors(join(dir, WEIGHTS), tensors);
}
