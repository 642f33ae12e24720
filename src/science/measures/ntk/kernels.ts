/**
 * The empirical NTK of a model's outputs over the layers that an adapter targets (docs/theory.md,
 * The empirical neural tangent kernel): over their weights at the effective W, and over the
 * adapter's own parameters alone (LoRA's factors, DoRA's magnitudes, VeRA's vectors, the biases and
 * norms' scales that it trains). Pure in (model, rows): neither the order of the rows, nor their
 * batches, nor chunking changes an entry beyond float32 rounding.
 */
import { UserFault } from '../../../api.ts';
import type { AdaptedModel, OutputsOf, TokenRow } from '../../models/types.ts';
import { type Accumulator, emptyAccumulator, kernelOrder, trace, unfold } from './accumulator.ts';
import type { Method } from './contractions.ts';
import type { ModelOfPremises } from './delta.ts';
import {
  addLayer,
  addReplicates,
  type LayerJob,
  type Projection,
  type Sums,
  type TermRecord,
} from './layer.ts';
import { planWalk, type WalkOptions, walkSets } from './layerwise.ts';
import type { Resume } from './resume.ts';
import { hasKernel, hasOwn, type KernelKind, type Owned } from './terms.ts';

interface LayerKernel {
  readonly layer: string;
  /**
   * Trace of the layer's block in K_ff; null where that kernel was not asked for, or is between two
   * sets, or the layer's weight is not among its parameters.
   */
  readonly full: number | null;
  /** Trace of the layer's block in the adapter's kernel; null likewise, or if there is no block. */
  readonly lora: number | null;
}

export interface Kernel {
  /** The entries in the rows' order; symmetric for rows with themselves. */
  readonly data: Float64Array; // (N, C, M, C)
  /** The standard error of the estimate as a share of ‖K‖_F; null where nothing was projected. */
  readonly error: number | null;
  /** Each layer's block; null where blocks were not asked for. */
  readonly blocks: ReadonlyMap<string, Float64Array> | null; // (N, C, M, C)
}

export interface KernelParts {
  readonly totals: ReadonlyMap<KernelKind, Sums>;
  /** Each layer's block, where blocks are kept. */
  readonly blocks: ReadonlyMap<KernelKind, Map<string, Float64Array>>;
  readonly layers: LayerKernel[];
  readonly terms: TermRecord[];
}

export const emptySums = (
  { height, width }: Pick<Accumulator, 'height' | 'width'>,
  replicates: number,
): Sums => ({
  exact: emptyAccumulator(height, width),
  replicates: Array.from({ length: replicates }, () => emptyAccumulator(height, width)),
});

/** Adds one sum to another; if `symmetric`, its lower triangle. Returns whether it is finite. */
function addTo(to: Accumulator, from: Accumulator, symmetric: boolean): boolean {
  const { height, width } = from;
  let zero = 0; // becomes NaN at an entry that is not finite
  for (let x = 0; x < height; x++) {
    const end = x * width + (symmetric ? x + 1 : width);
    for (let k = x * width; k < end; k++) {
      const value = from.data[k]!;
      to.data[k]! += value;
      zero += 0 * value;
    }
  }
  return zero === 0;
}

function addSums(to: Sums, from: Sums, symmetric: boolean): boolean {
  const finite = [
    addTo(to.exact, from.exact, symmetric),
    ...from.replicates.map((sum, r) => addTo(to.replicates[r]!, sum, symmetric)),
  ];
  return finite.every(Boolean);
}

function clear({ exact, replicates }: Sums): void {
  for (const { data } of [exact, ...replicates]) data.fill(0);
}

export interface KernelOptions extends WalkOptions {
  /** `auto`: the cheaper of `explicit` and `gram`, by term. `plain`: the slow reference. */
  readonly method?: 'auto' | Method;
  /** Estimates the kernels by random projection instead, with their standard error. */
  readonly projection?: Projection;
  /** Which kernels to compute, of those that the model has (`kindsOf`). Default: both. */
  readonly which?: readonly KernelKind[];
  readonly perLayer?: boolean;
  /** Saves the state between groups of layers, and starts from a saved one. */
  readonly resume?: Resume;
}

export interface KernelSet {
  readonly rows: number; // N
  readonly columns: number; // M; N for rows with themselves
  /** What the kernels are of: the C class logits, or log p(answer) alone (C = 1). */
  readonly outputs: OutputsOf;
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  readonly rightLogits: Float32Array | null; // (M, C)
  /** K_ff; null where it was not asked for. */
  readonly full: Kernel | null;
  /** The adapter's kernel; null where it was not asked for, or no layer `hasOwn`. */
  readonly lora: Kernel | null;
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
  /** The groups of layers that shared a forward pass, with the bytes that were kept of each. */
  readonly groups: readonly { readonly layers: readonly string[]; readonly bytes: number }[];
}

