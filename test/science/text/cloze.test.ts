import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import {
  clozeEncoder,
  parseTemplate,
  templateLength,
  verbalizerMismatch,
  verbalizerTokens,
} from '../../../src/science/text/cloze.ts';
import { resolveHead, rowEncoder, rowParts } from '../../../src/science/text/encoder.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { mlm, mlmCheckpoint, mlmClasses } from '../tiny-mlm.ts';
import { tinyTokenizer } from './golden-tokenizers.ts';

const tokenizer = await openTokenizer(mlmCheckpoint);
const words = (ids: Int32Array): string => {
  const names = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];
  return [...ids]
    .map(
      (id) =>
        names[id] ??
        ['it', 'was', 'the', 'film', 'plot', 'good', 'bad', 'very', 'not', '.', '?', ',', '!'].find(
          (word) => tokenizer.id(word) === id,
        ) ??
        `#${id}`,
    )
    .join(' ');
};
const fault = (run: () => unknown, message: RegExp): void =>
  assert.throws(
    run,
    (error: unknown) => error instanceof UserFault && message.test(error.message),
    String(message),
  );

test('a filled template has the tokens and the mask of the whole string in transformers', () => {
  const single = clozeEncoder(mlm.template, tokenizer),
    double = clozeEncoder(mlm.pair_template, tokenizer);
  for (const { text, pair, ids, mask } of mlm.rows) {
    const row = pair === null ? single(text, undefined, 53) : double(text, pair, 53);
    assert.equal([...row.ids], ids, text);
    assert.is(row.mask, mask);
    assert.ok(row.typeIds.every((type) => type === 0) && row.typeIds.length === ids.length);
  }
});

test('truncation cuts the texts, longest first, and never the template', () => {
  const encode = clozeEncoder('{text} It was {mask} .', tokenizer);
  assert.is(templateLength('{text} It was {mask} .', tokenizer), 6);
  const long = 'the film the film the film the film the film';
  assert.is(words(encode(long, undefined, 9).ids), '[CLS] the film the it was [MASK] . [SEP]');
  assert.is(encode(long, undefined, 9).mask, 6);
  assert.is(words(encode(long, undefined, 6).ids), '[CLS] it was [MASK] . [SEP]');
  fault(() => encode(long, undefined, 5), /takes 6 tokens by itself, and 5 are allowed/);
  const both = clozeEncoder('{mask}, {text}? {text_pair}', tokenizer);
  assert.is(
    words(both('the film was very good', 'not bad', 10).ids),
    '[CLS] [MASK] , the film was ? not bad [SEP]',
  );
  assert.is(both('the film', 'not bad', 53).mask, 1);
});

test('a text that contains [MASK] does not change the position that is read', () => {
  const row = clozeEncoder('{text} It was {mask} .', tokenizer)('the [MASK] film', undefined, 53);
  assert.is(words(row.ids), '[CLS] the [MASK] film it was [MASK] . [SEP]');
  assert.is(row.mask, 6);
});

test('a template that cannot be read is refused', () => {
  assert.equal(parseTemplate('{text} {mask}'), [
    { slot: 'text' },
    { literal: ' ' },
    { slot: 'mask' },
  ]);
  fault(() => parseTemplate('{text} It was great'), /has no \{mask\}/);
  fault(() => parseTemplate('It was {mask}'), /has no \{text\}/);
  fault(() => parseTemplate('{text} {mask} {mask}'), /has \{mask\} 2 times/);
  fault(() => parseTemplate('{text} {mask} {label}'), /unknown slot \{label\}/);
});

test('pairs need a template for pairs, and single texts one without', () => {
  fault(
    () => clozeEncoder('{text} {mask}', tokenizer)('a', 'b', 53),
    /the rows are pairs, but the template .* has no \{text_pair\}/,
  );
  fault(
    () => clozeEncoder('{text} {mask} {text_pair}', tokenizer)('a', undefined, 53),
    /has \{text_pair\}, but the rows are single texts/,
  );
});

