/** Sums a kernel over the layers of a model, in double precision. */
import { UserFault } from '../../../api.ts';
import { accumulatedTrace, type Accumulator, accumulator } from './contraction.ts';
import { addLayer, type LayerJob, type Sums, type TermRecord } from './layer.ts';
import { addReplicates } from './projection.ts';
import { hasKernel, type KernelKind } from './terms.ts';

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

/** What is known after some of the layers. */
export interface KernelParts {
  readonly totals: ReadonlyMap<KernelKind, Sums>;
  /** Each layer's block, where blocks are kept. */
  readonly blocks: ReadonlyMap<KernelKind, Map<string, Float64Array>>;
  readonly layers: LayerKernel[];
  readonly terms: TermRecord[];
}

export interface KernelSumsOptions {
  readonly kinds: readonly KernelKind[];
  readonly height: number; // N·C
  readonly width: number; // M·C
  /**
   * Whether the rows are taken with themselves: only entries on and below the diagonal are summed.
   */
  readonly symmetric: boolean;
  /** The number of replicates of a projection; 0 without one. */
  readonly replicates: number;
  /** Whether to keep each layer's block. */
  readonly perLayer: boolean;
  /** Returns the entries of a sum in the rows' order. */
  readonly inOrder: (sum: Accumulator) => Float64Array;
}

export interface KernelSums {
  readonly parts: KernelParts;
  /** Adds a layer's part of each kernel. Throws UserFault if one of its entries is not finite. */
  add(job: LayerJob): void;
  /**
   * Returns the sum over the layers; null for a kernel that was not asked for. Call it once a kind.
   */
  kernel(kind: KernelKind): Kernel | null;
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

export function createKernelSums(options: KernelSumsOptions): KernelSums {
  const { kinds, symmetric, replicates, perLayer, inOrder } = options;
  const totals = new Map(kinds.map((kind) => [kind, emptySums(options, replicates)]));
  const blocks = new Map<KernelKind, Map<string, Float64Array>>(
    kinds.map((kind) => [kind, new Map()]),
  );
  const layers: LayerKernel[] = [],
    terms: TermRecord[] = [];
  // The sums of one layer and kernel at a time.
  const ofLayer = emptySums(options, replicates);
  return {
    parts: { totals, blocks, layers, terms },
    add(job) {
      const { name } = job.layer;
      const traces: Record<KernelKind, number | null> = { full: null, lora: null };
      for (const [kind, total] of totals) {
        if (!hasKernel(kind, job.layer)) continue;
        clear(ofLayer);
        const records = addLayer(kind, job, ofLayer);
        terms.push(...records);
        if (!addSums(total, ofLayer, symmetric))
          throw new UserFault(
            `The kernel of ${name} is not finite.`,
            "The training diverged: look at the model's loss.",
          );
        if (records.some((record) => record.projected))
          addReplicates(ofLayer.exact, ofLayer.replicates, symmetric);
        if (symmetric) traces[kind] = accumulatedTrace(ofLayer.exact);
        if (perLayer) blocks.get(kind)?.set(name, inOrder(ofLayer.exact));
      }
      layers.push({ layer: name, ...traces });
    },
    kernel(kind) {
      const total = totals.get(kind);
      if (total === undefined) return null;
      const error = terms.some((term) => term.kernel === kind && term.projected)
        ? addReplicates(total.exact, total.replicates, symmetric)
        : null;
      const ofKind = perLayer ? (blocks.get(kind) ?? null) : null;
      return { data: inOrder(total.exact), error, blocks: ofKind };
    },
  };
}
