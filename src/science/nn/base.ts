/**
 * A base model's tensors on the device, by canonical name: a checkpoint's, or drawn. A warm worker keeps the last few, by
 * the digest of the checkpoint, so that a grid reads each from disk once.
 */
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { inWords } from '../../untrusted/limits.ts';
import { type Checkpoint, openCheckpoint, readJson } from '../io/checkpoint.ts';
import { readFloatsTogether } from '../io/safetensors.ts';
import { markConstant } from '../tensor/differentiable.ts';
import { processWide } from '../tensor/process-wide.ts';
import { drawParameter } from './draw.ts';
import { within } from './family.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

const KEPT = 2;

export interface BaseModel {
  readonly config: unknown;
  /** Present parameters, by canonical name. Whoever holds the base doesn't dispose them. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Parameters' names in the checkpoint's file; none where it has no file. */
  readonly fileNames: ReadonlyMap<string, string>;
  /** Hands the base back; its tensors may be disposed from then on. */
  release(): void;
}

const same = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** The names that checkpoints have for a parameter: canonical, transformers', other classes', and those of old TensorFlow checkpoints (LayerNorm.gamma). */
function candidates(architecture: Architecture, { name, aliases = [] }: ParameterSpec): string[] {
  const old = name
    .replace(/LayerNorm\.weight$/, 'LayerNorm.gamma')
    .replace(/LayerNorm\.bias$/, 'LayerNorm.beta');
  return [name, architecture.externalName(name), ...aliases, old, architecture.externalName(old)];
}

/** The name under which a checkpoint holds a parameter, if it does. */
export const fileName = (
  checkpoint: Checkpoint,
  architecture: Architecture,
  spec: ParameterSpec,
): string | undefined =>
  candidates(architecture, spec).find((candidate) => checkpoint.tensors.has(candidate));

const missing = (checkpoint: Checkpoint, architecture: Architecture, name: string): UserFault =>
  new UserFault(
    `${checkpoint.dir} has no tensor "${architecture.externalName(name)}"`,
    architecture.isHead(name)
      ? `It is needed for a ${architecture.head.type} head: name a checkpoint that transformers saved as ${architecture.transformersName}.`
      : `It is needed for a ${architecture.modelType} model with this config.json.`,
  );

/**
 * The names under which the checkpoint holds the model's parameters. Throws UserFault naming file and tensor where one is
 * missing or of a wrong shape; a task's own (classifier, pooler) may be missing, and a head for other classes counts as missing.
 */
export function resolveNames(
  checkpoint: Checkpoint,
  architecture: Architecture,
  specs: readonly ParameterSpec[],
): Map<string, string> {
  const names = new Map<string, string>();
  for (const spec of specs) {
    const { name, shape } = spec;
    const found = fileName(checkpoint, architecture, spec);
    if (found === undefined) {
      if (spec.mayBeMissing === true) continue;
      throw missing(checkpoint, architecture, name);
    }
    const entry = checkpoint.tensors.get(found)!;
    if (!same(entry.shape, shape)) {
      if (within(name, architecture.headModules)) continue;
      throw new UserFault(
        `${entry.file}: tensor "${found}" has shape [${entry.shape.join(', ')}], config.json asks for [${shape.join(', ')}]`,
      );
    }
    names.set(name, found);
  }
  // Half a layer is none: weight and bias belong together.
  for (const { name } of specs.filter((spec) => spec.mayBeMissing === true)) {
    const module = name.replace(/\.(weight|bias)$/, '');
    if (names.has(`${module}.weight`) !== names.has(`${module}.bias`)) {
      names.delete(`${module}.weight`);
      names.delete(`${module}.bias`);
    }
  }
  return names;
}

/** Reads parameters to the host, by canonical name. */
export async function readParameters(
  checkpoint: Checkpoint,
  names: ReadonlyMap<string, string>,
): Promise<Map<string, HostTensor>> {
  const read = await checkpoint.read([...names.values()]);
  return new Map([...names].map(([canonical, file]) => [canonical, read.get(file)!]));
}

interface Kept {
  readonly base: Omit<BaseModel, 'release'>;
  users: number;
}
const cache = processWide('nn.base', () => new Map<string, Promise<Kept>>());

