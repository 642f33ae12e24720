/**
 * The empirical NTK of the logits over the layers that an adapter targets (science.md, Empirical NTK): of their weights
 * at the effective W, and of LoRA's factors alone. Pure in (model, rows): neither the order of rows, nor who shares a
 * batch with whom, nor any chunking changes an entry beyond float32 rounding.
 */
import { UserFault } from '../../api.ts';
import type { AdaptedLayer, AdaptedModel, TokenRow } from '../nn/types.ts';
import { collect, type Collected } from './collect.ts';
import { accumulatedTrace, accumulator, kernelOrder, unfold, type Accumulator } from './contraction.ts';
import type { Method } from './cost.ts';
import { addLayer, type KernelKind, type LayerJob, type Seen, type Sums, type TermRecord } from './layer.ts';
import { batches, layerBytes, layerGroups } from './passes.ts';
import { addReplicates, type Projection } from './projection.ts';
import type { Resume } from './resume.ts';

export interface KernelOptions {
  /** `auto` takes the cheaper of `explicit` and `gram`, term by term; `plain` is the slow reference. All are exact. */
  readonly method?: 'auto' | Method;
  /** Estimates the kernels by random projection instead, and tells the error. */
  readonly projection?: Projection;
  /** Which kernels; both, where left out. A model without LoRA has the full one only. */
  readonly which?: readonly KernelKind[];
  /** Keeps each layer's block. */
  readonly perLayer?: boolean;
  /** Tokens of a forward pass, padding to its longest row included. */
  readonly batchTokens?: number;
  /** What h and δ of all rows may take at once; layers beyond it get forward passes of their own. */
  readonly memoryMB?: number;
  readonly progress?: (done: number, total: number, unit: string) => void;
  readonly signal?: AbortSignal;
  /** Keeps what is done between layers, and begins with what was kept. */
  readonly resume?: Resume;
}

export interface LayerKernel {
  readonly layer: string;
  /** Trace of the layer's block; null where that kernel was not asked for, or is between two sets. */
  readonly full: number | null;
  /** Null too where no LoRA adapts the layer. */
  readonly lora: number | null;
}

export interface Kernel {
  /** Of rows with themselves symmetric; in the rows' order. */
  readonly data: Float64Array; // (N, C, M, C)
  /** The standard error of the estimate as a share of ‖K‖_F; null where nothing was projected. */
  readonly error: number | null;
  /** By layer, where they were asked for. */
  readonly blocks: ReadonlyMap<string, Float64Array> | null; // (N, C, M, C)
}

export interface KernelSet {
  readonly rows: number; // N
  readonly columns: number; // M; N for rows with themselves
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  /** Of the right rows, where there are any. */
  readonly rightLogits: Float32Array | null; // (M, C)
  /** Null where it was not asked for. */
  readonly full: Kernel | null;
  /** Null too where no layer has LoRA factors. */
  readonly lora: Kernel | null;
  /** In forward order. */
  readonly layers: readonly LayerKernel[];
  readonly terms: readonly TermRecord[];
  /** Which layers shared a forward pass, and the bytes of their h and δ. */
  readonly groups: readonly { readonly layers: readonly string[]; readonly bytes: number }[];
}

/** Lets events through (a heartbeat, an abort) between two long computations. */
const breathe = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });

/** One set's rows, cut into batches. */
interface RowSet {
  readonly rows: readonly TokenRow[];
  readonly parts: readonly Int32Array[];
  readonly logits: Float32Array; // (N, C)
}

interface Batch {
  readonly rows: Int32Array;
  readonly collected: Collected;
}

const emptySums = (like: Accumulator, replicates: number): Sums => ({
  exact: accumulator(like.height, like.width),
  replicates: Array.from({ length: replicates }, () => accumulator(like.height, like.width)),
});

function addSums(to: Sums, from: Sums): void {
  const add = (x: Accumulator, y: Accumulator): void => { for (let i = 0; i < x.data.length; i++) x.data[i]! += y.data[i]!; };
  add(to.exact, from.exact);
  to.replicates.forEach((sum, r) => add(sum, from.replicates[r]!));
}

/**
 * The kernels of `left` rows with themselves, or (right given) with those of another set. Rows are as the model reads
 * them, unpadded. Memory: h and δ of one layer group (`memoryMB`), one batch's activations, two or three slices of 64 MiB,
 * and (N·C)·(M·C) doubles twice for each kernel (and for each replicate of a projection).
 * Throws RangeError for no rows, UserFault where the numbers are not finite.
 */
