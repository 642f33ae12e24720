/** Which trainings may share a pack, by the parameters of their stages. */
import type { Json, JsonObject } from '../api.ts';

/** What a packed training knows; a stage with any other parameter has a feature that only training alone has. */
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
];

const onlyHas = (object: JsonObject, known: readonly string[]): boolean =>
  Object.keys(object).every((name) => known.includes(name));

/**
 * Equal for stages whose trainings can share a pack; null for one that trains alone: no LoRA, nothing to train, dropout, trained biases, a frozen A, …
 * @param model whose weights are frozen: equal for the same ones
 */
export function packKey(params: JsonObject, model: Json): string | null {
  const adapter = params['adapter'] as JsonObject,
    train = params['train'] as JsonObject;
  if (
    !onlyHas(params, PACKED_STAGE) ||
    !onlyHas(train, PACKED_TRAIN) ||
    !onlyHas(adapter, PACKED_ADAPTER)
  )
    return null;
  if (
    adapter['type'] !== 'lora' ||
    adapter['dropout'] ||
    (adapter['bias'] ?? 'none') !== 'none' ||
    adapter['freeze_a'] === true
  )
    return null;
  if (train['steps'] === 0 || train['dropout'] !== 0) return null;
  const { optimizer, beta1 = null, beta2 = null, epsilon = null } = train;
  // A random model is another one for each seed.
  return JSON.stringify([
    params['architecture'],
    model,
    params['init'] === 'random' ? params['seed']! : null,
    params['head']!,
    optimizer,
    beta1,
    beta2,
    epsilon,
  ]);
}
