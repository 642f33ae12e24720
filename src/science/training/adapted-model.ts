import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { type HeadSettings, type HeldWeights, type JsonObject, UserFault } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import { adaptedWeight, productsOf } from '../models/adapted-layer.ts';
import type { AdapterImplementation, FactorNames, VectorNames } from '../models/adapter.ts';
import { resolveNames } from '../models/base.ts';
import { isPartial, readPartial } from '../models/fine-tuning.ts';
import { readConfig, readHead } from '../models/head.ts';
import { openCheckpoint, readJson } from '../models/io/checkpoint.ts';
import { within } from '../models/modules.ts';
import { type Network, type NetworkOptions, openNetwork } from '../models/network.ts';
import { logitCounter, outputsOf, rowOutputs } from '../models/outputs.ts';
import type {
  AdaptedLayer,
  AdaptedModel,
  Architecture,
  TrainedVectors,
  VectorLayer,
} from '../models/types.ts';
import {
  resolveHead,
  type RowEncoder,
  rowEncoder,
  type RowParts,
  rowParts,
} from '../text/encoder.ts';
import { openTokenizer } from '../text/tokenizer.ts';

/** The content of `train.json`, which describes a training without its paths and timings. */
export interface TrainRecord {
  readonly format: 1;
  readonly architecture: string;
  /**
   * The name of the model's class in transformers. Absent if `architecture` names a family of this
   * program.
   */
  readonly class?: string;
  readonly model: string;
  readonly classes: readonly string[];
  readonly seed: number;
  /** Optimiser steps taken. */
  readonly steps: number;
  /**
   * The step whose weights were saved. Absent unless early stopping chose an earlier step than the
   * last.
   */
  readonly kept_step?: number;
  readonly adapter: JsonObject;
  readonly head: HeadSettings;
  /** Whether the base model's weights were read from the checkpoint or drawn at random. */
  readonly init: 'pretrained' | 'random';
  readonly weights?: HeldWeights;
  readonly [more: string]: unknown;
}

/** Returns the step whose weights were saved: the last, or the best under early stopping. */
export const endStep = ({ steps, kept_step: best }: TrainRecord): number => best ?? steps;

/** Reads `train.json`. Throws an Error if its format is unknown. */
export async function readTrainRecord(trainDir: string): Promise<TrainRecord> {
  const record = (await readJson(join(trainDir, 'train.json'))) as { readonly format: unknown };
  if (record.format !== 1)
    throw new Error(`${trainDir}/train.json has format ${String(record.format)}`);
  return record as TrainRecord;
}

/**
 * Returns the encoder of rows that fits the head of the model that a train stage saved. `path`: the
 * base model's folder, which has the tokenizer.
 */
export const openRowEncoder = async (
  trainDir: string,
  { path }: { readonly path: string },
): Promise<RowEncoder> =>
  rowEncoder(await openTokenizer(path), (await readTrainRecord(trainDir)).head);

/**
 * Returns the function that tells which tokens of a row's texts reach the model that a train stage
 * saved. `path`: the base model's folder, which has the tokenizer.
 */
export const openRowParts = async (
  trainDir: string,
  { path }: { readonly path: string },
): Promise<RowParts> => rowParts(await openTokenizer(path), (await readTrainRecord(trainDir)).head);

export interface AdaptedModelOptions {
  readonly trainDir: string;
  /** The base model's folder and the digest of its content. */
  readonly model: { readonly path: string; readonly digest: string };
  readonly architecture: Architecture;
  /** The implementation of the adapter that train.json names. */
  readonly adapter: AdapterImplementation;
  /**
   * The step whose weights are opened, which `train.checkpoints` must have kept. Default: the
   * weights that the stage saved at its end.
   */
  readonly at?: number;
}

/**
 * A layer over whose parameters kernels are taken. `factors` and `vectors` are the names of the
 * adapter's parameters there; null if it has none of that kind.
 */
export interface KernelLayer extends Omit<AdaptedLayer, 'lora' | 'vera'> {
  readonly factors: FactorNames | null;
  readonly vectors: VectorNames | null;
}

type Described = Pick<Network, 'adapter' | 'architecture' | 'config' | 'parameters'>;

/**
 * Returns the layers over whose parameters kernels are taken: in forward order, the linear layers
 * that the adapter targets or whose own bias it trains, then the norms whose vectors it trains, and
 * the trained biases that belong to no linear layer.
 */
