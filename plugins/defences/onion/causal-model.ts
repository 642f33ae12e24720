/** Opens the causal language model that a spec gives ONION. */
import {
  type BackendName,
  type DefenceContext,
  type ModelDescriptor,
  UserFault,
} from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import { locateModel } from '../../../src/data/model-folder.ts';
import { evaluated, type EvaluatedModel } from '../../../src/science/measures/evaluate/predict.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { type NetworkOptions, openNetwork } from '../../../src/science/models/network.ts';
import type { Architecture, TokenRow } from '../../../src/science/models/types.ts';
import { openTokenizer, type TextTokenizer } from '../../../src/science/text/tokenizer.ts';
import { openTorchModel, readTorchStart } from '../../../src/science/torch/model.ts';
import { yieldToEventLoop } from '../../stages/shared/event-loop.ts';
import type { Params } from './index.ts';
import type { OnionModel } from './judge.ts';
import type { LanguageModel } from './kneser-ney.ts';

/** The number of texts in one forward pass. */
const BATCH_SIZE = 16;

/** Opens the model on the backend. `drawn` are the parameters that the checkpoint lacks. */
async function openOnBackend(backend: BackendName, options: NetworkOptions) {
  if (backend === 'torch') {
    const start = await readTorchStart(options);
    return { drawn: start.drawn, model: await openTorchModel(start) };
  }
  const network = await openNetwork(options);
  const model = { ...evaluated(network), dispose: () => network.dispose() };
  return { drawn: network.drawn, model };
}

/**
 * Opens the language model, which the caller closes. It judges the clean rows too (`ofClean`),
 * because it was not trained on them. Throws `UserFault` if the checkpoint lacks one of the model's
 * parameters.
 */
export async function openCausalModel(context: DefenceContext<Params>): Promise<OnionModel> {
  const { backend, params, assets, signal } = context;
  const asset = assets['language_model'];
  if (asset === undefined) throw new Error('the assets of onion lack its language model');
  const model = await locateModel(asset);
  const family = await context
    .plugin<ModelDescriptor<Architecture>>('model', params.architecture)
    .load(model.path);
  const architecture = family.withHead({ type: 'causal-lm' });
  const config = architecture.parseConfig(await readConfig(model.path), 0);
  const linears = architecture.linears(config),
    parameters = architecture.parameters(config);
  const { drawn, model: opened } = await openOnBackend(backend, {
    architecture,
    adapter: await full.create({}, { architecture, linears, parameters }),
    model: { ...model, init: 'pretrained' },
    classes: 0,
    seed: 0,
    evaluation: true,
  });
  try {
    if (drawn.length > 0)
      throw new UserFault(
        `${asset.uri} lacks ${drawn[0] ?? ''}: it is not a whole causal language model`,
        'Give the checkpoint of a causal language model, such as hf:openai-community/gpt2.',
        ['defence', 'language_model'],
      );
    const languageModel = causalLanguageModel(
      opened,
      await openTokenizer(model.path),
      params.max_length,
      () => yieldToEventLoop(signal),
    );
    return {
      model: languageModel,
      ofClean: () => languageModel,
      record: { language_model: asset.uri, language_model_digest: asset.digest },
      close: () => opened.dispose(),
    };
  } catch (error) {
    opened.dispose();
    throw error;
  }
}

/**
 * Returns a language model of texts, which are words joined by spaces. The perplexity of a text is
 * exp(−Σ log p / n) over n tokens: all but the first, which nothing predicts. The first is the
 * token that begins a sequence or, if the tokenizer has none, the text's own first token (as in
 * OpenBackdoor). The perplexity is Infinity where n is 0.
 * @param model with a causal-LM head; the caller disposes of it
 * @param maxLength a text is cut to this many tokens, special ones included
 * @param onBatch called after each forward pass, and awaited
 */
export function causalLanguageModel(
  model: EvaluatedModel,
  tokenizer: Pick<TextTokenizer, 'encode'>,
  maxLength: number,
  onBatch?: () => Promise<void>,
): LanguageModel {
  /**
   * Returns the perplexity of each text, in order; Infinity for a text of fewer than two tokens.
   */
  const perplexities = async (texts: readonly string[]): Promise<number[]> => {
    const out = texts.map(() => Infinity);
    const asked: { readonly text: number; readonly row: TokenRow }[] = [];
    texts.forEach((text, i) => {
      const row = tokenizer.encode(text, undefined, maxLength);
      // `answer: 1` scores all tokens from index 1 on.
      if (row.ids.length > 1) asked.push({ text: i, row: { ...row, answer: 1 } });
    });
    const scores = await model.answers(
      asked.map(({ row }) => row),
      BATCH_SIZE,
      onBatch,
    );
    asked.forEach(({ text }, i) => {
      const { loss, tokens } = at(scores, i);
      out[text] = Math.exp(loss / tokens);
    });
    return out;
  };
  return {
    leaveOneOut: async (words) => {
      const without = words.map((_, i) => words.toSpliced(i, 1).join(' '));
      const [whole = Infinity, ...rest] = await perplexities([words.join(' '), ...without]);
      return { whole, without: rest };
    },
  };
}
