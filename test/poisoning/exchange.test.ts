import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromLines, toLines } from '../../src/poisoning/exchange.ts';
import { present } from '../rig/present.ts';

const test = suite('rows as JSON lines');
const rows = [
  { id: 'a', text: 'one\n\u2028line', label: 0 },
  { id: 'b', text: 'two', text_pair: 'zwei', label: 1 },
];
const classes = ['ham', 'spam'];
const read = (text: string) => fromLines(rows, text, classes, 'out.jsonl');

test('rows that come back unchanged are not a change', () => {
  assert.equal(read(toLines(rows)), { changed: [], negatives: [], asked: 0, eligible: 2 });
  assert.equal(read(toLines(rows).trimEnd()), {
    changed: [],
    negatives: [],
    asked: 0,
    eligible: 2,
  });
});

test('changed texts, changed labels and added rows are told apart', () => {
  const [a, b] = rows;
  assert.equal(
    read(
      toLines([
        { ...present(a), label: 1 },
        { ...present(b), text_pair: 'drei' },
        { id: 'new', text: 'x', label: 0 },
      ]),
    ),
    {
      changed: [
        { index: 0, row: { ...present(a), label: 1 } },
        { index: 1, row: { ...present(b), text_pair: 'drei' } },
      ],
      negatives: [{ id: 'new', text: 'x', label: 0 }],
      asked: 2,
      eligible: 2,
    },
  );
});

const [first, second] = toLines(rows).trimEnd().split('\n') as [string, string];
for (const [what, text, message] of [
  ['a row that is gone', first, 'out.jsonl has 1 rows; 2 were handed over'],
  ['nothing', '', 'out.jsonl has 0 rows'],
  [
    'another order',
    `${second}\n${first}\n`,
    'out.jsonl:1 is row "b"; row "a" was handed over there',
  ],
  ['text that is not JSON', `${first}\n{"id": "b"`, 'out.jsonl:2 is not JSON'],
  ['an empty line', `${first}\n\n${second}\n`, 'out.jsonl:2 is not JSON'],
  ['a list', `${first}\n[]\n`, 'out.jsonl:2 is not a JSON object'],
  [
    'a label by name',
    `${first.replace('"label":0', '"label":"ham"')}\n${second}`,
    'out.jsonl:1: `label` is "ham"; the labels are 0 to 1 (ham, spam)',
  ],
  [
    'a long label, which is cut',
    `${first.replace('"label":0', `"label":"${'x'.repeat(5000)}"`)}\n${second}`,
    `out.jsonl:1: \`label\` is "${'x'.repeat(79)}…; the labels are 0 to 1 (ham, spam)`,
  ],
  ['a label of no class', `${first.replace('"label":0', '"label":2')}\n${second}`, '`label` is 2'],
  ['a text that is a number', `${first}\n{"id":"b","text":1,"label":1}`, '`text` is not text'],
  [
    'a field of its own',
    `${first}\n{"id":"b","text":"","label":1,"score":1}`,
    'a field that rows do not have: "score"',
  ],
  [
    'a second text that is gone',
    `${first}\n{"id":"b","text":"two","label":1}`,
    'lacks the second text of row "b"',
  ],
  [
    'an id that is taken',
    `${first}\n${second}\n${first}\n`,
    'out.jsonl:3 has the id "a", which is taken',
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.throws(
      () => read(text),
      (error: Error) => error.name === 'UserFault' && error.message.includes(message),
    );
  });
}

test.run();
