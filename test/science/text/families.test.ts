/**
 * Each family's tokenizer has the ids and texts that transformers has: golden files of
 * test/golden/tiny_tokenizers.py.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { present } from '../../rig/present.ts';
import { golden, tinyTokenizer } from './golden-tokenizers.ts';

const test = suite('tokenizers of the families');

for (const [name, answers] of Object.entries(golden.tokenizers)) {
  const tokenizer = tinyTokenizer(name);
  test(`${name}: ids`, () => {
    for (const [i, text] of golden.texts.entries())
      assert.equal(
        [...tokenizer.encode(text, undefined, 10_000).ids],
        answers.ids[i],
        JSON.stringify(text),
      );
  });
  test(`${name}: decoded texts`, () => {
    for (const [i, ids] of answers.ids.entries()) {
      assert.is(tokenizer.decode(ids), answers.decoded[i]);
      assert.is(tokenizer.decode(ids, { skipSpecial: true }), answers.skipped[i]);
    }
  });
  test(`${name}: pairs are cut and have type ids`, () => {
    for (const { length, ids, types } of answers.pairs) {
      const row = tokenizer.encode(present(golden.texts[2]), present(golden.texts[3]), length);
      assert.equal([[...row.ids], [...row.typeIds]], [ids, types]);
    }
  });
  test(`${name}: special tokens`, () => {
    const { bos, eos, pad, unk } = tokenizer.special;
    assert.equal([bos, eos, pad, unk], answers.special);
  });
}

test.run();
