/** Reads adapter_config.json. Refuses fields that are not implemented: they change the model. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserFault } from '../../../api.ts';
import { isRecord, shown } from '../../../base/untrusted/json.ts';
import { isTargeted, patternValue, type TargetRule } from '../modules.ts';
import type { Architecture } from '../types.ts';
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
  readonly dora: boolean;
  /** `pissa` or `olora` if the initial factors are subtracted from the base weights; else null. */
  readonly residual: string | null;
  readonly dropout: number;
  readonly bias: LoraBias;
  readonly rule: TargetRule;
  readonly modulesToSave: readonly string[];
}

/** Fields that do not affect what the weights mean. */
const DESCRIPTIVE = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'fan_in_fan_out', // PEFT corrects it by the kind of the layers (Linear, or GPT-2's Conv1D)
  'inference_mode',
  'megatron_core',
  'peft_type',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
  'eva_config',
]);
/** A method of PEFT that adapts linear layers. */
export interface Method {
  /** The method's `peft_type`. */
  readonly type: string;
  /** The value of `bias` that trains only the biases of the adapted layers (LoRA's `lora_only`). */
  readonly ownBias: string;
  /** The fields of the method's config that are read, beside those of SHARED. */
  readonly fields: readonly string[];
}
/** The fields that the configs of all methods have, and that are read. */
const SHARED = [
  'task_type',
  'r',
  'bias',
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'layers_pattern',
  'modules_to_save',
];
export const LORA: Method = {
  type: 'LORA',
  ownBias: 'lora_only',
  fields: [
    'lora_alpha',
    'rank_pattern',
    'alpha_pattern',
    'use_rslora',
    'use_dora',
    'lora_dropout',
    'init_lora_weights',
  ],
};
/** The values of `init_lora_weights` that leave the base's weights unchanged. */
const PLAIN_INITS: readonly unknown[] = [null, true, false, 'gaussian', 'eva', 'orthogonal'];
/**
 * Returns the initialisation if it is `pissa` or `olora`: the initial factors are subtracted from
 * the base's weights, and PEFT computes them again when it opens a folder. Returns null for any
 * other, such as `pissa_niter_…`, whose factors are random.
 */
const residualOf = (init: unknown): string | null =>
  ['pissa', 'olora'].find((kind) => init === kind) ?? null;
const TASKS: readonly unknown[] = [null, 'SEQ_CLS', 'CAUSAL_LM', 'FEATURE_EXTRACTION'];

/** Whether a field's value turns the field off: absent, null, false, or an empty list or object. */
const isNothing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

/** Returns the rank r, α and scale of a module: s = α/r, or α/√r for rsLoRA. */
export function moduleScale(
  config: Pick<PeftConfig, 'rank' | 'alpha' | 'rankPattern' | 'alphaPattern' | 'rslora'>,
  module: string,
): { readonly rank: number; readonly alpha: number; readonly scale: number } {
  const rank = patternValue(config.rankPattern, module) ?? config.rank,
    alpha = patternValue(config.alphaPattern, module) ?? config.alpha;
  return { rank, alpha, scale: alpha / (config.rslora ? Math.sqrt(rank) : rank) };
}

const INVALID = 'is not an allowed value';

/** Throws UserFault for another method's config, or for a field or value not implemented. */
function refuseUnsupported({ raw, fault }: Config, { type, fields }: Method): void {
  if (raw['peft_type'] !== type)
    throw fault('peft_type', 'is not implemented here', `This adapter is ${type} in PEFT.`);
  const read = new Set([...SHARED, ...fields]);
  for (const [field, value] of Object.entries(raw)) {
    if (!read.has(field) && !DESCRIPTIVE.has(field) && !isNothing(value))
      throw fault(field, 'is not implemented');
  }
  if (!TASKS.includes(raw['task_type'] ?? null))
    throw fault(
      'task_type',
      'is not implemented',
      'Implemented: SEQ_CLS, CAUSAL_LM, FEATURE_EXTRACTION or none.',
    );
  const init = raw['init_lora_weights'] ?? null;
  if (!PLAIN_INITS.includes(init) && residualOf(init) === null) {
    throw fault(
      'init_lora_weights',
      'is not implemented: its factors belong to a base model from which a part was subtracted',
      'PEFT converts such an adapter: ' +
        'save_pretrained(DIR, path_initial_model_for_weight_conversion=…).',
    );
  }
}

