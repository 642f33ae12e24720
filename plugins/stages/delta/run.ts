/**
 * Measures Δ_r of a model, layer by layer, and the residual: what of K_LoRA − K_ff is left when Δ_r
 * is subtracted (docs/theory.md, The empirical neural tangent kernel). Δ_r is not computed from the
 * two kernels, but from the eigenvectors v_i of M_Δ = Σ_i μ_i v_i v_iᵀ − (I − Σ_i v_i v_iᵀ), with
 * μ_i = s²σ_i(A)² − 1. So the residual at B = 0 shows that the identity K_LoRA − K_ff = Δ_r holds
 * to rounding. Where B ≠ 0, K_LoRA has the further term s²Σ(Bᵀδ·Bᵀδ')(h·h'), which is subtracted
 * too, and reported separately (`from_b`).
 */
import type { Tensor2D } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { RunContext } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import {
  emptyKernel,
  type KernelSum,
  symmetrise,
  trace,
} from '../../../src/science/measures/ntk/accumulator.ts';
import { type Premise, premise } from '../../../src/science/measures/ntk/delta.ts';
import {
  addTerm,
  type LayerBatch,
  walkLayers,
  type WalkOptions,
} from '../../../src/science/measures/ntk/layerwise.ts';
import { fullTerms, loraTerms, zeroTerms } from '../../../src/science/measures/ntk/terms.ts';
import type {
  AdaptedLayer,
  AdaptedModel,
  HostTensor,
  LoraFactors,
  OutputsOf,
  TokenRow,
} from '../../../src/science/models/types.ts';
import type { LayerKernels, LayerPart, TorchKernels } from '../../../src/science/torch/kernels.ts';
import { openRowEncoder } from '../../../src/science/training/adapted-model.ts';
import { svd } from '../../../src/tensor/linalg.ts';
import { NO_DELTA } from '../shared/definition.ts';
import { inputDir, type Metrics, writeJson, writeMetrics } from '../shared/files.ts';
import { readKernelRows } from '../shared/kernel-rows.ts';
import { modelParts, openForKernels } from '../shared/trained-model.ts';
import type { Params } from './index.ts';

/**
 * Writes `delta.json` and `metrics.json`. If the model has no Δ_r, they hold null and no metric.
 */
export async function run(context: RunContext<Params>): Promise<void> {
  const { rows } = await readKernelRows(context, 'that Δ_r is measured on');
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const adapted = await openForKernels(context, { ...parts, trainDir });
  const { params, progress, signal } = context;
  try {
    const encode = await openRowEncoder(trainDir, parts.model);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const delta = await ('kernels' in adapted
      ? measureDeltaInTorch(adapted, encoded, { progress, signal })
      : measureDelta(adapted, encoded, { progress, signal }));
    await writeJson(context.outDir, 'delta.json', delta, 1);
    await writeMetrics(context.outDir, delta === null ? {} : toMetrics(delta));
    context.log(delta === null ? (whyNoDelta(adapted) ?? '') : logLine(delta));
  } finally {
    adapted.dispose();
  }
}

const logLine = ({ layers, rows, outputs, total }: Delta): string =>
  `${layers.length} layers, ${rows} rows, kernels of ${outputs}: ` +
  `‖K_LoRA − K_ff − Δ_r‖/‖K_ff‖ = ${total.residual.toExponential(2)}`;

/**
 * Returns the numbers over all layers together, the extremes of single layers, and the share of
 * layers for which each premise holds.
 */
function toMetrics({ layers, total }: Delta): Metrics {
  const shareOfLayers = (holds: (layer: LayerDelta) => boolean): number =>
    layers.filter(holds).length / layers.length;
  return {
    residual: total.residual,
    largest_layer_residual: Math.max(...layers.map(({ residual }) => residual)),
    relative_delta: total.relative_delta,
    trace_full: total.full,
    trace_lora: total.lora,
    trace_delta: total.delta,
    trace_from_b: total.from_b,
    largest_eigenvalue: Math.max(...layers.map(({ measured }) => measured.high)),
    semidefinite_layers: shareOfLayers((layer) => layer.negative_semidefinite),
    scaled_premise_layers: shareOfLayers((layer) => layer.scaled),
    stated_premise_layers: shareOfLayers((layer) => layer.stated),
    // The same premises with the mean square of A's drawn entries in place of their variance σ². If
    // σ² is 1/n, chance decides whether `sample_stated` holds.
    sample_scaled_premise_layers: shareOfLayers((layer) => layer.sample_scaled),
    sample_stated_premise_layers: shareOfLayers((layer) => layer.sample_stated),
  };
}

