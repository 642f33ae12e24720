/**
 * PEFT's adapter folder: adapter_config.json and adapter_model.safetensors, with the classifier that `modules_to_save`
 * keeps and the biases that `bias` trains. Names in the file are `base_model.model.` + the module's own (`bert.encoder.…`)
 * + `.lora_A.weight`; a wrapped layer's bias is its `base_layer`'s.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { within } from '../nn/family.ts';
import type { Architecture, HostTensor, ModelShape, ParameterSpec } from '../nn/types.ts';
import {
  CONFIG,
  holds,
  isAdapted,
  type LoraBias,
  moduleScale,
  type PeftConfig,
  readPeftConfig,
} from './peft-config.ts';
import { readSafetensors, readSafetensorsHeader, writeSafetensors } from './safetensors.ts';

const PREFIX = 'base_model.model.',
  WEIGHTS = 'adapter_model.safetensors';

export interface PeftFactors {
  readonly A: HostTensor; // (r, n)
  readonly B: HostTensor; // (m, r)
  readonly alpha: number;
}

export interface PeftAdapter {
  /** What the adapter belongs to, by name: null where whoever opens it says so. */
  readonly base?: string | null;
  /** Of the layers that differ in nothing; each layer's own stand with its factors. */
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  /** On the input of A while training. */
  readonly dropout: number;
  readonly bias: LoraBias;
  /** By canonical layer name. */
  readonly layers: ReadonlyMap<string, PeftFactors>;
  /** Model parameters saved whole (the classifier), by canonical name. */
  readonly saved: ReadonlyMap<string, HostTensor>;
  /** Trained biases apart from the classifier's, by canonical name. */
  readonly biases: ReadonlyMap<string, HostTensor>;
}

type Part = 'A' | 'B' | 'saved' | 'bias' | 'copy';
interface Entry {
  readonly part: Part;
  /** Canonical layer of a factor; canonical parameter otherwise. */
  readonly name: string;
  readonly module: string;
  /** Null for what is saved whole: how many classes there are, only the data says. */
  readonly shape: readonly number[] | null;
}

function checkShape(
  path: string,
  name: string,
  found: readonly number[],
  expected: readonly number[],
): void {
  if (found.length === expected.length && found.every((x, i) => x === expected[i])) return;
  throw new UserFault(
    `${path}: tensor "${name}" has shape [${found.join(', ')}], [${expected.join(', ')}] was expected`,
  );
}

/** A layer's module in the model that PEFT wraps. */
export const moduleName = (architecture: Architecture, layer: string): string =>
  architecture.externalName(`${layer}.weight`).replace(/\.weight$/, '');

/** Every name that the file may hold. PEFT wraps a model with or without its task's prefix (`bert.`). */
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
      if (config.modulesToSave.some((saved) => holds(module, saved))) {
        table.set(`${PREFIX}${module}.${leaf}`, { part: 'saved', name, module, shape: null });
        // PEFT's filter for `bias: all` catches the classifier's bias twice more: as trained, and as it was before.
        for (const copy of ['modules_to_save', 'original_module'])
          table.set(`${PREFIX}${module}.${copy}.${leaf}`, {
            part: 'copy',
            name,
            module,
            shape: null,
          });
      } else if (leaf === 'bias' && config.bias !== 'none') {
        for (const suffix of ['bias', 'base_layer.bias'])
          table.set(`${PREFIX}${module}.${suffix}`, { part: 'bias', name, module, shape });
        for (const alias of aliases)
          table.set(`${PREFIX}${alias}`, { part: 'copy', name, module, shape }); // tied: the same tensor
      }
    }
  }
  return table;
}

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
          ? 'Of whole modules, none is read.'
          : `Of whole modules, ${heads.join(', ')} alone is read.`,
      );
  }
}

/** Reads a folder. Throws UserFault naming file and tensor where something is missing, foreign or of a wrong shape. */
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
        `${path}: tensor "${name}" belongs to nothing that ${CONFIG} and this model have`,
      );
    const shape = shapes.get(name)!.shape;
    if (entry.shape !== null) checkShape(path, name, shape, entry.shape);
    if (entry.part === 'copy') continue;
    parts[entry.part].set(entry.name, tensor);
    if (entry.part === 'A' || entry.part === 'B') modules.set(entry.name, entry.module);
  }
  if (modules.size === 0) throw new UserFault(`${path} holds no LoRA factors`);
  checkBiases(model, config, parts.bias, modules, path);
  return {
    rank: config.rank,
    alpha: config.alpha,
    rslora: config.rslora,
    dropout: config.dropout,
    bias: config.bias,
    layers: collectLayers(model, config, parts.A, parts.B, modules, path),
    saved: parts.saved,
    biases: parts.bias,
  };
}

