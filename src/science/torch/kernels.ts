/** Empirical neural tangent kernels, computed in PyTorch's process. */
import { join } from 'node:path';
import { at, named } from '../../base/lookup.ts';
import { arrayOf, type WirePart } from '../../torch/protocol.ts';
import { accumulator, kernelOrder, unfold } from '../measures/ntk/accumulator.ts';
import type {
  Kernel,
  KernelModel,
  KernelOptions,
  KernelParts,
  KernelSet,
} from '../measures/ntk/kernels.ts';
import type { TermRecord } from '../measures/ntk/layer.ts';
import { BATCH_TOKENS } from '../measures/ntk/layerwise.ts';
import { batches, layerBytes, layerGroups } from '../measures/ntk/passes.ts';
import { hasKernel, hasOwn, type KernelKind } from '../measures/ntk/terms.ts';
import { readNpy } from '../models/io/npy.ts';
import { moduleName } from '../models/modules.ts';
import { logitsOf, outputsOf } from '../models/outputs.ts';
import type { TokenRow } from '../models/types.ts';
import { type KernelLayer, kernelLayers, weightNames } from '../training/adapted-model.ts';
import {
  openTorchModel,
  type TorchModel,
  type TorchStart,
  wireName,
  wireRows,
  withFolder,
} from './model.ts';

type Layer = KernelLayer & KernelModel['layers'][number];

/** Opens a model in PyTorch's process for its kernels, to be disposed of. */
export async function openTorchKernels(start: TorchStart): Promise<KernelModel> {
  const { architecture, fileNames } = start.options;
  const { of, count } = outputsOf(start.options);
  const layers = layersOf(start);
  const model = await openTorchModel(start);
  return {
    outputsOf: of,
    outputs: count,
    layers,
    weightName: weightNames(
      layers,
      (name) => fileNames?.get(name) ?? architecture.externalName(name),
    ),
    kernels: async (rows, options = {}) => ({
      ...(await computed(model, start, layers, rows, options)),
      rows: rows.length,
      columns: rows.length,
      outputs: of,
      classes: count,
      rightLogits: null,
    }),
    dispose: () => {
      model.dispose();
    },
  };
}

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
    if (factors === null) return { ...layer, ...(vectors === null ? {} : { vera: vectors }) };
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

/** A term of a layer's kernel, and the parameter that it is over; null for the weight W. */
interface Term extends Pick<TermRecord, 'layer' | 'kernel' | 'parameter'> {
  readonly name: string | null;
}

