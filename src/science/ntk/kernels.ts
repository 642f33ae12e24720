/**
 * The empirical NTK of a model's outputs over the layers that an adapter targets (docs/theory.md,
 * The empirical neural tangent kernel): over their weights at the effective W, and over the
 * adapter's own parameters alone (LoRA's factors, DoRA's magnitudes, VeRA's vectors, the biases and
 * norms' scales that it trains). Pure in (model, rows): neither the order of the rows, nor their
 * batches, nor chunking changes an entry beyond float32 rounding.
 */
import { UserFault } from '../../api.ts';
import type { AdaptedModel, OutputsOf, TokenRow } from '../model/types.ts';
import {
  accumulatedTrace,
  type Accumulator,
  accumulator,
  kernelOrder,
  unfold,
} from './contraction.ts';
import type { Method } from './cost.ts';
import { addLayer, type LayerJob, type Sums, type TermRecord } from './layer.ts';
import { planWalk, type WalkOptions, walkSets } from './layerwise.ts';
import { addReplicates, type Projection } from './projection.ts';
import type { Resume } from './resume.ts';
import { hasKernel, hasOwn, type KernelKind } from './terms.ts';

export interface KernelOptions extends WalkOptions {
  /**
   * `auto` takes the cheaper of `explicit` and `gram`, term by term; `plain` is the slow reference.
   * All are exact.
   */
  readonly method?: 'auto' | Method;
  /** Estimates the kernels by random projection instead, with their standard error. */
  readonly projection?: Projection;
  /** Which kernels to compute; both where left out. A model whose adapter adds no
   * parameters has the full one only. */
  readonly which?: readonly KernelKind[];
  /** Whether to keep each layer's block. */
  readonly perLayer?: boolean;
  /** Saves the state between groups of layers, and starts from a saved one. */
  readonly resume?: Resume;
}

