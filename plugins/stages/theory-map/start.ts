/** Opens the model as it is when the cell's training starts, without LoRA factors. */
import type { RunContext } from '../../../src/api.ts';
import { startingModel } from '../../../src/data/model-folder.ts';
import { mergedParameters } from '../../../src/science/measures/weights/effective.ts';
import { readConfig, readHead } from '../../../src/science/models/head.ts';
import { openNetwork } from '../../../src/science/models/network.ts';
import type { AdaptedModel, HostTensor } from '../../../src/science/models/types.ts';
import { resolveHead } from '../../../src/science/text/encoder.ts';
import { adaptedModel, openTrained } from '../../../src/science/training/adapted-model.ts';
import { loadAdapter, loadArchitecture } from '../shared/trained-model.ts';
import type { Params } from './index.ts';

type Context = RunContext<Params>;
type Checkpoint = Awaited<ReturnType<typeof startingCheckpoint>>;

export const startingCheckpoint = async (context: Context) => ({
  ...(await startingModel(context)),
  init: context.params.init,
});

/** Opens the model. The caller must dispose of it. */
export async function openStart(
  context: Context,
  model: Checkpoint,
  classes: readonly string[],
): Promise<AdaptedModel> {
  const { params, assets } = context;
  const family = await loadArchitecture(context, params.architecture);
  const architecture = family.withHead(await resolveHead(params.head, classes, model.path));
  const config = architecture.parseConfig(await readConfig(model.path), classes.length);
  const full = await loadAdapter(context, 'full');
  const adapter = await full.create(
    {},
    {
      architecture,
      linears: architecture.linears(config),
      parameters: architecture.parameters(config),
    },
  );
  const headFolder = assets['head']?.path;
  const given =
    (await mergedStart(context, model)) ??
    (headFolder === undefined
      ? null
      : await readHead(headFolder, { architecture, config, classes: classes.length }));
  const network = await openNetwork({
    architecture,
    model,
    adapter,
    classes: classes.length,
    seed: params.seed,
    evaluation: true,
    ...(given === null ? {} : { head: given }),
  });
  return adaptedModel(network);
}

/**
 * Returns the parameters that an adapter's folder changes in the checkpoint, by canonical name: the
 * head, the biases, and the weights with s·B·A merged into them. Null if training starts from the
 * checkpoint itself.
 */
async function mergedStart(
  context: Context,
  model: Checkpoint,
): Promise<ReadonlyMap<string, HostTensor> | null> {
  const start = context.inputs['start'];
  const { architecture, adapter } = context.params;
  if (start === undefined || adapter === undefined) return null;
  const { network } = await openTrained({
    trainDir: start.dir,
    model,
    architecture: await loadArchitecture(context, architecture),
    adapter: await loadAdapter(context, adapter),
  });
  try {
    return await mergedParameters(network);
  } finally {
    network.dispose();
  }
}
