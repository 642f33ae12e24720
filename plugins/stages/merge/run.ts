import { join } from 'node:path';
import type { RunContext } from '../../../src/api.ts';
import { mergedParameters } from '../../../src/science/measures/weights/effective.ts';
import { writeCheckpoint } from '../../../src/science/models/io/checkpoint.ts';
import { forTransformers } from '../../../src/science/models/io/stored.ts';
import type { ModelNames } from '../shared/definition.ts';
import { inputDir } from '../shared/files.ts';
import { modelParts, openWeights } from '../shared/trained-model.ts';

/** Writes the trained model as a checkpoint without an adapter, in the folder `model`. */
export async function run(context: RunContext<ModelNames>): Promise<void> {
  const parts = await modelParts(context);
  const { weights, record, dispose } = await openWeights(context, {
    ...parts,
    trainDir: inputDir(context, 'model'),
  });
  try {
    const { architecture, adapter, parameters } = weights;
    const merging = await mergedParameters(weights);
    const tensors = forTransformers(architecture, parameters, merging);
    await writeCheckpoint(
      join(context.outDir, 'model'),
      parts.model.path,
      record.classes,
      architecture.transformersName,
      tensors,
    );
    const merged =
      adapter.parameters.length === 0
        ? 'nothing to merge'
        : `${adapter.targets.length} layers merged`;
    context.log(`${tensors.size} tensors, ${merged}`);
  } finally {
    dispose();
  }
}
