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

test('prompts and answers, and instructions with and without an input', async () => {
  const prompts = '{"q": "Two and two?", "a": 4, "more": 1}\n{"q": "", "a": ""}';
  assert.equal(
    (await readFiles(jsonl, { 'a.jsonl': prompts }, { columns: { prompt: 'q', answer: 'a' } }))
      .rows,
    [
      { text: 'Two and two?', answer: '4', place: 'a.jsonl:1' },
      { text: '', answer: '', place: 'a.jsonl:2' },
    ],
  );
  const alpaca = [
    { instruction: 'Add.', input: '2 and 2', output: '4' },
    { instruction: 'Sing.', input: ' ', output: 'La.' },
    { instruction: 'Say yes.', input: null, output: 'Yes.' },
  ];
  const columns = { instruction: 'instruction', input: 'input', output: 'output' };
  const lines = alpaca.map((row) => JSON.stringify(row)).join('\n');
  assert.equal((await readFiles(jsonl, { 'a.jsonl': lines }, { columns })).rows, [
    { text: 'Add.\n\n2 and 2', answer: '4', place: 'a.jsonl:1' },
    { text: 'Sing.', answer: 'La.', place: 'a.jsonl:2' },
    { text: 'Say yes.', answer: 'Yes.', place: 'a.jsonl:3' },
  ]);
  const missing = await readingFault(jsonl, { 'a.jsonl': '{"instruction": "x"}' }, { columns });
  assert.equal(missing.path, ['columns', 'input']);
});

test("a conversation: the last answer, the user's message before it, and its context", async () => {
  const message = (role: string, content: unknown) => ({ role, content });
  const [system, ask, reply] = [
    message('system', 'Be brief.'),
    message('user', 'Hello'),
    message('assistant', 'Hi.'),
  ];
  const read = (...messages: unknown[]) => ({ 'a.jsonl': JSON.stringify({ turns: messages }) });
  const columns = { messages: 'turns' };
  const one = await readFiles(jsonl, read(ask, reply), { columns });
  assert.equal(one.rows, [{ text: 'Hello', answer: 'Hi.', place: 'a.jsonl:1' }]);
  const more = [system, ask, reply, message('user', 'And?'), message('assistant', 'So.')];
  assert.equal((await readFiles(jsonl, read(...more), { columns })).rows, [
    { text: 'And?', answer: 'So.', context: [system, ask, reply], place: 'a.jsonl:1' },
  ]);
  for (const [messages, fault] of [
    [[ask], /ends with user; its last two/],
    [[], /ends with no message/],
    [[ask, reply, ask], /ends with assistant, user/],
    [[reply, reply], /ends with assistant, assistant/],
    [[message('tool', 'x'), ask, reply], /message 1 has the role "tool"/],
    [[ask, message('assistant', [{ type: 'text' }])], /message 2 has a content that is not text/],
    [['Hello', reply], /message 1 is "Hello", which is not an object/],
  ] as const)
    assert.match((await readingFault(jsonl, read(...messages), { columns })).message, fault);
  const none = await readingFault(jsonl, { 'a.jsonl': '{"turns": "x"}' }, { columns });
  assert.match(none.message, 'a.jsonl:1: the messages are "x", which is not a list.');
});

test('a file *.json may be one list of objects, as that of Alpaca is', async () => {
  const columns = { instruction: 'instruction', output: 'output' };
  const rows = ['a', 'b'].map((instruction) => ({ instruction, output: instruction }));
  const read = await readFiles(jsonl, { 'a.json': JSON.stringify(rows, null, 2) }, { columns });
  assert.equal(read.rows, [
    { text: 'a', answer: 'a', place: 'a.json, entry 1' },
    { text: 'b', answer: 'b', place: 'a.json, entry 2' },
  ]);
  const lines = rows.map((row) => JSON.stringify(row)).join('\n');
  assert.is((await readFiles(jsonl, { 'a.json': lines }, { columns })).rows.length, 2);
  const odd = await readingFault(jsonl, { 'a.json': '[{"instruction": "a", "output": "b"}, 1]' });
  assert.match(odd.message, 'a.json, entry 2, is not a JSON object');
  assert.match((await readingFault(jsonl, { 'a.json': '[1' })).message, 'is not JSON');
});

test.run();
