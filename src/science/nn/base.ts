/**
 * A base checkpoint's tensors on the device, by canonical name. A warm worker keeps the last few, by the digest of the
 * checkpoint, so that a grid reads each from disk once.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { openCheckpoint, type Checkpoint } from '../io/checkpoint.ts';
import { markConstant } from '../tensor/differentiable.ts';
import { processWide } from '../tensor/process-wide.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

const KEPT = 2;

export interface BaseModel {
  readonly config: unknown;
  /** Present parameters, by canonical name. Whoever holds the base doesn't dispose them. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Parameters' names in the checkpoint's file. */
  readonly fileNames: ReadonlyMap<string, string>;
  /** Hands the base back; its tensors may be disposed from then on. */
  release(): void;
}

const same = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((x, i) => x === b[i]);

/** A parameter may be missing, or of another shape, where a task brings its own: it is drawn then. */
const mayBeMissing = (name: string): boolean => /^(classifier|pooler)\./.test(name);

/**
 * The names under which the checkpoint holds the model's parameters: canonical, with the architecture's prefix, or in
 * the spelling of old TensorFlow checkpoints (LayerNorm.gamma). Throws UserFault naming file and tensor where one is
 * missing or of a wrong shape; the head (and pooler) may be missing, and a head for other classes counts as missing.
 */
export function resolveNames(checkpoint: Checkpoint, architecture: Architecture, specs: readonly ParameterSpec[]): Map<string, string> {
  const names = new Map<string, string>();
  for (const { name, shape } of specs) {
    const old = name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta');
    const found = [name, architecture.externalName(name), old, architecture.externalName(old)].find((candidate) => checkpoint.tensors.has(candidate));
    if (found === undefined) {
      if (mayBeMissing(name)) continue;
      throw new UserFault(`${checkpoint.dir} has no tensor "${architecture.externalName(name)}"`, `It is needed for a ${architecture.modelType} model with this config.json.`);
    }
    const entry = checkpoint.tensors.get(found)!;
    if (!same(entry.shape, shape)) {
      if (name.startsWith('classifier.')) continue;
      throw new UserFault(`${entry.file}: tensor "${found}" has shape [${entry.shape.join(', ')}], config.json asks for [${shape.join(', ')}]`);
    }
    names.set(name, found);
  }
  // Half a head is none: weight and bias belong together.
  for (const layer of ['classifier', 'pooler.dense']) {
    if (names.has(`${layer}.weight`) !== names.has(`${layer}.bias`)) { names.delete(`${layer}.weight`); names.delete(`${layer}.bias`); }
  }
  return names;
}

/** Reads parameters to the host, by canonical name. */
export async function readParameters(checkpoint: Checkpoint, names: ReadonlyMap<string, string>): Promise<Map<string, HostTensor>> {
  const read = await checkpoint.read([...names.values()]);
  return new Map([...names].map(([canonical, file]) => [canonical, read.get(file)!]));
}

interface Kept { readonly base: Omit<BaseModel, 'release'>; users: number }
const cache = processWide('nn.base', () => new Map<string, Promise<Kept>>());

async function load(dir: string, architecture: Architecture, classes: number): Promise<Kept> {
  const checkpoint = await openCheckpoint(dir);
  const specs = architecture.parameters(architecture.parseConfig(checkpoint.config, classes));
  const fileNames = resolveNames(checkpoint, architecture, specs);
  const tensors = new Map<string, Tensor>();
  for (const [name, file] of fileNames) { // one after another: the host never holds the whole checkpoint
    const { data, shape } = (await checkpoint.read([file])).get(file)!;
    tensors.set(name, markConstant(tf.keep(tf.tensor(data, shape.slice(), 'float32'))));
  }
  return { base: { config: checkpoint.config, tensors, fileNames }, users: 0 };
}

async function evict(): Promise<void> {
  for (const [key, promise] of cache) {
    if (cache.size <= KEPT) return;
    const kept = await promise.catch(() => null); // a load that failed is its caller's to report
    if (kept === null || kept.users > 0 || !cache.delete(key)) continue;
    kept.base.tensors.forEach((tensor) => tensor.dispose());
  }
}

/** Opens a base checkpoint; `digest` names its content, null keeps it out of the cache. Release it after use. */
export async function openBase(asset: { readonly path: string; readonly digest: string | null }, architecture: Architecture, classes: number): Promise<BaseModel> {
  if (asset.digest === null) {
    const { base } = await load(asset.path, architecture, classes);
    return { ...base, release: () => base.tensors.forEach((tensor) => tensor.dispose()) };
  }
  const key = JSON.stringify([tf.getBackend(), architecture.modelType, asset.digest, classes]);
  let promise = cache.get(key);
  if (promise === undefined) {
    promise = load(asset.path, architecture, classes);
    promise.catch(() => cache.delete(key)); // a failed load isn't kept; whoever awaits it sees the error
  } else cache.delete(key); // the last in order is the most recently used
  cache.set(key, promise);
  const kept = await promise;
  kept.users++;
  await evict();
  let released = false;
  return { ...kept.base, release: () => { if (!released) { released = true; kept.users--; } } };
}