export interface LayerKernel {
  readonly layer: string;
  /**
   * Trace of the layer's block in K_ff; null where that kernel was not asked for, or is between two
   * sets, or the layer's weight is not among its parameters.
   */
  readonly full: number | null;
  /** The same in the adapter's kernel; also null where it does not adapt the layer. */
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

export interface KernelSet {
  readonly rows: number; // N
  readonly columns: number; // M; N for rows with themselves
  /** What the kernels are of: the C class logits, or log p(answer) alone (C = 1). */
  readonly outputs: OutputsOf;
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  /** Logits of the right rows; null without them. */
  readonly rightLogits: Float32Array | null; // (M, C)
  /** K_ff; null where it was not asked for. */
  readonly full: Kernel | null;
  /** The adapter's kernel; null where it was not asked for, or no layer has parameters of it. */
  readonly lora: Kernel | null;
  /** The layers in forward order. */
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
  /** The groups of layers that shared a forward pass, with the bytes of their h and δ. */
  readonly groups: readonly { readonly layers: readonly string[]; readonly bytes: number }[];
}

type Shape = Pick<Accumulator, 'height' | 'width'>;

const emptySums = ({ height, width }: Shape, replicates: number): Sums => ({
  exact: accumulator(height, width),
  replicates: Array.from({ length: replicates }, () => accumulator(height, width)),
});

/**
 * Adds one sum to another. Returns whether every added entry is finite.
 * @param symmetric whether only entries on and below the diagonal are filled
 */
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

/** `addTo` for the sums of exact terms and of each replicate. */
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

/**
 * Returns the kernels of the `left` rows with themselves or, where `right` is given, with another
 * set. Rows are as the model reads them, without padding. Memory: h and δ of one layer group
 * (`memoryMB`), one batch's activations, two or three slices of 64 MiB, and (N·C)·(M·C) doubles
 * twice for each kernel (and for each replicate of a projection). Throws RangeError for no rows,
 * UserFault where the numbers are not finite.
 */
export async function kernelSet(
  whole: AdaptedModel,
  left: readonly TokenRow[],
  right: readonly TokenRow[] | null,
  options: KernelOptions = {},
): Promise<KernelSet> {
  const { method = 'auto', projection, perLayer = false } = options;
  const { outputs: classes } = whole;
  const adapted = whole.layers.some(hasOwn);
  const kinds = (options.which ?? ['full', 'lora']).filter((kind) => kind === 'full' || adapted);
  const model = {
    ...whole,
    // Without a kernel, the logits are still asked for.
    layers: whole.layers.filter(
      (layer) => kinds.length === 0 || kinds.some((kind) => hasKernel(kind, layer)),
    ),
  };
  const sets = right === null ? [left] : [left, right];
  const ownAlone = projection === undefined && kinds.every((kind) => kind === 'lora');
  const plan = planWalk(model, sets, options, ownAlone ? method : null);
  const shape = { height: left.length * classes, width: (right ?? left).length * classes };
  const orders = plan.parts.map((parts) =>
    kernelOrder(
      parts.map((rows) => ({ rows })),
      classes,
    ),
  );
  const place = (sum: Accumulator): Float64Array =>
    unfold(sum, orders[0]!, right === null ? null : orders[1]!);

  const totals = new Map(
    kinds.map((kind) => [kind, emptySums(shape, projection?.replicates ?? 0)]),
  );
  const blocks = new Map<KernelKind, Map<string, Float64Array>>(
    kinds.map((kind) => [kind, new Map()]),
  );
  // The sums of one layer and kernel at a time.
  const ofLayer = emptySums(shape, projection?.replicates ?? 0);
  const layers: LayerKernel[] = [],
    terms: TermRecord[] = [];
  const done = { totals, blocks, layers, terms };
  const start = (await options.resume?.load(done)) ?? 0;
  const logits = await walkSets(
    model,
    sets,
    plan,
    start,
    {
      layer: (layer, [ofLeft, ofRight]) => {
        layers.push(
          oneLayer({
            layer,
            left: ofLeft!,
            right: ofRight ?? null,
            classes,
            method,
            projection: projection ?? null,
          }),
        );
      },
      group: async (groups) => {
        await options.resume?.save(groups, done);
      },
    },
    options,
  );

  const kernel = (kind: KernelKind): Kernel | null => {
    const sums = totals.get(kind);
    if (sums === undefined) return null;
    const error = terms.some((term) => term.kernel === kind && term.projected)
      ? addReplicates(sums.exact, sums.replicates, right === null)
      : null;
    return { data: place(sums.exact), error, blocks: perLayer ? blocks.get(kind)! : null };
  };
  return {
    rows: left.length,
    columns: (right ?? left).length,
    outputs: model.outputsOf,
    classes,
    logits: logits[0]!,
    rightLogits: logits[1] ?? null,
    full: kernel('full'),
    lora: kernel('lora'),
    layers,
    terms,
    groups: plan.groups.map(({ layers: of, bytes }) => ({
      layers: of.map(({ name }) => name),
      bytes,
    })),
  };

  function oneLayer(job: LayerJob): LayerKernel {
    const found: Record<KernelKind, number | null> = { full: null, lora: null };
    for (const kind of kinds) {
      if (!hasKernel(kind, job.layer)) continue;
      clear(ofLayer);
      const records = addLayer(kind, job, ofLayer);
      terms.push(...records);
      if (!addSums(totals.get(kind)!, ofLayer, right === null))
        throw new UserFault(
          `The kernel of ${job.layer.name} is not finite.`,
          "The training diverged: look at the model's loss.",
        );
      if (records.some((record) => record.projected))
        addReplicates(ofLayer.exact, ofLayer.replicates, right === null);
      if (right === null) found[kind] = accumulatedTrace(ofLayer.exact);
      if (perLayer) blocks.get(kind)!.set(job.layer.name, place(ofLayer.exact));
    }
    return { layer: job.layer.name, ...found };
  }
}

export interface Kernels {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  readonly full: Float64Array; // (N, C, N, C)
  /** K_LoRA; null where no layer has LoRA factors. */
  readonly lora: Float64Array | null; // (N, C, N, C)
  readonly layers: readonly LayerKernel[];
}

/**
 * Returns K_ff and, for a model with LoRA factors, K_LoRA of N rows with themselves: the kernels of
 * `kernelSet`.
 */
export async function kernels(
  model: AdaptedModel,
  rows: readonly TokenRow[],
  options: Omit<KernelOptions, 'which' | 'perLayer'> = {},
): Promise<Kernels> {
  const found = await kernelSet(model, rows, null, options);
  return {
    rows: found.rows,
    classes: found.classes,
    logits: found.logits,
    full: found.full!.data,
    lora: found.lora?.data ?? null,
    layers: found.layers,
  };
}
