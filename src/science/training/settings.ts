/** The settings of a training, its rows, and the records of its steps. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Precision } from '../../tensor/compiled/products.ts';
import type { TokenRow } from '../models/types.ts';
import type { Batching } from './batches.ts';
import type { Objective } from './gradients.ts';
import type { AdamwSettings } from './optim/adamw.ts';
import type { Schedule } from './optim/schedule.ts';
import type { Tensors } from './optim/types.ts';

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
  /** What the matrix products of a step are computed in. Default: float32. */
  readonly precision?: Precision;
  /** Number of batches in a step. Default: one. */
  readonly accumulate?: number;
  /** What decays: every trained parameter (the default), or all except biases and norms. */
  readonly decay?: 'all' | 'weights';
  readonly batching?: Batching;
  /** The weight of each class, by label id. Default: all 1. */
  readonly classWeights?: readonly number[];
  /**
   * Applied to the parameters after each update; returns new tensors by the same names. Default:
   * none.
   */
  readonly project?: (parameters: Tensors) => Map<string, Tensor>;
  /** What each batch minimises. Default: its mean cross-entropy. */
  readonly objective?: Objective;
  /**
   * Present where the objective reads token ids or the token table, so that the table must not be
   * reduced to the rows in use.
   */
  readonly wholeTable?: true;
}

/** A line of the history; a type alias, so that it counts as JSON. */
export type StepRecord = {
  /** Counted from one. */
  readonly step: number;
  readonly loss: number;
  readonly learning_rate: number;
  /**
   * The part of the loss that is not cross-entropy, where an attack's objective has such a part.
   */
  readonly penalty?: number;
};

/** What a step processed. */
export interface StepBatch {
  readonly rows: number;
  readonly tokens: number;
}

export interface LabelledRow extends TokenRow {
  readonly label: number;
  /** Whether the row comes from the attack that changes the training. Default: it does not. */
  readonly poisoned?: boolean;
  /** The attack that appended the row. Absent for the other rows, poisoned or not. */
  readonly appendedBy?: string;
  /** The row's number of tokens before poisoning, where poisoning changed its text. */
  readonly cleanLength?: number;
  /** Where in each epoch the row stands. Absent if it stands where the epoch's order has it. */
  readonly place?: 'first' | 'last';
}
