/**
 * LoRA (Hu et al. 2022) as PEFT defines it: W = W0 + s·B·A with s = α/r, or s = α/√r with rank
 * stabilisation (Kalajdzievski 2023).
 */
import { join } from 'node:path';
import type { Rank, Tensor2D } from '@tensorflow/tfjs-core';
import { type JsonObject, type Problem, UserFault } from '../../api.ts';
import { type PeftFactors, readPeft, writePeft } from '../io/peft.ts';
import type { LoraBias } from '../io/peft-config.ts';
import { at, named } from '../lookup.ts';
import { within } from '../model/names.ts';
import type { HostTensor } from '../model/types.ts';
import type { Adapter, AdapterContext, AdapterImplementation, FactorNames } from './adapter.ts';
import { dropoutMask } from './dropout.ts';
import { linear, loraLinear } from './linear.ts';
import { drawA, initialVariance, presets } from './lora-init.ts';
import {
  checkFolder,
  checkSpec,
  type LayerPlan,
  type LoraParams,
  planDefaults,
  planLayers,
} from './lora-plan.ts';

interface Plan {
  readonly rank: number;
  readonly alpha: number;
  readonly rslora: boolean;
  readonly dropout: number;
  readonly bias: LoraBias;
  /** LoRA-FA (Zhang et al. 2023): only B is trained, and A stays as it was drawn. */
  readonly freezeA: boolean;
  readonly layers: ReadonlyMap<string, LayerPlan>;
  /** σ² of the entries of A, as the spec states it; null where A comes from a folder. */
  readonly variance: ((fanIn: number, rank: number) => number) | null;
}

/**
 * Returns the variance that `init` states. It applies whether A is drawn now, or was drawn at the
 * start of the training that wrote the folder.
 */
function statedVariance({ init }: Pick<LoraParams, 'init'>): Plan['variance'] {
  if (init === undefined) return null;
  const stated = { distribution: 'kaiming-uniform' as const, ...init };
  return (fanIn, rank) => initialVariance(stated, fanIn, rank);
}

const nameA = (layer: string): string => `${layer}.lora_A`,
  nameB = (layer: string): string => `${layer}.lora_B`;

function loraAdapter(context: AdapterContext, plan: Plan, initial: Adapter['initial']): Adapter {
  const factors = new Map<string, FactorNames>();
  const adapted = context.linears.filter(({ name }) => plan.layers.has(name));
  for (const { name, in: fanIn } of adapted) {
    const { rank, alpha } = named(plan.layers, name);
    factors.set(name, {
      A: nameA(name),
      B: nameB(name),
      scale: alpha / (plan.rslora ? Math.sqrt(rank) : rank),
      ...(plan.variance === null ? {} : { variance: plan.variance(fanIn, rank) }),
    });
  }
  const trained = new Set(
    [...factors.values()].flatMap(({ A, B }) => (plan.freezeA ? [B] : [A, B])),
  );
  const biases = {
    none: () => false,
    all: (name: string) => name.endsWith('.bias'),
    lora_only: (name: string) =>
      name.endsWith('.bias') && factors.has(name.slice(0, -'.bias'.length)),
  }[plan.bias];
  return {
    trains: (name) => trained.has(name) || biases(name),
    parameters: adapted.flatMap(({ name, in: n, out: m }) => {
      const r = named(plan.layers, name).rank;
      return [
        { name: nameA(name), shape: [r, n] },
        { name: nameB(name), shape: [m, r] },
      ];
    }),
    initial,
    targets: adapted.map(({ name }) => name),
    linear: (layer, x, weight, bias, { parameter, random }) => {
      const names = factors.get(layer);
      if (names === undefined) return linear(x, weight, bias);
      const mask =
        random === undefined || plan.dropout === 0
          ? undefined
          : dropoutMask<Rank.R2>(x.shape, { rate: plan.dropout, random: random(layer) }); // (S, n)
      return loraLinear(
        x,
        weight,
        bias,
        parameter(names.A) as Tensor2D,
        parameter(names.B) as Tensor2D,
        names.scale,
        mask,
      );
    },
    factors: (layer) => factors.get(layer) ?? null,
    packable: plan.dropout === 0 && plan.bias === 'none' && !plan.freezeA,
    save: async (outDir, { architecture, read, parameters, base = null }) => {
      const layers = new Map<string, PeftFactors>();
      for (const { name } of adapted)
        layers.set(name, {
          A: await read(nameA(name)),
          B: await read(nameB(name)),
          alpha: named(plan.layers, name).alpha,
        });
      const saved = new Map<string, HostTensor>(),
        trainedBiases = new Map<string, HostTensor>();
      for (const { name } of parameters) {
        if (within(name, architecture.headModules)) saved.set(name, await read(name));
        else if (biases(name)) trainedBiases.set(name, await read(name));
      }
      const { rank, alpha, rslora, dropout, bias } = plan;
      await writePeft(
        join(outDir, 'adapter'),
        {
          ...{ base, rank, alpha, rslora, dropout, bias, layers, saved },
          transposed: adapted.some(({ stored }) => stored === 'transposed'),
          biases: trainedBiases,
        },
        architecture,
      );
    },
  };
}

async function create(params: LoraParams, context: AdapterContext): Promise<Adapter> {
  const freezeA = params.freeze_a ?? false;
  if (context.initFrom !== undefined) {
    const folder = await readPeft(context.initFrom, context);
    fail(checkFolder(params, folder, context));
    const layers = new Map(
      [...folder.layers].map(([name, { A, alpha }]) => [name, { rank: at(A.shape, 0), alpha }]),
    );
    const start = new Map([
      ...[...folder.layers].flatMap(
        ([name, { A, B }]) =>
          [
            [nameA(name), A],
            [nameB(name), B],
          ] as const,
      ),
      ...folder.biases,
    ]);
    return loraAdapter(
      context,
      {
        ...folder,
        dropout: params.dropout ?? folder.dropout,
        freezeA,
        layers,
        variance: statedVariance(params),
      },
      () => start,
    );
  }
  fail(checkSpec(params, context));
  const { rslora = false, dropout = 0, bias = 'none' } = params;
  const init = { distribution: 'kaiming-uniform' as const, ...params.init };
  const layers = planLayers(params, context);
  return loraAdapter(
    context,
    {
      ...planDefaults(params),
      rslora,
      dropout,
      bias,
      freezeA,
      layers,
      variance: statedVariance({ init }),
    },
    (seed) =>
      new Map(
        context.linears
          .filter(({ name }) => layers.has(name))
          .flatMap(({ name, in: n, out: m }) => {
            const { rank } = named(layers, name);
            return [
              [
                nameA(name),
                drawA(
                  name,
                  n,
                  rank,
                  presets[init.distribution].shape,
                  initialVariance(init, n, rank),
                  seed,
                ),
              ],
              [nameB(name), { shape: [m, rank], data: new Float32Array(m * rank) }],
            ];
          }),
      ),
  );
}

/** Throws UserFault for the first problem, if there is one. */
function fail(problems: readonly Problem[]): void {
  const [first] = problems;
  if (first !== undefined) throw new UserFault(first.message, first.hint);
}

export const lora: AdapterImplementation = {
  check: async (params: JsonObject, context) =>
    context.initFrom === undefined
      ? checkSpec(params, context)
      : checkFolder(params, await readPeft(context.initFrom, context), context),
  create: (params: JsonObject, context) => create(params, context),
};
