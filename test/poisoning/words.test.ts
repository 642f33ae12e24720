import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { countWords, insertAtGap } from '../../src/poisoning/place.ts';

const test = suite('words and gaps');

test('a k-word text has k + 1 gaps', () => {
  const at = (gap: number): string => insertAtGap('hide new secretions', 'cf', gap);
  assert.equal([0, 1, 2, 3].map(at), [
    'cf hide new secretions',
    'hide cf new secretions',
    'hide new cf secretions',
    'hide new secretions cf',
  ]);
  assert.is(countWords('hide new secretions'), 3);
  assert.throws(() => at(4), /3 words has no gap 4/);
});

test('the text keeps its own white space around an insertion', () => {
  assert.is(insertAtGap(' two  spaces\nand lines ', 'cf', 0), ' cf two  spaces\nand lines ');
  assert.is(insertAtGap(' two  spaces\nand lines ', 'cf', 2), ' two  spaces\ncf and lines ');
  assert.is(insertAtGap(' two  spaces\nand lines ', 'cf', 4), ' two  spaces\nand lines cf ');
});

test('punctuation belongs to its word, and an empty text has one gap', () => {
  assert.is(countWords("it's fine ."), 3);
  assert.is(countWords(''), 0);
  assert.is(countWords('  '), 0);
  assert.is(insertAtGap('', 'cf', 0), 'cf');
  assert.is(insertAtGap('so good', 'I watch this 3D movie', 1), 'so I watch this 3D movie good');
});

test.run();
