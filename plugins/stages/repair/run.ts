import type { RunContext } from '../../../src/api.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import { callReadOnly } from '../../../src/poisoning/read-only.ts';
import {
  type ModelEdit,
  saveWhole,
  type TrainedWeights,
  withChanges,
} from '../../../src/science/measures/weights/edit.ts';
import { quantizerRelease } from '../../../src/science/torch/model.ts';
import { defenceDescriptor, withWeights } from '../defend/context.ts';
import type { ModelParams } from '../shared/defended.ts';
import { writeJson, writeMetrics } from '../shared/files.ts';

/**
 * Writes the edited model in the same files as a train stage writes a model whose weights were all
 * trained.
 */
export async function run(context: RunContext<ModelParams>): Promise<void> {
  const { params, outDir, log } = context;
  const { defence, weights: form } = params;
  const { path: modelDir } = await startingModel(context);
  await withWeights(context, async (given, weights, record) => {
    const implementation = (await defenceDescriptor(context, defence).model?.edit?.load()) as
      ModelEdit | undefined;
    if (implementation === undefined && form === undefined)
      throw new Error(`the defence "${defence.defence}" edits no model`);
    const edited = implementation
      ? await callReadOnly(defence.defence, () => implementation.edit(given), 'defence')
      : { changed: new Map<string, never>() };
    const tensors = withChanges(given.after, edited);
    await saveWhole(weights, tensors, { outDir, modelDir, classes: record.classes });
    await writeJson(outDir, 'train.json', {
      ...record,
      adapter: { type: 'full' },
      defence,
      ...(form && { weights: form, bitsandbytes: await quantizerRelease() }),
    });
    await writeJson(outDir, 'defence.json', {
      format: 1,
      defence: defence.defence,
      acts: 'model',
      params: given.params,
      seed: params.seed,
      fitted_on: { clean_rows: given.clean.length },
      ...edited.record,
      changed: [...edited.changed.keys()],
    });
    const counts = countChanges(given.after, tensors);
    await writeMetrics(outDir, counts);
    const { size } = edited.changed;
    log(`${defence.defence}: ${counts.edited_weights} weights of ${size} parameters changed`);
  });
}

/** Counts the parameters, and the single weights in them, that differ between the two models. */
function countChanges(trained: TrainedWeights['after'], edited: TrainedWeights['after']) {
  const counts = { edited_parameters: 0, edited_weights: 0 };
  for (const [name, { data }] of edited) {
    const before = trained.get(name)?.data;
    if (before === undefined || before === data) continue;
    let changed = 0; // without a list of the values, which would take the memory of ten tensors
    for (let i = 0; i < data.length; i++) if (data[i] !== before[i]) changed++;
    counts.edited_weights += changed;
    if (changed > 0) counts.edited_parameters++;
  }
  return counts;
}