/** Where a model comes from. */
export interface ModelSource {
  /** The folder of the checkpoint, or of a config.json alone. */
  readonly path: string;
  /** Of its content; null: don't keep it for others. */
  readonly digest: string | null;
  /** `random`: nothing but config.json is read, and every parameter is drawn. */
  readonly init?: 'pretrained' | 'random';
}

async function pretrained(dir: string, architecture: Architecture, classes: number): Promise<Kept> {
  const checkpoint = await openCheckpoint(dir);
  const specs = architecture.parameters(architecture.parseConfig(checkpoint.config, classes));
  const fileNames = resolveNames(checkpoint, architecture, specs);
  const tensors = new Map<string, Tensor>();
  const hold = (name: string, { data, shape }: HostTensor): void => {
    tensors.set(name, markConstant(tf.keep(tf.tensor(data, shape.slice(), 'float32'))));
  };
  const byShard = new Map<string, [canonical: string, own: string][]>();
  for (const [name, own] of fileNames) {
    const { dtype, file } = checkpoint.tensors.get(own)!;
    if (dtype === 'F32') byShard.set(file, [...(byShard.get(file) ?? []), [name, own]]);
    else hold(name, (await checkpoint.read([own])).get(own)!); // one after another: widened, they are a copy
  }
  for (const [file, names] of byShard) {
    const read = await readFloatsTogether(
      file,
      names.map(([, own]) => own),
    );
    for (const [name, own] of names) hold(name, read.get(own)!);
  }
  return { base: { config: checkpoint.config, tensors, fileNames }, users: 0 };
}

/** Every parameter from its own stream (seed, 'init', name), but those of a task's own modules, which the network draws. */
async function drawn(
  dir: string,
  architecture: Architecture,
  classes: number,
  seed: number,
): Promise<Kept> {
  const json = await readJson(join(dir, 'config.json'));
  const config = architecture.parseConfig(json, classes);
  const tensors = new Map<string, Tensor>();
  const parameters = architecture.parameters(config);
  const bytes = parameters.reduce(
    (sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1),
    0,
  );
  if (bytes > totalmem())
    throw new UserFault(
      `${join(dir, 'config.json')} describes a model of ${inWords(bytes)}, and this machine has ${inWords(totalmem())} of memory`,
      'Name a smaller model, or a machine that holds this one.',
    );
  for (const spec of parameters) {
    if (within(spec.name, architecture.headModules)) continue;
    const { data, shape } = drawParameter(
      spec,
      architecture.initializerRange(config),
      seed,
      'init',
    );
    tensors.set(spec.name, markConstant(tf.keep(tf.tensor(data, shape.slice(), 'float32'))));
  }
  return { base: { config: json, tensors, fileNames: new Map() }, users: 0 };
}

async function evict(): Promise<void> {
  for (const [key, promise] of cache) {
    if (cache.size <= KEPT) return;
    const kept = await promise.catch(() => null); // a load that failed is its caller's to report
    if (kept === null || kept.users > 0 || !cache.delete(key)) continue;
    kept.base.tensors.forEach((tensor) => tensor.dispose());
  }
}

/** Opens a base model. `seed` is that of the draws where it is random. Release it after use. */
export async function openBase(
  { path, digest, init = 'pretrained' }: ModelSource,
  architecture: Architecture,
  classes: number,
  seed: number,
): Promise<BaseModel> {
  const load = (): Promise<Kept> =>
    init === 'random'
      ? drawn(path, architecture, classes, seed)
      : pretrained(path, architecture, classes);
  if (digest === null) {
    const { base } = await load();
    return { ...base, release: () => base.tensors.forEach((tensor) => tensor.dispose()) };
  }
  const key = JSON.stringify([
    tf.getBackend(),
    architecture.modelType,
    architecture.head.type,
    digest,
    classes,
    init === 'random' ? seed : null,
  ]);
  let promise = cache.get(key);
  if (promise === undefined) {
    promise = load();
    promise.catch(() => cache.delete(key)); // a failed load isn't kept; whoever awaits it sees the error
  } else cache.delete(key); // the last in order is the most recently used
  cache.set(key, promise);
  const kept = await promise;
  kept.users++;
  await evict();
  let released = false;
  return {
    ...kept.base,
    release: () => {
      if (!released) {
        released = true;
        kept.users--;
      }
    },
  };
}
