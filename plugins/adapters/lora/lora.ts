/**
 * LoRA (Hu et al. 2022) as PEFT defines it: W = W0 + s·B·A with s = α/r, or s = α/√r with rank
 * stabilisation (Kalajdzievski 2023). Its variants are here too: PiSSA and OLoRA (start.ts), DoRA
 * (adapted-layer.ts), LoRA-FA, and LoRA+ (Hayou et al. 2024), which trains B at a higher learning
 * rate than A.
 */
import { join } from 'node:path';
import type { JsonObject } from '../../../src/api.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { factoredLinear } from '../../../src/science/models/adapted-layer.ts';
import type {
  Adapter,
  AdapterContext,
  AdapterImplementation,
  FactorNames,
} from '../../../src/science/models/adapter.ts';
import {
  type PeftAdapter,
  type PeftFactors,
  readPeft,
  writePeft,
} from '../../../src/science/models/io/peft.ts';
import { linear } from '../../../src/science/models/linear.ts';
import { inputMask, readHeadAndBiases, throwFirst, trainedBiasPredicate } from '../shared/parts.ts';
import type { LoraParams } from './index.ts';
import { DEFAULT_DISTRIBUTION, isDrawn, statedVariance } from './init.ts';
import { checkFolder, checkSpec, planDefaults, planLayers } from './plan.ts';
import { drawnStart, folderStart, type StartPlan, startValues } from './start.ts';

/** What an adapter is made of. `biases`: trained biases in the folder of `init_from`, by name. */
interface Plan
  extends
    StartPlan,
    Pick<PeftAdapter, 'rank' | 'alpha' | 'rslora' | 'dropout' | 'bias' | 'biases'> {
  readonly dora: boolean;
  /** `pissa` or `olora` if the factors start as a part of the weight, else null. */
  readonly residual: string | null;
  /** LoRA-FA (Zhang et al. 2023): only B is trained, and A stays as it was drawn. */
  readonly freezeA: boolean;
  /** LoRA+: the learning rate of B and of every vector, as a multiple of the base rate. */
  readonly ratio: number;
  /** Returns σ² of the entries of A, as the spec's `init` states it; null if it states none. */
  readonly variance: ((fanIn: number, rank: number) => number) | null;
}

/** Returns the names of each adapted layer's factors, with its scale s and σ² of A, by layer. */
function factorNames({ linears }: AdapterContext, plan: Plan): Map<string, FactorNames> {
  const factors = new Map<string, FactorNames>();
  for (const { name, in: fanIn } of linears) {
    const layer = plan.layers.get(name);
    if (layer === undefined) continue;
    const { rank, alpha } = layer;
    factors.set(name, {
      A: `${name}.lora_A`,
      B: `${name}.lora_B`,
      fixed: plan.residual === null ? undefined : { A: `${name}.lora_A0`, B: `${name}.lora_B0` },
      magnitude: plan.dora ? `${name}.lora_magnitude` : undefined,
      scale: alpha / (plan.rslora ? Math.sqrt(rank) : rank),
      variance: plan.variance?.(fanIn, rank),
    });
  }
  return factors;
}

