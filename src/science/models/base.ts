/**
 * The tensors of a base model on the device, read or drawn. The models used last are kept, by the
 * digest of their checkpoint, so that a model that several cells of a grid use is read once.
 */
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../api.ts';
import { named } from '../../base/lookup.ts';
import { processWide } from '../../base/process-wide.ts';
import { randomStream } from '../../base/random.ts';
import { inWords } from '../../base/untrusted/limits.ts';
import { markConstant } from '../../tensor/differentiable.ts';
import { type Checkpoint, openCheckpoint, readJson } from './io/checkpoint.ts';
import { checkFloat, isFloat, sameShape, storedShape, turned, UNQUANTISED } from './io/stored.ts';
import { within } from './modules.ts';
import { parameterBytes } from './transformer-parts.ts';
import type { Architecture, HostTensor, ParameterSpec } from './types.ts';

/** How many models are kept, including those in use. More are kept only while all are in use. */
const KEPT = 2;

export interface BaseModel {
  readonly config: unknown;
  /** By canonical name. Do not dispose of them: call `release`. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** The name of each parameter in the checkpoint's file. Empty for a model that was drawn. */
  readonly fileNames: ReadonlyMap<string, string>;
  /** Ends this use of the model. After it the tensors may be disposed of: do not read them. */
  release(): void;
}

/**
 * Returns the names under which a checkpoint may hold a parameter, some perhaps twice: canonical,
 * in transformers, aliases, and the old `gamma` and `beta` of a norm, from TensorFlow.
 */
function namesFor(architecture: Architecture, { name, aliases = [] }: ParameterSpec): string[] {
  const old = name
    .replace(/LayerNorm\.weight$/, 'LayerNorm.gamma')
    .replace(/LayerNorm\.bias$/, 'LayerNorm.beta');
  return [name, architecture.externalName(name), ...aliases, old, architecture.externalName(old)];
}

/** Returns the name under which a checkpoint holds a parameter; undefined if it lacks it. */
export const fileName = (
  checkpoint: Checkpoint,
  architecture: Architecture,
  spec: ParameterSpec,
): string | undefined =>
  namesFor(architecture, spec).find((candidate) => checkpoint.tensors.has(candidate));

/**
 * Returns the fault for a parameter that the checkpoint lacks. If the file has a tensor of the same
 * module that is no float, the fault says that the weights are quantised.
 */
function missingTensorFault(
  checkpoint: Checkpoint,
  architecture: Architecture,
  spec: ParameterSpec,
): UserFault {
  const { name } = spec;
  const message = `${checkpoint.dir} has no tensor "${architecture.externalName(name)}"`;
  const moduleOf = (parameter: string): string => parameter.replace(/[^.]*$/, '');
  const modules = namesFor(architecture, spec).map(moduleOf);
  const instead = [...checkpoint.tensors].find(
    ([other, entry]) => !isFloat(entry) && modules.includes(moduleOf(other)),
  );
  if (instead !== undefined)
    return new UserFault(
      `${message}, but "${instead[0]}" of dtype ${instead[1].dtype}: it is quantised`,
      UNQUANTISED,
    );
  return new UserFault(
    message,
    architecture.isHead(name)
      ? `It is needed for a ${architecture.head.type} head: ` +
          `name a checkpoint that transformers saved as ${architecture.transformersName}.`
      : `It is needed for a ${architecture.modelType} model with this config.json.`,
  );
}

/**
 * Returns the name of each model parameter in the checkpoint, by canonical name. Throws UserFault
 * naming file and tensor where a parameter is missing, quantised or of the wrong shape. Parameters
 * that a task brings (classifier, pooler) may be missing, and have no entry in that case. A head
 * for another number of classes counts as missing; a head of another width has the wrong shape.
 */
export function resolveNames(
  checkpoint: Checkpoint,
  architecture: Architecture,
  specs: readonly ParameterSpec[],
): Map<string, string> {
  const names = new Map<string, string>();
  for (const spec of specs) {
    const { name } = spec;
    const found = fileName(checkpoint, architecture, spec);
    if (found === undefined) {
      if (spec.mayBeMissing === true) continue;
      throw missingTensorFault(checkpoint, architecture, spec);
    }
    const entry = named(checkpoint.tensors, found);
    checkFloat(entry.file, found, entry);
    const inFile = storedShape(spec);
    if (!sameShape(entry.shape, inFile)) {
      // Only the number of classes may differ: config.json sets the other sizes.
      const isOfOtherClasses = sameShape(entry.shape.slice(1), inFile.slice(1));
      if (within(name, architecture.headModules) && isOfOtherClasses) continue;
      throw new UserFault(
        `${entry.file}: tensor "${found}" has shape [${entry.shape.join(', ')}], ` +
          `config.json asks for [${inFile.join(', ')}]`,
      );
    }
    names.set(name, found);
  }
  // If an optional layer lacks its weight or its bias, both count as missing.
  const moduleOf = (name: string): string => name.replace(/\.(weight|bias)$/, '');
  const optional = specs.filter((spec) => spec.mayBeMissing === true).map(({ name }) => name);
  const incomplete = new Set(optional.filter((name) => !names.has(name)).map(moduleOf));
  for (const name of optional) if (incomplete.has(moduleOf(name))) names.delete(name);
  return names;
}