/**
 * Returns the kernels of the `left` rows with themselves or, where `right` is given, with another
 * set. Rows are as the model reads them, without padding. Memory: h and δ of one layer group
 * (`memoryMB`), one batch's activations, two or three slices of 64 MiB, and (N·C)·(M·C) doubles
 * twice for each kernel (and for each replicate of a projection). Throws RangeError for no rows,
 * UserFault where the numbers are not finite.
 */
export async function kernelSet(
  given: AdaptedModel,
  left: readonly TokenRow[],
  right: readonly TokenRow[] | null,
  options: KernelOptions = {},
): Promise<KernelSet> {
  const { method = 'auto', projection = null, perLayer = false } = options;
  const { outputs: classes } = given;
  const kinds = kindsOf(given, options);
  const model = {
    ...given,
    // Where no kernel is asked for, the layers are walked for the logits alone.
    layers: given.layers.filter(
      (layer) => kinds.length === 0 || kinds.some((kind) => hasKernel(kind, layer)),
    ),
  };
  const sets = right === null ? [left] : [left, right];
  const adapterOnly = projection === null && kinds.every((kind) => kind === 'lora');
  const plan = planWalk(model, sets, options, adapterOnly ? method : null);
  const [leftOrder, rightOrder] = plan.parts.map((batches) => kernelOrder(batches, classes));
  const inOrder = (sum: Accumulator): Float64Array => unfold(sum, leftOrder!, rightOrder ?? null);
  const symmetric = right === null; // then only entries on and below the diagonal are summed
  const shape = { height: left.length * classes, width: (right ?? left).length * classes };
  const zeros = (): Sums => emptySums(shape, projection?.replicates ?? 0);
  const parts: KernelParts = {
    totals: new Map(kinds.map((kind) => [kind, zeros()])),
    blocks: new Map(kinds.map((kind) => [kind, new Map()])),
    layers: [],
    terms: [],
  };
  const ofLayer = zeros(); // of one layer and kernel at a time
  const addToKernels = (job: LayerJob): void => {
    const { name } = job.layer;
    const traces: Record<KernelKind, number | null> = { full: null, lora: null };
    for (const [kind, total] of parts.totals) {
      if (!hasKernel(kind, job.layer)) continue;
      clear(ofLayer);
      const records = addLayer(kind, job, ofLayer);
      parts.terms.push(...records);
      if (!addSums(total, ofLayer, symmetric))
        throw new UserFault(
          `The kernel of ${name} is not finite.`,
          "The training diverged: look at the model's loss.",
        );
      if (records.some((record) => record.projected))
        addReplicates(ofLayer.exact, ofLayer.replicates, symmetric);
      if (symmetric) traces[kind] = trace(ofLayer.exact.data, shape.height);
      if (perLayer) parts.blocks.get(kind)?.set(name, inOrder(ofLayer.exact));
    }
    parts.layers.push({ layer: name, ...traces });
  };
  /** Returns a finished kernel; null if it was not asked for. Call it only once for each kind. */
  const finish = (kind: KernelKind): Kernel | null => {
    const total = parts.totals.get(kind);
    if (total === undefined) return null;
    const error = parts.terms.some((term) => term.kernel === kind && term.projected)
      ? addReplicates(total.exact, total.replicates, symmetric)
      : null;
    const blocks = perLayer ? (parts.blocks.get(kind) ?? null) : null;
    return { data: inOrder(total.exact), error, blocks };
  };
  const start = (await options.resume?.load(parts)) ?? 0;
  const [logits, rightLogits] = await walkSets(
    model,
    sets,
    plan,
    start,
    {
      layer: (layer, [ofLeft, ofRight]) =>
        addToKernels({ layer, left: ofLeft!, right: ofRight ?? null, classes, method, projection }),
      group: async (groups) => options.resume?.save(groups, parts),
    },
    options,
  );
  return {
    rows: left.length,
    columns: (right ?? left).length,
    outputs: model.outputsOf,
    classes,
    logits: logits!,
    rightLogits: rightLogits ?? null,
    full: finish('full'),
    lora: finish('lora'),
    layers: parts.layers,
    terms: parts.terms,
    groups: plan.groups.map(({ layers, bytes }) => ({
      layers: layers.map(({ name }) => name),
      bytes,
    })),
  };
}

export interface KernelModel
  extends ModelOfPremises, Pick<AdaptedModel, 'outputsOf' | 'outputs' | 'weightName' | 'dispose'> {
  readonly layers: readonly (ModelOfPremises['layers'][number] & Owned)[];
  /** The kernels of rows with themselves, as `kernelSet` returns them. */
  kernels(rows: readonly TokenRow[], options?: KernelOptions): Promise<KernelSet>;
}

/** Returns the kernels asked for, the adapter's only if some layer has parameters of its own. */
export function kindsOf(
  { layers }: { readonly layers: readonly Owned[] },
  { which = ['full', 'lora'] }: KernelOptions,
): readonly KernelKind[] {
  const isAdapted = layers.some(hasOwn);
  return which.filter((kind) => kind === 'full' || isAdapted);
}
