/** Empirical neural tangent kernels, computed in PyTorch's process. */
import { join } from 'node:path';
import { at, named } from '../../base/lookup.ts';
import { decodeArray, type WirePart } from '../../torch/protocol.ts';
import { kernelOrder, unfold } from '../measures/ntk/accumulator.ts';
import {
  emptySums,
  type Kernel,
  type KernelModel,
  type KernelOptions,
  type KernelParts,
  type KernelSet,
  kindsOf,
} from '../measures/ntk/kernels.ts';
import type { TermRecord } from '../measures/ntk/layer.ts';
import { BATCH_TOKENS, MEMORY_MB } from '../measures/ntk/layerwise.ts';
import { batches, layerBytes, layerGroups } from '../measures/ntk/passes.ts';
import { hasKernel, type KernelKind } from '../measures/ntk/terms.ts';
import { readNpy } from '../models/io/npy.ts';
import { writeSafetensors } from '../models/io/safetensors.ts';
import { moduleName } from '../models/modules.ts';
import { logitCounter, outputsOf } from '../models/outputs.ts';
import type { HostTensor, TokenRow } from '../models/types.ts';
import { type KernelLayer, kernelLayers, weightNames } from '../training/adapted-model.ts';
import {
  openTorchModel,
  type TorchModel,
  type TorchStart,
  weightsOf,
  wireName,
  wireRows,
  withFolder,
} from './model.ts';

type Layer = KernelLayer & KernelModel['layers'][number];

/** Opens a model in PyTorch's process for its kernels, to be disposed of. */
export async function openTorchKernels(start: TorchStart): Promise<TorchKernels> {
  const { of, count } = outputsOf(start.options);
  const layers = layersOf(start);
  const model = await openTorchModel(start);
  return {
    outputsOf: of,
    outputs: count,
    layers,
    weightName: weightNames(layers, weightsOf(start).fileName),
    kernels: async (rows, options = {}) => ({
      ...(await computeKernels(model, start, layers, rows, options)),
      rows: rows.length,
      outputs: of,
      classes: count,
    }),
    layerKernels: (...asked) => layerKernels(model, start, ...asked),
    dispose: () => {
      model.dispose();
    },
  };
}

/** A kernel over a layer's factor B or A, or over its effective weight. */
export type LayerPart =
  | { readonly over: 'B' | 'A' }
  /** F: (n, r), where hF takes the place of the layer's input h. */
  | { readonly over: 'W'; readonly F?: HostTensor };

export interface LayerKernels extends Pick<KernelOptions, 'progress' | 'signal'> {
  readonly layers: readonly Layer[];
  readonly parts: (layer: Layer) => readonly LayerPart[];
  /** Called for each layer with its parts' kernels, each (N·C, N·C) in the order of the rows. */
  readonly visit: (layer: Layer, kernels: readonly Float64Array[]) => void;
}

export interface TorchKernels extends KernelModel {
  readonly layers: readonly Layer[];
  /** Computes kernels of rows with themselves, layer by layer. Returns their outputs, (N, C). */
  layerKernels(rows: readonly TokenRow[], asked: LayerKernels): Promise<Float32Array>;
}

/** Returns the layers that kernels are over, with the shapes and values of their LoRA factors. */
function layersOf(start: TorchStart): Layer[] {
  const { config, parameters } = start;
  const { adapter, architecture } = start.options;
  const shapes = new Map(adapter.parameters.map(({ name, shape }) => [name, shape]));
  const factor = (name: string) => ({
    shape: named(shapes, name),
    data: async () => (await start.read(name)).data,
  });
  return kernelLayers({ adapter, architecture, config, parameters }).map((layer): Layer => {
    const { factors, vectors } = layer;
    if (factors === null) return vectors === null ? layer : { ...layer, vera: vectors };
    return {
      ...layer,
      lora: {
        ...factors,
        A: factor(factors.A),
        B: factor(factors.B),
        freezeA: !adapter.trains(factors.A),
        ...(factors.magnitude === undefined ? {} : { dora: {} }),
      },
    };
  });
}

/** A term of a layer's kernel. `name`: the parameter that it is over; null for the weight W. */
interface Term extends Pick<TermRecord, 'layer' | 'kernel' | 'parameter'> {
  readonly name: string | null;
}

/** Returns a layer's terms in a kernel; none if the kernel is not taken over the layer. */
function kernelTerms(kernel: KernelKind, layer: Layer): Term[] {
  if (!hasKernel(kernel, layer)) return [];
  const term = (parameter: TermRecord['parameter'], name: string | null): Term => ({
    layer: layer.name,
    kernel,
    parameter,
    name,
  });
  if (kernel === 'full') return [term('W', null)];
  const { factors, vectors, trained, lora } = layer;
  return [
    ...(factors === null ? [] : [term('B', factors.B)]),
    ...(factors === null || lora?.freezeA === true ? [] : [term('A', factors.A)]),
    ...(factors?.magnitude === undefined ? [] : [term('m', factors.magnitude)]),
    ...(vectors === null ? [] : [term('b', vectors.b), term('d', vectors.d)]),
    ...(trained?.bias === true ? [term('bias', `${layer.name}.bias`)] : []),
    ...(trained?.unit === undefined ? [] : [term('scale', `${layer.name}.weight`)]),
  ];
}

