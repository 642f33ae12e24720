/** What a spec's LoRA parameters come to on a model: which layers are adapted, with which rank and α; and their faults. */
import { type Problem, problemOf } from '../../api.ts';
import { alphaOf } from '../../api/alpha.ts';
import { moduleName, type PeftAdapter } from '../io/peft.ts';
import type { LoraBias } from '../io/peft-config.ts';
import { type Distribution, parseVariance } from './lora-init.ts';
import { isNamed, isTargeted, layerNumber, patternKey, patternValue } from './modules.ts';
import type { LinearLayer, ModelShape } from './types.ts';

type Pattern<T> = Readonly<Record<string, T>>;

export interface LoraParams {
  readonly rank?: number;
  /** A number, or a multiple of the rank: `r`, `2r`, `r/2`. */
  readonly alpha?: number | string;
  readonly rank_pattern?: Pattern<number>;
  readonly alpha_pattern?: Pattern<number>;
  /** `all-linear`, names or dotted ends of names, or a regular expression for the whole name. */
  readonly targets?: string | readonly string[];
  readonly exclude?: readonly string[];
  readonly layers?: readonly number[];
  readonly rslora?: boolean;
  readonly dropout?: number;
  readonly bias?: LoraBias;
  readonly freeze_a?: boolean;
  readonly init?: { readonly distribution?: Distribution; readonly variance?: number | string };
}

export interface LayerPlan {
  readonly rank: number;
  readonly alpha: number;
}

const DEFAULT_RANK = 8;
const ALL_LINEAR = 'all-linear';

/** The layers that the targets name, head left out. `all-linear` is every linear layer but the head, pooler included. */
export function targetedLayers(
  { targets = ALL_LINEAR, exclude, layers }: Pick<LoraParams, 'targets' | 'exclude' | 'layers'>,
  { architecture, linears }: ModelShape,
): LinearLayer[] {
  const rule = {
    targets: targets === ALL_LINEAR ? '.*' : targets,
    ...(exclude === undefined ? {} : { exclude }),
  };
  return linears.filter(({ name, adaptable }) => {
    const module = moduleName(architecture, name);
    return (
      adaptable &&
      isTargeted(module, rule) &&
      (layers === undefined || layers.includes(layerNumber(module) ?? -1))
    );
  });
}

/** Rank and α of each layer, in forward order. α left out: `r`; a multiple of r is one of the layer's own rank. */
export function planLayers(params: LoraParams, model: ModelShape): Map<string, LayerPlan> {
  const { alpha = 'r', rank_pattern: ranks = {}, alpha_pattern: alphas = {} } = params;
  return new Map(
    targetedLayers(params, model).map(({ name }) => {
      const module = moduleName(model.architecture, name);
      const rank = patternValue(ranks, module) ?? params.rank ?? DEFAULT_RANK;
      return [name, { rank, alpha: patternValue(alphas, module) ?? alphaOf(alpha, rank) }];
    }),
  );
}

/** What stands for a whole in PEFT's config: the rank and α of layers that no pattern names. */
export function planDefaults({ rank = DEFAULT_RANK, alpha = 'r' }: LoraParams): LayerPlan {
  return { rank, alpha: alphaOf(alpha, rank) };
}

const endings = (layers: readonly LinearLayer[]): string =>
  [
    ...new Set(layers.filter((l) => l.adaptable).map(({ name }) => name.split('.').slice(-1)[0])),
  ].join(', ');

function checkTargets(params: LoraParams, model: ModelShape): Problem[] {
  const { architecture, linears } = model;
  const { targets = ALL_LINEAR, exclude, layers } = params;
  const hint = `Its layers end in ${endings(linears)}.`;
  const problems: Problem[] = [];
  const modules = linears.map(({ name }) => moduleName(architecture, name));
  if (typeof targets !== 'string') {
    targets.forEach((target, i) => {
      if (targetedLayers({ targets: [target] }, model).length > 0) return;
      const head = linears.some(({ adaptable }, k) => !adaptable && isNamed(modules[k]!, target));
      problems.push({
        path: ['adapter', 'targets', i],
        message: head
          ? `"${target}" is the classification head, which is always trained in full`
          : `no linear layer is named "${target}"`,
        hint,
      });
    });
  } else if (targetedLayers({ targets }, model).length === 0) {
    problems.push({
      path: ['adapter', 'targets'],
      message: `no linear layer's whole name matches the expression "${targets}"`,
      hint: `Write all-linear, a list of names, or an expression such as ".*(query|value)". ${hint}`,
    });
  }
  exclude?.forEach((name, i) => {
    if (!modules.some((module) => isNamed(module, name)))
      problems.push({
        path: ['adapter', 'exclude', i],
        message: `no linear layer is named "${name}"`,
        hint,
      });
  });
  const numbers = new Set(modules.map((module) => layerNumber(module)));
  layers?.forEach((number, i) => {
    if (!numbers.has(number))
      problems.push({
        path: ['adapter', 'layers', i],
        message: `the model has no layer ${number}`,
        hint: `Its layers are numbered 0 to ${Math.max(...[...numbers].map((n) => n ?? -1))}.`,
      });
  });
  if (problems.length === 0 && targetedLayers(params, model).length === 0)
    problems.push({
      path: ['adapter', layers === undefined ? 'exclude' : 'layers'],
      message: 'no linear layer is left to adapt',
    });
  return problems;
}

