/** PEFT's adapter_config.json. What is not implemented is refused: a field that changed the model unseen would spoil every number. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserFault } from '../../api.ts';
import { isRecord, shown } from '../../untrusted/json.ts';
import { isTargeted, patternValue, type TargetRule } from '../nn/modules.ts';
import { readJson } from './checkpoint.ts';

export const CONFIG = 'adapter_config.json';
const BIASES = ['none', 'all', 'lora_only'] as const;
export type LoraBias = (typeof BIASES)[number];

export interface PeftConfig {
  readonly rank: number;
  readonly alpha: number;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly rslora: boolean;
  readonly dropout: number;
  readonly bias: LoraBias;
  readonly rule: TargetRule;
  readonly modulesToSave: readonly string[];
}

/** Fields that say nothing of what the weights mean. */
const DESCRIPTIVE = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'inference_mode',
  'megatron_core',
  'peft_type',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
  'eva_config',
]);
const READ = new Set([
  'task_type',
  'r',
  'lora_alpha',
  'rank_pattern',
  'alpha_pattern',
  'use_rslora',
  'lora_dropout',
  'bias',
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'layers_pattern',
  'modules_to_save',
  'init_lora_weights',
]);
/** Initialisations that leave the base weights alone; the others train against a residual of them. */
const PLAIN_INITS: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  'gaussian',
  'eva',
  'orthogonal',
];
const TASKS: readonly unknown[] = [undefined, null, 'SEQ_CLS', 'FEATURE_EXTRACTION'];

const isNothing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** The effective rank and alpha of a module, and its scale s = α/r, or α/√r for rsLoRA. */
export function moduleScale(
  config: Pick<PeftConfig, 'rank' | 'alpha' | 'rankPattern' | 'alphaPattern' | 'rslora'>,
  module: string,
): { readonly rank: number; readonly alpha: number; readonly scale: number } {
  const rank = patternValue(config.rankPattern, module) ?? config.rank,
    alpha = patternValue(config.alphaPattern, module) ?? config.alpha;
  return { rank, alpha, scale: alpha / (config.rslora ? Math.sqrt(rank) : rank) };
}

/** adapter_config.json, parsed and checked for what is implemented. Throws UserFault naming file, field and value. */
export async function readPeftConfig(dir: string): Promise<PeftConfig> {
  const path = join(dir, CONFIG);
  if (!existsSync(path))
    throw new UserFault(
      `${dir} holds no ${CONFIG}`,
      "Name a folder that PEFT's save_pretrained wrote.",
    );
  const raw = await readJson(path);
  if (!isRecord(raw)) throw new UserFault(`${path} holds no object`);
  const fault = (field: string, why: string, hint?: string): UserFault =>
    new UserFault(`${path}: ${field.slice(0, 80)} ${shown(raw[field])} ${why}`, hint);

  if (raw['peft_type'] !== 'LORA')
    throw fault('peft_type', 'is not implemented', 'LORA is what is read here.');
  for (const [field, value] of Object.entries(raw)) {
    if (!READ.has(field) && !DESCRIPTIVE.has(field) && !isNothing(value))
      throw fault(field, 'is not implemented');
  }
  if (!TASKS.includes(raw['task_type']))
    throw fault('task_type', 'is not implemented', 'SEQ_CLS, FEATURE_EXTRACTION or none is.');
  if (!PLAIN_INITS.includes(raw['init_lora_weights'])) {
    throw fault(
      'init_lora_weights',
      'is not implemented: its factors belong to a base model less a part of it',
      'PEFT converts such an adapter: save_pretrained(DIR, path_initial_model_for_weight_conversion=…).',
    );
  }
  const number = (field: string, valid: (value: number) => boolean, fallback?: number): number => {
    const value = raw[field] ?? fallback;
    if (typeof value !== 'number' || !valid(value))
      throw fault(field, 'is not a value it can have');
    return value;
  };
  const pattern = (field: string, valid: (value: number) => boolean): Record<string, number> => {
    const value = raw[field] ?? {};
    if (
      !isRecord(value) ||
      Object.values(value).some((one) => typeof one !== 'number' || !valid(one))
    )
      throw fault(field, 'is not a value it can have');
    return value as Record<string, number>;
  };
  const names = (field: string): readonly string[] | undefined => {
    const value = typeof raw[field] === 'string' ? [raw[field]] : raw[field];
    if (isNothing(value)) return undefined;
    if (!Array.isArray(value) || value.some((one) => typeof one !== 'string'))
      throw fault(field, 'is not a value it can have');
    return value as string[];
  };
  const isRank = (value: number): boolean => Number.isInteger(value) && value >= 1,
    isAlpha = (value: number): boolean => value > 0 && Number.isFinite(value);
  const bias = BIASES.find((known) => known === (raw['bias'] ?? 'none'));
  if (bias === undefined) throw fault('bias', 'is not implemented', `${BIASES.join(', ')} are.`);
  const targets =
    typeof raw['target_modules'] === 'string' ? raw['target_modules'] : names('target_modules');
  if (targets === undefined) throw fault('target_modules', 'names no module');
  const exclude =
    typeof raw['exclude_modules'] === 'string' && raw['exclude_modules'] !== ''
      ? raw['exclude_modules']
      : names('exclude_modules');
  const layers =
    typeof raw['layers_to_transform'] === 'number'
      ? [raw['layers_to_transform']]
      : (raw['layers_to_transform'] ?? []);
  if (!Array.isArray(layers) || layers.some((one) => !Number.isInteger(one)))
    throw fault('layers_to_transform', 'is not a value it can have');
  const layersPattern = names('layers_pattern');
  return {
    rank: number('r', isRank),
    alpha: number('lora_alpha', isAlpha),
    rankPattern: pattern('rank_pattern', isRank),
    alphaPattern: pattern('alpha_pattern', isAlpha),
    rslora: raw['use_rslora'] === true,
    dropout: number('lora_dropout', (value) => value >= 0 && value < 1, 0),
    bias,
    rule: {
      targets,
      ...(exclude === undefined ? {} : { exclude }),
      layers: layers as number[],
      ...(layersPattern === undefined ? {} : { layersPattern }),
    },
    modulesToSave: names('modules_to_save') ?? [],
  };
}

/** Whether PEFT wraps a linear layer: what it saves whole it never adapts; `all-linear` is every other one. */
export function isAdapted(
  config: Pick<PeftConfig, 'rule' | 'modulesToSave'>,
  module: string,
  adaptable: boolean,
): boolean {
  if (config.modulesToSave.some((saved) => holds(module, saved))) return false;
  const { targets } = config.rule;
  if (typeof targets === 'string' && targets.toLowerCase() === 'all-linear')
    return adaptable && isTargeted(module, { ...config.rule, targets: '.*' });
  return isTargeted(module, config.rule);
}

/** Whether `module` is the one that `name` names, or lies in it. */
export const holds = (module: string, name: string): boolean => `.${module}.`.includes(`.${name}.`);
