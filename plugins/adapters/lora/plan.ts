/**
 * Resolves a spec's LoRA parameters on a model: which layers are adapted, with which rank and α,
 * and which parameters are at fault.
 */
import { type Problem, problemOf } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { at, named } from '../../../src/base/lookup.ts';
import type { PeftAdapter, PeftFactors } from '../../../src/science/models/io/peft.ts';
import type { LoraBias, Residual } from '../../../src/science/models/io/peft-config.ts';
import {
  isNamed,
  isTargeted,
  layerNumber,
  moduleName,
  patternKey,
  patternValue,
} from '../../../src/science/models/modules.ts';
import type { LinearLayer, ModelShape } from '../../../src/science/models/types.ts';
import {
  alphaOf,
  DEFAULT_DISTRIBUTION,
  type Distribution,
  isDrawn,
  parseVariance,
} from './init.ts';

type Pattern<T> = Readonly<Record<string, T>>;

export interface LoraParams {
  readonly rank?: number;
  /** A number, or a multiple of the rank: `r`, `2r`, `r/2`. */
  readonly alpha?: number | string;
  readonly rank_pattern?: Pattern<number>;
  readonly alpha_pattern?: Pattern<number>;
  /**
   * `all-linear`, a list of names or their dotted ends, or a regular expression for whole names.
   */
  readonly targets?: string | readonly string[];
  readonly exclude?: readonly string[];
  readonly layers?: readonly number[];
  readonly rslora?: boolean;
  readonly dropout?: number;
  readonly bias?: LoraBias;
  readonly freeze_a?: boolean;
  readonly use_dora?: boolean;
  readonly lora_plus_ratio?: number;
  readonly init?: {
    readonly distribution?: Distribution | Residual;
    readonly variance?: number | string;
  };
}

export interface LayerPlan {
  readonly rank: number;
  readonly alpha: number;
}

const DEFAULT_RANK = 8;
const ALL_LINEAR = 'all-linear';

/**
 * Returns the linear layers to adapt: those that `targets` names, without those of `exclude`, in
 * the numbered `layers` alone if these are given. The head is never among them.
 */