function termsOf(kernel: KernelKind, layer: Layer): Term[] {
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

type Found = Pick<KernelSet, 'logits' | 'full' | 'lora' | 'layers' | 'terms' | 'groups'>;

async function computed(
  { worker, id }: TorchModel,
  start: TorchStart,
  whole: readonly Layer[],
  rows: readonly TokenRow[],
  { which = ['full', 'lora'], perLayer = false, resume, ...options }: KernelOptions,
): Promise<Found> {
  const { architecture } = start.options;
  const { count: C } = outputsOf(start.options),
    size = rows.length * C;
  const kinds = which.filter((kind) => kind === 'full' || whole.some(hasOwn));
  const layers = whole.filter((layer) => kinds.some((kind) => hasKernel(kind, layer)));
  const logitsOfRow = logitsOf({ ...start.options, config: start.config });
  const parts = batches(
    rows.map(({ ids }) => ids.length),
    { tokens: options.batchTokens ?? BATCH_TOKENS, logits: rows.map(logitsOfRow) },
  );
  const shapes = parts.map((part) => {
    const widest = Math.max(...Array.from(part, (i) => at(rows, i).ids.length));
    return { rows: part.length, tokens: part.length * widest };
  });
  // Both kernels need h and δ, those of the adapter's less.
  const bytesOf = (layer: Layer): number =>
    shapes.reduce(
      (sum, shape) =>
        sum + kinds.filter((kind) => hasKernel(kind, layer)).length * layerBytes(layer, shape, C),
      0,
    );
  const groups = layerGroups(layers, bytesOf, options.memoryMB ?? 1024);
  const order = Int32Array.from(parts.flatMap((part) => [...part])),
    places = kernelOrder(
      Array.from(order, (row) => ({ rows: Int32Array.of(row) })),
      C,
    );
  const sums: KernelParts = {
    totals: new Map(
      kinds.map((kind) => [kind, { exact: accumulator(size, size), replicates: [] }]),
    ),
    blocks: new Map(kinds.map((kind) => [kind, new Map<string, Float64Array>()])),
    layers: [],
    terms: [],
  };
  const inOrder = (data: Float64Array): Float64Array =>
    unfold({ height: size, width: size, data }, places, null);
  const logits = new Float32Array(size);
  const wireBatches = parts.map((part) => wireRows(Array.from(part, (i) => at(rows, i))));
  const done = (await resume?.load(sums)) ?? 0;
  for (const [g, group] of groups.entries()) {
    if (g < done) continue;
    const terms = group.flatMap((layer) => kinds.flatMap((kind) => termsOf(kind, layer)));
    // The kernels that are asked for: of each kind, or of each kind and layer.
    const keyOf = ({ kernel, layer }: Term): string =>
      perLayer ? JSON.stringify([kernel, layer]) : kernel;
    const owners = new Map(terms.map((term) => [keyOf(term), term])),
      keys = [...owners.keys()];
    const asked = terms.map((term): WirePart => ({
      name: term.layer,
      module: term.name === null ? moduleName(architecture, term.layer) : null,
      parameters: term.name === null ? [] : [wireName(start, term.name)],
      kernel: keys.indexOf(keyOf(term)),
    }));
    const { result, data } = await withFolder(async (dir) => {
      const out = join(dir, 'kernels.npy');
      const request = { model: id, batches: wireBatches, parts: asked, out };
      return {
        result: await worker.ask('kernel', request, options.signal),
        data: (await readNpy(out)).data as Float64Array, // (kernels, N·C, N·C)
      };
    });
    [...owners.values()].forEach(({ kernel, layer }, k) => {
      const own = data.subarray(k * size ** 2, (k + 1) * size ** 2),
        total = named(sums.totals, kernel).exact.data;
      own.forEach((value, x) => {
        total[x]! += value;
      });
      if (perLayer) sums.blocks.get(kernel)?.set(layer, inOrder(own));
    });
    const traces = arrayOf('float64', result.traces);
    const traceOf = (kind: KernelKind, layer: Layer): number | null =>
      hasKernel(kind, layer) && kinds.includes(kind)
        ? terms.reduce(
            (sum, term, t) =>
              term.kernel === kind && term.layer === layer.name ? sum + at(traces, t) : sum,
            0,
          )
        : null;
    sums.layers.push(
      ...group.map((layer) => ({
        layer: layer.name,
        full: traceOf('full', layer),
        lora: traceOf('lora', layer),
      })),
    );
    sums.terms.push(
      ...terms.map(({ layer, kernel, parameter }): TermRecord => ({
        layer,
        kernel,
        parameter,
        method: 'torch',
        projected: false,
        operations: null,
      })),
    );
    arrayOf('float32', result.logits).forEach((value, x) => {
      logits[at(places, x)] = value;
    });
    options.progress?.(g + 1, groups.length, 'passes');
    if (g + 1 < groups.length) await resume?.save(g + 1, sums);
  }
  const kernel = (kind: KernelKind): Kernel | null => {
    const total = sums.totals.get(kind);
    if (total === undefined) return null;
    const blocks = perLayer ? (sums.blocks.get(kind) ?? null) : null;
    return { data: inOrder(total.exact.data), error: null, blocks };
  };
  return {
    logits,
    full: kernel('full'),
    lora: kernel('lora'),
    layers: sums.layers,
    terms: sums.terms,
    groups: groups.map((group) => ({
      layers: group.map(({ name }) => name),
      bytes: group.reduce((sum, layer) => sum + bytesOf(layer), 0),
    })),
  };
}
