import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { type PendingTensor, readSafetensors, writePending } from '../models/io/safetensors.ts';
import { findState, storeState } from '../models/io/saved-state.ts';
import type { Tensors } from '../models/network.ts';
import type { HostTensor } from '../models/types.ts';

export interface SavedState {
  /** Optimiser steps taken. */
  readonly step: number;
  readonly facts: JsonObject;
  /** Each tensor is removed here when it is moved to the device. */
  readonly tensors: Map<string, HostTensor>;
}

/** Writes a state to `dir`, tensor by tensor, and removes the states of earlier steps. */
export async function saveState(
  dir: string,
  step: number,
  facts: JsonObject,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<void> {
  const pending = [...tensors].map(([name, tensor]): [string, PendingTensor] => [
    name,
    { shape: tensor.shape, dtype: 'float32', data: async () => await tensor.data() },
  ]);
  await storeState(dir, step, facts, (path, metadata) =>
    writePending(path, new Map(pending), metadata),
  );
}

/** Reads the latest undamaged state; null where there is none. Damaged ones are logged. */
export async function loadState(
  dir: string,
  log: (message: string) => void,
): Promise<SavedState | null> {
  const found = await findState(dir, log);
  return found === null ? null : { ...found, tensors: await readSafetensors(found.path) };
}

export interface Resume {
  /** Returns the saved state; null where there is none, or all are damaged. */
  load(): Promise<SavedState | null>;
  /** Whether the state is to be saved after this step. */
  readonly due: (step: number) => boolean;
  save(step: number, facts: JsonObject, tensors: ReadonlyMap<string, Tensor>): Promise<void>;
}

/**
 * Unless it is urgent to save, at least EVERY_MS pass between two saves, and saving takes at most
 * 1/SHARE of the time.
 */
const EVERY_MS = 30_000,
  SHARE = 20;

/**
 * Returns a `Resume` that saves states in `dir`: at intervals of time, and whenever `urgent`
 * returns true. The intervals determine how much work a kill costs, never the result.
 */
export function resumeBySchedule(
  dir: string,
  {
    log,
    urgent,
    now = () => performance.now(),
  }: {
    readonly log: (message: string) => void;
    readonly urgent: () => boolean;
    readonly now?: () => number;
  },
): Resume {
  const { due, save } = savingSchedule(urgent, now);
  return {
    load: () => loadState(dir, log),
    due,
    save: (step, facts, tensors) => save(() => saveState(dir, step, facts, tensors)),
  };
}

/**
 * Returns `due`, which tells whether it is time to save, and `save`, which calls `write` and then
 * sets the time of the next save. Unless it is urgent, the first save is due EVERY_MS after this
 * call.
 */
export function savingSchedule(
  urgent: () => boolean,
  now = () => performance.now(),
): {
  readonly due: () => boolean;
  readonly save: (write: () => Promise<void>) => Promise<void>;
} {
  let next = now() + EVERY_MS;
  return {
    due: () => urgent() || now() >= next,
    save: async (write) => {
      const began = now();
      await write();
      const ended = now();
      next = ended + Math.max(EVERY_MS, SHARE * (ended - began));
    },
  };
}

const GATHERED = 'gathered/',
  GROUP = 'group/',
  MOMENTS = 'optimizer/';

/** Returns the names and tensors, with `prefix` before each name. */
const withPrefix = (prefix: string, tensors: Tensors): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [`${prefix}${name}`, tensor]);

/**
 * Returns a function that moves the tensors whose names begin with `prefix` to the device, and
 * returns them by the rest of their names. It removes them from the state: the training keeps the
 * state until its end, so they would stay in main memory as well.
 */
const partTaker =
  (prefix: string) =>
  ({ tensors }: Pick<SavedState, 'tensors'>): Map<string, Tensor> => {
    const taken = new Map<string, Tensor>();
    for (const [name, { data, shape }] of tensors) {
      if (!name.startsWith(prefix)) continue;
      taken.set(name.slice(prefix.length), tf.keep(tf.tensor(data, shape.slice(), 'float32')));
      tensors.delete(name);
    }
    return taken;
  };

/**
 * Returns the tensors of a state to be saved, by name. `moments` are as `Optimizer.named` returns
 * them.
 */
export const toSave = (groups: Tensors, moments: Tensors, gathered: Tensors): Map<string, Tensor> =>
  new Map([
    ...withPrefix(GROUP, groups),
    ...withPrefix(MOMENTS, moments),
    ...withPrefix(GATHERED, gathered),
  ]);

/**
 * Each of these functions takes one of the arguments of `toSave` out of a saved state, by the names
 * that the argument had. A second call for the same state returns an empty map.
 */
export const savedGroups = partTaker(GROUP),
  savedMoments = partTaker(MOMENTS),
  savedGathered = partTaker(GATHERED);