export function kernelLayers(model: Described): KernelLayer[] {
  const { adapter, architecture, config } = model;
  const linears = architecture.linears(config),
    own = ownVectors({ ...model, linears });
  return [
    ...linears.flatMap((layer): KernelLayer[] => {
      const trained = own.ofLinears.get(layer.name) ?? undefined,
        isTarget = adapter.targets.includes(layer.name);
      if (!isTarget && trained === undefined) return [];
      return [
        {
          ...layer,
          factors: isTarget ? adapter.factors(layer.name) : null,
          vectors: isTarget ? (adapter.vectors?.(layer.name) ?? null) : null,
          ...defined({ ownOnly: isTarget ? undefined : true, trained }),
        },
      ];
    }),
    ...own.layers.map((layer) => ({ ...layer, factors: null, vectors: null })),
  ];
}

/**
 * Returns a function that takes a layer's name and returns the name, in the checkpoint's file, of
 * the parameter by which results name the layer: its weight or, where the adapter trains only the
 * layer's bias, the bias. (`unit` is the trained scale of a norm, which is its weight.)
 */
export function weightNames(
  layers: readonly Pick<AdaptedLayer, 'name' | 'ownOnly' | 'trained'>[],
  fileName: (name: string) => string,
): (layer: string) => string {
  const biasAlone = new Set(
    layers
      .filter(({ ownOnly, trained }) => ownOnly === true && trained?.unit === undefined)
      .map(({ name }) => name),
  );
  return (layer) => fileName(`${layer}.${biasAlone.has(layer) ? 'bias' : 'weight'}`);
}

/**
 * Returns the layer that `named` describes, with the parameters' initial values in place of their
 * names: LoRA's factors as `lora` (with DoRA's magnitudes as `lora.dora`), or VeRA's vectors as
 * `vera`. The layer has neither if the adapter trains only the model's own vectors there.
 */
function adaptedLayer(network: Network, named: KernelLayer): AdaptedLayer {
  const { adapter } = network;
  const { factors: names, vectors, ...layer } = named;
  const matrix = (name: string): Tensor2D => network.frozen(name) as Tensor2D,
    vector = (name: string): Tensor1D => network.frozen(name) as Tensor1D;
  if (names !== null) {
    const { A, B, scale, variance, magnitude } = names;
    /** Returns W + s·B·A, (m, n). */
    const weight = (): Tensor2D =>
      adaptedWeight(matrix(`${layer.name}.weight`), productsOf(names, matrix));
    const dora = magnitude === undefined ? undefined : { magnitude: vector(magnitude), weight };
    return {
      ...layer,
      lora: {
        A: matrix(A),
        B: matrix(B),
        scale,
        freezeA: !adapter.trains(A),
        ...defined({ variance, dora }),
      },
    };
  }
  if (vectors === null) return layer;
  return {
    ...layer,
    vera: {
      A: matrix(vectors.A),
      B: matrix(vectors.B),
      d: vector(vectors.d),
      b: vector(vectors.b),
    },
  };
}

/**
 * Returns the model from which kernels are computed: the network at its initial values. `dispose`
 * of the result disposes of the network.
 */
export function adaptedModel(network: Network): AdaptedModel {
  const { initial } = network;
  const { of, count } = outputsOf(network);
  const merged = network.merged();
  const layers = kernelLayers(network).map((layer) => adaptedLayer(network, layer));
  return {
    outputsOf: of,
    outputs: count,
    layers,
    weightName: weightNames(layers, (name) => network.fileName(name)),
    logits: logitCounter(network),
    forward: (batch, tap, vectorTap) =>
      rowOutputs(network, batch, initial, {
        ...defined({ tap, merged: tap && merged, vectorTap }),
      }),
    dispose: () => network.dispose(),
  };
}

/**
 * Opens the network that a train stage saved, with the stage's record. Throws UserFault where the
 * folder was trained from another checkpoint, or step `at` was not kept.
 */
export async function openTrained(
  options: AdaptedModelOptions,
): Promise<{ readonly network: Network; readonly record: TrainRecord }> {
  const { record, ...trained } = await readTrained(options);
  return { network: await openNetwork(trained.network), record };
}

/**
 * Returns the options with which `openTrained` opens the network, and the record. Throws UserFault
 * as `openTrained` does.
 */
