/**
 * How training changed a weight, described by singular values: ΔW's spectrum and effective rank,
 * and intruder dimensions, that is, leading singular vectors of the trained weight that are similar
 * to none of the initial weight's (Shuttleworth et al. 2024, LoRA vs Full Fine-tuning: An Illusion
 * of Equivalence, arXiv 2410.21228, which takes left singular vectors too).
 */
import { createHash } from 'node:crypto';
import type { RunContext } from '../../../src/api.ts';
import { processWide } from '../../../src/base/process-wide.ts';
import { locateModel } from '../../../src/data/model-folder.ts';
import { readRows } from '../../../src/data/rows-file.ts';
import {
  findPretrainingHead,
  type MaskedLm,
  maskedPositions,
  maskRow,
  openMaskedLm,
} from '../../../src/science/measures/evaluate/masked-lm.ts';
import {
  effectiveWeight,
  type LayerChange,
  layerChange,
  mergedParameters,
  type ModelWeights,
} from '../../../src/science/measures/weights/effective.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { openCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openTorchModel, readTorchStart } from '../../../src/science/torch/model.ts';
import {
  leadingLeftVectors,
  lowRankSingularValues,
  singularValues,
  svd,
} from '../../../src/tensor/linalg.ts';
import { yieldToEventLoop } from '../shared/event-loop.ts';
import { assetOf, inputDir, writeJson, writeMetrics } from '../shared/files.ts';
import { modelParts, openWeights } from '../shared/trained-model.ts';
import type { Params } from './index.ts';

/** The field `masked_lm` of `spectrum.json`. Losses are means over masked tokens, in nats. */
interface Forgetting {
  readonly rows: number;
  readonly tokens: number;
  readonly loss_start: number;
  readonly loss: number;
  readonly forgetting: number;
}

const BATCH_SIZE = 32;

/**
 * Returns the pretraining loss before and after training, under the masked-LM head of the original
 * checkpoint, since a base has none. Null if the checkpoint has no such head, the tokenizer no mask
 * token, or the rows no token to mask.
 * @param open opens that head of the checkpoint in a folder; returns null if it has none
 */
async function measureForgetting<Body>(
  context: RunContext<Params>,
  open: (path: string) => Promise<MaskedLm<Body> | null>,
  start: Body,
  end: Body,
): Promise<Forgetting | null> {
  const { params, progress, signal } = context;
  const { path } = await locateModel(assetOf(context, 'model'));
  const tokenizer = await openTokenizer(path);
  if (tokenizer.mask === null) return null;
  const lm = await open(path);
  if (lm === null) return null;
  try {
    const rows = await readRows(inputDir(context, 'rows'), params.masked_rows);
    const masking = {
      vocabulary: tokenizer.vocabularySize,
      mask: tokenizer.id(tokenizer.mask),
      special: new Set(tokenizer.wrap([]).map((token) => tokenizer.id(token))),
      seed: params.seed,
    };
    const masked = rows.flatMap((row) => {
      const tokens = tokenizer.encode(row.text, row.text_pair, params.max_length);
      return maskRow(tokens, row.id, masking) ?? [];
    });
    if (masked.length === 0) return null;
    const measureLoss = async (body: Body) => {
      const { sum, tokens } = await lm.loss(body, masked, BATCH_SIZE, async (done, total) => {
        progress(done, total, 'masked tokens');
        await yieldToEventLoop(signal);
      });
      return { loss: sum / tokens, tokens };
    };
    const before = await measureLoss(start);
    const after = await measureLoss(end);
    return {
      rows: masked.length,
      tokens: after.tokens,
      loss_start: before.loss,
      loss: after.loss,
      forgetting: after.loss - before.loss,
    };
  } finally {
    lm.dispose();
  }
}

/**
 * Opens a checkpoint's masked-LM head in PyTorch's process. Under it, a body is run with its
 * adapter merged. Null if the checkpoint has no such head.
 */
async function openTorchMaskedLm(
  family: Architecture,
  path: string,
): Promise<MaskedLm<ModelWeights> | null> {
  const head = findPretrainingHead(family, await openCheckpoint(path));
  if (head === null) return null;
  const { architecture, config, vocabulary } = head;
  const linears = architecture.linears(config),
    parameters = architecture.parameters(config);
  const names = new Set(parameters.map(({ name }) => name));
  return {
    vocabulary,
    loss: async (body, rows, batchSize, onBatch) => {
      const merged = [...(await mergedParameters(body))].filter(([name]) => names.has(name));
      const model = await openTorchModel(
        await readTorchStart({
          architecture,
          adapter: await full.create({}, { architecture, linears, parameters }),
          classes: vocabulary,
          model: { path, digest: null },
          seed: 0,
          head: new Map(merged),
        }),
      );
      try {
        const all = maskedPositions(rows).map(({ row, token }) => ({ ...row, label: token }));
        let sum = 0;
        for (let start = 0; start < all.length; start += batchSize) {
          const found = await model.surprisals(all.slice(start, start + batchSize));
          for (const value of found) sum += value;
          await onBatch?.(Math.min(all.length, start + batchSize), all.length);
        }
        return { sum, tokens: all.length };
      } finally {
        model.dispose();
      }
    },
    dispose: () => undefined,
  };
}