function loraAdapter(context: AdapterContext, plan: Plan): Adapter {
  const factors = factorNames(context, plan);
  const adapted = context.linears.filter(({ name }) => plan.layers.has(name));
  const trained = new Set(
    [...factors.values()].flatMap(({ A, B, magnitude }) => [
      ...(plan.freezeA ? [] : [A]),
      B,
      ...(magnitude === undefined ? [] : [magnitude]),
    ]),
  );
  const isTrainedBias = trainedBiasPredicate(plan.bias, factors);
  const parameters = adapted.flatMap(({ name, in: n, out: m }) => {
    const r = named(plan.layers, name).rank,
      { A, B, fixed, magnitude } = named(factors, name);
    const shapes: [name: string | undefined, shape: number[]][] = [
      [A, [r, n]],
      [B, [m, r]],
      [fixed?.A, [r, n]],
      [fixed?.B, [m, r]],
      [magnitude, [m]],
    ];
    return shapes.flatMap(([parameter, shape]) => (parameter ? { name: parameter, shape } : []));
  });
  // LoRA+ trains every B, and every vector of the model or the adapter, at `plan.ratio` times the
  // base rate.
  const atHigherRate = new Set([
    ...[...factors.values()].map(({ B }) => B),
    ...[...parameters, ...context.parameters]
      .filter(({ shape }) => shape.length === 1)
      .map(({ name }) => name),
  ]);
  return {
    trains: (name) => trained.has(name) || isTrainedBias(name),
    ofModel: isTrainedBias,
    parameters,
    reads:
      plan.dora || plan.residual !== null ? adapted.map(({ name }) => `${name}.weight`) : undefined,
    initial: (seed, read) =>
      new Map([
        ...adapted.flatMap((layer) => [
          ...startValues(layer, named(factors, layer.name), plan, seed, read),
        ]),
        ...plan.biases,
      ]),
    targets: adapted.map(({ name }) => name),
    linear: (layer, x, weight, bias, { parameter, random }) => {
      const names = factors.get(layer);
      if (names === undefined) return linear(x, weight, bias);
      const mask = inputMask(layer, x, plan.dropout, random);
      return factoredLinear(x, weight, bias, names, parameter, mask);
    },
    factors: (layer) => factors.get(layer) ?? null,
    rate: (name) => (atHigherRate.has(name) ? plan.ratio : 1),
    save: async (outDir, saving) => {
      const { architecture, read, base = null } = saving;
      const layers = new Map<string, PeftFactors>();
      for (const [name, { A, B, fixed, magnitude }] of factors)
        layers.set(name, {
          A: await read(A),
          B: await read(B),
          alpha: named(plan.layers, name).alpha,
          fixed: fixed && { A: await read(fixed.A), B: await read(fixed.B) },
          magnitude: magnitude === undefined ? undefined : await read(magnitude),
        });
      const transposed = adapted.some(({ stored }) => stored === 'transposed'),
        ofModel = await readHeadAndBiases(saving, isTrainedBias);
      const saved = { ...plan, base, transposed, layers, ...ofModel };
      await writePeft(join(outDir, 'adapter'), saved, architecture);
    },
  };
}

/**
 * Returns the plan of an adapter that starts from a folder. The spec gives what no folder holds
 * (`freeze_a`, `lora_plus_ratio`, `init`), and may change the dropout.
 */
function folderPlan(params: LoraParams, folder: PeftAdapter): Plan {
  const { dora = false, residual = null } = folder;
  return {
    ...folder,
    dora,
    residual,
    dropout: params.dropout ?? folder.dropout,
    freezeA: params.freeze_a ?? false,
    ratio: params.lora_plus_ratio ?? 1,
    layers: new Map(
      [...folder.layers].map(([name, { A, alpha }]) => [name, { rank: at(A.shape, 0), alpha }]),
    ),
    variance: statedVariance(params.init),
    start: folderStart(folder),
  };
}

/**
 * Returns the adapter: from the folder of `init_from`, if there is one, or else from the spec
 * alone. Throws UserFault for the first fault of the spec, or where the folder cannot be read.
 */
async function create(params: LoraParams, context: AdapterContext): Promise<Adapter> {
  if (context.initFrom !== undefined) {
    const folder = await readPeft(context.initFrom, context);
    throwFirst(checkFolder(params, folder, context));
    return loraAdapter(context, folderPlan(params, folder));
  }
  throwFirst(checkSpec(params, context));
  const { rslora = false, dropout = 0, bias = 'none' } = params;
  const init = { distribution: DEFAULT_DISTRIBUTION, ...params.init };
  return loraAdapter(context, {
    ...planDefaults(params),
    rslora,
    dora: params.use_dora ?? false,
    residual: isDrawn(init.distribution) ? null : init.distribution,
    dropout,
    bias,
    freezeA: params.freeze_a ?? false,
    ratio: params.lora_plus_ratio ?? 1,
    layers: planLayers(params, context),
    variance: statedVariance(init),
    start: drawnStart(init),
    biases: new Map(),
  });
}

export const lora: AdapterImplementation = {
  check: async (params: JsonObject, context) =>
    context.initFrom === undefined
      ? checkSpec(params, context)
      : checkFolder(params, await readPeft(context.initFrom, context), context),
  create: (params: JsonObject, context) => create(params, context),
};
