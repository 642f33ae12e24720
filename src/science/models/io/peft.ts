/**
 * Reads and writes PEFT's folder of a LoRA adapter. A name in the file is made of
 * `base_model.model.`, the module (`bert.encoder.…`) and `.lora_A.weight`; the bias of an adapted
 * layer belongs to its `base_layer`. Factors that started as a part of the weights (PiSSA, OLoRA)
 * become plain factors of twice the rank.
 */
import { join } from 'node:path';
import { UserFault } from '../../../api.ts';
import { defined } from '../../../base/defined.ts';
import { at } from '../../../base/lookup.ts';
import { moduleName } from '../modules.ts';
import type { Architecture, HostTensor, ModelShape } from '../types.ts';
import {
  CONFIG,
  isAdapted,
  LORA,
  type LoraBias,
  moduleScale,
  type PeftConfig,
  readPeftConfig,
} from './peft-config.ts';
import {
  addModelEntries,
  checkBiases,
  checkSavedModules,
  type Entry,
  type FolderTensors,
  type ModelPart,
  type PeftFolder,
  PREFIX,
  readTensors,
  WEIGHTS,
  weightsFile,
  writeFolder,
} from './peft-files.ts';
import { readSafetensorsHeader } from './safetensors.ts';

export interface PeftFactors {
  readonly A: HostTensor; // (r, n)
  readonly B: HostTensor; // (m, r)
  readonly alpha: number;
  /** A₀ and B₀ of W − s·B₀·A₀, in the shapes of A and B. Absent where nothing is subtracted. */
  readonly fixed?: { readonly A: HostTensor; readonly B: HostTensor } | undefined;
  /** DoRA's magnitudes g, one for each of the m outputs, (m). Absent without DoRA. */
  readonly magnitude?: HostTensor | undefined;
}

export interface PeftAdapter extends PeftFolder {
  /** The rank of a layer whose rank the config's `rank_pattern` does not give. */
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  readonly dora?: boolean;
  /** `pissa` or `olora` if the initial factors are subtracted from the base weights; else null. */
  readonly residual?: string | null;
  /** Whether checkpoints hold the weight of an adapted layer transposed (GPT-2's Conv1D). */
  readonly transposed?: boolean;
  /** Dropout rate on the input of A while training. */
  readonly dropout: number;
  readonly bias: LoraBias;
  /** The factors of each adapted layer, by the layer's canonical name. */
  readonly layers: ReadonlyMap<string, PeftFactors>;
}

/**
 * The key in a file's metadata that says how the factors started: `pissa` or `olora`. In a file
 * that has it, the second half of a factor is A₀ or −B₀, as when PEFT converts such factors to
 * plain ones.
 */
const RESIDUAL_KEY = 'dosimeter_residual';

/** The factor on α that keeps the scale s when the rank doubles. */
const alphaFactor = (rslora: boolean): number => (rslora ? Math.SQRT2 : 2);
/** Returns the rows of a matrix from `from` up to, and not including, `to`. */
const rows = ({ shape: [, n = 0], data }: HostTensor, from: number, to: number): HostTensor => ({
  shape: [to - from, n],
  data: data.slice(from * n, to * n),
});
/** Returns r columns of a matrix (m, 2r), from `from` on, times a sign. */
const halfOfColumns = (
  { shape: [m = 0, both = 0], data }: HostTensor,
  from: number,
  sign: 1 | -1,
): HostTensor => {
  const r = both / 2;
  const entryAt = (i: number): number => at(data, Math.floor(i / r) * both + from + (i % r));
  return {
    shape: [m, r],
    data: Float32Array.from({ length: m * r }, (_, i) => sign * entryAt(i)),
  };
};

/**
 * Splits each layer's [A; A₀] and [B, −B₀], as `joinResidual` makes them: the ranks are halved, and
 * α is divided by `alphaFactor`.
 */
function splitResidual(read: PeftAdapter, residual: string): PeftAdapter {
  // With rank stabilisation, writing multiplied α by √2, so the quotient is rounded.
  const alphaOf = (alpha: number): number =>
    Number((alpha / alphaFactor(read.rslora)).toPrecision(12));
  const layers = new Map<string, PeftFactors>();
  for (const [name, { A, B, alpha, magnitude }] of read.layers) {
    const both = at(A.shape, 0),
      r = both / 2;
    layers.set(name, {
      A: rows(A, 0, r),
      B: halfOfColumns(B, 0, 1),
      alpha: alphaOf(alpha),
      fixed: { A: rows(A, r, both), B: halfOfColumns(B, r, -1) },
      magnitude,
    });
  }
  return { ...read, rank: read.rank / 2, alpha: alphaOf(read.alpha), residual, layers };
}

/**
 * Returns [A; A₀] and [B, −B₀], a pair of twice the rank whose product is B·A − B₀·A₀; A and B if
 * there are no fixed factors.
 */
function joinResidual({ A, B, fixed }: PeftFactors): {
  readonly A: HostTensor;
  readonly B: HostTensor;
} {
  if (fixed === undefined) return { A, B };
  const [r = 0, n = 0] = A.shape,
    [m = 0] = B.shape;
  const both = new Float32Array(2 * r * n);
  both.set(A.data);
  both.set(fixed.A.data, r * n);
  return {
    A: { shape: [2 * r, n], data: both },
    B: {
      shape: [m, 2 * r],
      data: Float32Array.from({ length: m * 2 * r }, (_, i) => {
        const [row, k] = [Math.floor(i / (2 * r)), i % (2 * r)];
        return k < r ? at(B.data, row * r + k) : -at(fixed.B.data, row * r + k - r);
      }),
    },
  };
}

