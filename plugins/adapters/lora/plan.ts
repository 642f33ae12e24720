/**
 * Resolves a spec's LoRA parameters on a model: which layers are adapted, with which rank and α,
 * and which parameters are at fault.
 */
import { type Problem, problemOf } from '../../../src/api.ts';
import { at, named } from '../../../src/base/lookup.ts';
import type { PeftAdapter, PeftFactors } from '../../../src/science/models/io/peft.ts';
import {
  isNamed,
  isTargeted,
  layerNumber,
  moduleName,
  patternKey,
  patternValue,
} from '../../../src/science/models/modules.ts';
import type { LinearLayer, ModelShape } from '../../../src/science/models/types.ts';
import { adapterProblem } from '../shared/parts.ts';
import type { LoraParams } from './index.ts';
import { DEFAULT_DISTRIBUTION, isDrawn, parseAlpha, parseVariance } from './init.ts';

export interface LayerPlan {
  readonly rank: number;
  readonly alpha: number;
}

export type Targets = Pick<LoraParams, 'targets' | 'exclude' | 'layers'>;

const DEFAULT_RANK = 8;
const ALL_LINEAR = 'all-linear';

/**
 * Returns the linear layers to adapt: those that `targets` names and `exclude` does not. If
 * `layers` is given, only those in the model's layers with these numbers. Linear layers that are
 * not `adaptable`, such as a classifier, are never among them.
 */
export function targetedLayers(
  { targets = ALL_LINEAR, exclude, layers }: Targets,
  { architecture, linears }: ModelShape,
): LinearLayer[] {
  const rule = { targets: targets === ALL_LINEAR ? '.*' : targets, exclude };
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
 * Returns rank and α of each adapted layer, in forward order. Where α is a multiple of r (`2r`), r
 * is the layer's rank.
 */
export function planLayers(params: LoraParams, model: ModelShape): Map<string, LayerPlan> {
  const { alpha = 'r', rank_pattern: ranks = {}, alpha_pattern: alphas = {} } = params;
  return new Map(
    targetedLayers(params, model).map(({ name }) => {
      const module = moduleName(model.architecture, name);
      const rank = patternValue(ranks, module) ?? params.rank ?? DEFAULT_RANK;
      return [name, { rank, alpha: patternValue(alphas, module) ?? parseAlpha(alpha, rank) }];
    }),
  );
}

/** Returns rank and α of the layers that no pattern names, as PEFT's config states them. */
export function planDefaults({ rank = DEFAULT_RANK, alpha = 'r' }: LoraParams): LayerPlan {
  return { rank, alpha: parseAlpha(alpha, rank) };
}

/**
 * Returns a problem for each name in `targets` or `exclude` and each number in `layers` that no
 * layer has, and for an expression in `targets` that matches no layer. If there is no such problem,
 * returns one if no layer is left to adapt. Throws UserFault for an expression that cannot be read.
 */
export function checkTargets(params: Targets, model: ModelShape): Problem[] {
  const { architecture, linears } = model;
  const { targets = ALL_LINEAR, exclude, layers } = params;
  const ends = linears.flatMap(({ name, adaptable }) =>
      adaptable ? name.split('.').slice(-1) : [],
    ),
    hint = `Its layers end in ${[...new Set(ends)].join(', ')}.`;
  const problems: Problem[] = [];
  const modules = linears.map(({ name }) => moduleName(architecture, name));
  if (typeof targets !== 'string') {
    targets.forEach((target, i) => {
      if (targetedLayers({ targets: [target] }, model).length > 0) return;
      const head = linears.some(
        ({ adaptable }, k) => !adaptable && isNamed(at(modules, k), target),
      );
      const message = head
        ? `"${target}" is the classification head, which is always trained in full`
        : `no linear layer is named "${target}"`;
      problems.push(adapterProblem(['targets', i], message, hint));
    });
  } else if (targetedLayers({ targets }, model).length === 0) {
    const message = `no linear layer's whole name matches the expression "${targets}"`,
      instead = 'Write all-linear, a list of names, or an expression such as ".*(query|value)".';
    problems.push(adapterProblem(['targets'], message, `${instead} ${hint}`));
  }
  exclude?.forEach((name, i) => {
    if (!modules.some((module) => isNamed(module, name)))
      problems.push(adapterProblem(['exclude', i], `no linear layer is named "${name}"`, hint));
  });
  const numbers = new Set(modules.map((module) => layerNumber(module)));
  const last = Math.max(...[...numbers].map((n) => n ?? -1));
  layers?.forEach((number, i) => {
    if (numbers.has(number)) return;
    const message = `the model has no layer ${number}`;
    problems.push(adapterProblem(['layers', i], message, `Its layers are numbered 0 to ${last}.`));
  });
  if (problems.length === 0 && targetedLayers(params, model).length === 0) {
    const field = layers === undefined ? 'exclude' : 'layers';
    problems.push(adapterProblem([field], 'no linear layer is left to adapt'));
  }
  return problems;
}

/**
 * Returns a problem for each key of a pattern that no adapted layer uses, and for each rank that is
 * above a layer's width. Throws UserFault for a key or an expression that cannot be read.
 */
function checkRanks(params: LoraParams, model: ModelShape): Problem[] {
  const problems: Problem[] = [];
  const plan = planLayers(params, model);
  const layers = model.linears.filter(({ name }) => plan.has(name));
  const module = ({ name }: LinearLayer): string => moduleName(model.architecture, name);
  for (const field of ['rank_pattern', 'alpha_pattern'] as const) {
    const keys = Object.keys(params[field] ?? {});
    const used = new Set(layers.map((layer) => patternKey(keys, module(layer))));
    for (const key of keys) {
      if (used.has(key)) continue;
      const hint =
        "A key is a layer's name, a dotted end of it, or a regular expression for either; " +
        'of several keys that match, the first one applies.';
      const message = `no adapted layer takes its value from "${key}"`;
      problems.push(adapterProblem([field, key], message, hint));
    }
  }
  // One rank is often too high for many layers. So `rank`, and each key of `rank_pattern`, is
  // reported only once: at the narrowest layer that takes its rank from it.
  const faults = new Map<string, LinearLayer>();
  for (const layer of layers) {
    if (named(plan, layer.name).rank <= Math.min(layer.in, layer.out)) continue;
    const key = patternKey(Object.keys(params.rank_pattern ?? {}), module(layer)) ?? '';
    const known = faults.get(key);
    if (known === undefined || Math.min(layer.in, layer.out) < Math.min(known.in, known.out))
      faults.set(key, layer);
  }
  for (const [key, { name, in: n, out: m }] of faults) {
    const path = key === '' ? ['rank'] : ['rank_pattern', key];
    const { rank } = named(plan, name),
      message = `rank ${rank} is above the width of layer ${name} (${n} → ${m})`;
    problems.push(adapterProblem(path, message, `The rank can be at most ${Math.min(n, m)}.`));
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
      // A regular expression cannot be parsed. The next check would report the same, so stop.
      problems.push(problemOf(error, ['adapter', field]));
      break;
    }
  }
  const { variance, distribution = DEFAULT_DISTRIBUTION } = params.init ?? {},
    path = ['init', 'variance'];
  if (variance !== undefined && !isDrawn(distribution)) {
    const message = `"${distribution}" takes A from the weights, so it has no variance`,
      hint = 'Leave the variance out, or name a distribution that A is drawn from.';
    problems.push(adapterProblem(path, message, hint));
  } else if (variance !== undefined && parseVariance(variance, 1) === null) {
    const message = `the variance "${variance}" is neither a positive number nor k/d`,
      hint = 'Write a number, "1/d", "2/d" or "1/(3d)"; d is the fan-in of each layer.';
    problems.push(adapterProblem(path, message, hint));
  }
  return problems;
}