type Context = RunContext<Params>;

/** Writes `spectrum.json`, the change of each layer and what was forgotten, and `metrics.json`. */
export async function run(context: Context): Promise<void> {
  const parts = await modelParts(context);
  const openAt = async (input: string) =>
    openWeights(context, { ...parts, trainDir: inputDir(context, input) });
  const start = await openAt('start');
  try {
    const end = await openAt('model');
    try {
      const layers = await computeSpectra(context, start.weights, end.weights);
      const isPretrained = context.params.drawn !== true && end.record.init === 'pretrained';
      const { architecture } = end.weights;
      const lm = !isPretrained
        ? null
        : start.network === undefined || end.network === undefined
          ? await measureForgetting(
              context,
              (path) => openTorchMaskedLm(architecture, path),
              start.weights,
              end.weights,
            )
          : await measureForgetting(
              context,
              (path) => openMaskedLm(architecture, { path }),
              start.network,
              end.network,
            );
      await writeResults(context, layers, lm);
    } finally {
      end.dispose();
    }
  } finally {
    start.dispose();
  }
}

async function computeSpectra(
  { params, progress, signal }: Context,
  start: ModelWeights,
  end: ModelWeights,
): Promise<LayerSpectrum[]> {
  const targets = end.linears.filter(({ name }) => end.adapter.targets.includes(name));
  const layers: LayerSpectrum[] = [];
  for (const layer of targets) {
    const name = end.fileName(`${layer.name}.weight`),
      initial = await effectiveWeight(start, layer),
      change = await layerChange(start, end, layer);
    layers.push(layerSpectrum(name, initial, change, [layer.out, layer.in], params));
    progress(layers.length, targets.length, 'layers');
    await yieldToEventLoop(signal);
  }
  return layers;
}

/**
 * Writes `spectrum.json` and `metrics.json`. Warns if no weight has changed.
 * @param lm null if no forgetting was measured
 */
async function writeResults(
  { params: { energy, vectors, cosine }, outDir, log, warn }: Context,
  layers: readonly LayerSpectrum[],
  lm: Forgetting | null,
): Promise<void> {
  const spectra = spectraMetrics(layers);
  await writeJson(outDir, 'spectrum.json', { energy, vectors, cosine, masked_lm: lm, layers }, 1);
  const forgetting = lm && {
    masked_tokens: lm.tokens,
    masked_lm_loss_start: lm.loss_start,
    masked_lm_loss: lm.loss,
    forgetting: lm.forgetting,
  };
  await writeMetrics(outDir, { ...spectra, ...forgetting });
  log(
    `${layers.length} layers: effective rank ${spectra.effective_rank.toFixed(1)} on average, ` +
      `${spectra.intruder_dimensions} intruder dimensions among ${spectra.vectors} vectors`,
  );
  if (spectra.change === 0)
    warn({
      path: [],
      message: 'ΔW is zero in every layer: no weight of a layer was trained, or no step moved one',
    });
  log(
    lm === null
      ? 'no forgetting: the checkpoint has no pretrained masked-LM head'
      : `masked-LM loss ${lm.loss_start.toFixed(3)} before training, ${lm.loss.toFixed(3)} ` +
          `after, over ${lm.tokens} tokens of ${lm.rows} rows`,
  );
}

/** Returns mean and largest ranks over layers, sums of counts, and the norm of all layers' ΔW. */
function spectraMetrics(layers: readonly LayerSpectrum[]) {
  const sum = (get: (layer: LayerSpectrum) => number): number =>
    layers.reduce((total, layer) => total + get(layer), 0);
  const change = Math.sqrt(sum((layer) => layer.change ** 2));
  const initial = Math.sqrt(
    sum((layer) => (layer.change === 0 ? 0 : (layer.change / layer.relative_change) ** 2)),
  );
  const vectors = sum(({ cosines }) => cosines.length);
  const intruders = sum(({ intruder_dimensions: count }) => count);
  return {
    layers: layers.length,
    effective_rank: sum(({ effective_rank: rank }) => rank) / layers.length,
    effective_rank_largest: Math.max(...layers.map(({ effective_rank: rank }) => rank)),
    stable_rank: sum(({ stable_rank: rank }) => rank) / layers.length,
    change,
    relative_change: change === 0 ? 0 : change / initial,
    vectors,
    intruder_dimensions: intruders,
    intruder_share: intruders / vectors,
  };
}