test('each word of a verbalizer must be one known token that no other class has', () => {
  const { tokens, problems } = verbalizerTokens(
    { a: 'Good', b: 'terrible', c: 'é!', d: 'good', e: '中' },
    tokenizer,
  );
  assert.equal([...tokens], [['a', mlm.tokens[2]]]);
  assert.equal(
    problems.map(({ path, message }) => `${path.join('.')}: ${message}`),
    [
      'head.verbalizer.b: the verbalizer\'s word "terrible" is 7 tokens (t ##er ##r ##i ##b ' +
        '##l ##e); it must be one token',
      'head.verbalizer.c: the verbalizer\'s word "é!" is 2 tokens (e !); it must be one token',
      'head.verbalizer.d: the words of classes "a" and "d" are the same token, "good"',
      'head.verbalizer.e: the verbalizer\'s word "中" is not in the vocabulary',
    ],
  );
});

test('a verbalizer must name the classes, and the head has their order', async () => {
  assert.is(verbalizerMismatch({ b: 'x', a: 'y' }, ['a', 'b']), null);
  assert.is(
    verbalizerMismatch({ a: 'x', d: 'z' }, ['a', 'b', 'c'])?.message,
    'the verbalizer has no word for "b", "c"; it names "d", which is not a class of the data',
  );
  const settings = { type: 'cloze', template: mlm.template, verbalizer: mlm.verbalizer } as const;
  assert.equal(await resolveHead(settings, mlmClasses, mlmCheckpoint), {
    type: 'cloze',
    tokens: mlm.tokens,
  });
  assert.equal(await resolveHead(settings, [...mlmClasses].reverse(), mlmCheckpoint), {
    type: 'cloze',
    tokens: [...mlm.tokens].reverse(),
  });
  let error: unknown = null;
  try {
    await resolveHead(settings, ['pos', 'neg'], mlmCheckpoint);
  } catch (thrown) {
    error = thrown;
  }
  assert.instance(error, UserFault);
  assert.match((error as UserFault).message, 'it names "neutral", which is not a class');
});

test('where tokens hold the space before a word, the filled template is tokenised whole', () => {
  for (const name of ['roberta', 'bart-prefix', 'modernbert', 'xlm-roberta', 'deberta-v2']) {
    const family = tinyTokenizer(name),
      mask = family.mask ?? '';
    const encode = clozeEncoder('Read: {text}It was {mask} .', family);
    for (const text of ['the film ', `a ${mask} scene, `, ' two  spaces', '']) {
      const row = encode(text, undefined, 200);
      const filled = family.encode(`Read: ${text}It was ${mask} .`, undefined, 200);
      assert.equal([...row.ids], [...filled.ids], `${name}: ${text}`);
      assert.is(row.mask, filled.ids.lastIndexOf(family.id(mask)));
    }
    const pair = clozeEncoder('{text}? {mask}, {text_pair}', family)('the film', 'it was', 200);
    const filled = family.encode(`the film? ${mask}, it was`, undefined, 200);
    assert.equal([...pair.ids], [...filled.ids]);
  }
});

test('in a template that is tokenised whole only the texts are cut', () => {
  const roberta = tinyTokenizer('roberta');
  const encode = clozeEncoder('Read: {text} It was {mask} .', roberta);
  const text = 'the film was good and the plot was bad';
  const full = encode(text, undefined, 200),
    cut = encode(text, undefined, full.ids.length - 3);
  assert.is(cut.ids.length, full.ids.length - 3);
  assert.is(roberta.decode(cut.ids), '<s>Read: the film was good and the It was<mask> .</s>');
  assert.is(cut.ids[cut.mask ?? -1], roberta.id('<mask>'));
  const [part] = rowParts(roberta, {
    type: 'cloze',
    template: 'Read: {text} It was {mask} .',
    verbalizer: {},
  })({ text }, full.ids.length - 3);
  assert.is(part?.ids.length, (part?.kept ?? 0) + 3);
  fault(() => encode(text, undefined, 5), /tokens by itself, and 5 are allowed/);
});

test('a word of a verbalizer is the token that it has at the mask', () => {
  const roberta = tinyTokenizer('roberta');
  const words = { a: 'good', b: 'bad' };
  const spaced = verbalizerTokens(words, roberta, '{text} It was {mask}').tokens;
  assert.equal([...spaced.values()], [roberta.id('Ġgood'), roberta.id('Ġbad')]);
  const glued = verbalizerTokens({ a: 'good' }, roberta, '{mask}: {text}').problems;
  assert.match(String(glued[0]?.message), /word "good" is \d tokens/);
});

test('rows for a classifier have no mask', () => {
  assert.equal(
    rowEncoder(tokenizer, { type: 'classifier' })({ text: 'the film', text_pair: 'was good' }, 53),
    tokenizer.encode('the film', 'was good', 53),
  );
});

test.run();
