/**
 * What the folders of PEFT's methods have in common: the model's own parameters in them, which are
 * its classifier and biases, and how they are written.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../../api.ts';
import { named } from '../../../base/lookup.ts';
import { moduleName, within } from '../modules.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from '../types.ts';
import {
  CONFIG,
  isSavedWhole,
  type PeftConfig,
  readModulesToSave,
  taskType,
  wholeModule,
} from './peft-config.ts';
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from './safetensors.ts';
import { checkFloat, checkShape, sameShape } from './stored.ts';

export const PREFIX = 'base_model.model.',
  WEIGHTS = 'adapter_model.safetensors';

/**
 * What a tensor of the model is in an adapter's file: part of a module that is saved whole, a
 * trained bias, or a copy of either that PEFT writes under a second name.
 */
export type ModelPart = 'saved' | 'bias' | 'copy';
/** What a name in an adapter's file stands for. */
export interface Entry<Part extends string = ModelPart> {
  readonly part: Part;
  /** The canonical name: of the layer for a factor, of the parameter for any other part. */
  readonly name: string;
  /** The module that the tensor belongs to, as the file names it. */
  readonly module: string;
  /** Null for a tensor of a module that is saved whole: it depends on the number of classes. */
  readonly shape: readonly number[] | null;
}

/** The fields of a config that say which of the model's parameters a folder holds. */
type Kept = Pick<PeftConfig, 'modulesToSave' | 'bias'>;

/** Returns the path of a folder's file of tensors. Throws UserFault if there is no such file. */
export function weightsFile(dir: string): string {
  const path = join(dir, WEIGHTS);
  if (!existsSync(path)) throw new UserFault(`${dir} holds no ${WEIGHTS}`);
  return path;
}

