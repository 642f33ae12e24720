/**
 * Trains the embeddings of trigger words alone, and scales each to its initial norm after each
 * update: of one word (Yang et al. 2021, Be Careful about Poisoned Word Embeddings, NAACL;
 * Algorithm 1), or of several (Yang et al. 2021, Rethinking Stealthiness of Backdoor Attack against
 * NLP Models, ACL; section 4.2).
 */
import { type JsonObject, type Problem, UserFault } from '../../api.ts';
import { at } from '../../base/lookup.ts';
import type { AttackTraining, TokenRows, TrainedModel } from './attack-training.ts';

/** Returns the words that the parameter `trigger`, or the list `triggers`, names. */
function wordsOf({ trigger, triggers }: JsonObject): readonly string[] {
  return triggers === undefined ? [trigger as string] : (triggers as readonly string[]);
}

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
  return wordsOf(params).flatMap((trigger): Problem[] => {
    const tokens = tokenizer.tokens(trigger);
    if (tokens.length === 1 && tokens[0] !== tokenizer.unknown) return [];
    const read = tokens.length === 0 ? 'nothing' : tokens.map((token) => `"${token}"`).join(', ');
    return [
      {
        path: ['poisoning', params['triggers'] === undefined ? 'trigger' : 'triggers'],
        message:
          `the trigger "${trigger}" is not a single token of the model's vocabulary, ` +
          `which reads ${read}: it has no embedding of its own`,
        hint: 'Choose a word that is one token, such as cf, mn or tq for a BERT.',
      },
    ];
  });
}

export const wordEmbedding: AttackTraining<{ readonly trains: TokenRows }> = {
  check: faults,
  open: (params, model) => {
    const [fault] = faults(params, model);
    if (fault !== undefined) throw new UserFault(fault.message, fault.hint);
    const { tokenizer } = model;
    const tokenRows = wordsOf(params).map(
      (word) => [word, tokenizer.id(at(tokenizer.tokens(word), 0))] as const,
    );
    return {
      trains: {
        tokenRows: Object.fromEntries(tokenRows),
        keepNorms: params['keep_norm'] === true,
      },
    };
  },
};
