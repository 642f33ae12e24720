/**
 * A training's state on disk, so that one that was cut off goes on from its last save and ends in the same bits.
 * One file holds all of it and appears at once (written beside, flushed, renamed): `STEP.DIGEST.safetensors`, the digest
 * being of its content, so that a damaged file is known for one.
 */
import { mkdir, open, readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { JsonObject } from '../../api.ts';
import { sha256OfFile } from '../io/large.ts';
import {
  type PendingTensor,
  readFloatsApart,
  readSafetensorsHeader,
  writePending,
} from '../io/safetensors.ts';
import type { HostTensor } from '../nn/types.ts';

export interface SavedState {
  /** Optimiser steps taken. */
  readonly step: number;
  readonly facts: JsonObject;
  /** Each goes when it is taken onto the device (saved-training.ts). */
  readonly tensors: Map<string, HostTensor>;
}

const FILE = /^(\d+)\.([0-9a-f]{64})\.safetensors$/;

/** Writes the state of a step, one tensor after another, and removes those before it. */
export async function saveState(
  dir: string,
  step: number,
  facts: JsonObject,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<void> {
  await mkdir(dir, { recursive: true });
  const pending = [...tensors].map(([name, tensor]): [string, PendingTensor] => [
    name,
    {
      shape: tensor.shape,
      dtype: 'float32',
      data: async () => await tensor.data(),
    },
  ]);
  const writing = join(dir, `.writing-${process.pid}`);
  const digest = await writePending(writing, new Map(pending), { facts: JSON.stringify(facts) });
  const file = await open(writing, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  const name = `${step}.${digest}.safetensors`;
  await rename(writing, join(dir, name));
  for (const other of await readdir(dir))
    if (FILE.test(other) && other !== name) await rm(join(dir, other));
  await utimes(dir, new Date(), new Date());
}

/** The latest state that is whole; null where there is none. `log` hears of a damaged one. */
export async function loadState(
  dir: string,
  log: (message: string) => void,
): Promise<SavedState | null> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const found = names.flatMap((name) => {
    const match = FILE.exec(name);
    return match ? [{ path: join(dir, name), step: Number(match[1]), digest: match[2]! }] : [];
  });
  for (const { path, step, digest } of found.sort((a, b) => b.step - a.step)) {
    if ((await sha256OfFile(path)) !== digest) {
      log(`the state saved at step ${step} is damaged and left aside`);
      continue;
    }
    const { metadata } = await readSafetensorsHeader(path);
    return {
      step,
      facts: JSON.parse(metadata['facts']!) as JsonObject,
      tensors: await readFloatsApart(path),
    };
  }
  return null;
}

export interface Resume {
  load(): Promise<SavedState | null>;
  /** Whether the state is to be saved after this step. */
  due(step: number): boolean;
  save(step: number, facts: JsonObject, tensors: ReadonlyMap<string, Tensor>): Promise<void>;
}

/** Not oftener than this, and at most a twentieth of the time goes into it. */
const EVERY_MS = 30_000,
  SHARE = 20;

/** Saves by the clock, which decides how much is lost by a kill and never what comes out; and when `urgent` says so. */
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
  let next = now() + EVERY_MS;
  return {
    load: () => loadState(dir, log),
    due: () => urgent() || now() >= next,
    save: async (step, facts, tensors) => {
      const began = now();
      await saveState(dir, step, facts, tensors);
      const ended = now();
      next = ended + Math.max(EVERY_MS, SHARE * (ended - began));
    },
  };
}