/**
 * Plans a request for the kernels of some layers: one for each kind or, if `perLayer`, for each
 * kind and layer. Returns the kernels' terms (`terms`), the part of the request for each term
 * (`parts`), and for each kernel one of its terms, which names its kind and layer (`kernels`).
 */
function planRequest(
  start: TorchStart,
  layers: readonly Layer[],
  kinds: readonly KernelKind[],
  perLayer: boolean,
) {
  const terms = layers.flatMap((layer) => kinds.flatMap((kind) => kernelTerms(kind, layer)));
  const keyOf = ({ kernel, layer }: Term): string => (perLayer ? `${kernel} ${layer}` : kernel);
  const kernels = new Map(terms.map((term) => [keyOf(term), term])),
    keys = [...kernels.keys()];
  const parts = terms.map((term): WirePart => ({
    name: term.layer,
    module: term.name === null ? moduleName(start.options.architecture, term.layer) : null,
    parameters: term.name === null ? [] : [wireName(start, term.name)],
    kernel: keys.indexOf(keyOf(term)),
    factor: null,
  }));
  return { terms, parts, kernels: [...kernels.values()] };
}

/**
 * Plans the batches, each as the indexes of its rows (`rowBatches`), and the groups of layers whose
 * kernels one request computes (`groups`).
 */
function planPasses(
  { config, options }: TorchStart,
  layers: readonly Layer[],
  rows: readonly TokenRow[],
  kinds: readonly KernelKind[],
  { batchTokens = BATCH_TOKENS, memoryMB = MEMORY_MB }: KernelOptions,
) {
  const { count } = outputsOf(options);
  const lengths = rows.map(({ ids }) => ids.length),
    logits = rows.map(logitCounter({ ...options, config }));
  const rowBatches = batches(lengths, { tokens: batchTokens, logits });
  // Padding counts as tokens.
  const shapes = rowBatches.map((batch) => ({
    rows: batch.length,
    tokens: batch.length * Math.max(...Array.from(batch, (i) => at(lengths, i))),
  }));
  // The inputs h and derivatives δ of a layer's factors take no more bytes than the layer's own.
  const bytesOf = (layer: Layer): number =>
    kinds.filter((kind) => hasKernel(kind, layer)).length *
    shapes.reduce((sum, shape) => sum + layerBytes(layer, shape, count), 0);
  const taken = layers.filter((layer) => kinds.some((kind) => hasKernel(kind, layer)));
  const groups = layerGroups(taken, bytesOf, memoryMB).map((of) => ({
    layers: of,
    bytes: of.reduce((sum, layer) => sum + bytesOf(layer), 0),
  }));
  return { rowBatches, groups };
}

/**
 * Returns the sum of the traces of a layer's terms in a kernel; null if the layer has none.
 * `traces` has one for each of `terms`.
 */
function sumTraces(
  terms: readonly Term[],
  traces: Float64Array,
  kernel: KernelKind,
  layer: string,
): number | null {
  const own = terms.flatMap((term, t) =>
    term.kernel === kernel && term.layer === layer ? [at(traces, t)] : [],
  );
  return own.length === 0 ? null : own.reduce((a, b) => a + b, 0);
}

/** Returns what the requests for kernels of some rows with themselves share. */
function kernelRequests(
  { worker, id }: TorchModel,
  { options }: TorchStart,
  rows: readonly TokenRow[],
  batches: readonly Int32Array[],
  signal: AbortSignal | undefined,
) {
  const { count: C } = outputsOf(options),
    size = rows.length * C;
  // The order of outputs in Python: batch by batch, row by row.
  const order = batches.flatMap((batch) => Array.from(batch, (row) => Int32Array.of(row))),
    places = kernelOrder(order, C),
    logits = new Float32Array(size);
  const wire = batches.map((part) => wireRows(Array.from(part, (i) => at(rows, i))));
  return {
    /** N·C */
    size,
    /** The rows' logits, (N·C), which every request fills in. */
    logits,
    /** Returns a kernel, (N·C, N·C), in the rows' order. */
    inOrder: (data: Float64Array): Float64Array => unfold({ size, data }, places),
    /**
     * Computes the kernels of some parts. Returns a function from a kernel's number to the kernel,
     * in Python's order, and the trace of each part. `factors`: the F of parts, by their `factor`.
     */
    ask: (parts: readonly WirePart[], factors: ReadonlyMap<string, HostTensor> = new Map()) =>
      withFolder(async (dir) => {
        const out = join(dir, 'kernels.npy'),
          file = factors.size === 0 ? null : join(dir, 'factors.safetensors');
        if (file !== null) await writeSafetensors(file, factors);
        const request = { model: id, batches: wire, parts, factors: file, out };
        const answer = await worker.ask('kernel', request, signal);
        decodeArray('float32', answer.logits).forEach((value, x) => {
          logits[at(places, x)] = value;
        });
        const data = (await readNpy(out)).data as Float64Array; // (kernels, N·C, N·C)
        return {
          kernel: (k: number): Float64Array => data.subarray(k * size ** 2, (k + 1) * size ** 2),
          traces: decodeArray('float64', answer.traces),
        };
      }),
  };
}

