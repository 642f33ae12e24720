/**
 * The empirical NTKs of a model's outputs over the layers that an adapter targets (docs/theory.md,
 * The empirical neural tangent kernel). K_ff is over the layers' weights, at the effective W. The
 * adapter's kernel is over its own parameters alone: LoRA's factors, DoRA's magnitudes, VeRA's
 * vectors, the biases and norms' scales that it trains. Both are pure in (model, rows): neither the
 * order of the rows, nor their batches, nor chunking changes an entry beyond float32 rounding.
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
   * Trace of the layer's block in K_ff; null where that kernel was not asked for, or is not over
   * this layer's weight.
   */
  readonly full: number | null;
  /**
   * Trace of the layer's block in the adapter's kernel; null where that kernel was not asked for,
   * or the adapter has no parameters at the layer.
   */
  readonly lora: number | null;
}

export interface Kernel {
  /** The entries in the rows' order. */
  readonly data: Float64Array; // (N, C, N, C)
  /** The standard error of the estimate as a share of ‖K‖_F; null where nothing was projected. */
  readonly error: number | null;
  /** Each layer's block; null where blocks were not asked for. */
  readonly blocks: ReadonlyMap<string, Float64Array> | null; // (N, C, N, C)
}

/** What the walk over the layers has found so far. */
export interface KernelParts {
  readonly totals: ReadonlyMap<KernelKind, Sums>;
  /** Each layer's block, where blocks are kept. */
  readonly blocks: ReadonlyMap<KernelKind, Map<string, Float64Array>>;
  readonly layers: LayerKernel[];
  readonly terms: TermRecord[];
}

export const emptySums = (size: number, replicates: number): Sums => ({
  exact: emptyAccumulator(size),
  replicates: Array.from({ length: replicates }, () => emptyAccumulator(size)),
});

/**
 * Adds the lower triangle of one accumulator to another. Returns whether what was added is finite.
 */
function addTo(to: Accumulator, { size, data }: Accumulator): boolean {
  let zero = 0; // becomes NaN at an entry that is not finite
  for (let x = 0; x < size; x++) {
    for (let k = x * size; k <= x * size + x; k++) {
      to.data[k]! += data[k]!;
      zero += 0 * data[k]!;
    }
  }
  return zero === 0;
}

/**
 * Adds each accumulator of `from` to that of `to`. Returns whether all that was added is finite.
 */
const addSums = (to: Sums, from: Sums): boolean =>
  [
    addTo(to.exact, from.exact),
    ...from.replicates.map((sum, r) => addTo(to.replicates[r]!, sum)),
  ].every(Boolean);

function clear({ exact, replicates }: Sums): void {
  for (const { data } of [exact, ...replicates]) data.fill(0);
}

export interface KernelOptions extends WalkOptions {
  /**
   * How terms are contracted. `auto`: by the cheaper of `explicit` and `gram`, term by term.
   * `plain`: by the slow reference.
   */
  readonly method?: 'auto' | Method;
  /**
   * If present, terms that are wider than its dimension are not computed exactly but estimated by
   * random projection, and kernels with such terms have a standard error.
   */
  readonly projection?: Projection;
  /** Which kernels to compute, of those that the model has (`kindsOf`). Default: both. */
  readonly which?: readonly KernelKind[];
  /** Whether to return each layer's block. Default: no. */
  readonly perLayer?: boolean;
  /** Saves the state between groups of layers, and starts from a saved one. */
  readonly resume?: Resume;
}

export interface KernelSet {
  readonly rows: number; // N
  /** What the kernels are of: the C class logits, or log p(answer) alone (C = 1). */
  readonly outputs: OutputsOf;
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  /** K_ff; null where it was not asked for. */
  readonly full: Kernel | null;
  /**
   * The adapter's kernel; null where it was not asked for, or no layer has parameters of the
   * adapter (`hasOwn`).
   */
  readonly lora: Kernel | null;
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
  /**
   * The groups of layers that shared a pass over the rows, and the bytes that were kept in that
   * pass.
   */
  readonly groups: readonly { readonly layers: readonly string[]; readonly bytes: number }[];
}

/**
 * Returns the kernels of rows with themselves. Rows are as the model reads them, without padding.
 * Memory: h and δ of one layer group (`memoryMB`), one batch's activations, two or three slices of
 * 64 MiB, and (N·C)² doubles twice for each kernel (and for each replicate of a projection). Throws
 * RangeError for no rows, UserFault where the numbers are not finite.
 */
export async function kernelSet(
  given: AdaptedModel,
  rows: readonly TokenRow[],
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
  const adapterOnly = projection === null && kinds.every((kind) => kind === 'lora');
  const plan = planWalk(model, rows, options, adapterOnly ? method : null);
  const order = kernelOrder(plan.parts[0]!, classes);
  const size = rows.length * classes;
  const zeros = (): Sums => emptySums(size, projection?.replicates ?? 0);
  const parts: KernelParts = {
    totals: new Map(kinds.map((kind) => [kind, zeros()])),
    blocks: new Map(kinds.map((kind) => [kind, new Map()])),
    layers: [],
    terms: [],
  };
  const ofLayer = zeros(); // the kernel of one layer, used again for each layer and kind
  /**
   * Adds a layer's kernels to the totals. Records its traces and terms in `parts` and, if they were
   * asked for, its blocks. Throws UserFault where an entry is not finite.
   */
  const addToKernels = (job: LayerJob): void => {
    const { name } = job.layer;
    const traces: Record<KernelKind, number | null> = { full: null, lora: null };
    for (const [kind, total] of parts.totals) {
      if (!hasKernel(kind, job.layer)) continue;
      clear(ofLayer);
      const records = addLayer(kind, job, ofLayer);
      parts.terms.push(...records);
      if (!addSums(total, ofLayer))
        throw new UserFault(
          `The kernel of ${name} is not finite.`,
          "The training diverged: look at the model's loss.",
        );
      if (records.some((record) => record.projected))
        addReplicates(ofLayer.exact, ofLayer.replicates);
      traces[kind] = trace(ofLayer.exact.data, size);
      if (perLayer) parts.blocks.get(kind)?.set(name, unfold(ofLayer.exact, order));
    }
    parts.layers.push({ layer: name, ...traces });
  };
  /** Returns a kernel; null if not asked for. Call it once for each kind: it changes the sums. */
  const finish = (kind: KernelKind): Kernel | null => {
    const total = parts.totals.get(kind);
    if (total === undefined) return null;
    const error = parts.terms.some((term) => term.kernel === kind && term.projected)
      ? addReplicates(total.exact, total.replicates)
      : null;
    const blocks = perLayer ? (parts.blocks.get(kind) ?? null) : null;
    return { data: unfold(total.exact, order), error, blocks };
  };
  const start = (await options.resume?.load(parts)) ?? 0;
  const [logits] = await walkSets(
    model,
    [rows],
    plan,
    start,
    {
      layer: (layer, [batches]) =>
        addToKernels({ layer, batches: batches!, classes, method, projection }),
      group: async (groups) => options.resume?.save(groups, parts),
    },
    options,
  );
  return {
    rows: rows.length,
    outputs: model.outputsOf,
    classes,
    logits: logits!,
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

/**
 * Returns the kinds of kernels asked for, both by default. Leaves out the adapter's kernel if no
 * layer has parameters of the adapter.
 */
export function kindsOf(
  { layers }: { readonly layers: readonly Owned[] },
  { which = ['full', 'lora'] }: KernelOptions,
): readonly KernelKind[] {
  const isAdapted = layers.some(hasOwn);
  return which.filter((kind) => kind === 'full' || isAdapted);
}