export async function kernelSet(model: AdaptedModel, left: readonly TokenRow[], right: readonly TokenRow[] | null, options: KernelOptions = {}): Promise<KernelSet> {
  if (left.length === 0 || right?.length === 0) throw new RangeError('a kernel needs at least one row');
  const { method = 'auto', batchTokens = 1024, memoryMB = 1024, projection, perLayer = false } = options;
  const { classes } = model;
  const adapted = model.layers.some(({ lora }) => lora !== undefined);
  const kinds = (options.which ?? ['full', 'lora']).filter((kind) => kind === 'full' || adapted);
  const rowSet = (rows: readonly TokenRow[]): RowSet =>
    ({ rows, parts: batches(rows.map(({ ids }) => ids.length), batchTokens), logits: new Float32Array(rows.length * classes) });
  const sets = [left, ...(right === null ? [] : [right])].map(rowSet);
  const tokens = sets.reduce((sum, { rows }) => sum + rows.reduce((of, { ids }) => of + ids.length, 0), 0);
  const groups = layerGroups(model.layers, tokens, classes, memoryMB);
  const shape = accumulator(left.length * classes, (right ?? left).length * classes);
  const orders = sets.map(({ parts }) => kernelOrder(parts.map((rows) => ({ rows })), classes));
  const place = (sum: Accumulator): Float64Array => unfold(sum, orders[0]!, right === null ? null : orders[1]!);

  const totals = new Map(kinds.map((kind) => [kind, emptySums(shape, projection?.replicates ?? 0)]));
  const blocks = new Map<KernelKind, Map<string, Float64Array>>(kinds.map((kind) => [kind, new Map()]));
  const layers: LayerKernel[] = [], terms: TermRecord[] = [];
  const passes = sets.reduce((sum, { parts }) => sum + parts.length, 0);
  const total = groups.length * passes + model.layers.length;
  let done = 0;
  const step = async (): Promise<void> => {
    options.progress?.(++done, total, 'steps');
    await breathe();
    options.signal?.throwIfAborted();
  };
  const parts = { totals, blocks, layers, terms, logits: sets.map(({ logits }) => logits) };
  const before = await options.resume?.load(parts) ?? 0;

  for (const [g, group] of groups.entries()) {
    if (g < before) { done += passes + group.length; continue; }
    const wanted = new Set(group.map(({ name }) => name));
    const collected: Batch[][] = sets.map(() => []);
    try {
      for (const [s, { rows, parts: of, logits }] of sets.entries()) {
        for (const part of of) {
          const batch = { rows: part, collected: collect(model, Array.from(part, (i) => rows[i]!), wanted) };
          collected[s]!.push(batch);
          part.forEach((row, k) => { logits.set(batch.collected.logits.subarray(k * classes, (k + 1) * classes), row * classes); });
          await step();
        }
      }
      for (const layer of group) {
        const seen = collected.map((parts) => seenBy(layer, parts));
        layers.push(oneLayer({ layer, left: seen[0]!, right: seen[1] ?? null, classes, method, projection: projection ?? null }));
        await step();
      }
    } finally {
      collected.flat().forEach((batch) => { batch.collected.dispose(); });
    }
    if (g + 1 < groups.length) await options.resume?.save(g + 1, parts);
  }

  const kernel = (kind: KernelKind): Kernel | null => {
    const sums = totals.get(kind);
    if (sums === undefined) return null;
    const error = terms.some((term) => term.kernel === kind && term.projected) ? addReplicates(sums.exact, sums.replicates, right === null) : null;
    return { data: place(sums.exact), error, blocks: perLayer ? blocks.get(kind)! : null };
  };
  return {
    rows: left.length, columns: (right ?? left).length, classes, logits: sets[0]!.logits, rightLogits: sets[1]?.logits ?? null,
    full: kernel('full'), lora: kernel('lora'), layers, terms,
    groups: groups.map((group) => ({ layers: group.map(({ name }) => name), bytes: group.reduce((sum, layer) => sum + layerBytes(layer, tokens, classes), 0) })),
  };

  function oneLayer(job: LayerJob): LayerKernel {
    const found: Record<KernelKind, number | null> = { full: null, lora: null };
    for (const kind of kinds) {
      if (kind === 'lora' && job.layer.lora === undefined) continue;
      const sums = emptySums(shape, projection?.replicates ?? 0);
      const records = addLayer(kind, job, sums);
      terms.push(...records);
      addSums(totals.get(kind)!, sums);
      if (records.some((record) => record.projected)) addReplicates(sums.exact, sums.replicates, right === null);
      if (!sums.exact.data.every(Number.isFinite)) throw new UserFault(`The kernel of ${job.layer.name} is not finite.`, 'The model that was trained has diverged: look at its loss.');
      if (right === null) found[kind] = accumulatedTrace(sums.exact);
      if (perLayer) blocks.get(kind)!.set(job.layer.name, place(sums.exact));
    }
    return { layer: job.layer.name, ...found };
  }
}

function seenBy(layer: AdaptedLayer, parts: readonly Batch[]): Seen[] {
  return parts.map(({ rows, collected }) => {
    const tokens = collected.layers.get(layer.name);
    if (tokens === undefined) throw new Error(`the model never called its layer ${layer.name}`);
    return { rows, tokens };
  });
}

export interface Kernels {
  readonly rows: number; // N
  readonly classes: number; // C
  readonly logits: Float32Array; // (N, C)
  readonly full: Float64Array; // (N, C, N, C)
  /** Null where no layer has LoRA factors. */
  readonly lora: Float64Array | null; // (N, C, N, C)
  readonly layers: readonly LayerKernel[];
}

/** K_ff and, for a model with LoRA factors, K_LoRA of N rows with themselves: what `kernelSet` gives, without its records. */
export async function kernels(model: AdaptedModel, rows: readonly TokenRow[], options: Omit<KernelOptions, 'which' | 'perLayer'> = {}): Promise<Kernels> {
  const found = await kernelSet(model, rows, null, options);
  return { rows: found.rows, classes: found.classes, logits: found.logits, full: found.full!.data, lora: found.lora?.data ?? null, layers: found.layers };
}
