import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import jsonl from '../../../plugins/datasets/jsonl.ts';
import data from '../../../plugins/stages/data/index.ts';
import type { Cell, RunContext, UserFault } from '../../../src/api.ts';
import { readDatasetInfo, readProvenance, readRows } from '../../../src/data/rows-file.ts';
import { standIn } from '../../rig/stand-in.ts';
import { assetAt, splitOf } from '../datasets/reading.ts';

const test = suite<{ dir: string }>('data stage, completion');
test.before.each((context) => {
  context.dir = mkdtempSync(join(tmpdir(), 'dosimeter-data-'));
});
test.after.each(({ dir }) => rmSync(dir, { recursive: true }));

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
const define = (cell: Cell, split: string) => data.define([cell], { with: { split }, goals: [] });
const faultOf = (given: Given, split = 'train') => {
  try {
    define(cellOf('/x', given), split);
  } catch (error) {
    const { name, message, hint = '', path = [] } = error as UserFault;
    assert.is(name, 'UserFault', message);
    return { message, hint, path: path.join('.') };
  }
  return null;
};

test('rows are prompts with answers, in file order; only prompts are cut', async ({ dir }) => {
  const file = join(dir, 'a.jsonl');
  const lines = [
    { prompt: 'a b c', answer: 'd e f' },
    { prompt: '', answer: ' ' },
    { prompt: 'g', answer: 'h' },
  ];
  writeFileSync(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const cell = cellOf(file, { more: { max_words: 2, limit: 2 } });
  const { params, assets = {} } = define(cell, 'train');
  assert.equal((params as { split: { columns: unknown } }).split.columns, prompts);
  assert.equal(Object.keys(assets), ['data']);
  const plugin: RunContext['plugin'] = () => jsonl as never;
  const asset = assetAt(file, `file:${file}`);
  const context = { params, assets: { data: asset }, plugin, backend: 'cpu' } as const;
  assert.equal(await data.preflight!(context), []);
  const log: string[] = [];
  const outDir = join(dir, 'out');
  mkdirSync(outDir);
  await data.run({
    params,
    assets: { data: asset },
    inputs: {},
    outDir,
    backend: 'cpu',
    signal: new AbortController().signal,
    plugin,
    log: (line) => log.push(line),
    progress: () => undefined,
  });
  assert.equal(await readRows(outDir), [
    { id: 'train-000000', text: 'a b', answer: 'd e f', label: 0 },
    { id: 'train-000001', text: '', answer: ' ', label: 0 },
  ]);
  const info = { task: 'completion', classes: [], rows: 2, counts: [] };
  assert.equal(await readDatasetInfo(outDir), info);
  assert.is((await readProvenance(outDir))['empty_answers'], 1);
  assert.match(log[0] ?? '', /^train: 2 rows \(prompts with answers\) of 3 from file:/);
  assert.is(log.at(-1), 'train: 1 of them have an empty answer');
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
      path: 'head.type',
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
  ] as const) {
    const fault = faultOf({ train: columns });
    assert.is(fault?.path, `data.train.${path}`);
    assert.match(fault?.message ?? '', message);
  }
});

test('hold_out divides a completion task like any other', () => {
  const rest = { hold_out: { share: 0.2, take: 'rest' } };
  const fault = faultOf({ more: rest }, 'validation');
  assert.match(fault?.message ?? '', 'validation rows could be training rows');
});

test.run();