/** Traces of the kernels (N, C, N, C) of N rows and C outputs, and norms relative to ‖K_ff‖_F. */
interface DeltaParts {
  /** In this order: tr K_ff, tr K_LoRA, tr Δ_r, and the trace of what B ≠ 0 adds to K_LoRA. */
  readonly full: number;
  readonly lora: number;
  readonly delta: number;
  readonly from_b: number;
  /** ‖Δ_r‖_F / ‖K_ff‖_F */
  readonly relative_delta: number;
  /** ‖K_LoRA − K_ff − Δ_r − (what B ≠ 0 adds)‖_F / ‖K_ff‖_F, which is zero up to rounding. */
  readonly residual: number;
}

interface LayerDelta extends Premise, DeltaParts {
  /**
   * The eigenvalues μ_i of M_Δ, one for each of the r rows of A, descending. The other n − r
   * eigenvalues, of a layer with n inputs, are −1.
   */
  readonly eigenvalues: readonly number[];
}

export interface Delta {
  readonly rows: number;
  readonly outputs: OutputsOf;
  /** The number of outputs of a row: C, or 1 for log p(answer). */
  readonly classes: number;
  readonly layers: readonly LayerDelta[];
  readonly total: DeltaParts;
}

const PARTS = ['full', 'lora', 'delta', 'from_b'] as const;
type Sums = { readonly [P in (typeof PARTS)[number]]: KernelSum };

const norm = (a: Float64Array): number => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0));

/**
 * Returns traces and relative norms of the kernels (size, size) of one layer, or of all layers
 * together; size = N·C.
 */
function kernelParts({ full, lora, delta, from_b }: Sums, size: number): DeltaParts {
  const whole = norm(full.data);
  const residual = lora.data.map(
    (value, i) => value - full.data[i]! - delta.data[i]! - from_b.data[i]!,
  );
  return {
    full: trace(full.data, size),
    lora: trace(lora.data, size),
    delta: trace(delta.data, size),
    from_b: trace(from_b.data, size),
    relative_delta: norm(delta.data) / whole,
    residual: norm(residual) / whole,
  };
}

/**
 * M_Δ (n, n) of a layer with n inputs and an adapter of rank r, by its eigenvalues and
 * eigenvectors. The n − r eigenvalues −1, of vectors outside A's row space, are left out.
 */
interface MDelta {
  /** The other r eigenvalues μ_i, descending. */
  readonly eigenvalues: number[];
  /** V (n, r), their eigenvectors. */
  readonly vectors: Float32Array;
}

/**
 * Returns μ_i = s²σ_i² − 1 and V of M_Δ, from A (r, n) with Aᵀ = V Σ Uᵀ. The σ_i are the singular
 * values of A.
 */
function mDelta(A: Float32Array, rank: number, width: number, scale: number): MDelta {
  const transposed = Float64Array.from(
    { length: width * rank },
    (_, at) => A[(at % rank) * width + Math.floor(at / rank)]!,
  ); // Aᵀ (n, r)
  const { values, left } = svd(transposed, width, rank);
  return {
    eigenvalues: [...values].map((value) => scale ** 2 * value ** 2 - 1),
    vectors: Float32Array.from(left!),
  };
}

/** Returns the indexes of the values that have this sign; 0 has neither. */
const indexesOfSign = (values: readonly number[], sign: 1 | -1): number[] =>
  values.flatMap((value, i) => (Math.sign(value) === sign ? [i] : []));

/**
 * Adds one layer's Σ_{t,u} (δ_t·δ'_u)(h_tᵀ M_Δ h'_u), over the tokens t and u of each two rows, to
 * `sum`: first the part of M_Δ with positive eigenvalues, if it has any, then the part with
 * negative ones.
 */
