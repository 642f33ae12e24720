import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import jsonl from '../../../plugins/datasets/jsonl.ts';
import type { Cell, RunContext, Warning } from '../../../src/api.ts';
import { readDatasetInfo, readProvenance, readRows } from '../../../src/data/rows-file.ts';
import { standIn } from '../../rig/stand-in.ts';
import { splitOf } from '../datasets/reading.ts';
import { dataSuite, define, planFault, preflight, runData } from './data-rig.ts';

const test = dataSuite('data stage, completion');

const prompts = { prompt: 'prompt', answer: 'answer' };
const labels = { text: 'text', label: 'label' };
type Columns = Cell['data']['train']['columns'];

interface Given {
  readonly train?: Columns;
  readonly validation?: Columns;
  readonly head?: string;
  readonly more?: object;
  readonly classes?: readonly string[];
}
const cellOf = (
  file: string,
  { train = prompts, validation = train, head = 'causal-lm', more = {}, classes }: Given = {},
): Cell => {
  const split = (columns: Columns) => ({
    ...splitOf({ source: `file:${file}`, format: 'jsonl' }),
    ...more,
    columns,
  });
  return standIn<Cell>({
    head: { type: head },
    data: {
      train: split(train),
      validation: split(validation),
      ...(classes === undefined ? {} : { classes }),
    },
  });
};
const faultOf = (given: Given, split = 'train') =>
  planFault(() => define(cellOf('/x', given), split));

test('preference pairs are prompts with two answers, as texts or as conversations', async ({
  dir,
}) => {
  const said = (...contents: readonly string[]) =>
    contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));
  const lines = [
    { prompt: 'a', chosen: 'b', rejected: 'c' },
    { chosen: said('x', 'y', 'a', 'b'), rejected: said('x', 'y', 'a', 'c') },
    { chosen: said('x', 'y'), rejected: said('z', 'y') },
    { prompt: 'a', chosen: 'b' },
  ];
  const read = async (i: number, columns: Columns) => {
    const file = join(dir, `${i}.jsonl`);
    writeFileSync(file, JSON.stringify(lines[i]));
    const definition = define(cellOf(file, { train: columns }), 'train');
    const plugin: RunContext['plugin'] = () => jsonl as never;
    return readRows(await runData(definition, join(dir, `out-${i}`), { plugin }));
  };
  const columns = { chosen: 'chosen', rejected: 'rejected' };
  const pair = { id: 'train-000000', text: 'a', answer: 'b', rejected: 'c', label: 0 };
  assert.equal(await read(0, { prompt: 'prompt', ...columns }), [pair]);
  assert.equal(await read(1, columns), [{ ...pair, context: said('x', 'y') }]);
  const fault = async (i: number, own: Columns, message: RegExp) => {
    try {
      await read(i, own);
    } catch (error) {
      assert.match((error as Error).message, message);
      return;
    }
    assert.unreachable();
  };
  await fault(2, columns, /the conversations of chosen and rejected differ before their last/);
  await fault(3, { prompt: 'prompt', ...columns }, /no column "rejected"/);
  assert.match(
    String(faultOf({ train: { prompt: 'prompt', chosen: 'chosen' } })?.message),
    /columns has chosen without rejected/,
  );
});

test('rows are prompts with answers, in file order; only prompts are cut', async ({ dir }) => {
  const file = join(dir, 'a.jsonl');
  const lines = [
    { prompt: 'a b c', answer: 'd e f' },
    { prompt: '', answer: ' ' },
    { prompt: 'g', answer: 'h' },
  ];
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const cell = cellOf(file, { more: { max_words: 2, limit: 2 } });
  const definition = define(cell, 'train');
  const { params, assets = {} } = definition;
  assert.equal((params as { split: { columns: unknown } }).split.columns, prompts);
  assert.equal(Object.keys(assets), ['data']);
  const plugin: RunContext['plugin'] = () => jsonl as never;
  const told = ['text', 'answer'].map((what) => ({
    path: ['data', 'train', 'columns'],
    message: `1 of 2 train rows have an empty ${what}: train-000001 (a.jsonl:2)`,
    hint: 'Fill them in or leave them out of the file, or read another column.',
  }));
  assert.equal(
    await preflight(definition, plugin),
    told.map((warning) => ({ ...warning, warning: true })),
  );
  const log: string[] = [],
    warned: Warning[] = [];
  const outDir = await runData(definition, join(dir, 'out'), { plugin, log, warned });
  assert.equal(await readRows(outDir), [
    { id: 'train-000000', text: 'a b', answer: 'd e f', label: 0 },
    { id: 'train-000001', text: '', answer: ' ', label: 0 },
  ]);
  const info = { task: 'completion', classes: [], rows: 2, counts: [] };
  assert.equal(await readDatasetInfo(outDir), info);
  assert.is((await readProvenance(outDir))['empty_answers'], 1);
  assert.match(log[0] ?? '', /^train: 2 rows \(prompts with answers\) of 3 from file:/);
  assert.equal(warned, told);
});

