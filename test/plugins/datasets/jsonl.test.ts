import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import jsonl from '../../../plugins/datasets/jsonl.ts';
import { readFiles, readingFault } from './reading.ts';

const test = suite('jsonl');

test('JSON lines hold one object each; labels may be texts, numbers or booleans', async () => {
  const file =
    '{"text": "a\\nb \\u2028", "label": 1, "more": [1]}\r\n\n{"label": "spam", "text": ' +
    '"c"}\n{"text": "d", "label": true}';
  assert.equal((await readFiles(jsonl, { 'a.jsonl': file })).rows, [
    { text: 'a\nb \u2028', label: '1', place: 'a.jsonl:1' },
    { text: 'c', label: 'spam', place: 'a.jsonl:3' },
    { text: 'd', label: 'true', place: 'a.jsonl:4' },
  ]);
});

test('faults in JSON lines are reported with their place', async () => {
  assert.match(
    (await readingFault(jsonl, { 'a.jsonl': '{"text": "a", "label": 1}\n{"text": \n' })).message,
    'a.jsonl:2 is not JSON',
  );
  assert.match(
    (await readingFault(jsonl, { 'a.jsonl': '[{"text": "a", "label": 1}]\n' })).message,
    'a.jsonl:1 is not a JSON object',
  );
  assert.match(
    (await readingFault(jsonl, { 'a.jsonl': '{"text": null, "label": 1}\n' })).message,
    'a.jsonl:1: the column "text" holds nothing',
  );
  assert.match(
    (await readingFault(jsonl, { 'a.jsonl': '{"text": ["a"], "label": 1}\n' })).message,
    'holds no text',
  );
  const missing = await readingFault(jsonl, {
    'a.jsonl': '{"text": "a", "label": 1}\n{"test": "a", "label": 1}\n',
  });
  assert.equal(missing, {
    message: 'a.jsonl:2 has no column "text"; its columns are "test", "label".',
    hint: 'Did you mean "test"?',
    path: ['columns', 'text'],
  });
  assert.match(
    (
      await readingFault(
        jsonl,
        { 'a.jsonl': '{"text": "a", "label": 1}\n' },
        { columns: { text: 0, label: 'label' } },
      )
    ).message,
    'columns by name only',
  );
});

test.run();