/**
 * Reads which modules a config adapts. Throws UserFault for a field that cannot be read, and if
 * `target_modules` is absent, null or an empty list. An empty text is an expression that matches no
 * module's name.
 */
function readRule({ raw, fault, names, namesOrExpression }: Config): TargetRule {
  const targets = raw['target_modules'] === '' ? '' : namesOrExpression('target_modules');
  if (targets === undefined) throw fault('target_modules', 'names no module');
  const exclude = namesOrExpression('exclude_modules');
  const layers =
    typeof raw['layers_to_transform'] === 'number'
      ? [raw['layers_to_transform']]
      : (raw['layers_to_transform'] ?? []);
  if (!Array.isArray(layers) || layers.some((one) => !Number.isInteger(one)))
    throw fault('layers_to_transform', INVALID);
  const layersPattern = names('layers_pattern');
  return { targets, exclude, layers: layers as number[], layersPattern };
}

type Config = Awaited<ReturnType<typeof openConfig>>;

/** Opens a folder's config, with readers of its fields. Throws UserFault if the folder has none. */
async function openConfig(dir: string) {
  const path = join(dir, CONFIG);
  if (!existsSync(path))
    throw new UserFault(
      `${dir} holds no ${CONFIG}`,
      "Name a folder that PEFT's save_pretrained wrote.",
    );
  const raw = await readJson(path);
  if (!isRecord(raw)) throw new UserFault(`${path} is not an object`);
  const fault = (field: string, why: string, hint?: string): UserFault =>
    new UserFault(`${path}: ${field.slice(0, 80)} ${shown(raw[field])} ${why}`, hint);
  /** Returns a field's list of names, or its one name as a list; undefined if it has none. */
  const names = (field: string): readonly string[] | undefined => {
    const value = typeof raw[field] === 'string' ? [raw[field]] : raw[field];
    if (isNothing(value)) return undefined;
    if (!Array.isArray(value) || value.some((one) => typeof one !== 'string'))
      throw fault(field, INVALID);
    return value as string[];
  };
  type Valid = (value: number) => boolean;
  return {
    raw,
    fault,
    names,
    /**
     * Returns a field's number; `fallback` if the field is absent or null. Throws UserFault if
     * there is neither, or if the number is not `valid`.
     */
    number: (field: string, valid: Valid, fallback?: number): number => {
      const value = raw[field] ?? fallback;
      if (typeof value !== 'number' || !valid(value)) throw fault(field, INVALID);
      return value;
    },
    /**
     * Returns a field's numbers by pattern; {} if the field is absent or null. Throws UserFault
     * unless each is a `valid` number.
     */
    pattern: (field: string, valid: Valid): Record<string, number> => {
      const value = raw[field] ?? {};
      const isWrong = (one: unknown): boolean => typeof one !== 'number' || !valid(one);
      if (!isRecord(value) || Object.values(value).some(isWrong)) throw fault(field, INVALID);
      return value as Record<string, number>;
    },
    /** Returns a field's list of names, or its regular expression; undefined if it is empty. */
    namesOrExpression: (field: string): string | readonly string[] | undefined => {
      const value = raw[field];
      return typeof value === 'string' && value !== '' ? value : names(field);
    },
  };
}

/** Whether a number may be a rank (a whole number from 1), and whether it may be a dropout rate. */
export const isRank = (value: number): boolean => Number.isInteger(value) && value >= 1,
  isRate = (value: number): boolean => value >= 0 && value < 1;

