/** LoRA (Hu et al. 2022) as PEFT defines it: W = W0 + s·B·A, s = α/r, or α/√r with rank stabilisation (Kalajdzievski 2023). */
import { join } from 'node:path';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { UserFault, type JsonObject, type Problem } from '../../api.ts';
import { readPeft, writePeft, type PeftAdapter, type PeftFactors } from '../io/peft.ts';
import type { Adapter, AdapterContext, AdapterImplementation, FactorNames } from './adapter.ts';
import { loraLinear, linear } from './linear.ts';
import { drawA, initialVariance, parseVariance, presets, type Distribution } from './lora-init.ts';
import type { HostTensor, LinearLayer } from './types.ts';

export interface LoraParams {
  readonly rank?: number;
  readonly alpha?: number | 'r';
  readonly targets?: 'all-linear' | readonly string[];
  readonly rslora?: boolean;
  readonly init?: { readonly distribution?: Distribution; readonly variance?: number | string };
}

const DEFAULT_RANK = 8;

/** What of the spec's parameters holds where nothing is written. */
function fill(params: LoraParams): { rank: number; alpha: number; rslora: boolean; targets: 'all-linear' | readonly string[]; init: { distribution: Distribution; variance?: number | string } } {
  const rank = params.rank ?? DEFAULT_RANK;
  const { distribution = 'kaiming-uniform', variance } = params.init ?? {};
  return {
    rank,
    alpha: params.alpha === undefined || params.alpha === 'r' ? rank : params.alpha,
    rslora: params.rslora ?? false,
    targets: params.targets ?? 'all-linear',
    init: { distribution, ...(variance === undefined ? {} : { variance }) },
  };
}

/** PEFT's rule: the module's whole name, or a dotted end of it. */
const matches = (layer: string, target: string): boolean => layer === target || layer.endsWith(`.${target}`);

/** The layers that `targets` names. `all-linear` is every linear layer but the head, pooler included. */
export function targetedLayers(targets: 'all-linear' | readonly string[], context: AdapterContext): LinearLayer[] {
  const adaptable = context.linears.filter((layer) => layer.adaptable);
  if (targets === 'all-linear') return adaptable;
  return adaptable.filter(({ name }) => targets.some((target) => matches(name, target) || matches(context.architecture.externalName(`${name}.weight`).replace(/\.weight$/, ''), target)));
}

function checkSpec(params: LoraParams, context: AdapterContext): Problem[] {
  const problems: Problem[] = [];
  const { rank, targets, init } = fill(params);
  if (targets !== 'all-linear') {
    targets.forEach((target, i) => {
      if (targetedLayers([target], context).length > 0) return;
      const head = context.linears.some(({ name, adaptable }) => !adaptable && matches(name, target));
      problems.push({
        path: ['adapter', 'targets', i],
        message: head ? `"${target}" is the classification head, which is always trained in full` : `no linear layer is named "${target}"`,
        hint: `Its layers end in ${[...new Set(context.linears.filter((l) => l.adaptable).map(({ name }) => name.split('.').slice(-1)[0]))].join(', ')}.`,
      });
    });
  }
  const narrow = targetedLayers(targets, context).reduce<LinearLayer | null>((least, layer) =>
    least === null || Math.min(layer.in, layer.out) < Math.min(least.in, least.out) ? layer : least, null);
  if (narrow !== null && rank > Math.min(narrow.in, narrow.out)) {
    problems.push({
      path: ['adapter', 'rank'],
      message: `rank ${rank} is above the width of layer ${narrow.name} (${narrow.in} → ${narrow.out})`,
      hint: `The rank can be ${Math.min(narrow.in, narrow.out)} at most.`,
    });
  }
  if (init.variance !== undefined && parseVariance(init.variance, 1) === null) {
    problems.push({ path: ['adapter', 'init', 'variance'], message: `the variance "${init.variance}" is no positive number and no k/d`, hint: 'Write a number, "1/d", "2/d" or "1/(3d)"; d is the layer\'s own fan-in.' });
  }
  return problems;
}