/**
 * Matches tensors that are not read, since they follow from config.json: rotary frequencies, masks,
 * positions.
 */
const BUFFER =
  /(^|\.)(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias|embeddings\.(position|token_type)_ids)$/;

/** What a checkpoint holds that the model does not read. */
export interface Unread {
  /** Names of tensors of the body that the model described by config.json does not have. */
  readonly body: readonly string[];
  /** The modules of heads: of other tasks, or for another number of classes. */
  readonly heads: readonly string[];
}

/** Returns the architecture with a classification head; null where the family has none. */
function withClassifier(architecture: Architecture): Architecture | null {
  try {
    return architecture.withHead({ type: 'classifier' });
  } catch (error) {
    if (error instanceof UserFault) return null;
    throw error;
  }
}

/**
 * Returns what a checkpoint holds that is not read, except buffers and tensors under a second name
 * of a parameter that is read (a tied table).
 * @param names canonical name → name in the file, as `resolveNames` gives them
 */
export function unreadTensors(
  checkpoint: Checkpoint,
  architecture: Architecture,
  names: ReadonlyMap<string, string>,
  classes: number,
): Unread {
  // `parametersOf`: all parameters of the model with an architecture's head;
  // `namesOf`: all names that a file may have for the given parameters
  const parametersOf = (own: Architecture): readonly ParameterSpec[] =>
    own.parameters(own.parseConfig(checkpoint.config, classes));
  const namesOf = (specs: readonly ParameterSpec[]): Set<string> =>
    new Set(specs.flatMap((spec) => namesFor(architecture, spec)));
  const known = namesOf(parametersOf(architecture).filter(({ name }) => names.has(name)));
  // The body of a classifier may have a part that other heads do without (BERT's pooler).
  const classifier = withClassifier(architecture);
  const ofClassifier = namesOf(
    classifier === null
      ? []
      : parametersOf(classifier).filter((spec) => spec.mayBeMissing === true),
  );
  const prefix = architecture.externalName('');
  const isPrefixed = [...names.values()].some((name) => prefix !== '' && name.startsWith(prefix));
  const body: string[] = [],
    heads = new Set<string>();
  for (const name of checkpoint.tensors.keys()) {
    if (known.has(name) || BUFFER.test(name)) continue;
    const isHead =
      architecture.isHead(name) ||
      ofClassifier.has(name) ||
      (isPrefixed && !name.startsWith(prefix));
    if (isHead) heads.add(name.replace(/\.[^.]+$/, ''));
    else body.push(name);
  }
  return { body, heads: [...heads] };
}

/**
 * Throws UserFault where a checkpoint holds a parameter that has aliases, such as a tied token
 * table, under several names with different values.
 */
export async function checkTied(
  checkpoint: Checkpoint,
  architecture: Architecture,
  specs: readonly ParameterSpec[],
): Promise<void> {
  for (const spec of specs) {
    const [first, ...others] = new Set(
      namesFor(architecture, spec).filter((name) => checkpoint.tensors.has(name)),
    );
    if (spec.aliases === undefined || first === undefined) continue;
    for (const other of others) {
      const read = await checkpoint.read([first, other]);
      const [a, b] = [named(read, first).data, named(read, other).data];
      if (a.length === b.length && a.every((value, i) => value === b[i])) continue;
      throw new UserFault(
        `${named(checkpoint.tensors, other).file}: "${first}" and "${other}" must be the same ` +
          'tensor, but their values differ',
        'If each has its own values on purpose, write tie_word_embeddings: false in config.json.',
      );
    }
  }
}

/**
 * Reads parameters as the model holds them, not transposed, by canonical name.
 * @param names canonical name → name in the file; a parameter without an entry is left out
 */
export async function readParameters(
  checkpoint: Checkpoint,
  names: ReadonlyMap<string, string>,
  specs: readonly ParameterSpec[],
): Promise<Map<string, HostTensor>> {
  const read = await checkpoint.read([...names.values()]);
  return new Map(
    specs.flatMap((spec) => {
      const file = names.get(spec.name);
      return file === undefined ? [] : [[spec.name, turned(spec, named(read, file))]];
    }),
  );
}

interface Kept {
  readonly base: Omit<BaseModel, 'release'>;
  /** How many uses of the model have not been released. */
  users: number;
}
const cache = processWide('nn.base', () => new Map<string, Promise<Kept>>());

export interface ModelSource {
  /** The folder of the checkpoint, or of a config.json alone. */
  readonly path: string;
  /** Digest of the content; null if the model is not to be kept for later use. */
  readonly digest: string | null;
  /** `random`: only config.json is read, and every parameter is drawn. */
  readonly init?: 'pretrained' | 'random';
}

