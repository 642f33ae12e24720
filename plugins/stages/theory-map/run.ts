import { type RunContext, UserFault } from '../../../src/api.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import { mergedParameters } from '../../../src/science/measures/weights/effective.ts';
import { readConfig, readHead } from '../../../src/science/models/head.ts';
import { type NetworkOptions, openNetwork } from '../../../src/science/models/network.ts';
import type { AdaptedModel, HostTensor, TokenRow } from '../../../src/science/models/types.ts';
import { resolveHead, rowEncoder } from '../../../src/science/text/encoder.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openTorchKernels, type TorchKernels } from '../../../src/science/torch/kernels.ts';
import { readTorchStart } from '../../../src/science/torch/model.ts';
import { adaptedModel } from '../../../src/science/training/adapted-model.ts';
import { type Metrics, numbersIn, writeJson, writeMetrics } from '../shared/files.ts';
import { readKernelRows } from '../shared/kernel-rows.ts';
import {
  loadAdapter,
  loadArchitecture,
  type ModelParts,
  openWeights,
} from '../shared/trained-model.ts';
import type { Params } from './index.ts';
import { drawnMoments, type TheoryMap, theoryMap } from './map.ts';
import { rankKernels, torchRankKernels } from './rank-kernels.ts';

type Context = RunContext<Params>;

/**
 * Writes `map.json`, the map over rank and variance, and, as metrics, what of the map was measured
 * on the model.
 */
export async function run(context: Context): Promise<void> {
  const { params, outDir, log } = context;
  const { rows, classes } = await readKernelRows(context, 'that the map is measured on');
  const checkpoint = { ...(await startingModel(context)), init: params.init };
  const adapted = await openStart(context, checkpoint, classes);
  try {
    const encode = rowEncoder(await openTokenizer(checkpoint.path), params.head);
    const encoded = rows.map((row) => encode(row, params.max_length));
    const started = performance.now();
    const map = await measureMap(context, adapted, encoded);
    await writeJson(outDir, 'map.json', { init: params.init, ...map }, 1);
    await writeMetrics(outDir, toMetrics(map));
    const measured = map.points.filter(({ model }) => model !== null);
    const kernels = new Set(measured.map(({ distribution, rank }) => `${distribution} ${rank}`));
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    log(`${kernels.size} kernels of ${rows.length} rows at initialisation in ${seconds} s`);
  } finally {
    adapted.dispose();
  }
}

/**
 * Returns the map. Ranks above the model's narrowest layer are not measured on the model. Throws
 * `UserFault` if all ranks are above it.
 */
async function measureMap(
  { params, log, progress, signal }: Context,
  adapted: AdaptedModel | TorchKernels,
  rows: readonly TokenRow[],
): Promise<TheoryMap> {
  const { width, distributions, seed } = params;
  const ranks = params.ranks.slice().sort((a, b) => a - b);
  const narrow = Math.min(...adapted.layers.map((layer) => Math.min(layer.in, layer.out)));
  const modelRanks = ranks.filter((rank) => rank <= narrow);
  if (modelRanks.length < ranks.length)
    log(`ranks above ${narrow}, the model's narrowest layer, are left to the closed form`);
  if (modelRanks.length === 0)
    throw new UserFault(
      `every rank of theory.map_ranks is above ${narrow}, the model's narrowest layer`,
    );
  const drawn = new Map(
    distributions.map((shape) => [shape, drawnMoments(shape, ranks, width, seed)]),
  );
  const asked = [rows, distributions, modelRanks, seed, { progress, signal }] as const;
  const model = await ('layerKernels' in adapted
    ? torchRankKernels(adapted, ...asked)
    : rankKernels(adapted, ...asked));
  return theoryMap(params, drawn, model, modelRanks, rows.length);
}

/** Returns what was measured on the model at σ² = scale/d, s = 1, without the closed forms. */
function toMetrics({ full, points }: TheoryMap): Metrics {
  const metrics = numbersIn(full, 'full.');
  for (const { distribution, rank, scale, model } of points)
    Object.assign(metrics, numbersIn(model ?? {}, `${distribution}.r${rank}.scale${scale}.`));
  return metrics;
}

/** Opens the model as training starts from it, without the factors of an adapter. */
async function openStart(
  context: Context,
  model: ModelParts['model'] & Pick<Params, 'init'>,
  classes: readonly string[],
): Promise<AdaptedModel | TorchKernels> {
  const { params, assets, backend } = context;
  const family = await loadArchitecture(context, params.architecture, model.path);
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const full = await loadAdapter(context, 'full');
  const linears = architecture.linears(config),
    parameters = architecture.parameters(config);
  const headDir = assets['head']?.path,
    shape = { architecture, config, classes: classes.length };
  const head = (await mergedStart(context, model)) ?? (headDir && (await readHead(headDir, shape)));
  const options: NetworkOptions = {
    architecture,
    model,
    adapter: await full.create({}, { architecture, linears, parameters }),
    classes: classes.length,
    seed: params.seed,
    evaluation: true,
    ...(head && { head }),
  };
  return backend === 'torch'
    ? openTorchKernels(await readTorchStart(options))
    : adaptedModel(await openNetwork(options));
}

/**
 * Returns the parameters that an adapter's folder (the input `start`) changes in the checkpoint, by
 * canonical name: the head, the biases, and the weights with s·B·A merged into them. Null if
 * training starts from the checkpoint itself.
 */
async function mergedStart(
  context: Context,
  model: ModelParts['model'],
): Promise<ReadonlyMap<string, HostTensor> | null> {
  const start = context.inputs['start'];
  const { architecture, adapter } = context.params;
  if (start === undefined || adapter === undefined) return null;
  const { weights, dispose } = await openWeights(context, {
    trainDir: start.dir,
    model,
    architecture: await loadArchitecture(context, architecture, model.path),
    adapter: await loadAdapter(context, adapter),
  });
  try {
    return await mergedParameters(weights);
  } finally {
    dispose();
  }
}