export function targetedLayers(
  { targets = ALL_LINEAR, exclude, layers }: Pick<LoraParams, 'targets' | 'exclude' | 'layers'>,
  { architecture, linears }: ModelShape,
): LinearLayer[] {
  const rule = {
    targets: targets === ALL_LINEAR ? '.*' : targets,
    ...defined({ exclude }),
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

/**
 * Returns rank and α of each adapted layer, in forward order. In an α such as `2r`, r is that
 * layer's own rank.
 */
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

/** Returns rank and α of the layers that no pattern names, as PEFT's config states them. */
export function planDefaults({ rank = DEFAULT_RANK, alpha = 'r' }: LoraParams): LayerPlan {
  return { rank, alpha: alphaOf(alpha, rank) };
}

const lastNameParts = (layers: readonly LinearLayer[]): string =>
  [...new Set(layers.filter((l) => l.adaptable).map(({ name }) => name.split('.').at(-1)))].join(
    ', ',
  );

export function checkTargets(
  params: Pick<LoraParams, 'targets' | 'exclude' | 'layers'>,
  model: ModelShape,
): Problem[] {
  const { architecture, linears } = model;
  const { targets = ALL_LINEAR, exclude, layers } = params;
  const hint = `Its layers end in ${lastNameParts(linears)}.`;
  const problems: Problem[] = [];
  const modules = linears.map(({ name }) => moduleName(architecture, name));
  if (typeof targets !== 'string') {
    targets.forEach((target, i) => {
      if (targetedLayers({ targets: [target] }, model).length > 0) return;
      const head = linears.some(
        ({ adaptable }, k) => !adaptable && isNamed(at(modules, k), target),
      );
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
      hint:
        'Write all-linear, a list of names, or an expression such as ".*(query|value)". ' + hint,
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
          hint:
            "A key is a layer's name, a dotted end of it, or a regular expression for either; " +
            'of several keys that match, the first one applies.',
        });
    }
  }
  // Report one fault for each field, that of its narrowest layer: a rank that is too high for it
  // is often too high for many layers.
  const faults = new Map<string, LinearLayer>();
  for (const layer of layers) {
    if (named(plan, layer.name).rank <= Math.min(layer.in, layer.out)) continue;
    const key = patternKey(Object.keys(params.rank_pattern ?? {}), module(layer)) ?? '';
    const known = faults.get(key);
    if (known === undefined || Math.min(layer.in, layer.out) < Math.min(known.in, known.out))
      faults.set(key, layer);
  }
  for (const [key, { name, in: n, out: m }] of faults) {
    problems.push({
      path: key === '' ? ['adapter', 'rank'] : ['adapter', 'rank_pattern', key],
      message: `rank ${named(plan, name).rank} is above the width of layer ${name} (${n} → ${m})`,
      hint: `The rank can be at most ${Math.min(n, m)}.`,
    });
  }
  return problems;
}

/** Returns the faults of the parameters on this model, with paths from the root of the spec. */
export function checkSpec(params: LoraParams, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  for (const [field, check] of [
    ['targets', checkTargets],
    ['rank_pattern', checkRanks],
  ] as const) {
    try {
      problems.push(...check(params, model));
    } catch (error) {
      // A regular expression can't be parsed. The next check would report it again.
      problems.push(problemOf(error, ['adapter', field]));
      break;
    }
  }
  const { variance, distribution = DEFAULT_DISTRIBUTION } = params.init ?? {};
  if (variance !== undefined && !isDrawn(distribution)) {
    problems.push({
      path: ['adapter', 'init', 'variance'],
      message: `"${distribution}" takes A from the weights, so it has no variance`,
      hint: 'Leave the variance out, or name a distribution that A is drawn from.',
    });
  } else if (variance !== undefined && parseVariance(variance, 1) === null) {
    problems.push({
      path: ['adapter', 'init', 'variance'],
      message: `the variance "${variance}" is neither a positive number nor k/d`,
      hint: 'Write a number, "1/d", "2/d" or "1/(3d)"; d is the fan-in of each layer.',
    });
  }
  return problems;
}

/**
 * Returns a fault for each field in which the spec contradicts the adapter's folder. Dropout may
 * differ, because it is not a property of the weights.
 */
export function checkFolder(params: LoraParams, folder: PeftAdapter, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  const reportClash = (field: keyof LoraParams, asked: string, held: string): void => {
    problems.push({
      path: ['adapter', field],
      message: `${field} is ${asked} here, but ${held} in the adapter that init_from names`,
      hint: `Leave ${field} out, or write the value of the folder.`,
    });
  };
  if (params.rank !== undefined && params.rank !== folder.rank)
    reportClash('rank', String(params.rank), String(folder.rank));
  const alpha = params.alpha === undefined ? undefined : alphaOf(params.alpha, folder.rank);
  if (alpha !== undefined && alpha !== folder.alpha)
    reportClash('alpha', String(params.alpha), String(folder.alpha));
  if (params.rslora !== undefined && params.rslora !== folder.rslora)
    reportClash('rslora', String(params.rslora), String(folder.rslora));
  const { dora = false } = folder;
  if (params.use_dora !== undefined && params.use_dora !== dora)
    reportClash('use_dora', String(params.use_dora), String(dora));
  if (params.bias !== undefined && params.bias !== folder.bias)
    reportClash('bias', params.bias, folder.bias);
  const field = (['targets', 'exclude', 'layers'] as const).find(
    (one) => params[one] !== undefined,
  );
  if (field !== undefined) {
    const asked = targetedLayers(params, model).map(({ name }) => name);
    if (asked.length !== folder.layers.size || asked.some((name) => !folder.layers.has(name)))
      reportClash(field, JSON.stringify(params[field]), `${folder.layers.size} layers are adapted`);
  }
  const reportPatternClash = (
    pattern: 'rank_pattern' | 'alpha_pattern',
    held: (factors: PeftFactors) => number,
  ): void => {
    for (const [name, factors] of folder.layers) {
      const asked = patternValue(params[pattern] ?? {}, moduleName(model.architecture, name));
      if (asked === undefined || asked === held(factors)) continue;
      reportClash(pattern, `${asked} for ${name}`, String(held(factors)));
      return;
    }
  };
  reportPatternClash('rank_pattern', ({ A }) => at(A.shape, 0));
  reportPatternClash('alpha_pattern', ({ alpha: layerAlpha }) => layerAlpha);
  return problems;
}
