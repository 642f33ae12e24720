/** The trainings that are compared, and the steps at which their models are available. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pointsIn, type RunContext } from '../../../src/api.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import type { ModelWeights } from '../../../src/science/measures/weights/effective.ts';
import {
  type AdaptedModelOptions,
  endStep,
  readTrainRecord,
} from '../../../src/science/training/adapted-model.ts';
import { inputDir } from '../shared/files.ts';
import {
  loadAdapter,
  loadArchitecture,
  type ModelParts,
  openWeights,
} from '../shared/trained-model.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;

async function openTraining(context: Context, trainDir: string, parts: ModelParts) {
  const end = endStep(await readTrainRecord(trainDir));
  const options: AdaptedModelOptions = { ...parts, trainDir };
  return {
    /** The step at which training ended or, with early stopping, that of the best model. */
    end,
    /** The steps at which there is a model, ascending: those that training kept, and its end. */
    steps: [...new Set([...(await keptSteps(trainDir)), end])].sort((a, b) => a - b),
    /** Opens the model at one of these steps, passes it to `use`, and disposes of it afterwards. */
    at: async <T>(step: number, use: (weights: ModelWeights) => Promise<T>): Promise<T> => {
      const asked = step === end ? options : { ...options, at: step };
      const { weights, dispose } = await openWeights(context, asked);
      try {
        return await use(weights);
      } finally {
        dispose();
      }
    },
    options,
  };
}

export type Training = Awaited<ReturnType<typeof openTraining>>;

export interface Trainings {
  /** The last model that the two runs share: step 0 of the first training in which they differ. */
  readonly start: Training;
  readonly poisoned: Training;
  readonly clean: Training;
  /** The clean run repeated with the rows of each batch reversed. Null if it is not repeated. */
  readonly repeated: Training | null;
}

/** Opens the trainings that the stage has as inputs, each with the model that it started from. */
export async function openTrainings(context: Context): Promise<Trainings> {
  const { params, inputs, assets } = context;
  const { base, clean_base: cleanBase = base, start_base: startBase, again } = inputs;
  const { path } = await startingModel({ assets, inputs: {} });
  const architecture = await loadArchitecture(context, params.architecture, path);
  const adapter = await loadAdapter(context, params.adapter);
  /** Returns how to open a model trained from the base `from`; without one, from the checkpoint. */
  const partsFrom = async (from: typeof base): Promise<ModelParts> => ({
    architecture,
    adapter,
    model: await startingModel({ assets, inputs: from === undefined ? {} : { base: from } }),
  });
  const ofPoisoned = await partsFrom(base);
  const ofClean = await partsFrom(cleanBase);
  // With `base_adapter`, the runs differ already in the training of a base: the last model that
  // they share is the one from which that base's training starts.
  const ofStart =
    params.base_adapter === undefined
      ? ofPoisoned
      : {
          ...(await partsFrom(startBase)),
          adapter: await loadAdapter(context, params.base_adapter),
        };
  return {
    start: await openTraining(context, inputDir(context, 'start'), ofStart),
    poisoned: await openTraining(context, inputDir(context, 'model'), ofPoisoned),
    clean: await openTraining(context, inputDir(context, 'clean'), ofClean),
    repeated: again === undefined ? null : await openTraining(context, again.dir, ofClean),
  };
}

/** Returns the steps N of the folders `checkpoints/step-N/` in a train stage's output. */
async function keptSteps(trainDir: string): Promise<number[]> {
  const folder = join(trainDir, 'checkpoints');
  const points = existsSync(folder) ? pointsIn(await readdir(folder)) : [];
  return points.filter((point) => typeof point === 'number');
}
