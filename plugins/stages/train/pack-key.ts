/** Which trainings may share a pack, by the parameters of their stages. */
import type { Json, JsonObject } from '../../../src/api.ts';
import { isDrawn } from '../../adapters/lora/form.ts';

/**
 * The parameters that packed training supports. A stage with any other parameter uses a feature
 * that works only in a training that runs alone.
 */
const PACKED_STAGE = ['architecture', 'adapter', 'seed', 'train', 'head', 'init', 'classes'];
const PACKED_TRAIN = [
  'steps',
  'epochs',
  'batch_size',
  'max_length',
  'optimizer',
  'learning_rate',
  'weight_decay',
  'beta1',
  'beta2',
  'epsilon',
  'schedule',
  'warmup',
  'shuffle',
  'dropout',
  'precision',
];
const PACKED_ADAPTER = [
  'type',
  'rank',
  'alpha',
  'rank_pattern',
  'alpha_pattern',
  'targets',
  'exclude',
  'layers',
  'rslora',
  'init',
  'dropout',
  'bias',
  'freeze_a',
  'use_dora',
  'lora_plus_ratio',
];
const PACKED_VERA = [
  'type',
  'rank',
  'targets',
  'exclude',
  'layers',
  'd_initial',
  'projection_prng_key',
  'save_projection',
  'dropout',
  'bias',
];

const onlyHas = (object: JsonObject, known: readonly string[]): boolean =>
  Object.keys(object).every((name) => known.includes(name));

/**
 * Returns a key that is equal for stages whose trainings can share a pack. Returns null for a
 * training that must run alone: one without LoRA or VeRA, with nothing to train, with dropout, with
 * trained biases, with a frozen A, with a regression head, or with any feature that packing does
 * not support.
 * @param params the train stage's parameters
 * @param model identifies the model whose weights are frozen
 */
export function packKey(params: JsonObject, model: Json): string | null {
  const adapter = params['adapter'] as JsonObject;
  const train = params['train'] as JsonObject;
  const isVera = adapter['type'] === 'vera';
  const isKnown =
    onlyHas(params, PACKED_STAGE) &&
    onlyHas(train, PACKED_TRAIN) &&
    onlyHas(adapter, isVera ? PACKED_VERA : PACKED_ADAPTER);
  const isPlain =
    (isVera || adapter['type'] === 'lora') &&
    !adapter['dropout'] &&
    (adapter['bias'] ?? 'none') === 'none' &&
    adapter['freeze_a'] !== true;
  if (!isKnown || !isPlain) return null;
  if (train['steps'] === 0 || train['dropout'] !== 0) return null;
  if ((params['head'] as JsonObject | undefined)?.['type'] === 'regression') return null;
  const { optimizer = null, beta1 = null, beta2 = null, epsilon = null } = train,
    { precision = 'float32' } = train;
  const { architecture = null, head = null, seed = null } = params;
  // Random weights differ from seed to seed.
  const drawnBy = params['init'] === 'random' ? seed : null;
  // The members share VeRA's factors, which the seed, the rank and the layers decide.
  const { rank = null, targets = null, exclude = null, layers = null } = adapter,
    { projection_prng_key: drawn = null } = adapter;
  return JSON.stringify([
    architecture,
    model,
    drawnBy,
    head,
    optimizer,
    beta1,
    beta2,
    epsilon,
    precision,
    ...(isVera ? [{ rank, drawn, targets, exclude, layers }] : []),
  ]);
}

/** The largest batches of which common steps save time on a processor, in rows. */
const SMALL_BATCH = 16;

/**
 * Whether a training that has a pack key shares its steps on a processor: one under plain LoRA,
 * whose bits do not depend on the others then, with small batches (decision 0055).
 */
export function sharesOnProcessor(params: JsonObject): boolean {
  const adapter = params['adapter'] as JsonObject,
    { batch_size: batchSize } = params['train'] as JsonObject,
    { distribution } = (adapter['init'] ?? {}) as { readonly distribution?: string };
  return (
    adapter['type'] === 'lora' &&
    adapter['use_dora'] !== true &&
    (distribution === undefined || isDrawn(distribution)) &&
    Number(batchSize) <= SMALL_BATCH
  );
}
