/** A malformed or hostile tokenizer.json is refused before it is used. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import { makeTokenizer } from '../../../src/science/text/tokenizer.ts';

const test = suite('tokenizer bounds');

interface Parts {
  model: { [field: string]: unknown };
  added_tokens: unknown;
  [part: string]: unknown;
}
const whole = (): Parts =>
  JSON.parse(
    readFileSync(
      new URL('../../golden/tiny-bert/checkpoint/tokenizer.json', import.meta.url),
      'utf8',
    ),
  ) as Parts;
const open = (change: (parts: Parts) => void): ReturnType<typeof makeTokenizer> => {
  const parts = whole();
  change(parts);
  return makeTokenizer(parts, {}, 'tokenizer.json');
};
const refused = (change: (parts: Parts) => void, why: RegExp): void => {
  assert.throws(
    () => open(change).encode(`${'a'.repeat(40)}!`, undefined, 8),
    (error: unknown) => error instanceof UserFault && why.test(error.message),
    String(why),
  );
};

test('a valid tokenizer is accepted', () => {
  open(() => undefined);
});

test('ids must be whole numbers within bounds, each of one token', () => {
  const withId =
    (id: unknown) =>
    ({ model }: Parts): void => {
      model['vocab'] = { ...(model['vocab'] as object), extra: id };
    };
  for (const id of [-1, 1.5, 1e9, 2 ** 53, '7', null])
    refused(withId(id), /token "extra" has the id/);
  refused(withId(5), /and "extra" have the same id 5/);
  // A gap between ids only wastes rows. checkVocabulary reports ids beyond the table of a
  // checkpoint.
  assert.is(open(withId(5000)).vocabularySize, 5001);
  for (const id of [-1, 1e9, undefined])
    refused(
      (parts) => (parts.added_tokens = [{ content: '[X]', id }]),
      /the added token "\[X\]" has the id/,
    );
  refused((parts) => (parts.added_tokens = [{ content: '', id: 1 }]), /has no content/);
});

test('each part must have the form that the library expects', () => {
  for (const vocab of [null, [], {}, 7, [['a']], [['a', 'b']]])
    refused(({ model }) => (model['vocab'] = vocab), /vocab/);
  refused((parts) => (parts.model = null as never), /has no model/);
  refused((parts) => (parts['normalizer'] = 7), /its normalizer is 7, which has no type/);
  refused(({ model }) => (model['merges'] = [7]), /merge 0 is 7/);
  refused(
    ({ model }) => (model['max_input_chars_per_word'] = 1e9),
    /max_input_chars_per_word is 1000000000/,
  );
  refused(
    (parts) =>
      (parts['pre_tokenizer'] = { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' }),
    /is not a tokenizer that can be read/,
  );
  refused(
    (parts) => (parts['pre_tokenizer'] = { type: 'Split', pattern: { Regex: 'x'.repeat(10_001) } }),
    /10001 characters/,
  );
});

test('an expression that takes too long on a text is stopped', () => {
  refused((parts) => {
    parts['pre_tokenizer'] = {
      type: 'Split',
      pattern: { Regex: '^(a+)+$' },
      behavior: 'Isolated',
      invert: false,
    };
  }, /takes more than 10 s for one text/);
});

test.run();