/** What the spec says must be what the folder holds. */
function checkFolder(params: LoraParams, folder: PeftAdapter, context: AdapterContext): Problem[] {
  const problems: Problem[] = [];
  const differ = (field: string, asked: string, held: string): void => {
    problems.push({ path: ['adapter', field], message: `${field} is ${asked} here, but ${held} in the adapter that init_from names`, hint: `Leave ${field} out, or write what the folder holds.` });
  };
  if (params.rank !== undefined && params.rank !== folder.rank) differ('rank', String(params.rank), String(folder.rank));
  const alpha = params.alpha === 'r' ? folder.rank : params.alpha;
  if (alpha !== undefined && alpha !== folder.alpha) differ('alpha', String(params.alpha), String(folder.alpha));
  if (params.rslora !== undefined && params.rslora !== folder.rslora) differ('rslora', String(params.rslora), String(folder.rslora));
  if (params.targets !== undefined) {
    const asked = targetedLayers(params.targets, context).map(({ name }) => name);
    if (asked.length !== folder.layers.size || asked.some((name) => !folder.layers.has(name))) differ('targets', JSON.stringify(params.targets), `${folder.layers.size} layers are adapted`);
  }
  return problems;
}

const nameA = (layer: string): string => `${layer}.lora_A`, nameB = (layer: string): string => `${layer}.lora_B`;

function loraAdapter(context: AdapterContext, plan: { rank: number; alpha: number; rslora: boolean; layers: ReadonlyMap<string, { rank: number; alpha: number }> }, initial: Adapter['initial']): Adapter {
  const factors = new Map<string, FactorNames>();
  for (const [name, { rank, alpha }] of plan.layers) factors.set(name, { A: nameA(name), B: nameB(name), scale: alpha / (plan.rslora ? Math.sqrt(rank) : rank) });
  const adapted = context.linears.filter(({ name }) => factors.has(name));
  const own = new Set(adapted.flatMap(({ name }) => [nameA(name), nameB(name)]));
  return {
    trains: (name) => own.has(name),
    parameters: adapted.flatMap(({ name, in: n, out: m }) => {
      const r = plan.layers.get(name)!.rank;
      return [{ name: nameA(name), shape: [r, n] }, { name: nameB(name), shape: [m, r] }];
    }),
    initial,
    targets: adapted.map(({ name }) => name),
    linear: (layer, x, weight, bias, { parameter }) => {
      const names = factors.get(layer);
      return names === undefined ? linear(x, weight, bias) : loraLinear(x, weight, bias, parameter(names.A) as Tensor2D, parameter(names.B) as Tensor2D, names.scale);
    },
    factors: (layer) => factors.get(layer) ?? null,
    packable: true,
    save: async (outDir, { architecture, read, parameters }) => {
      const layers = new Map<string, PeftFactors>();
      for (const { name } of adapted) layers.set(name, { A: await read(nameA(name)), B: await read(nameB(name)), alpha: plan.layers.get(name)!.alpha });
      const saved = new Map<string, HostTensor>();
      for (const { name } of parameters) if (name.startsWith('classifier.')) saved.set(name, await read(name));
      await writePeft(join(outDir, 'adapter'), { rank: plan.rank, alpha: plan.alpha, rslora: plan.rslora, layers, saved }, architecture);
    },
  };
}

async function create(params: LoraParams, context: AdapterContext): Promise<Adapter> {
  if (context.initFrom !== undefined) {
    const folder = await readPeft(context.initFrom, context.architecture, context.linears);
    fail(checkFolder(params, folder, context));
    const layers = new Map([...folder.layers].map(([name, { A, alpha }]) => [name, { rank: A.shape[0]!, alpha }]));
    return loraAdapter(context, { ...folder, layers }, () => new Map([...folder.layers].flatMap(([name, { A, B }]) => [[nameA(name), A], [nameB(name), B]])));
  }
  fail(checkSpec(params, context));
  const { rank, alpha, rslora, targets, init } = fill(params);
  const targeted = targetedLayers(targets, context);
  const initial: Adapter['initial'] = (seed) => new Map(targeted.flatMap(({ name, in: n, out: m }): [string, HostTensor][] => [
    [nameA(name), drawA(name, n, rank, presets[init.distribution].shape, initialVariance(init, n, rank), seed)],
    [nameB(name), { shape: [m, rank], data: new Float32Array(m * rank) }],
  ]));
  return loraAdapter(context, { rank, alpha, rslora, layers: new Map(targeted.map(({ name }) => [name, { rank, alpha }])) }, initial);
}

function fail(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first !== undefined) throw new UserFault(first.message, first.hint);
}

export const lora: AdapterImplementation = {
  check: async (params: JsonObject, context) => context.initFrom === undefined
    ? checkSpec(params as LoraParams, context)
    : checkFolder(params as LoraParams, await readPeft(context.initFrom, context.architecture, context.linears), context),
  create: (params: JsonObject, context) => create(params as LoraParams, context),
};
