/**
 * Reads and writes PEFT's folder of a VeRA adapter: `vera_lambda_b` and `vera_lambda_d` of each
 * layer, and the shared factors `vera_A` and `vera_B`, or the seed that they are drawn from.
 */
import { join } from 'node:path';
import { UserFault } from '../../../src/api.ts';
import {
  CONFIG,
  isAdapted,
  isRank,
  isRate,
  type LoraBias,
  type Method,
  readMethod,
} from '../../../src/science/models/io/peft-config.ts';
import {
  addModelEntries,
  checkBiases,
  checkSavedModules,
  type Entry,
  type ModelPart,
  type PeftFolder,
  PREFIX,
  readTensors,
  weightsFile,
  writeFolder,
} from '../../../src/science/models/io/peft-files.ts';
import { checkShape } from '../../../src/science/models/io/stored.ts';
import { moduleName } from '../../../src/science/models/modules.ts';
import type { Architecture, HostTensor, ModelShape } from '../../../src/science/models/types.ts';

const SHARED = 'base_model.vera_';
const VERA: Method = {
  type: 'VERA',
  ownBias: 'vera_only',
  fields: ['projection_prng_key', 'save_projection', 'd_initial', 'vera_dropout', 'init_weights'],
};

export interface VeraVectors {
  readonly d: HostTensor; // (r)
  readonly b: HostTensor; // (m)
}

export interface PeftVera extends PeftFolder {
  readonly rank: number;
  /** The seed that the shared factors are drawn from. */
  readonly key: number;
  /**
   * The shared factors A (r, n) and B (m, r), with the largest n and m of the adapted layers; null
   * if they are to be drawn from the seed.
   */
  readonly shared: { readonly A: HostTensor; readonly B: HostTensor } | null;
  readonly initial: number; // of every entry of d
  readonly dropout: number;
  readonly bias: LoraBias;
  /** The vectors of each adapted layer, by the layer's canonical name. */
  readonly layers: ReadonlyMap<string, VeraVectors>;
}

/** Reads VeRA's folder. Throws UserFault where a tensor is missing, unknown or misshapen. */
export async function readPeftVera(dir: string, model: ModelShape): Promise<PeftVera> {
  const { architecture, linears } = model;
  const { raw, number, shared: config } = await readMethod(dir, VERA);
  const rank = number('r', isRank, 256);
  checkSavedModules(model, config, join(dir, CONFIG));
  const path = weightsFile(dir);
  const table = new Map<string, Entry<'d' | 'b' | ModelPart>>();
  for (const { name, out: m } of linears)
    for (const module of new Set([name, moduleName(architecture, name)])) {
      const addVector = (part: 'd' | 'b', size: number): void => {
        table.set(`${PREFIX}${module}.vera_lambda_${part}`, { part, name, module, shape: [size] });
      };
      addVector('d', rank);
      addVector('b', m);
    }
  addModelEntries(table, model, config);
  const factors = new Map<string, HostTensor>();
  const { ofPart, modules } = await readTensors<'d' | 'b'>(
    path,
    table,
    (part) => part === 'd' || part === 'b',
    (name, tensor) => {
      const isShared = name === `${SHARED}A` || name === `${SHARED}B`;
      if (isShared) factors.set(name, tensor);
      return isShared;
    },
  );
  const layers = new Map<string, VeraVectors>();
  for (const { name, adaptable } of linears) {
    const module = modules.get(name) ?? moduleName(architecture, name);
    const d = ofPart('d').get(name),
      b = ofPart('b').get(name);
    const wanted = adaptable && isAdapted(config, module, adaptable);
    if (wanted !== (d !== undefined) || wanted !== (b !== undefined))
      throw new UserFault(
        `${path} ${wanted ? 'lacks' : 'has'} vectors of "${module}", which target_modules in ` +
          `${CONFIG} ${wanted ? 'names' : 'does not name'}`,
      );
    if (d !== undefined && b !== undefined) layers.set(name, { d, b });
  }
  if (layers.size === 0) throw new UserFault(`${path} has no vectors of VeRA`);
  checkBiases(model, config, ofPart('bias'), modules, path);
  return {
    rank,
    key: number('projection_prng_key', (value) => Number.isSafeInteger(value) && value >= 0, 0),
    initial: number('d_initial', Number.isFinite, 0.1),
    dropout: number('vera_dropout', isRate, 0),
    bias: config.bias,
    shared:
      raw['save_projection'] === false
        ? null
        : savedSharedFactors(factors, rank, widthsOf(model, layers), path),
    layers,
    saved: ofPart('saved'),
    biases: ofPart('bias'),
  };
}