const MAGNITUDE = 'lora_magnitude_vector';
type OwnPart = 'A' | 'B' | 'magnitude';

/** Returns an entry for each name that may be in the file, with and without the prefix `bert.`. */
function nameTable(model: ModelShape, config: PeftConfig): Map<string, Entry<OwnPart | ModelPart>> {
  const { architecture, linears } = model;
  const table = new Map<string, Entry<OwnPart | ModelPart>>();
  for (const { name, in: n, out: m } of linears) {
    for (const module of new Set([name, moduleName(architecture, name)])) {
      const { rank: r } = moduleScale(config, module);
      table.set(`${PREFIX}${module}.lora_A.weight`, { part: 'A', name, module, shape: [r, n] });
      table.set(`${PREFIX}${module}.lora_B.weight`, { part: 'B', name, module, shape: [m, r] });
      if (config.dora)
        table.set(`${PREFIX}${module}.${MAGNITUDE}`, {
          part: 'magnitude',
          name,
          module,
          shape: [m],
        });
    }
  }
  addModelEntries(table, model, config);
  return table;
}

/** Reads LoRA's folder. Throws UserFault where a tensor is missing, unknown or misshapen. */
export async function readPeft(dir: string, model: ModelShape): Promise<PeftAdapter> {
  const config = await readPeftConfig(dir);
  checkSavedModules(model, config, join(dir, CONFIG));
  const path = weightsFile(dir);
  const { ofPart, modules, metadata } = await readTensors<OwnPart>(
    path,
    nameTable(model, config),
    (part) => part === 'A' || part === 'B',
  );
  if (modules.size === 0) throw new UserFault(`${path} has no LoRA factors`);
  checkBiases(model, config, ofPart('bias'), modules, path);
  const read: PeftAdapter = {
    rank: config.rank,
    alpha: config.alpha,
    rslora: config.rslora,
    dora: config.dora,
    residual: config.residual,
    transposed: model.linears.some(
      ({ name, stored }) => stored === 'transposed' && modules.has(name),
    ),
    dropout: config.dropout,
    bias: config.bias,
    layers: collectLayers(model, config, ofPart, modules, path),
    saved: ofPart('saved'),
    biases: ofPart('bias'),
  };
  const residual = metadata[RESIDUAL_KEY];
  return residual === undefined ? read : splitResidual(read, residual);
}

/**
 * Returns the factors of each adapted layer, in forward order. Throws UserFault where the file has
 * factors of a layer that the config does not name, which PEFT would ignore, or lacks the factors
 * of a layer that the config names.
 * @param modules the names of adapted modules in the file, by canonical name of the layer
 */
function collectLayers(
  { architecture, linears }: ModelShape,
  config: PeftConfig,
  ofPart: FolderTensors<OwnPart>['ofPart'],
  modules: ReadonlyMap<string, string>,
  path: string,
): Map<string, PeftFactors> {
  const lacksPrefix = [...modules].some(
    ([layer, module]) => module === layer && moduleName(architecture, layer) !== layer,
  );
  const layers = new Map<string, PeftFactors>();
  for (const { name, adaptable } of linears) {
    const A = ofPart('A').get(name),
      B = ofPart('B').get(name),
      magnitude = ofPart('magnitude').get(name);
    const module = modules.get(name) ?? (lacksPrefix ? name : moduleName(architecture, name));
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
    if (config.dora && magnitude === undefined)
      throw new UserFault(`${path} has no ${MAGNITUDE} of "${name}", and use_dora is true`);
    const { alpha } = moduleScale(config, module);
    layers.set(name, { A, B, alpha, ...defined({ magnitude }) });
  }
  return layers;
}

/**
 * Reads rank, fan-in (`width`) and scale s of every layer that a folder adapts, from the config and
 * the header of the weights.
 */
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

/** Writes a folder that PEFT loads. Factors that began as a part of W have twice the rank. */
export async function writePeft(
  dir: string,
  adapter: PeftAdapter,
  architecture: Architecture,
): Promise<void> {
  const tensors = new Map<string, HostTensor>();
  const rankPattern: Record<string, number> = {},
    alphaPattern: Record<string, number> = {};
  const { residual = null, dora = false } = adapter;
  const rankFactor = residual === null ? 1 : 2,
    alphaScale = residual === null ? 1 : alphaFactor(adapter.rslora);
  for (const [layer, factors] of adapter.layers) {
    const module = moduleName(architecture, layer);
    const { A, B } = joinResidual(factors);
    tensors.set(`${PREFIX}${module}.lora_A.weight`, A);
    tensors.set(`${PREFIX}${module}.lora_B.weight`, B);
    if (factors.magnitude !== undefined)
      tensors.set(`${PREFIX}${module}.${MAGNITUDE}`, factors.magnitude);
    const rank = at(A.shape, 0);
    if (rank !== rankFactor * adapter.rank) rankPattern[module] = rank;
    if (factors.alpha !== adapter.alpha) alphaPattern[module] = alphaScale * factors.alpha;
  }
  const settings = {
    r: rankFactor * adapter.rank,
    lora_alpha: alphaScale * adapter.alpha,
    use_rslora: adapter.rslora,
    use_dora: dora,
    lora_dropout: adapter.dropout,
    bias: adapter.bias,
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
    fan_in_fan_out: adapter.transposed,
    init_lora_weights: true,
  };
  const metadata = residual === null ? undefined : { format: 'pt', [RESIDUAL_KEY]: residual };
  await writeFolder(dir, adapter, architecture, tensors, LORA.type, settings, metadata);
}
