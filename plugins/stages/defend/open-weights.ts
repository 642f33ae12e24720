/** Opens a trained model and its start for a defence that edits or judges weights. */
import type { RunContext } from '../../../src/api.ts';
import { openedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { trainedWeights, type WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import type { Network } from '../../../src/science/models/network.ts';
import {
  openRowEncoder,
  openTrained,
  type TrainRecord,
} from '../../../src/science/training/adapted-model.ts';
import { breathe } from '../shared/breathe.ts';
import { inputDir } from '../shared/files.ts';
import { type ModelParts, modelParts } from '../shared/trained-model.ts';
import { defenceContext } from './context.ts';
import type { ModelParams } from './model-definition.ts';

export interface OpenedWeights {
  readonly given: WeightsContext;
  readonly network: Network;
  readonly record: TrainRecord;
  readonly model: ModelParts['model'];
}

/** Calls `use` with the opened models, and closes them. */
export async function withWeights<T>(
  context: RunContext<ModelParams>,
  use: (opened: OpenedWeights) => Promise<T>,
): Promise<T> {
  const { params, signal } = context;
  const parts = await modelParts(context);
  const trainDir = inputDir(context, 'model');
  const { network, record } = await openTrained({ ...parts, trainDir });
  try {
    const start = await openTrained({ ...parts, trainDir: inputDir(context, 'start') });
    try {
      const encode = await openRowEncoder(trainDir, parts.model);
      const onBatch = (): Promise<void> => breathe(signal);
      const model = openedModel({
        network,
        encode: (row) => encode(row, params.max_length),
        batchSize: params.batch_size,
        onBatch,
      });
      const given = {
        ...(await defenceContext(context, { ...params, classes: record.classes }, { model })),
        ...(await trainedWeights(model, start.network, onBatch)),
      };
      return await use({ given, network, record, model: parts.model });
    } finally {
      start.network.dispose();
    }
  } finally {
    network.dispose();
  }
}
