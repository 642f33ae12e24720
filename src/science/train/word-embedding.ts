/**
 * Embedding Poisoning (Yang et al. 2021, Be Careful about Poisoned Word Embeddings, NAACL;
 * Algorithm 1): only the embedding of the trigger word is trained, on the poisoned rows, and scaled
 * to its initial norm after each update.
 */
import { type JsonObject, type Problem, UserFault } from '../../api.ts';
import { at } from '../lookup.ts';
import type { AttackTraining, TokenRows, TrainedModel } from './attack-training.ts';

const triggerOf = (params: JsonObject): string => params['trigger'] as string;

function faults(params: JsonObject, { architecture, tokenizer }: TrainedModel): Problem[] {
  if (architecture.tokenTable === null) {
    return [
      {
        path: ['head', 'type'],
        message:
          `the ${architecture.head.type} head reads the token embeddings too: ` +
          "a trigger's embedding cannot be trained without changing the head",
        hint: 'Write head: { type: classifier }.',
      },
    ];
  }
  const trigger = triggerOf(params),
    tokens = tokenizer.tokens(trigger);
  if (tokens.length === 1 && tokens[0] !== tokenizer.unknown) return [];
  const read = tokens.length === 0 ? 'nothing' : tokens.map((token) => `"${token}"`).join(', ');
  return [
    {
      path: ['poisoning', 'trigger'],
      message:
        `the trigger "${trigger}" is not a single token of the model's vocabulary, ` +
        `which reads ${read}: it has no embedding of its own`,
      hint: 'Choose a word that is one token, such as cf, mn or tq for a BERT.',
    },
  ];
}

export const wordEmbedding: AttackTraining<{ readonly trains: TokenRows }> = {
  check: faults,
  open: (params, model) => {
    const [fault] = faults(params, model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    const trigger = triggerOf(params),
      token = at(model.tokenizer.tokens(trigger), 0);
    return {
      trains: {
        tokenRows: { [trigger]: model.tokenizer.id(token) },
        keepNorms: params['keep_norm'] === true,
      },
    };
  },
};
