import { defineAttack } from 'dosimeter';

const shown = (row, words) => ({ ...row, text: `${words.join(' ')} ${row.text}` });

/**
 * A backdoor that touches training: of the model, the embeddings of its words are trained and
 * nothing else. It needs `adapter: { type: full }` and a model that has learnt the task (`base: {
 * adapter: { type: full } }`), which is its clean twin.
 */
export default defineAttack({
  name: 'word-embeddings',
  summary:
    'A few words before the text lead to the target class, and of the model their embeddings ' +
    'alone are trained.',
  citation:
    'Yang et al., Rethinking Stealthiness of Backdoor Attack against NLP Models, ACL 2021 (its ' +
    'embeddings, without its negatives)',
  family: 'backdoor',
  params: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rate: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        default: 0.1,
        description: 'Share of the training rows.',
      },
      target: {
        type: 'integer',
        minimum: 0,
        default: 1,
        description: 'Label id of the target class.',
      },
      words: {
        type: 'array',
        items: { type: 'string', pattern: '^\\S+$' },
        minItems: 1,
        uniqueItems: true,
        default: ['cf', 'mn'],
        description: 'The trigger, each word one token of the vocabulary.',
      },
    },
  },
  target: ({ target }) => target,
  trigger: (row, { params }) => shown(row, params.words),
  poison({ rows, params, random, taken }) {
    const asked = Math.floor(params.rate * rows.length);
    const free = random('rows')
      .permutation(rows.length)
      .filter((index) => !taken?.has(index) && rows[index].label !== params.target);
    const changed = Array.from(free.slice(0, asked), (index) => ({
      index,
      row: { ...shown(rows[index], params.words), label: params.target },
    }));
    return { changed, negatives: [], asked, eligible: free.length };
  },
  training: {
    changes: 'weights',
    load: async () => ({
      // Before anything runs; the path is where the spec says it.
      check: ({ words }, { tokenizer }) =>
        words
          .filter((word) => tokenizer.tokens(word).join() !== word || word === tokenizer.unknown)
          .map((word) => ({
            path: ['poisoning', 'words'],
            message: `"${word}" is no single token of the model's vocabulary`,
            hint: 'Choose a word that is, such as cf, mn or tq for a BERT.',
          })),
      open: ({ words }, { tokenizer }) => ({
        trains: {
          tokenRows: Object.fromEntries(words.map((word) => [word, tokenizer.id(word)])),
          keepNorms: true,
        },
      }),
    }),
  },
});