export interface FolderTensors<Part extends string> {
  /** Returns the tensors of a part, by canonical name. */
  readonly ofPart: (part: Part | Exclude<ModelPart, 'copy'>) => ReadonlyMap<string, HostTensor>;
  /** The module, as the file names it, of each layer that has a factor; by canonical name. */
  readonly modules: ReadonlyMap<string, string>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Reads the tensors of a folder. Throws UserFault naming file and tensor where one is unknown or of
 * a wrong shape.
 * @param table every name that may occur in the file
 * @param isFactor whether a tensor of this part makes its layer an adapted one
 * @param takes receives each tensor first; returns true for a tensor that it keeps, which `table`
 *   need not name and which the result leaves out
 */
export async function readTensors<Part extends string>(
  path: string,
  table: ReadonlyMap<string, Entry<Part | ModelPart>>,
  isFactor: (part: Part | ModelPart) => boolean,
  takes: (name: string, tensor: HostTensor) => boolean = () => false,
): Promise<FolderTensors<Part>> {
  const { tensors: shapes, metadata } = await readSafetensorsHeader(path);
  const parts = new Map<Part | ModelPart, Map<string, HostTensor>>(),
    modules = new Map<string, string>();
  for (const [name, tensor] of await readSafetensors(path)) {
    checkFloat(path, name, named(shapes, name));
    if (takes(name, tensor)) continue;
    const entry = table.get(name);
    if (entry === undefined)
      throw new UserFault(
        `${path}: tensor "${name}" does not belong to this model with this ${CONFIG}`,
      );
    if (entry.shape !== null) checkShape(path, name, named(shapes, name).shape, entry.shape);
    if (entry.part === 'copy') continue;
    const own = parts.get(entry.part) ?? new Map<string, HostTensor>();
    parts.set(entry.part, own.set(entry.name, tensor));
    if (isFactor(entry.part)) modules.set(entry.name, entry.module);
  }
  return { ofPart: (part) => parts.get(part) ?? new Map<string, HostTensor>(), modules, metadata };
}

/** Adds to the table every name under which the file may hold a parameter of the model. */
export function addModelEntries<Part extends string>(
  table: Map<string, Entry<Part | ModelPart>>,
  { architecture, parameters }: ModelShape,
  config: Kept,
): void {
  for (const { name, shape, aliases = [] } of parameters) {
    const [, owner, leaf] = /^(.*)\.([^.]+)$/.exec(name) ?? ['', name, ''];
    const external = architecture.externalName(name).replace(/\.[^.]+$/, '');
    for (const module of new Set([owner, external])) {
      const [whole] = config.modulesToSave.flatMap((saved) => wholeModule(module, saved) ?? []);
      if (whole !== undefined) {
        table.set(`${PREFIX}${module}.${leaf}`, { part: 'saved', name, module, shape: null });
        // With `bias: all`, PEFT writes the classifier's biases twice more: with their trained and
        // with their initial values.
        for (const copy of ['modules_to_save', 'modules_to_save.default', 'original_module']) {
          const file = `${PREFIX}${whole}.${copy}${module.slice(whole.length)}.${leaf}`;
          table.set(file, { part: 'copy', name, module, shape: null });
        }
      } else if (leaf === 'bias' && config.bias !== 'none') {
        for (const suffix of ['bias', 'base_layer.bias'])
          table.set(`${PREFIX}${module}.${suffix}`, { part: 'bias', name, module, shape });
        for (const alias of aliases)
          // A tied parameter is the same tensor under another name.
          table.set(`${PREFIX}${alias}`, { part: 'copy', name, module, shape });
      }
    }
  }
}

/** Throws UserFault where `modules_to_save` names a module of the model outside `headModules`. */
export function checkSavedModules(
  { architecture, parameters }: ModelShape,
  { modulesToSave }: Pick<Kept, 'modulesToSave'>,
  path: string,
): void {
  const heads = architecture.headModules;
  const others = parameters
    .map((spec) => architecture.externalName(spec.name).replace(/\.[^.]+$/, ''))
    .filter((module) => !within(module, heads));
  for (const name of modulesToSave) {
    if (others.some((module) => isSavedWhole(module, name)))
      throw new UserFault(
        `${path}: modules_to_save "${name}" is not implemented`,
        heads.length === 0
          ? 'This model allows no module to be saved whole.'
          : `Only ${heads.join(', ')} may be saved whole.`,
      );
  }
}

/**
 * Throws UserFault where the biases in the file are not those that `bias` trains. Biases of modules
 * that are saved whole do not count.
 * @param found the biases in the file, by canonical name
 * @param modules the adapted layers, as `FolderTensors.modules`
 */
export function checkBiases(
  { architecture, parameters }: ModelShape,
  { bias, modulesToSave }: Kept,
  found: ReadonlyMap<string, HostTensor>,
  modules: ReadonlyMap<string, string>,
  path: string,
): void {
  for (const { name } of parameters) {
    const [, owner] = /^(.*)\.bias$/.exec(name) ?? [];
    if (
      owner === undefined ||
      modulesToSave.some((saved) => isSavedWhole(moduleName(architecture, owner), saved))
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
 * Reads those of `parameters` that the folder saves whole (the classifier), by canonical name.
 * Those that it lacks are left out. A tensor of another shape is left out if `which` is `fitting`;
 * else it throws UserFault.
 */
export async function readPeftHead(
  dir: string,
  architecture: Architecture,
  parameters: readonly ParameterSpec[],
  which: 'all' | 'fitting' = 'all',
): Promise<Map<string, HostTensor>> {
  const modulesToSave = await readModulesToSave(dir);
  const path = weightsFile(dir);
  const { tensors } = await readSafetensorsHeader(path);
  const head = new Map<string, HostTensor>();
  for (const { name, shape } of parameters) {
    const file = `${PREFIX}${architecture.externalName(name)}`;
    const entry = tensors.get(file);
    if (
      entry === undefined ||
      !modulesToSave.some((saved) => isSavedWhole(architecture.externalName(name), saved))
    )
      continue;
    if (which === 'fitting' && !sameShape(entry.shape, shape)) continue;
    checkFloat(path, file, entry);
    checkShape(path, file, entry.shape, shape);
    head.set(name, named(await readSafetensors(path, [file]), file));
  }
  return head;
}

/** Whether a folder belongs to a PEFT adapter, not to a checkpoint. */
export const isPeftFolder = (dir: string): boolean => existsSync(join(dir, CONFIG));

export interface PeftFolder {
  /** The name of the base model; null where whoever opens the adapter chooses the model. */
  readonly base?: string | null;
  /** The adapted layers, by canonical name. */
  readonly layers: ReadonlyMap<string, unknown>;
  /** Model parameters that are saved whole (the classifier), by canonical name. */
  readonly saved: ReadonlyMap<string, HostTensor>;
  /** Trained biases, except those of modules that are saved whole, by canonical name. */
  readonly biases: ReadonlyMap<string, HostTensor>;
}

/** Returns the model's own tensors (head, biases) by their names in an adapter's file. */
export function modelTensors(
  adapter: PeftFolder,
  architecture: Architecture,
): Map<string, HostTensor> {
  const tensors = new Map<string, HostTensor>();
  for (const [name, tensor] of adapter.saved)
    tensors.set(`${PREFIX}${architecture.externalName(name)}`, tensor);
  for (const [name, tensor] of adapter.biases) {
    const wrapped = adapter.layers.has(name.replace(/\.bias$/, ''));
    const external = architecture.externalName(name);
    const file = wrapped ? external.replace(/bias$/, 'base_layer.bias') : external;
    tensors.set(`${PREFIX}${file}`, tensor);
  }
  return tensors;
}

/**
 * Writes a folder that PEFT loads.
 * @param tensors the adapter's tensors, by their names in the file
 * @param type the method's `peft_type`
 * @param settings the config's fields that depend on the method
 */
export async function writeFolder(
  dir: string,
  adapter: PeftFolder,
  architecture: Architecture,
  tensors: ReadonlyMap<string, HostTensor>,
  type: string,
  settings: Readonly<Record<string, unknown>>,
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const whole = adapter.saved.size > 0 ? architecture.headModules : null;
  const config = {
    peft_type: type,
    task_type: taskType(architecture, whole),
    base_model_name_or_path: adapter.base ?? null,
    inference_mode: true,
    ...settings,
    target_modules: [...adapter.layers.keys()].map((layer) => moduleName(architecture, layer)),
    modules_to_save: whole,
  };
  await writeFile(join(dir, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  const all = new Map([...tensors, ...modelTensors(adapter, architecture)]);
  await writeSafetensors(join(dir, WEIGHTS), all, metadata);
}
