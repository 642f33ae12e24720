/** The interface between the stages and a defence that edits or judges a model by its weights. */
import * as tf from '@tensorflow/tfjs-core';
import type { DefenceContext, JsonObject, Row, Verdict } from '../../../api.ts';
import { at, named } from '../../../base/lookup.ts';
import { full } from '../../models/fine-tuning.ts';
import { similarLengths } from '../../models/layout.ts';
import { within } from '../../models/modules.ts';
import type { Network } from '../../models/network.ts';
import type { HostTensor, LinearLayer, TokenRow } from '../../models/types.ts';
import type { OpenedModel } from '../evaluate/predict.ts';
import { mergedParameters, type ModelWeights } from './effective.ts';

/** A trained model and the model that its training started from, with adapters merged. */
export interface TrainedWeights {
  /** The model's parameters by canonical name. */
  readonly after: ReadonlyMap<string, HostTensor>;
  /** The same parameters before the training. */
  readonly before: ReadonlyMap<string, HostTensor>;
  /** The linear layers outside `headModules`. `LAYER.weight` is (out, in), row-major. */
  readonly layers: readonly LinearLayer[];
  /**
   * Returns for each of these layers, by name, the L2 norm ‖X_j‖₂ of each input feature j over the
   * tokens of `rows`, (in).
   */
  inputNorms(rows: readonly Row[]): Promise<ReadonlyMap<string, Float64Array>>;
}

export type WeightsContext<P = JsonObject> = DefenceContext<P, OpenedModel> & TrainedWeights;

export interface EditedModel {
  /** The parameters that the defence changed, in their shapes. */
  readonly changed: ReadonlyMap<string, HostTensor>;
  readonly record?: JsonObject;
}

export interface ModelEdit<P = JsonObject> {
  edit(context: WeightsContext<P>): EditedModel | Promise<EditedModel>;
}

export interface ModelDetector<P = JsonObject> {
  judge(context: WeightsContext<P>): Verdict | Promise<Verdict>;
}

/** Reads the weights of a trained model, and of the model that its training started from. */
export async function trainedWeights(
  trained: ModelWeights,
  start: ModelWeights,
): Promise<Omit<TrainedWeights, 'inputNorms'>> {
  const { architecture, linears } = trained;
  return {
    after: await mergedParameters(trained),
    before: await mergedParameters(start),
    layers: linears.filter(({ name }) => !within(name, architecture.headModules)),
  };
}

/**
 * Returns all parameters, with the values that a defence gave to some of them. Throws an Error if
 * the defence changed a parameter that the model does not have, gave it another shape, or gave it a
 * number that is not finite.
 */
export function withChanges(
  after: TrainedWeights['after'],
  { changed }: EditedModel,
): ReadonlyMap<string, HostTensor> {
  for (const [name, { shape, data }] of changed) {
    const own = after.get(name);
    if (own?.shape.join() !== shape.join() || data.length !== own.data.length)
      throw new Error(`${name} (${shape.join(', ')}) is not a parameter of the model`);
    if (!data.every((value) => Number.isFinite(value)))
      throw new Error(`${name} has a value that is not finite`);
  }
  return new Map([...after, ...changed]);
}

/**
 * Writes a model in the form that full fine-tuning has: `model/` in `outDir`. Parameters that are
 * not in `tensors` are left out.
 */
export async function saveWhole(
  { architecture, linears, parameters }: ModelWeights,
  tensors: ReadonlyMap<string, HostTensor>,
  {
    outDir,
    modelDir,
    classes,
  }: {
    readonly outDir: string;
    readonly modelDir: string;
    readonly classes: readonly string[];
  },
): Promise<void> {
  const own = parameters.filter(({ name }) => tensors.has(name));
  const adapter = await full.create({}, { architecture, linears, parameters: own });
  await adapter.save(outDir, {
    architecture,
    modelDir,
    classes,
    parameters: own,
    changed: [],
    read: (name) => Promise.resolve(named(tensors, name)),
  });
}

/**
 * Returns for each linear layer outside `headModules`, by name, the L2 norm ‖X_j‖₂ of each input
 * feature j over all tokens for which the layer is computed, (n).
 */
export async function inputNorms(
  network: Network,
  rows: readonly TokenRow[],
  batchSize: number,
  onBatch: (done: number) => Promise<void> | void = () => undefined,
): Promise<Map<string, Float64Array>> {
  const squares = new Map<string, Float64Array>();
  let done = 0;
  for (const some of similarLengths(rows, batchSize)) {
    tf.tidy(() => {
      network.forward(
        some.map((i) => at(rows, i)),
        network.initial,
        {
          tap: (layer, x, y) => {
            const sums = tf.sum(tf.square(x), 0).dataSync(); // (n)
            const total = squares.get(layer) ?? new Float64Array(sums.length);
            sums.forEach((value, j) => (total[j]! += value));
            squares.set(layer, total);
            return y;
          },
        },
      );
    });
    await onBatch((done += some.length));
  }
  return new Map([...squares].map(([layer, total]) => [layer, total.map(Math.sqrt)]));
}
