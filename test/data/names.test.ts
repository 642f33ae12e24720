import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { nearest } from '../../src/data/names.ts';

const test = suite('nearest word');
test('a word with a typing error is recognised, another word is not', () => {
  assert.is(nearest('spma', ['ham', 'spam']), 'spam');
  assert.is(nearest('sentense', ['text', 'sentence', 'label']), 'sentence');
  assert.is(nearest('Label', ['label']), 'label');
  assert.is(nearest('text', ['sentence', 'label']), null);
  assert.is(nearest('a', ['b']), null);
  assert.is(nearest('', ['b']), null);
});
test.run();
