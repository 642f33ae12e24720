/** What a training is told, and what it tells. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { TokenRow } from '../nn/types.ts';
import type { AdamwSettings } from '../optim/adamw.ts';
import type { Schedule } from '../optim/schedule.ts';
import type { Tensors } from '../optim/types.ts';
import type { Batching } from './batches.ts';
import type { Objective } from './gradients.ts';

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
  /** Bound on the gradient's norm over all parameters; 0 or left out: none. */
  readonly clipNorm?: number;
  /** Batches a step; left out: one. */
  readonly accumulate?: number;
  /** What decays: every trained parameter, or all but biases and norms. Left out: every one. */
  readonly decay?: 'all' | 'weights';
  readonly batching?: Batching;
  /** By label id; left out: all 1. */
  readonly classWeights?: readonly number[];
  /** Where each update's parameters are moved to: new tensors by the same names, beside those that it is handed. Left out: they stay. */
  readonly project?: (parameters: Tensors) => Map<string, Tensor>;
  /** What each batch lowers; left out: its mean cross-entropy. */
  readonly objective?: Objective;
  /** The objective looks at token ids or at the token table: the table is not shrunk to the rows in use. Left out: it may be. */
  readonly wholeTable?: true;
}

export interface StepRecord {
  /** From one. */
  readonly step: number;
  readonly loss: number;
  readonly learning_rate: number;
  /** What of the loss is no cross-entropy, where an attack's objective has such a part. */
  readonly penalty?: number;
}

/** What a step was of. */
export interface StepBatch {
  readonly rows: number;
  readonly tokens: number;
  /** In a pack: how many trainings share the step, and this one's share of its time, by tokens. */
  readonly packed?: number;
  readonly seconds?: number;
}

export interface LabelledRow extends TokenRow {
  readonly label: number;
  /** Whether the attack that touches the training made it; left out: it did not. */
  readonly poisoned?: boolean;
  /** The attack that appended it to the clean rows; left out: it is one of those, poisoned or not. */
  readonly appendedBy?: string;
  /** Its tokens before poisoning, where that changed its text. */
  readonly cleanLength?: number;
}