/** The most bytes of kernels that come from one request. */
const KERNEL_BYTES = 2 ** 28;
/** About how many parts `LayerKernels.parts` returns for a layer. */
const PARTS = 8;

/** Calls `visit` with each layer and the kernels of its parts, and returns the logits, (N·C). */
async function layerKernels(
  model: TorchModel,
  start: TorchStart,
  rows: readonly TokenRow[],
  { layers, parts: partsOf, visit, progress, signal }: LayerKernels,
): Promise<Float32Array> {
  const { architecture } = start.options;
  const plan = planPasses(start, layers, rows, ['full', 'lora'], {});
  const requests = kernelRequests(model, start, rows, plan.rowBatches, signal);
  const mostLayers = Math.max(1, Math.floor(KERNEL_BYTES / (8 * requests.size ** 2 * PARTS)));
  let done = 0;
  for (const { layers: groupLayers } of plan.groups)
    for (let first = 0; first < groupLayers.length; first += mostLayers) {
      const group = groupLayers.slice(first, first + mostLayers);
      const factors = new Map<string, HostTensor>();
      const asked = group.map((layer) => partsOf(layer));
      const parts = group.flatMap((layer, l) =>
        at(asked, l).map((part, p): Omit<WirePart, 'kernel'> => {
          const { factors: names } = layer;
          if (part.over !== 'W') {
            if (names === null) throw new Error(`${layer.name} has no factors`);
            const parameters = [wireName(start, names[part.over])];
            return { name: layer.name, module: null, parameters, factor: null };
          }
          const factor = part.F === undefined ? null : `${l}.${p}`;
          if (factor !== null && part.F !== undefined) factors.set(factor, part.F);
          const module = moduleName(architecture, layer.name);
          return { name: layer.name, module, parameters: [], factor };
        }),
      );
      const { kernel } = await requests.ask(
        parts.map((part, k) => ({ ...part, kernel: k })),
        factors,
      );
      let next = 0;
      group.forEach((layer, l) => {
        visit(
          layer,
          at(asked, l).map(() => requests.inOrder(kernel(next++))),
        );
      });
      progress?.((done += group.length), layers.length, 'layers');
    }
  return requests.logits;
}

/**
 * Computes the kernels, one group of layers after another, without the groups that are already in
 * the sums that `resume` loads. After each group but the last, `resume` may save the sums.
 */
async function computeKernels(
  model: TorchModel,
  start: TorchStart,
  layers: readonly Layer[],
  rows: readonly TokenRow[],
  options: KernelOptions,
): Promise<Pick<KernelSet, 'logits' | 'full' | 'lora' | 'layers' | 'terms' | 'groups'>> {
  const { perLayer = false, progress, resume, signal } = options;
  const kinds = kindsOf({ layers }, options);
  const { rowBatches, groups } = planPasses(start, layers, rows, kinds, options);
  const { size, logits, inOrder, ask } = kernelRequests(model, start, rows, rowBatches, signal);
  const found: KernelParts = {
    totals: new Map(kinds.map((kind) => [kind, emptySums(size, 0)])),
    blocks: new Map(kinds.map((kind) => [kind, new Map<string, Float64Array>()])),
    layers: [],
    terms: [],
  };
  const done = (await resume?.load(found)) ?? 0;
  for (const [g, { layers: group }] of groups.entries()) {
    if (g < done) continue;
    const { terms, kernels, parts: asked } = planRequest(start, group, kinds, perLayer);
    const answer = await ask(asked);
    kernels.forEach(({ kernel, layer }, k) => {
      const own = answer.kernel(k),
        total = named(found.totals, kernel).exact.data;
      for (let x = 0; x < own.length; x++) total[x]! += own[x]!;
      if (perLayer) named(found.blocks, kernel).set(layer, inOrder(own));
    });
    for (const { name: layer } of group)
      found.layers.push({
        layer,
        full: sumTraces(terms, answer.traces, 'full', layer),
        lora: sumTraces(terms, answer.traces, 'lora', layer),
      });
    for (const { layer, kernel, parameter } of terms) {
      const rest = { method: 'torch', projected: false, operations: null } as const;
      found.terms.push({ layer, kernel, parameter, ...rest });
    }
    progress?.(g + 1, groups.length, 'passes');
    if (g + 1 < groups.length) await resume?.save(g + 1, found);
  }
  // Returns the kernel of a kind, in the rows' order; null if it was not asked for.
  const kernel = (kind: KernelKind): Kernel | null => {
    const total = found.totals.get(kind);
    if (total === undefined) return null;
    const blocks = perLayer ? named(found.blocks, kind) : null;
    return { data: inOrder(total.exact.data), error: null, blocks };
  };
  return {
    logits,
    full: kernel('full'),
    lora: kernel('lora'),
    layers: found.layers,
    terms: found.terms,
    groups: groups.map(({ layers: of, bytes }) => ({ layers: of.map(({ name }) => name), bytes })),
  };
}