export async function readTrained({
  trainDir,
  model,
  architecture: family,
  adapter: implementation,
  at,
}: AdaptedModelOptions): Promise<{
  readonly network: NetworkOptions;
  readonly record: TrainRecord;
}> {
  const record = await readTrainRecord(trainDir);
  if (record.model !== model.digest)
    throw new UserFault(
      `${trainDir} was trained from another checkpoint than ${model.path}`,
      'Run the train stage again.',
    );
  const { type: _type, init_from: _from, ...params } = record.adapter;
  const classes = record.classes.length;
  const dir = at === undefined ? trainDir : join(trainDir, 'checkpoints', `step-${at}`);
  if (!existsSync(dir)) {
    throw at !== undefined && at > record.steps
      ? new UserFault(
          `there is no step ${at}: the training in ${trainDir} stopped after step ${record.steps}`,
          'Ask for an earlier step, or train without train.early_stopping.',
        )
      : new UserFault(`${trainDir} has kept no step ${at}`, 'Ask for it in train.checkpoints.');
  }
  const whole = join(dir, 'model'),
    adapterDir = join(dir, 'adapter');
  const saved = existsSync(join(whole, 'config.json')),
    partial = isPartial(dir);
  const architecture = family.withHead(await resolveHead(record.head, record.classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes);
  const linears = architecture.linears(config),
    parameters = architecture.parameters(config);
  const adapter = await implementation.create(params, {
    architecture,
    linears,
    parameters,
    modelDir: model.path,
    ...(saved || partial ? {} : { initFrom: adapterDir }),
  });
  const fileNames =
    record.init === 'random'
      ? new Map<string, string>()
      : resolveNames(await openCheckpoint(model.path), architecture, parameters);
  const head = partial
    ? await readPartial(dir, architecture, parameters)
    : saved
      ? undefined
      : await readHead(adapterDir, { architecture, config, classes });
  const network: NetworkOptions = {
    architecture,
    adapter,
    classes,
    seed: record.seed,
    evaluation: true,
    fileNames,
    ...defined({ weights: record.weights, head }),
    model: saved ? { path: whole, digest: null } : { ...model, init: record.init },
  };
  return { network, record };
}

interface OwnVectors {
  /**
   * The trained vectors of each linear layer, by the layer's name; null for a layer without any.
   */
  readonly ofLinears: ReadonlyMap<string, TrainedVectors | null>;
  /** Norms with trained vectors, and trained biases that belong to no linear layer. */
  readonly layers: readonly AdaptedLayer[];
}

const NONE: OwnVectors = { ofLinears: new Map(), layers: [] };

/**
 * Returns which of the model's own vectors below the head the adapter trains: biases and the scales
 * of norms. Returns `NONE` if the adapter also trains other parameters of the model there, since a
 * kernel over only a part of what is trained would not be the adapter's.
 */
function ownVectors({
  adapter,
  architecture,
  config,
  linears,
  parameters,
}: Described & Pick<Network, 'linears'>): OwnVectors {
  const trains = (name: string): boolean =>
    adapter.ofModel?.(name) === true && !within(name, architecture.headModules);
  const uncovered = new Set(parameters.map(({ name }) => name).filter(trains));
  if (uncovered.size === 0) return NONE;
  /**
   * Returns which vectors of a layer are trained, null if none is, and removes them from
   * `uncovered`.
   */
  const takeTrained = ({ name, bias, unit }: Pick<VectorLayer, 'name' | 'bias' | 'unit'>) => {
    const own = {
      bias: bias && trains(`${name}.bias`),
      ...(unit !== undefined && trains(`${name}.weight`) ? { unit } : {}),
    };
    if (own.bias) uncovered.delete(`${name}.bias`);
    if (own.unit !== undefined) uncovered.delete(`${name}.weight`);
    return own.bias || own.unit !== undefined ? own : null;
  };
  const ofLinears = new Map(linears.map((layer) => [layer.name, takeTrained(layer)]));
  const layers = (architecture.vectors?.(config) ?? []).flatMap((layer): AdaptedLayer[] => {
    const trained = takeTrained(layer);
    return trained === null ? [] : [{ ...layer, adaptable: false, ownOnly: true, trained }];
  });
  return uncovered.size > 0 ? NONE : { ofLinears, layers };
}
