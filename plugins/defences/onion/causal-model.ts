/** Opens the causal language model that a spec gives ONION. */
import { type DefenceContext, type ModelDescriptor, UserFault } from '../../../src/api.ts';
import { modelOf } from '../../../src/data/model-folder.ts';
import { full } from '../../../src/science/models/full.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { openNetwork } from '../../../src/science/models/network.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { breathe } from '../../stages/shared/breathe.ts';
import { causalLanguageModel } from './causal-perplexity.ts';
import type { OnionModel } from './judge.ts';
import type { Params } from './params.ts';

/** The number of texts in one forward pass. */
const BATCH = 16;

/**
 * Opens the language model, which the caller closes. It was not trained on the clean rows, so it
 * judges them like any other rows.
 */
export async function openCausalModel(context: DefenceContext<Params>): Promise<OnionModel> {
  const { params, assets, signal } = context;
  const asset = assets['language_model'];
  if (asset === undefined) throw new Error('the assets of onion lack its language model');
  const model = await modelOf(asset);
  const family = await context
    .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
    .load();
  const architecture = family.withHead({ type: 'causal-lm' });
  const config = architecture.parseConfig(await readConfig(model.path), 0);
  const shape = {
    architecture,
    linears: architecture.linears(config),
    parameters: architecture.parameters(config),
  };
  const network = await openNetwork({
    architecture,
    adapter: await full.create({}, shape),
    model: { ...model, init: 'pretrained' },
    classes: 0,
    seed: 0,
    evaluation: true,
  });
  try {
    if (network.drawn.length > 0)
      throw new UserFault(
        `${asset.uri} lacks ${network.drawn[0] ?? ''}: it is not a whole causal language model`,
        'Give the checkpoint of a causal language model, such as hf:openai-community/gpt2.',
        ['defence', 'language_model'],
      );
    const judge = causalLanguageModel(network, await openTokenizer(model.path), {
      batchSize: BATCH,
      maxLength: params.max_length,
      breathe: () => breathe(signal),
    });
    return {
      model: judge,
      ofClean: () => judge,
      record: { language_model: asset.uri, language_model_digest: asset.digest },
      close: () => network.dispose(),
    };
  } catch (error) {
    network.dispose();
    throw error;
  }
}