/** Returns the largest fan-in n and fan-out m of the adapted layers: the shared factors' widths. */
export function widthsOf(
  { linears }: Pick<ModelShape, 'linears'>,
  layers: { has(name: string): boolean },
): { readonly n: number; readonly m: number } {
  const adapted = linears.filter(({ name }) => layers.has(name));
  return {
    n: Math.max(...adapted.map((layer) => layer.in)),
    m: Math.max(...adapted.map((layer) => layer.out)),
  };
}

/**
 * Returns the shared A (r, n) and B (m, r) that a folder holds. Throws UserFault if one is missing
 * or misshapen.
 */
function savedSharedFactors(
  factors: ReadonlyMap<string, HostTensor>,
  rank: number,
  { n, m }: { readonly n: number; readonly m: number },
  path: string,
): NonNullable<PeftVera['shared']> {
  const factor = (part: 'A' | 'B', shape: readonly number[]): HostTensor => {
    const tensor = factors.get(`${SHARED}${part}`);
    if (tensor === undefined)
      throw new UserFault(
        `${path} has no ${SHARED}${part}, and save_projection in ${CONFIG} is true`,
      );
    checkShape(path, `${SHARED}${part}`, tensor.shape, shape);
    return tensor;
  };
  return { A: factor('A', [rank, n]), B: factor('B', [m, rank]) };
}

/** Writes a folder that PEFT loads. If `shared` is null, it has only the seed of A and B. */
export async function writePeftVera(
  dir: string,
  adapter: PeftVera,
  architecture: Architecture,
): Promise<void> {
  const tensors = new Map<string, HostTensor>();
  for (const [layer, { d, b }] of adapter.layers) {
    const module = moduleName(architecture, layer);
    tensors.set(`${PREFIX}${module}.vera_lambda_d`, d);
    tensors.set(`${PREFIX}${module}.vera_lambda_b`, b);
  }
  if (adapter.shared !== null) {
    tensors.set(`${SHARED}A`, adapter.shared.A);
    tensors.set(`${SHARED}B`, adapter.shared.B);
  }
  await writeFolder(dir, adapter, architecture, tensors, VERA.type, {
    r: adapter.rank,
    projection_prng_key: adapter.key,
    save_projection: adapter.shared !== null,
    d_initial: adapter.initial,
    vera_dropout: adapter.dropout,
    bias: adapter.bias === 'lora_only' ? VERA.ownBias : adapter.bias,
    fan_in_fan_out: false,
    init_weights: true,
  });
}

/** The sizes of MT19937 in 32-bit words: of its state (n), and of its recurrence's shift (m). */
const WORDS = 624,
  SHIFT = 397;

/** Yields the 32-bit numbers of MT19937 (Matsumoto & Nishimura 1998) with this seed. */
function* mersenneTwister(seed: number): Generator<number, never> {
  const state = new Uint32Array(WORDS);
  state[0] = seed;
  for (let i = 1; i < WORDS; i++) {
    const last = state[i - 1] ?? 0;
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
  }
  for (;;) {
    for (let i = 0; i < WORDS; i++) {
      const mixed = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % WORDS] ?? 0) & 0x7fffffff);
      state[i] =
        (state[(i + SHIFT) % WORDS] ?? 0) ^ (mixed >>> 1) ^ ((mixed & 1) === 0 ? 0 : 0x9908b0df);
    }
    for (let y of state) {
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      y ^= y >>> 18;
      yield y >>> 0;
    }
  }
}

/**
 * Returns a function that makes the draws of `torch.Generator().manual_seed(seed)` on the CPU. Each
 * call returns the values that `tensor.uniform_(-bound, bound)` gives to the next tensor of `count`
 * entries. A draw takes the lower 24 bits of one number of MT19937 (at::uniform_real_distribution).
 */
export function torchUniform(seed: number): (count: number, bound: number) => Float32Array {
  const numbers = mersenneTwister(seed >>> 0);
  return (count, bound) => {
    const from = Math.fround(-bound),
      width = Math.fround(Math.fround(bound) - from);
    return Float32Array.from({ length: count }, () => {
      const unit = (numbers.next().value & 0xffffff) / 2 ** 24; // exact in float32
      return Math.fround(unit * width + from); // one rounding: PyTorch's is a fused multiply-add
    });
  };
}
