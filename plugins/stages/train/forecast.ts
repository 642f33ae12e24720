import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Forecast, Packing, PreflightContext } from '../../../src/api.ts';
import { defined } from '../../../src/base/defined.ts';
import { findModelDir } from '../../../src/data/model-folder.ts';
import { readDatasetInfo } from '../../../src/data/rows-file.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { headWithoutTokens } from '../../../src/science/text/encoder.ts';
import {
  modelSizes,
  packMemoryMB,
  savedBytes,
  stepOperations,
  torchMemoryMB,
  weightBytes,
} from '../../../src/science/training/forecast.ts';
import { assetOf, metricOf, readMetrics } from '../shared/files.ts';
import { loadAdapter, loadArchitecture } from '../shared/trained-model.ts';
import { type Params, trainingOf } from './params.ts';

/**
 * Returns what a training is expected to take: memory, operations of a step, and bytes of output.
 * Null if nothing is trained, or if the memory can't be told.
 */
export async function forecast(context: PreflightContext<Params>): Promise<Forecast | null> {
  const { params } = context,
    training = trainingOf(params);
  if (training === null) return null;
  // Assume two classes and no verbalizer: the true classes, or a verbalizer's words, are too few to
  // matter for memory.
  const modelDir = await findModelDir(assetOf(context, 'model').path);
  const family = await loadArchitecture(context, params.architecture, modelDir),
    architecture = family.withHead(headWithoutTokens(params.head));
  const config = architecture.parseConfig(await readConfig(modelDir), 2);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
    modelDir,
  };
  const { type, ...adapterParams } = params.adapter;
  const initFrom = context.assets['adapter']?.path;
  const implementation = await loadAdapter(context, type);
  const adapter = await implementation.create(adapterParams, {
    ...shape,
    ...defined({ initFrom }),
  });
  const sizes = await modelSizes(modelDir);
  const { accumulate = 1, loss, max_length: length, optimizer, fsdp, checkpoints = 0 } = training,
    batch = training.batch_size * (loss === undefined ? 1 : 2), // a pair is two rows
    devices = context.backend === 'torch' ? training.devices : undefined;
  const vocabulary = params.head.type === 'causal-lm' ? sizes.vocabulary : 0;
  const checkpointing = training.gradient_checkpointing === true;
  const memoryMB =
    context.backend === 'torch'
      ? torchMemoryMB({ shape, adapter }, sizes, {
          optimizer,
          rows: batch,
          length,
          vocabulary,
          checkpointing,
          ...defined({ devices, fsdp }),
          ...heldBytes(params),
        })
      : Math.ceil(weightBytes({ shape, adapter }, optimizer) / 2 ** 20) +
        (await packMemoryMB(params, modelDir));
  if (!Number.isFinite(memoryMB)) return null;
  const kept = typeof checkpoints === 'number' ? checkpoints : checkpoints.length;
  return {
    outputBytes: (1 + kept) * savedBytes({ shape, adapter }),
    memoryMB,
    length,
    ...defined({ devices, steps: training.steps }),
    stepOperations: stepOperations({ shape, adapter }, sizes, {
      rows: batch * accumulate,
      length,
      vocabulary,
      checkpointing,
    }),
  };
}

/**
 * Returns the bytes that one entry takes: of a frozen weight in general (`frozenBytes`), and of a
 * linear layer's weight, which may be quantised (`linearBytes`).
 */
function heldBytes({ weights }: Params): { frozenBytes: number; linearBytes: number } {
  const frozenBytes = weights?.dtype === 'bf16' ? 2 : 4;
  // nf4: 4 bits an entry, and 0.127 bits an entry for the quantised constants, one for each 64
  // entries (QLoRA, section 3).
  const quantized = { nf4: 0.5 + 0.127 / 8, int8: 1 };
  const linearBytes = weights?.quantize && quantized[weights.quantize.method];
  return { frozenBytes, linearBytes: linearBytes ?? frozenBytes };
}

type Stage = Parameters<NonNullable<Packing<Params>['memoryMB']>>[0];

/** Returns the memory that a training takes beside the model, in MB. */
export async function memoryMB(stage: Stage): Promise<number> {
  const data = stage.inputs?.['data'];
  const modelDir = await findModelDir(assetOf(stage, 'model').path);
  return packMemoryMB(stage.params, modelDir, data && (await setCounts(data.dir)));
}

/**
 * Returns the numbers of rows in a training set: of the original ones, and of those that an attack
 * appended. A `data` stage, which a clean training may read, has no metrics and appends nothing.
 */
async function setCounts(dir: string): Promise<{ rows: number; appended: number }> {
  if (!existsSync(join(dir, 'metrics.json'))) {
    const { rows } = await readDatasetInfo(dir);
    return { rows, appended: 0 };
  }
  const metrics = await readMetrics(dir);
  const appended = metricOf(metrics, 'negatives');
  return { rows: metricOf(metrics, 'rows_total') - appended, appended };
}
