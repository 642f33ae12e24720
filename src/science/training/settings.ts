import type { Tensor } from '@tensorflow/tfjs-core';
import { type Cell, UserFault } from '../../api.ts';
import { defined } from '../../base/defined.ts';
import type { Precision } from '../../tensor/compiled/copies.ts';
import type { Tensors } from '../models/network.ts';
import type { TokenRow } from '../models/types.ts';
import type { Batching } from './batches.ts';
import type { Objective } from './gradients.ts';
import type { AdamwSettings, Schedule } from './optimizers.ts';

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
  /** Bound on the norm of the gradient over all parameters. 0, the default, means no bound. */
  readonly clipNorm?: number;
  /** The type in which matrix products of a step are computed. Default: float32. */
  readonly precision?: Precision;
  /**
   * Whether the backward pass computes activations again. Default: it reads those that the forward
   * pass kept.
   */
  readonly gradientCheckpointing?: boolean;
  /** How many processes share the rows of each batch. Default: one. */
  readonly devices?: number;
  /** Whether the processes also divide the parameters among them. Default: each has all. */
  readonly fsdp?: boolean;
  /** The number of batches of a step, which takes the mean of their gradients. Default: one. */
  readonly accumulate?: number;
  /** What decays: every trained parameter (the default), or all except biases and norms. */
  readonly decay?: 'all' | 'weights';
  readonly batching?: Batching;
  /**
   * The most tokens of a sequence into which rows are packed. `batchSize` is then the number of
   * sequences of a batch. Default: rows are not packed.
   */
  readonly packing?: number;
  /** The weight of each class, by label id. Default: all 1. */
  readonly classWeights?: readonly number[];
  /**
   * Called with the trained parameters after each update. Returns what replaces them, in new
   * tensors by the same names. Default: nothing is replaced.
   */
  readonly project?: (parameters: Tensors) => Map<string, Tensor>;
  /**
   * β of DPO's loss. If present, batches consist of preference pairs and minimise this loss, in
   * PyTorch's process.
   */
  readonly dpoBeta?: number;
  /** What each batch minimises. Default: its mean cross-entropy. */
  readonly objective?: Objective;
  /**
   * Present if the objective may read token ids or the token table, which must then not be reduced
   * to the rows that the training set uses.
   */
  readonly wholeTable?: true;
}

/** A line of a training's history. A type alias, so that TypeScript accepts it as JSON. */
export type StepRecord = {
  /** Counted from one. */
  readonly step: number;
  readonly loss: number;
  readonly learning_rate: number;
  /** The part of an attack's objective that is not cross-entropy. */
  readonly penalty?: number;
};

export interface StepBatch {
  readonly rows: number;
  readonly tokens: number;
}

export interface LabelledRow extends TokenRow {
  readonly label: number;
  /** In a preference pair, the prompt with the rejected answer. Absent for other rows. */
  readonly rejected?: TokenRow;
  /** Whether the row comes from the attack that changes the training. Default: it does not. */
  readonly poisoned?: boolean;
  /** The attack that appended the row. Absent for the other rows, poisoned or not. */
  readonly appendedBy?: string;
  /** The row's number of tokens before poisoning, where poisoning changed its text. */
  readonly cleanLength?: number;
  /**
   * Whether the row stands first or last in each epoch. Absent if it stands where the epoch's order
   * has it.
   */
  readonly place?: 'first' | 'last';
}

/** The fields of `train` that every training reads. */
type Needed =
  | 'batch_size'
  | 'dropout'
  | 'learning_rate'
  | 'max_length'
  | 'optimizer'
  | 'schedule'
  | 'shuffle'
  | 'warmup'
  | 'weight_decay';

/** `train` as a train stage keeps it: without fields that its training does not read. */
export type TrainParams = Pick<Cell['train'], Needed> & Partial<Cell['train']>;

/**
 * Returns the settings of the training loop for `train` of a spec. Where `train` lacks β₁, β₂ or ε,
 * which SGD does not read, they are 0.
 * @param total number of optimiser steps in the whole training
 */
export function loopSettings(
  train: TrainParams,
  total: number,
  seed: number,
  classWeights: readonly number[] | undefined,
): TrainSettings {
  return {
    steps: total,
    batchSize: train.batch_size,
    optimizer: train.optimizer,
    learningRate: train.learning_rate,
    weightDecay: train.weight_decay,
    beta1: train.beta1 ?? 0,
    beta2: train.beta2 ?? 0,
    epsilon: train.epsilon ?? 0,
    schedule: train.schedule,
    warmup: train.warmup,
    shuffle: train.shuffle,
    dropout: train.dropout,
    seed,
    accumulate: train.accumulate ?? 1,
    decay: train.decay ?? 'all',
    batching: train.batching ?? 'shuffled',
    clipNorm: train.clip_norm ?? 0,
    ...defined({
      precision: train.precision,
      gradientCheckpointing: train.gradient_checkpointing,
      devices: train.devices,
      fsdp: train.fsdp,
      dpoBeta: train.dpo_beta,
      packing: train.packing === true ? train.max_length : undefined,
      classWeights,
    }),
  };
}

/**
 * Returns the weights for `train.class_weights`; undefined for `none` and where it is left out.
 * `balanced` is N/(C·n) for a class with n of the N labels, as in scikit-learn, and 0 for a class
 * without labels. Throws UserFault where the list does not have one weight for each class.
 */
export function computeClassWeights(
  setting: 'none' | 'balanced' | readonly number[] | undefined,
  labels: readonly number[],
  classes: readonly string[],
): number[] | undefined {
  if (setting === undefined || setting === 'none') return undefined;
  if (setting !== 'balanced') {
    if (setting.length !== classes.length)
      throw new UserFault(
        `train.class_weights lists ${setting.length} weights, ` +
          `but there are ${classes.length} classes: ${classes.join(', ')}`,
      );
    return [...setting];
  }
  const counts = classes.map((_, id) => labels.filter((label) => label === id).length);
  return counts.map((n) => (n === 0 ? 0 : labels.length / (classes.length * n)));
}
