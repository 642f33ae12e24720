/**
 * VeRA (Kopiczko et al. 2024) as PEFT defines it: W' = W + diag(b)·B·diag(d)·A. A and B are drawn
 * once from a seed, shared by all layers and frozen; the vectors d and b of each layer are trained.
 */
import { join } from 'node:path';
import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import type { JsonObject, Problem } from '../../../src/api.ts';
import { named } from '../../../src/base/lookup.ts';
import { veraLinear } from '../../../src/science/models/adapted-layer.ts';
import type {
  Adapter,
  AdapterContext,
  AdapterImplementation,
  VectorNames,
} from '../../../src/science/models/adapter.ts';
import { linear } from '../../../src/science/models/linear.ts';
import type { HostTensor, LinearLayer } from '../../../src/science/models/types.ts';
import { checkTargets, clash, targetClash, targetedLayers, type Targets } from '../lora/plan.ts';
import { inputMask, readHeadAndBiases, throwFirst, trainedBiasPredicate } from '../shared/parts.ts';
import {
  type PeftVera,
  readPeftVera,
  torchUniform,
  type VeraVectors,
  widthsOf,
  writePeftVera,
} from './peft.ts';

interface VeraParams extends Targets {
  readonly dropout?: number;
  readonly rank?: number;
  readonly d_initial?: number;
  readonly projection_prng_key?: number;
  readonly save_projection?: boolean;
  readonly bias?: 'none' | 'all' | 'vera_only';
}

const A = 'vera_A',
  B = 'vera_B';

interface Plan extends Pick<PeftVera, 'rank' | 'key' | 'initial' | 'dropout' | 'bias'> {
  readonly savesShared: boolean;
  readonly adapted: readonly LinearLayer[];
  /** The folder of `init_from`, with the initial factors and vectors; null if there is none. */
  readonly folder: PeftVera | null;
}

/**
 * Draws the shared factors as PEFT does from this seed: A (r, n) and then B (m, r) from one
 * generator, Kaiming-uniform, U(±√(6/fan-in)).
 */
function drawSharedFactors(
  seed: number,
  rank: number,
  { n, m }: { readonly n: number; readonly m: number },
): NonNullable<PeftVera['shared']> {
  const draw = torchUniform(seed);
  const drawMatrix = (rows: number, fanIn: number): HostTensor => ({
    shape: [rows, fanIn],
    data: draw(rows * fanIn, Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(fanIn))),
  });
  return { A: drawMatrix(rank, n), B: drawMatrix(m, rank) };
}

function veraAdapter(context: AdapterContext, plan: Plan): Adapter {
  const { rank, adapted, folder } = plan;
  const vectors = new Map<string, VectorNames>();
  for (const { name } of adapted)
    vectors.set(name, { A, B, d: `${name}.vera_lambda_d`, b: `${name}.vera_lambda_b` });
  const widths = widthsOf(context, vectors);
  const trained = new Set([...vectors.values()].flatMap(({ d, b }) => [d, b]));
  const isTrainedBias = trainedBiasPredicate(plan.bias, vectors);
  return {
    trains: (name) => trained.has(name) || isTrainedBias(name),
    ofModel: isTrainedBias,
    parameters: [
      { name: A, shape: [rank, widths.n] },
      { name: B, shape: [widths.m, rank] },
      ...adapted.flatMap(({ name, out: m }) => [
        { name: named(vectors, name).d, shape: [rank] },
        { name: named(vectors, name).b, shape: [m] },
      ]),
    ],
    initial: () => {
      const shared = folder?.shared ?? drawSharedFactors(plan.key, rank, widths);
      return new Map([
        [A, shared.A],
        [B, shared.B],
        ...adapted.flatMap(({ name, out: m }): [string, HostTensor][] => {
          const { d, b } = named(vectors, name),
            held = folder?.layers.get(name);
          const filled = new Float32Array(rank).fill(plan.initial);
          return [
            [d, held?.d ?? { shape: [rank], data: filled }],
            [b, held?.b ?? { shape: [m], data: new Float32Array(m) }],
          ];
        }),
        ...(folder?.biases ?? []),
      ]);
    },
    targets: adapted.map(({ name }) => name),
    linear: (layer, x, weight, bias, { parameter, random }) => {
      const names = vectors.get(layer);
      if (names === undefined) return linear(x, weight, bias);
      const mask = inputMask(layer, x, plan.dropout, random);
      return veraLinear(
        x,
        weight,
        bias,
        { A: parameter(A) as Tensor2D, B: parameter(B) as Tensor2D },
        parameter(names.d) as Tensor1D,
        parameter(names.b) as Tensor1D,
        mask,
      );
    },
    factors: () => null,
    vectors: (layer) => vectors.get(layer) ?? null,
    save: async (outDir, saving) => {
      const { architecture, read, base = null } = saving;
      const layers = new Map<string, VeraVectors>();
      for (const [name, { d, b }] of vectors)
        layers.set(name, { d: await read(d), b: await read(b) });
      const ofModel = await readHeadAndBiases(saving, isTrainedBias),
        shared = plan.savesShared ? { A: await read(A), B: await read(B) } : null;
      const saved = { ...plan, base, shared, layers, ...ofModel };
      await writePeftVera(join(outDir, 'adapter'), saved, architecture);
    },
  };
}

/**
 * Returns a problem for each of rank, key, bias and layers to which the spec gives another value
 * than the folder.
 */
const checkFolder = (params: VeraParams, folder: PeftVera, model: AdapterContext): Problem[] => [
  ...clash('rank', params.rank, folder.rank),
  ...clash('projection_prng_key', params.projection_prng_key, folder.key),
  ...clash('bias', params.bias, folder.bias === 'lora_only' ? 'vera_only' : folder.bias),
  ...targetClash(params, folder.layers, model),
];

/**
 * Returns the adapter: from the folder of `init_from`, if there is one, or else from the spec
 * alone. Throws UserFault for the first fault of the spec, or where the folder cannot be read.
 */
async function create(params: VeraParams, context: AdapterContext): Promise<Adapter> {
  if (context.initFrom !== undefined) {
    const folder = await readPeftVera(context.initFrom, context);
    throwFirst(checkFolder(params, folder, context));
    return veraAdapter(context, {
      ...folder,
      dropout: params.dropout ?? folder.dropout,
      savesShared: params.save_projection ?? folder.shared !== null,
      adapted: context.linears.filter(({ name }) => folder.layers.has(name)),
      folder,
    });
  }
  throwFirst(checkTargets(params, context));
  const { bias = 'none' } = params;
  return veraAdapter(context, {
    rank: params.rank ?? 256,
    key: params.projection_prng_key ?? 0,
    initial: params.d_initial ?? 0.1,
    dropout: params.dropout ?? 0,
    // Named as for LoRA, because both share the code that reads it.
    bias: bias === 'vera_only' ? 'lora_only' : bias,
    savesShared: params.save_projection ?? true,
    adapted: targetedLayers(params, context),
    folder: null,
  });
}

export const vera: AdapterImplementation = {
  check: async (params: JsonObject, context) =>
    context.initFrom === undefined
      ? checkTargets(params, context)
      : checkFolder(params, await readPeftVera(context.initFrom, context), context),
  create: (params: JsonObject, context) => create(params, context),
};