/** The factors by layer, in forward order: exactly those of the layers that the config names, as PEFT loads no others. */
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
        `${path}: layer "${name}" has lora_${A === undefined ? 'B' : 'A'} without its partner`,
      );
    if (A === undefined || B === undefined) {
      if (named)
        throw new UserFault(
          `${path}: target_modules of ${CONFIG} names "${module}", but no factors of it are there`,
        );
      continue;
    }
    if (!named)
      throw new UserFault(
        `${path}: factors of "${module}", which target_modules of ${CONFIG} does not name`,
        'PEFT would leave them out, without an error.',
      );
    if (!adaptable)
      throw new UserFault(
        `${path}: LoRA on the classification head "${module}" is not implemented`,
        `The head is trained whole: modules_to_save ["${module}"] in PEFT.`,
      );
    layers.set(name, { A, B, alpha: moduleScale(config, module).alpha });
  }
  return layers;
}

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
        `${path} ${trained ? 'lacks' : 'holds'} the bias of "${owner}"; bias in ${CONFIG} is "${bias}"`,
      );
  }
}

/**
 * The parameters saved whole (the classifier) alone, those that are there, by canonical name. One of another shape is the
 * user's fault, or with `fitting` is passed over.
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
    if (which === 'fitting' && JSON.stringify(entry.shape) !== JSON.stringify(shape)) continue;
    checkShape(path, file, entry.shape, shape);
    head.set(name, (await readSafetensors(path, [file])).get(file)!);
  }
  return head;
}

/** Rank, fan-in and s of every layer that a folder adapts, from its headers alone. */
export async function readPeftShapes(
  dir: string,
): Promise<{ readonly rank: number; readonly width: number; readonly scale: number }[]> {
  const config = await readPeftConfig(dir);
  const { tensors } = await readSafetensorsHeader(join(dir, WEIGHTS));
  return [...tensors]
    .filter(([name]) => name.endsWith('.lora_A.weight'))
    .map(([name, { shape }]) => ({
      rank: shape[0]!,
      width: shape[1]!,
      scale: moduleScale(config, name.slice(PREFIX.length, -'.lora_A.weight'.length)).scale,
    }));
}

/** Whether a folder is a PEFT adapter's (and no checkpoint's). */
export function isPeftFolder(dir: string): boolean {
  return existsSync(join(dir, CONFIG));
}

/** Writes a folder that PEFT loads onto BertForSequenceClassification (or its like). Layers, ranks and alphas stand under whole module names. */
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
    if (A.shape[0] !== adapter.rank) rankPattern[module] = A.shape[0]!;
    if (alpha !== adapter.alpha) alphaPattern[module] = alpha;
  }
  for (const [name, tensor] of adapter.saved)
    tensors.set(`${PREFIX}${architecture.externalName(name)}`, tensor);
  for (const [name, tensor] of adapter.biases) {
    const wrapped = adapter.layers.has(name.replace(/\.bias$/, ''));
    tensors.set(
      `${PREFIX}${wrapped ? architecture.externalName(name).replace(/bias$/, 'base_layer.bias') : architecture.externalName(name)}`,
      tensor,
    );
  }
  const whole = [
    ...new Set(
      [...adapter.saved.keys()].map((name) =>
        architecture.externalName(name).replace(/\.[^.]+$/, ''),
      ),
    ),
  ];
  const config = {
    peft_type: 'LORA',
    task_type: whole.length > 0 ? 'SEQ_CLS' : null,
    base_model_name_or_path: adapter.base ?? null,
    inference_mode: true,
    r: adapter.rank,
    lora_alpha: adapter.alpha,
    use_rslora: adapter.rslora,
    lora_dropout: adapter.dropout,
    bias: adapter.bias,
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
    fan_in_fan_out: false,
    init_lora_weights: true,
    target_modules: [...adapter.layers.keys()].map((layer) => moduleName(architecture, layer)),
    modules_to_save: whole.length > 0 ? whole : null,
  };
  await writeFile(join(dir, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
  await writeSafetensors(join(dir, WEIGHTS), tensors);
}