/** One layer's entry in `spectrum.json`. */
export interface LayerSpectrum {
  readonly layer: string;
  readonly shape: readonly [number, number]; // (m, n)
  /**
   * The singular values of ΔW, descending. If ΔW is a product of thin factors of k columns, at most
   * k: the others are zero.
   */
  readonly singular_values: readonly number[];
  /** ‖ΔW‖_F */
  readonly change: number;
  /** ‖ΔW‖_F / ‖W₀‖_F */
  readonly relative_change: number;
  /** The least k with Σ_{i ≤ k} σ_i² ≥ energy · Σσ²; 0 if nothing moved. */
  readonly effective_rank: number;
  /** ‖ΔW‖_F²/σ₁²; 0 if nothing moved. */
  readonly stable_rank: number;
  /**
   * max_j |cos(u_k, u⁰_j)| for each examined left singular vector u_k of the trained weight, the
   * one with the largest σ first. The u⁰_j are all those of the initial weight.
   */
  readonly cosines: readonly number[];
  readonly intruder_dimensions: number;
}

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

/** Returns the least k with Σ_{i ≤ k} σ_i² ≥ energy · Σσ² of descending σ; 0 if all are zero. */
export function effectiveRank(values: ArrayLike<number>, energy: number): number {
  const squares = Array.from(values, (value) => value * value);
  const total = squares.reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  let sum = 0;
  const k = squares.findIndex((value) => (sum += value) >= energy * total * (1 - 1e-12));
  return k + 1;
}

/** The most bytes of the cache of initial weights' left singular vectors, which cells share. */
const INITIAL_BYTES = 256 * 2 ** 20;
const cachedVectors = processWide('initial-left-vectors', () => new Map<string, Float64Array>());

/** Returns the left singular vectors of an initial weight (m, n), as (m, min(m, n)). */
function initialVectors(initial: Float64Array, m: number, n: number): Float64Array {
  const name = createHash('sha256')
    .update(`${m} ${n} `)
    .update(new Uint8Array(initial.buffer, initial.byteOffset, initial.byteLength))
    .digest('base64');
  const found = cachedVectors.get(name) ?? svd(initial, m, n).left!; // (m, min(m, n))
  cachedVectors.delete(name);
  cachedVectors.set(name, found); // at the end: the least recently used is evicted first
  let bytes = 0;
  for (const { byteLength } of cachedVectors.values()) bytes += byteLength;
  for (const [oldest, { byteLength }] of cachedVectors) {
    if (bytes <= INITIAL_BYTES) break;
    cachedVectors.delete(oldest);
    bytes -= byteLength;
  }
  return found;
}

/**
 * Returns `LayerSpectrum.cosines` of weights (m, n), row-major.
 * @param vectors how many singular vectors of the trained weight to examine, if it has so many
 */
function vectorCosines(
  initial: Float64Array,
  trained: Float64Array,
  m: number,
  n: number,
  vectors: number,
): number[] {
  const k = Math.min(m, n),
    some = Math.min(vectors, k);
  const U0 = initialVectors(initial, m, n); // (m, k)
  const U = leadingLeftVectors(trained, m, n, some); // (m, some)
  return Array.from({ length: some }, (_, column) => {
    const products = new Float64Array(k);
    for (let i = 0; i < m; i++) {
      const u = U[i * some + column]!;
      for (let j = 0; j < k; j++) products[j]! += u * U0[i * k + j]!;
    }
    return products.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  });
}

/** Describes how training changed one weight. @param initial W₀ (m, n), row-major */
export function layerSpectrum(
  layer: string,
  initial: Float64Array,
  { change, thin }: LayerChange,
  [m, n]: readonly [number, number],
  options: Pick<Params, 'energy' | 'vectors' | 'cosine'>,
): LayerSpectrum {
  const values =
    thin === null
      ? singularValues(change, m, n)
      : thin.k === 0
        ? new Float64Array(0)
        : lowRankSingularValues(thin.P, thin.Q, m, n, thin.k);
  const size = norm(change),
    top = values[0] ?? 0;
  const cosines = vectorCosines(
    initial,
    initial.map((value, i) => value + change[i]!),
    m,
    n,
    options.vectors,
  );
  return {
    layer,
    shape: [m, n],
    singular_values: [...values],
    change: size,
    relative_change: size / norm(initial),
    effective_rank: effectiveRank(values, options.energy),
    stable_rank: top === 0 ? 0 : size ** 2 / top ** 2,
    cosines,
    intruder_dimensions: cosines.filter((value) => value < options.cosine).length,
  };
}