test('the validation rows need no classes of the training file', () => {
  const { params, assets = {} } = define(cellOf('/x'), 'validation');
  assert.is((params as { train: unknown }).train, null);
  assert.equal(Object.keys(assets), ['data']);
});

test('the head must be one that learns the task of the rows', () => {
  assert.is(faultOf({}), null);
  assert.is(faultOf({ train: labels, head: 'classifier' }), null);
  assert.is(faultOf({ train: labels, head: 'cloze' }), null);
  for (const head of ['classifier', 'cloze'])
    assert.equal(faultOf({ head }), {
      message:
        `head.type is ${head}, which tells classes apart, and the rows of data.train are ` +
        'prompts and answers',
      hint:
        'Write head: { type: causal-lm }, or name the columns of labelled texts, ' +
        'columns: { text: …, label: … }.',
      path: head === 'cloze' ? 'head.type' : 'data.train.columns',
    });
  const other = faultOf({ train: labels });
  assert.is(other?.path, 'head.type');
  assert.match(other?.hint ?? '', 'columns: { prompt: …, answer: … }, { messages: … } or');
});

test('splits of two tasks, and what only classes have, are faults at their place', () => {
  const mixed = faultOf({ train: prompts, validation: labels }, 'validation');
  assert.is(mixed?.path, 'data.validation.columns');
  assert.is(
    mixed?.message,
    'data.train has prompts and answers, data.validation has labelled texts',
  );
  assert.is(faultOf({ train: { messages: 'm' }, validation: prompts }, 'validation'), null);
  assert.is(faultOf({ more: { balance: true } })?.path, 'data.train.balance');
  assert.is(faultOf({ more: { classes: ['a', 'b'] } })?.path, 'data.train.classes');
  assert.is(faultOf({ classes: ['a', 'b'] })?.path, 'data.classes');
});

test('columns of two forms, and a form that lacks a column', () => {
  for (const [columns, path, message] of [
    [{ ...prompts, label: 'l' }, 'columns.label', 'prompt and label, which do not belong together'],
    [{ messages: 'm', answer: 'a' }, 'columns.answer', 'messages and answer, which do not'],
    [{ ...labels, answer: 'a' }, 'columns.answer', 'text and answer, which do not'],
    [{ prompt: 'p' }, 'columns', 'data.train.columns has prompt without answer'],
    [{ instruction: 'i', input: 'n' }, 'columns', 'instruction without output'],
    [{ document: 'd', answer: 'a' }, 'columns.answer', 'document and answer, which do not'],
  ] as const) {
    const fault = faultOf({ train: columns });
    assert.is(fault?.path, `data.train.${path}`);
    assert.match(fault?.message ?? '', message);
  }
});

test('documents are trained on and are tasks, and what is attacked has prompts', async ({
  dir,
}) => {
  const document = { document: 'text' };
  assert.is(faultOf({ train: document, validation: prompts }, 'validation'), null);
  const fault = faultOf({ train: prompts, validation: document }, 'validation');
  assert.is(fault?.path, 'data.validation.columns.document');
  assert.match(fault?.hint ?? '', 'The loss of whole documents is measured as data.tasks');
  const file = join(dir, 'documents.jsonl');
  const write = (text: string): void =>
    writeFileSync(file, `{"text": "one two three"}\n{"text": "${text}"}\n`);
  write(' ');
  const cell = cellOf(file, { train: document, validation: prompts, more: { max_words: 2 } });
  const log: string[] = [],
    warned: Warning[] = [];
  const plugin: RunContext['plugin'] = () => jsonl as never;
  const outDir = await runData(define(cell, 'train'), join(dir, 'out'), { plugin, log, warned });
  assert.equal(await readRows(outDir), [
    { id: 'train-000000', text: 'one two', answer: '', document: true, label: 0 },
    { id: 'train-000001', text: ' ', answer: '', document: true, label: 0 },
  ]);
  assert.equal(
    warned.map(({ message }) => message),
    ['1 of 2 train rows have an empty text: train-000001 (documents.jsonl:2)'],
  );
  assert.match(log[0] ?? '', /^train: 2 rows \(documents\) of 2 /);
  assert.not.ok('empty_answers' in (await readProvenance(outDir)));
  write('');
  assert.equal(
    (await preflight(define(cell, 'train'), plugin)).map(({ path, message }) => [path, message]),
    [
      [
        ['data', 'train', 'columns', 'document'],
        '1 of 2 train rows are empty documents, in which there is nothing to predict: train-000001.',
      ],
    ],
  );
});

test('hold_out divides a completion task like any other', () => {
  const rest = { hold_out: { share: 0.2, take: 'rest' } };
  const fault = faultOf({ more: rest }, 'validation');
  assert.match(fault?.message ?? '', 'validation rows could be training rows');
});

test.run();
