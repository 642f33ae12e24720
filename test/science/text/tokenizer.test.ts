import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserFault } from '../../../src/api.ts';
import {
  checkVocabulary,
  longestFirst,
  makeTokenizer,
  openTokenizer,
} from '../../../src/science/text/tokenizer.ts';

const golden = fileURLToPath(new URL('../../golden/tiny-bert/', import.meta.url));

interface Tokens {
  readonly strings: readonly { text: string; ids: number[] }[];
  readonly cut: readonly {
    text: string;
    pair: string | null;
    length: number;
    ids: number[];
    types: number[];
  }[];
}
const tokens = JSON.parse(await readFile(`${golden}tokens.json`, 'utf8')) as Tokens;

test("tokens are those of Python's tokenizers, without padding and truncation", async () => {
  const tokenizer = await openTokenizer(`${golden}checkpoint`);
  for (const { text, ids } of tokens.strings)
    assert.equal([...tokenizer.encode(text, undefined, 1000).ids], ids, JSON.stringify(text));
  assert.is(tokenizer.vocabularySize, 101);
});

test('texts and pairs are cut longest-first and have type ids', async () => {
  const tokenizer = await openTokenizer(`${golden}checkpoint`);
  for (const { text, pair, length, ids, types } of tokens.cut) {
    const row = tokenizer.encode(text, pair ?? undefined, length);
    assert.equal(
      [[...row.ids], [...row.typeIds]],
      [ids, types],
      `${JSON.stringify([text, pair])} at ${length}`,
    );
    assert.ok(row.ids.length <= length);
  }
});

test('longest-first cuts the longer part first, then both', () => {
  assert.equal(longestFirst(4, 5, 9), [4, 5]);
  assert.equal(longestFirst(3, 9, 7), [3, 4]); // the longer alone
  assert.equal(longestFirst(9, 3, 7), [4, 3]);
  assert.equal(longestFirst(6, 9, 7), [3, 4]); // both: the odd one to the longer
  assert.equal(longestFirst(9, 6, 7), [4, 3]);
});

test('a tokenizer of another model is refused', async () => {
  const tokenizer = await openTokenizer(`${golden}checkpoint`);
  checkVocabulary(tokenizer, 101, 'd');
  assert.throws(
    () => checkVocabulary(tokenizer, 97, 'd'),
    (e: unknown) => e instanceof UserFault && /ids up to 100.*vocab_size is 97/.test(e.message),
  );
});

test('a file that is not a tokenizer is refused by name', () => {
  assert.throws(
    () => makeTokenizer({ hello: 1 }, {}, 'x/tokenizer.json'),
    (e: unknown) => e instanceof UserFault && e.message.startsWith('x/tokenizer.json'),
  );
  assert.throws(
    () =>
      makeTokenizer(
        {
          model: { type: 'Nonsense' },
          decoder: null,
          post_processor: null,
          pre_tokenizer: null,
          normalizer: null,
          added_tokens: [],
        },
        {},
        'y',
      ),
    (e: unknown) => e instanceof UserFault,
  );
});

test.run();