const toDevice = (values: Iterable<[string, HostTensor]>): Map<string, Tensor> =>
  new Map(
    Array.from(values, ([name, { data, shape }]) => [
      name,
      markConstant(tf.keep(tf.tensor(data, shape.slice(), 'float32'))),
    ]),
  );

/** Reads the model of a checkpoint. Throws UserFault where the checkpoint does not fit. */
async function readModel(dir: string, architecture: Architecture, classes: number): Promise<Kept> {
  const checkpoint = await openCheckpoint(dir);
  const { config } = checkpoint,
    specs = architecture.parameters(architecture.parseConfig(config, classes));
  const fileNames = resolveNames(checkpoint, architecture, specs);
  await checkTied(checkpoint, architecture, specs);
  const tensors = toDevice(await readParameters(checkpoint, fileNames, specs));
  return { base: { config, tensors, fileNames }, users: 0 };
}

/**
 * Yields the parameters outside `headModules`, each drawn from stream (seed, 'init', name). The
 * others are drawn in start.ts.
 */
export function* drawBody(
  architecture: Architecture,
  config: unknown,
  seed: number,
): Generator<[name: string, value: HostTensor]> {
  const range = architecture.initializerRange(config);
  for (const spec of architecture.parameters(config))
    if (!within(spec.name, architecture.headModules))
      yield [spec.name, drawParameter(spec, range, seed, 'init')];
}

/**
 * Draws the parameters outside `headModules` of the model that the config.json in `dir` describes.
 * Throws UserFault if the model exceeds this machine's memory.
 */
async function drawModel(
  dir: string,
  architecture: Architecture,
  classes: number,
  seed: number,
): Promise<Kept> {
  const json = await readJson(join(dir, 'config.json'));
  const config = architecture.parseConfig(json, classes);
  const bytes = parameterBytes(architecture.parameters(config));
  if (bytes > totalmem())
    throw new UserFault(
      `${join(dir, 'config.json')} describes a model of ${inWords(bytes)}, ` +
        `and this machine has ${inWords(totalmem())} of memory`,
      'Name a smaller model, or a machine that holds this one.',
    );
  const tensors = toDevice(drawBody(architecture, config, seed));
  return { base: { config: json, tensors, fileNames: new Map() }, users: 0 };
}

/**
 * Disposes of models until KEPT are left, the one used longest ago first. Models in use stay, even
 * if there are more than KEPT of them. Waits for models that are being loaded.
 */
async function evict(): Promise<void> {
  for (const [key, promise] of cache) {
    if (cache.size <= KEPT) return;
    const kept = await promise.catch(() => null); // whoever asked for it reports a failed load
    if (kept === null || kept.users > 0 || !cache.delete(key)) continue;
    kept.base.tensors.forEach((tensor) => tensor.dispose());
  }
}

/**
 * Opens a base model, to be released after use. One with a digest is kept for later uses. `seed`
 * seeds the draws of a random model. Throws UserFault where the model cannot be read or drawn.
 */
export async function openBase(
  { path, digest, init = 'pretrained' }: ModelSource,
  architecture: Architecture,
  classes: number,
  seed: number,
): Promise<BaseModel> {
  const load = (): Promise<Kept> =>
    init === 'random'
      ? drawModel(path, architecture, classes, seed)
      : readModel(path, architecture, classes);
  if (digest === null) {
    const { base } = await load();
    return { ...base, release: () => base.tensors.forEach((tensor) => tensor.dispose()) };
  }
  const { modelType, head } = architecture,
    drawn = init === 'random' ? seed : null;
  const key = JSON.stringify([tf.getBackend(), modelType, head.type, digest, classes, drawn]);
  let promise = cache.get(key);
  if (promise === undefined) {
    promise = load();
    promise.catch(() => cache.delete(key)); // a failed load is not kept; the await below throws
  } else cache.delete(key); // inserted again below: the map is in order of last use
  cache.set(key, promise);
  const kept = await promise;
  kept.users++;
  await evict();
  let uses = 1; // 0 after `release`, of which a second call does nothing
  return {
    ...kept.base,
    release: () => {
      kept.users -= uses;
      uses = 0;
    },
  };
}

/**
 * Draws a parameter as transformers does: a matrix from N(0, range²), by stream (seed, purpose,
 * name), with zeros in its row `zeroRow`; a bias as zeros; the scale of a norm as its `fill`.
 */
export function drawParameter(
  { name, shape, draw }: ParameterSpec,
  range: number,
  seed: number,
  purpose: 'head' | 'init',
): HostTensor {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
  if (draw !== undefined && 'fill' in draw) return { shape, data: data.fill(draw.fill) };
  const [, width] = shape;
  if (width !== undefined) {
    const stream = randomStream(seed, purpose, name);
    for (let i = 0; i < data.length; i++) data[i] = stream.normal() * range;
    if (draw !== undefined) data.fill(0, draw.zeroRow * width, (draw.zeroRow + 1) * width);
  }
  return { shape, data };
}
