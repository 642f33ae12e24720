import { join } from 'node:path';
import type { AdapterDescriptor, JsonObject, ModelDescriptor, RunContext } from '../../src/api.ts';
import { defineStage, startInputs } from '../../src/api.ts';
import type { AdapterImplementation } from '../../src/science/nn/adapter.ts';
import type { Architecture } from '../../src/science/nn/types.ts';

interface Params {
  readonly architecture: string;
  readonly adapter: string;
}

async function run(context: RunContext): Promise<void> {
  const [{ startingModel }, { openTrained }, { mergedParameters }, { writeCheckpoint }] =
    await Promise.all([
      import('../../src/data/model-folder.ts'),
      import('../../src/science/nn/adapted-model.ts'),
      import('../../src/science/weights/merge.ts'),
      import('../../src/science/io/checkpoint.ts'),
    ]);
  const params = context.params as unknown as Params;
  const model = await startingModel(context);
  const { network, record } = await openTrained({
    trainDir: context.inputs['model']!.dir,
    model,
    architecture: await context
      .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
      .load(),
    adapter: await context
      .plugin<AdapterDescriptor<AdapterImplementation>>('adapter', params.adapter)
      .load(),
  });
  try {
    const { architecture } = network;
    const tensors = new Map(
      [...(await mergedParameters(network))].map(([name, tensor]) => [
        architecture.externalName(name),
        tensor,
      ]),
    );
    await writeCheckpoint(
      join(context.outDir, 'model'),
      model.path,
      record.classes,
      architecture.transformersName,
      tensors,
    );
    context.log(
      `${tensors.size} tensors, ${network.adapter.parameters.length === 0 ? 'nothing to merge' : `${network.adapter.targets.length} layers merged`}`,
    );
  } finally {
    network.dispose();
  }
}

export default defineStage({
  name: 'merge',
  summary:
    'Writes the trained model as a whole checkpoint that transformers loads, the adapter merged into its weights.',
  compute: true,
  scope: 'cell',
  define([one]) {
    const cell = one!;
    return {
      params: {
        architecture: cell.model.architecture,
        adapter: cell.adapter.type,
      } satisfies Params,
      inputs: { model: { kind: 'train', cell }, ...startInputs(cell) },
      assets: { model: cell.model.source },
      uses: [
        { kind: 'model', name: cell.model.architecture },
        { kind: 'adapter', name: cell.adapter.type },
      ],
    };
  },
  resources: () => ({ cpu: 1 }),
  run,
});