/** Reads which biases are trained. `onlyName`: PEFT's name of `lora_only` under this method. */
function readBias({ raw, fault }: Config, onlyName: string): LoraBias {
  const asked = raw['bias'] ?? 'none';
  const bias = BIASES.find((known) => (known === 'lora_only' ? onlyName : known) === asked);
  if (bias === undefined)
    throw fault('bias', 'is not implemented', `Implemented: none, all, ${onlyName}.`);
  return bias;
}

/**
 * Opens the config of a method's folder. Returns what the configs of all methods have (`shared`),
 * and readers of the other fields. Throws UserFault, naming file, field and value, where something
 * is not implemented.
 */
export async function readMethod(dir: string, method: Method) {
  const config = await openConfig(dir);
  refuseUnsupported(config, method);
  const shared: Pick<PeftConfig, 'bias' | 'rule' | 'modulesToSave'> = {
    bias: readBias(config, method.ownBias),
    rule: readRule(config),
    modulesToSave: config.names('modules_to_save') ?? [],
  };
  return { ...config, shared };
}

/** Reads the config of LoRA's folder. Throws as `readMethod` does. */
export async function readPeftConfig(dir: string): Promise<PeftConfig> {
  const { raw, number, pattern, shared } = await readMethod(dir, LORA);
  const isAlpha = (value: number): boolean => value > 0 && Number.isFinite(value);
  return {
    ...shared,
    rank: number('r', isRank),
    alpha: number('lora_alpha', isAlpha),
    rankPattern: pattern('rank_pattern', isRank),
    alphaPattern: pattern('alpha_pattern', isAlpha),
    rslora: raw['use_rslora'] === true,
    dora: raw['use_dora'] === true,
    residual: residualOf(raw['init_lora_weights']),
    dropout: number('lora_dropout', isRate, 0),
  };
}

/** Reads which modules a folder of any adapter saves whole. */
export async function readModulesToSave(dir: string): Promise<readonly string[]> {
  return (await openConfig(dir)).names('modules_to_save') ?? [];
}

/**
 * Whether a config adapts a module. It never adapts one that is saved whole. Under `all-linear` it
 * adapts every other module that is `adaptable` and not among `rule.exclude`.
 */
export function isAdapted(
  config: Pick<PeftConfig, 'rule' | 'modulesToSave'>,
  module: string,
  adaptable: boolean,
): boolean {
  // Here PEFT compares whole parts of names. Where it saves modules, it compares the ends of names
  // (`wholeModule`).
  if (config.modulesToSave.some((saved) => `.${module}.`.includes(`.${saved}.`))) return false;
  const { targets } = config.rule;
  if (typeof targets === 'string' && targets.toLowerCase() === 'all-linear')
    return adaptable && isTargeted(module, { ...config.rule, targets: '.*' });
  return isTargeted(module, config.rule);
}

/**
 * Returns the outermost module that contains `module`, or is `module`, and whose name ends with
 * `name`; undefined if there is none. `classifier` finds pre_classifier too, as in PEFT.
 */
export function wholeModule(module: string, name: string): string | undefined {
  const parts = module.split('.');
  return parts
    .map((_, i) => parts.slice(0, i + 1).join('.'))
    .find((around) => around.endsWith(name));
}

/** Whether `module` is saved whole where `modules_to_save` has `name`. */
export const isSavedWhole = (module: string, name: string): boolean =>
  wholeModule(module, name) !== undefined;

/**
 * Returns PEFT's task type: CAUSAL_LM under a causal-LM head; under any other, SEQ_CLS if modules
 * are saved whole (`whole`), and null if none are (`whole` is null).
 */
export const taskType = (
  { head }: Architecture,
  whole: readonly string[] | null,
): 'SEQ_CLS' | 'CAUSAL_LM' | null =>
  head.type === 'causal-lm' ? 'CAUSAL_LM' : whole === null ? null : 'SEQ_CLS';