function addDelta(
  seen: readonly LayerBatch[],
  { eigenvalues, vectors }: MDelta,
  rank: number,
  width: number,
  sum: KernelSum,
): void {
  const V = tf.tensor2d(vectors, [width, rank]); // (n, r)
  for (const sign of [1, -1] as const) {
    const index = indexesOfSign(eigenvalues, sign);
    if (sign === 1 && index.length === 0) continue;
    const roots = index.map((i) => Math.sqrt(Math.abs(eigenvalues[i]!))),
      root = tf.tensor2d(roots, [1, index.length]);
    addTerm(
      seen,
      seen.map(({ tokens: { h, deltas } }) => {
        const inner = tf.matMul(h, V); // (S, r)
        const weighted =
          index.length === 0
            ? null
            : // (S, |index|)
              tf.mul<Tensor2D>(tf.gather(inner, tf.tensor1d(index, 'int32'), 1), root);
        if (sign === 1) return { a: deltas, b: weighted!, coefficient: 1 };
        // The part of h outside A's row space, (S, n)
        const outside = tf.sub<Tensor2D>(h, tf.matMul(inner, V, false, true));
        return {
          a: deltas,
          b: weighted === null ? outside : tf.concat([outside, weighted], 1),
          coefficient: -1,
        };
      }),
      [sum],
    );
  }
}

/**
 * Returns the factors F₊, as `plus`, and F₋, as `minus`, of M_Δ = F₊F₊ᵀ − F₋F₋ᵀ. V (n, r) are the
 * eigenvectors of `MDelta`, V₊ (n, r₊) those with a positive eigenvalue μ, and V₋ (n, r₋) those
 * with a negative one. F₊ = V₊√μ, (n, r₊), null if r₊ = 0; F₋ = [I − VVᵀ, V₋√−μ], (n, n + r₋).
 */
function splitBySign({ eigenvalues, vectors }: MDelta, width: number) {
  const rank = eigenvalues.length;
  /** Returns an entry of V√|μ|, (n, r). */
  const scaled = (row: number, i: number): number =>
    vectors[row * rank + i]! * Math.sqrt(Math.abs(eigenvalues[i]!));
  const plus = indexesOfSign(eigenvalues, 1),
    minus = indexesOfSign(eigenvalues, -1);
  /** Returns a matrix (n, length) with these entries. */
  const matrix = (length: number, entry: (row: number, column: number) => number): HostTensor => ({
    shape: [width, length],
    data: Float32Array.from({ length: width * length }, (_, at) =>
      entry(Math.floor(at / length), at % length),
    ),
  });
  /** Returns an entry of VVᵀ, (n, n). */
  const projection = (row: number, column: number): number => {
    let sum = 0;
    for (let i = 0; i < rank; i++) sum += vectors[row * rank + i]! * vectors[column * rank + i]!;
    return sum;
  };
  return {
    plus: plus.length === 0 ? null : matrix(plus.length, (row, k) => scaled(row, plus[k]!)),
    minus: matrix(width + minus.length, (row, k) =>
      k < width ? Number(row === k) - projection(row, k) : scaled(row, minus[k - width]!),
    ),
  };
}

/** Returns what `measureDelta` returns, from kernels that PyTorch's process computes. */
async function measureDeltaInTorch(
  model: TorchKernels,
  rows: readonly TokenRow[],
  options: Pick<LayerKernels, 'progress' | 'signal'>,
): Promise<Delta | null> {
  if (whyNoDelta(model) !== null) return null;
  const known = new Map<string, { ofLayer: MDelta; facts: LayerFacts }>();
  for (const { name, in: width, lora } of model.layers) {
    if (lora === undefined) continue;
    const [A, B] = [await lora.A.data(), await lora.B.data()] as [Float32Array, Float32Array];
    const { scale, variance } = lora,
      rank = lora.A.shape[0] ?? 0;
    const ofLayer = mDelta(A, rank, width, scale);
    known.set(name, { ofLayer, facts: { A, B, rank, width, scale, variance } });
  }
  const { add, finish } = createDeltaSum(model, rows);
  await model.layerKernels(rows, {
    ...options,
    layers: model.layers.filter(({ name }) => known.has(name)),
    parts: ({ name, in: width, lora }) => {
      const { plus, minus } = splitBySign(named(known, name).ofLayer, width);
      const parts: LayerPart[] = [{ over: 'W' }, { over: 'B' }, { over: 'W', F: minus }];
      if (plus !== null) parts.push({ over: 'W', F: plus });
      if (lora?.freezeA !== true) parts.push({ over: 'A' });
      return parts;
    },
    visit: ({ name, lora }, kernels) => {
      const { ofLayer, facts } = named(known, name);
      const [full, ofB, minus, ...rest] = kernels; // in the order of `parts`
      const ofA = lora?.freezeA === true ? undefined : rest.pop(),
        [plus] = rest;
      const sums = emptySums(model, rows);
      full!.forEach((value, i) => {
        const fromB = ofA?.[i] ?? 0;
        sums.full.data[i] = value;
        sums.lora.data[i] = ofB![i]! + fromB;
        sums.from_b.data[i] = fromB;
        sums.delta.data[i] = (plus?.[i] ?? 0) - minus![i]!;
      });
      add(name, facts, ofLayer.eigenvalues, sums);
    },
  });
  return finish();
}

