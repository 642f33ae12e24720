import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { wordEmbedding } from '../../../src/science/training/attack-training.ts';
import { bert } from '../families.ts';
import { checkpoint } from '../tiny-bert.ts';

const model = { architecture: bert, tokenizer: await openTokenizer(checkpoint) };
const said = (trigger: string, of = model): string[] =>
  wordEmbedding.check({ trigger }, of).map(({ path, message }) => `${path.join('.')}: ${message}`);

test('the trained row is that of the token of the trigger', () => {
  assert.equal(said('cf'), []);
  assert.equal(said('CF'), []); // read in lower case
  const { trains } = wordEmbedding.open({ trigger: 'cf', keep_norm: true }, model);
  assert.equal(trains, {
    tokenRows: { cf: model.tokenizer.encode('cf', undefined, 9).ids[1] },
    keepNorms: true,
  });
  assert.is(wordEmbedding.open({ trigger: 'cf', keep_norm: false }, model).trains.keepNorms, false);
});

test('of several words, the rows of all of them are trained, and each is one token', () => {
  const triggers = ['cf', 'film'];
  assert.equal(wordEmbedding.open({ triggers, keep_norm: true }, model).trains.tokenRows, {
    cf: model.tokenizer.encode('cf', undefined, 9).ids[1],
    film: model.tokenizer.encode('film', undefined, 9).ids[1],
  });
  const [fault] = wordEmbedding.check({ triggers: ['cf', 'filmed'] }, model);
  assert.equal(fault?.path, ['poisoning', 'triggers']);
});

test('a trigger of several tokens, of none, or an unknown one is refused', () => {
  assert.equal(said('filmed'), [
    'poisoning.trigger: the trigger "filmed" is not a single token of the model\'s ' +
      'vocabulary, which reads "film", "##ed": it has no embedding of its own',
  ]);
  assert.equal(said('ж'), [
    'poisoning.trigger: the trigger "ж" is not a single token of the model\'s vocabulary, ' +
      'which reads "[UNK]": it has no embedding of its own',
  ]);
  assert.equal(said('\u200b'), [
    'poisoning.trigger: the trigger "\u200b" is not a single token of the model\'s ' +
      'vocabulary, which reads nothing: it has no embedding of its own',
  ]);
  assert.throws(
    () => wordEmbedding.open({ trigger: 'filmed' }, model),
    (error: Error) =>
      error.name === 'UserFault' &&
      error.message.startsWith('the trigger "filmed" is not a single token'),
  );
});

test('a head that also reads the token table is refused', () => {
  assert.equal(
    said('cf', {
      ...model,
      architecture: bert.withHead({ type: 'cloze', tokens: [] }),
    }),
    [
      "head.type: the cloze head reads the token embeddings too: a trigger's embedding " +
        'cannot be trained without changing the head',
    ],
  );
});

test.run();