/**
 * Returns a problem, in a list, if the spec gives a field another value (`asked`) than the folder
 * (`held`); an empty list if they agree, or if the spec leaves the field out (`asked` undefined).
 * @param written the value as the spec writes it
 */
export const clash = (
  field: string,
  asked: unknown,
  held: unknown,
  written: unknown = asked,
): Problem[] => {
  if (asked === undefined || asked === held) return [];
  const here = `${field} is ${String(written)} here`,
    message = `${here}, but ${String(held)} in the adapter that init_from names`;
  return [
    adapterProblem([field], message, `Leave ${field} out, or write the value of the folder.`),
  ];
};

/**
 * Returns a problem, in a list, if the spec says which layers to adapt, and the folder adapts
 * others; else an empty list.
 */
export function targetClash(
  params: Targets,
  layers: ReadonlyMap<string, unknown>,
  model: ModelShape,
): Problem[] {
  const field = (['targets', 'exclude', 'layers'] as const).find(
    (one) => params[one] !== undefined,
  );
  if (field === undefined) return [];
  const asked = targetedLayers(params, model);
  return asked.length === layers.size && asked.every(({ name }) => layers.has(name))
    ? []
    : clash(field, JSON.stringify(params[field]), `${layers.size} layers are adapted`);
}

/**
 * Returns a problem for each field to which the spec gives another value than the folder. Dropout
 * may differ, and so may the fields that no folder holds.
 */
export function checkFolder(params: LoraParams, folder: PeftAdapter, model: ModelShape): Problem[] {
  // Returns a problem, in a list, at the first layer to which a pattern gives another value than
  // the folder (`heldBy`); an empty list if there is no such layer.
  const patternClash = (
    pattern: 'rank_pattern' | 'alpha_pattern',
    heldBy: (factors: PeftFactors) => number,
  ): Problem[] => {
    for (const [name, factors] of folder.layers) {
      const asked = patternValue(params[pattern] ?? {}, moduleName(model.architecture, name));
      const found = clash(pattern, asked, heldBy(factors), `${asked} for ${name}`);
      if (found.length > 0) return found;
    }
    return [];
  };
  const alpha = params.alpha === undefined ? undefined : parseAlpha(params.alpha, folder.rank);
  return [
    ...clash('rank', params.rank, folder.rank),
    ...clash('alpha', alpha, folder.alpha, params.alpha),
    ...clash('rslora', params.rslora, folder.rslora),
    ...clash('use_dora', params.use_dora, folder.dora ?? false),
    ...clash('bias', params.bias, folder.bias),
    ...targetClash(params, folder.layers, model),
    ...patternClash('rank_pattern', ({ A }) => at(A.shape, 0)),
    ...patternClash('alpha_pattern', (factors) => factors.alpha),
  ];
}
