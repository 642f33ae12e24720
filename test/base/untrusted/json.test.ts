import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { changedJson } from '../../../src/base/untrusted/json.ts';

test('a changed object keeps its numbers as they are written', () => {
  const text = '{"a": 2.0, "b": [1e-05, 12345678901234567890, -0.50, 3, 0.02], "c": "2.0 \\" 1e5"}';
  assert.is(
    changedJson(text, 'x.json', ({ c, ...kept }) => ({ ...kept, c, d: 'new' })).replace(/\s+/g, ''),
    '{"a":2.0,"b":[1e-05,12345678901234567890,-0.50,3,0.02],"c":"2.0\\"1e5","d":"new"}',
  );
});

test('what is not a JSON object is refused', () => {
  for (const [text, message] of [
    ['{', /x\.json is not JSON/],
    ['[1.0]', /x\.json is not an object/],
  ] as const)
    assert.throws(() => changedJson(text, 'x.json', (value) => value), message);
});

test.run();
