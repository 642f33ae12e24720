/** The training loop. */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor, Tensor2D } from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { randomStream } from '../../random/random.ts';
import type { Network } from '../nn/network.ts';
import type { TokenRow } from '../nn/types.ts';
import { adamw, type AdamwSettings } from '../optim/adamw.ts';
import { scheduleFactor, type Schedule } from '../optim/schedule.ts';
import { sgd } from '../optim/sgd.ts';
import { makeGrouping } from '../optim/groups.ts';
import type { Optimizer } from '../optim/types.ts';
import { batches } from './batches.ts';
import { lossAndGradients } from './gradients.ts';
import { tokenTable, worthShrinking } from './token-table.ts';

export interface TrainSettings extends AdamwSettings {
  readonly steps: number;
  readonly batchSize: number;
  readonly optimizer: 'adamw' | 'sgd';
  readonly learningRate: number;
  readonly schedule: Schedule['kind'];
  readonly warmup: number;
  readonly shuffle: boolean;
  readonly dropout: number;
  readonly seed: number;
}

export interface StepRecord {
  /** From one. */
  readonly step: number;
  readonly loss: number;
  readonly learning_rate: number;
}

export interface LabelledRow extends TokenRow {
  readonly label: number;
}

export interface TrainHooks {
  /** After each step; what it returns is awaited, so that the process can breathe. Throwing stops the training. */
  readonly onStep?: (record: StepRecord, batch: { readonly rows: number; readonly tokens: number }) => Promise<void> | void;
}

const makeOptimizer = (settings: TrainSettings): Optimizer<unknown> =>
  (settings.optimizer === 'adamw' ? adamw(settings) : sgd(settings)) as Optimizer<unknown>;

const disposeAll = (...maps: (ReadonlyMap<string, Tensor> | readonly Tensor[])[]): void => {
  for (const map of maps) map.forEach((tensor) => tensor.dispose());
};

/** 0·x is 0 where x is finite, else NaN, and so is the sum. */
const areFinite = (tensors: ReadonlyMap<string, Tensor>): boolean =>
  [...tensors.values()].every((tensor) => tf.tidy(() => tf.sum(tf.mul(tensor, 0)).dataSync()[0] === 0));

/**
 * Trains from the network's initial values; returns the trained ones, which the caller disposes of.
 * Throws UserFault at a loss that is no number, naming the step and the last finite loss, and where the last step leaves
 * weights that are not finite.
 */
export async function train(network: Network, rows: readonly LabelledRow[], settings: TrainSettings, hooks: TrainHooks = {}): Promise<Map<string, Tensor>> {
  const optimizer = makeOptimizer(settings);
  const order = batches({ rows: rows.length, batchSize: settings.batchSize, shuffle: settings.shuffle, seed: settings.seed });
  const modelDropout = settings.dropout === 0 ? {} : { dropout: { rate: settings.dropout, random: randomStream(settings.seed, 'dropout') } };

  const tableName = network.architecture.tokenTable;
  const whole = tableName === null ? undefined : network.initial.get(tableName) as Tensor2D | undefined;
  const table = whole !== undefined && worthShrinking(whole, rows) ? tokenTable(rows) : null;
  const seen = table === null ? rows : table.compact(rows);
  const start = new Map([...network.initial].map(([name, tensor]) => [name, table !== null && tensor === whole ? table.shrink(whole) : tensor.clone()]));
  let unusedFactor = 1; // what decay has made of the table's other rows

  const grouping = makeGrouping(start);
  let groups = grouping.pack(start);
  disposeAll(start);
  let trained = grouping.unpack(groups);
  let state = optimizer.init(groups);
  let lastFinite: StepRecord | null = null;
  try {
    for (let step = 0; step < settings.steps; step++) {
      const chosen = Array.from(order.next().value, (i) => seen[i]!);
      const learningRate = settings.learningRate * scheduleFactor({ kind: settings.schedule, warmup: settings.warmup, steps: settings.steps }, step);
      const { loss, gradients } = lossAndGradients(network, trained, { rows: chosen, labels: chosen.map(({ label }) => label) }, {
        ...modelDropout, adapterRandom: (name) => randomStream(settings.seed, 'lora_dropout', `step-${step}/${name}`),
      });
      disposeAll(trained);
      trained.clear();
      const packed = grouping.pack(gradients);
      disposeAll(gradients);
      const record: StepRecord = { step: step + 1, loss: loss.dataSync()[0]!, learning_rate: learningRate };
      loss.dispose();
      if (!Number.isFinite(record.loss)) {
        disposeAll(packed);
        throw new UserFault(
          `the loss is ${record.loss} at step ${record.step}; ${lastFinite === null ? 'no step before had a finite one' : `the last finite one was ${lastFinite.loss} at step ${lastFinite.step}`}`,
          lastFinite === null ? 'The checkpoint that the training starts from holds values that are not finite.' : `Lower train.learning_rate (${settings.learningRate}), or add warm-up steps.`);
      }
      lastFinite = record;
      const before = [groups, optimizer.tensors(state)] as const;
      ({ parameters: groups, state } = optimizer.update(groups, packed, state, learningRate));
      disposeAll(...before, packed);
      unusedFactor *= 1 - learningRate * settings.weightDecay;
      trained = grouping.unpack(groups);
      await hooks.onStep?.(record, { rows: chosen.length, tokens: chosen.reduce((sum, { ids }) => sum + ids.length, 0) });
    }
    // The last step's weights meet no further loss that would tell.
    if (lastFinite !== null && !areFinite(trained)) {
      throw new UserFault(
        `the weights are not finite after step ${lastFinite.step}, the last one; its loss was ${lastFinite.loss}`,
        `Lower train.learning_rate (${settings.learningRate}), or add warm-up steps.`);
    }
    if (table !== null) {
      const small = trained.get(tableName!) as Tensor2D;
      trained.set(tableName!, table.expand(whole!, small, unusedFactor));
      small.dispose();
    }
    return trained;
  } catch (error) {
    disposeAll(trained);
    throw error;
  } finally {
    disposeAll(groups, optimizer.tensors(state));
  }
}