type MaybeLora = { readonly lora?: { readonly dora?: object }; readonly vera?: object };

/** Returns why a model has no Δ_r; null if it has one. */
function whyNoDelta({ layers }: { layers: readonly MaybeLora[] }): string | null {
  if (layers.some(({ vera }) => vera !== undefined)) return NO_DELTA.vera;
  if (layers.some(({ lora }) => lora?.dora !== undefined)) return NO_DELTA.dora;
  return layers.every(({ lora }) => lora === undefined) ? NO_DELTA.none : null;
}

/** Returns Δ_r of a model at the start of its training; null if it has none (`whyNoDelta`). */
export async function measureDelta(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  options: WalkOptions = {},
): Promise<Delta | null> {
  if (whyNoDelta(model) !== null) return null;
  const adapted = model.layers.filter(
    (layer): layer is AdaptedLayer & { readonly lora: LoraFactors } => layer.lora !== undefined,
  );
  const { add, finish } = createDeltaSum(model, rows);
  await walkLayers({ ...model, layers: adapted }, rows, options, (layer, seen) => {
    const factors = layer.lora!;
    const sums = emptySums(model, rows);
    const [A, B] = [factors.A.dataSync<'float32'>(), factors.B.dataSync<'float32'>()];
    const [rank, width] = [factors.A.shape[0], layer.in];
    const ofLayer = mDelta(A, rank, width, factors.scale);
    tf.tidy(() => {
      const ofFull = seen.map(({ tokens }) => fullTerms(tokens)[0]!);
      addTerm(seen, ofFull, [sums.full]);
      const zero = zeroTerms(layer);
      const terms = seen.map(({ tokens }) => loraTerms(tokens, factors, zero));
      terms[0]!.forEach(({ parameter }, k) => {
        const batch = terms.map((of) => of[k]!);
        // The term over A is what B ≠ 0 adds. It is a part of K_LoRA, and also summed by itself.
        addTerm(seen, batch, parameter === 'B' ? [sums.lora] : [sums.lora, sums.from_b]);
      });
      addDelta(seen, ofLayer, rank, width, sums.delta);
    });
    const { scale, variance } = factors;
    add(layer.name, { A, B, rank, width, scale, variance }, ofLayer.eigenvalues, sums);
  });
  return finish();
}

type LayerFacts = Parameters<typeof premise>[1];

type OfOutputs = Pick<AdaptedModel, 'outputs' | 'outputsOf' | 'weightName'>;

function emptySums({ outputs }: OfOutputs, { length: N }: readonly TokenRow[]): Sums {
  const empty = (): KernelSum => emptyKernel(N, outputs);
  return { full: empty(), lora: empty(), delta: empty(), from_b: empty() };
}

/**
 * Returns `add`, which adds the kernels of one layer, and `finish`, which returns the `Delta` of
 * all the layers added.
 */
function createDeltaSum(model: OfOutputs, rows: readonly TokenRow[]) {
  const { outputs: classes } = model;
  const size = rows.length * classes;
  const total = emptySums(model, rows);
  const layers: LayerDelta[] = [];
  return {
    add: (layer: string, facts: LayerFacts, eigenvalues: readonly number[], sums: Sums): void => {
      for (const part of PARTS) {
        symmetrise(sums[part].data, size);
        sums[part].data.forEach((value, i) => {
          total[part].data[i]! += value;
        });
      }
      const ofLayer = premise(model.weightName(layer), facts);
      layers.push({ ...ofLayer, eigenvalues, ...kernelParts(sums, size) });
    },
    finish: (): Delta => ({
      ...{ rows: rows.length, outputs: model.outputsOf, classes, layers },
      total: kernelParts(total, size),
    }),
  };
}