function checkRanks(params: LoraParams, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  const plan = planLayers(params, model);
  const layers = model.linears.filter(({ name }) => plan.has(name));
  const module = ({ name }: LinearLayer): string => moduleName(model.architecture, name);
  for (const field of ['rank_pattern', 'alpha_pattern'] as const) {
    const keys = Object.keys(params[field] ?? {});
    const used = new Set(layers.map((layer) => patternKey(keys, module(layer))));
    for (const key of keys) {
      if (!used.has(key))
        problems.push({
          path: ['adapter', field, key],
          message: `no adapted layer takes its value from "${key}"`,
          hint: "A key is a layer's name, a dotted end of it, or a regular expression for one; of several that match, the first holds.",
        });
    }
  }
  // One fault a field, at its narrowest layer: the same rank is too high for many.
  const faults = new Map<string, LinearLayer>();
  for (const layer of layers) {
    if (plan.get(layer.name)!.rank <= Math.min(layer.in, layer.out)) continue;
    const key = patternKey(Object.keys(params.rank_pattern ?? {}), module(layer)) ?? '';
    const known = faults.get(key);
    if (known === undefined || Math.min(layer.in, layer.out) < Math.min(known.in, known.out))
      faults.set(key, layer);
  }
  for (const [key, { name, in: n, out: m }] of faults) {
    problems.push({
      path: key === '' ? ['adapter', 'rank'] : ['adapter', 'rank_pattern', key],
      message: `rank ${plan.get(name)!.rank} is above the width of layer ${name} (${n} → ${m})`,
      hint: `The rank can be ${Math.min(n, m)} at most.`,
    });
  }
  return problems;
}

/** Faults of the parameters on this model; paths from the spec's root. */
export function checkSpec(params: LoraParams, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  for (const [field, check] of [
    ['targets', checkTargets],
    ['rank_pattern', checkRanks],
  ] as const) {
    try {
      problems.push(...check(params, model));
    } catch (error) {
      // an expression that can't be read: what follows would meet it again
      problems.push(problemOf(error, ['adapter', field]));
      break;
    }
  }
  const { variance } = params.init ?? {};
  if (variance !== undefined && parseVariance(variance, 1) === null) {
    problems.push({
      path: ['adapter', 'init', 'variance'],
      message: `the variance "${variance}" is no positive number and no k/d`,
      hint: 'Write a number, "1/d", "2/d" or "1/(3d)"; d is the layer\'s own fan-in.',
    });
  }
  return problems;
}

/** What the spec says must be what the folder holds. Dropout is no property of the weights: the spec's holds. */
export function checkFolder(params: LoraParams, folder: PeftAdapter, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  const differ = (field: keyof LoraParams, asked: string, held: string): void => {
    problems.push({
      path: ['adapter', field],
      message: `${field} is ${asked} here, but ${held} in the adapter that init_from names`,
      hint: `Leave ${field} out, or write what the folder holds.`,
    });
  };
  if (params.rank !== undefined && params.rank !== folder.rank)
    differ('rank', String(params.rank), String(folder.rank));
  const alpha = params.alpha === undefined ? undefined : alphaOf(params.alpha, folder.rank);
  if (alpha !== undefined && alpha !== folder.alpha)
    differ('alpha', String(params.alpha), String(folder.alpha));
  if (params.rslora !== undefined && params.rslora !== folder.rslora)
    differ('rslora', String(params.rslora), String(folder.rslora));
  if (params.bias !== undefined && params.bias !== folder.bias)
    differ('bias', params.bias, folder.bias);
  const fields = (['targets', 'exclude', 'layers'] as const).filter(
    (field) => params[field] !== undefined,
  );
  if (fields.length > 0) {
    const asked = targetedLayers(params, model).map(({ name }) => name);
    if (asked.length !== folder.layers.size || asked.some((name) => !folder.layers.has(name)))
      differ(
        fields[0]!,
        JSON.stringify(params[fields[0]!]),
        `${folder.layers.size} layers are adapted`,
      );
  }
  const ranks = Object.entries({
    rank_pattern: (name: string) => folder.layers.get(name)!.A.shape[0]!,
    alpha_pattern: (name: string) => folder.layers.get(name)!.alpha,
  }) as ['rank_pattern' | 'alpha_pattern', (name: string) => number][];
  for (const [field, held] of ranks) {
    for (const name of params[field] === undefined ? [] : folder.layers.keys()) {
      const asked = patternValue(params[field]!, moduleName(model.architecture, name));
      if (asked !== undefined && asked !== held(name)) {
        differ(field, `${asked} for ${name}`, String(held(name)));
        break;
      }
    }
  }
  return problems;
}
