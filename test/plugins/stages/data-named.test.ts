/**
 * Named data sets in a spec: what they fill in, what a spec must not say twice, and their scores.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import alpaca from '../../../plugins/datasets/alpaca.ts';
import cola from '../../../plugins/datasets/cola.ts';
import mnli from '../../../plugins/datasets/mnli.ts';
import mismatched from '../../../plugins/datasets/mnli-mismatched.ts';
import mrpc from '../../../plugins/datasets/mrpc.ts';
import tsv from '../../../plugins/datasets/tsv.ts';
import data from '../../../plugins/stages/data/index.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import type { Cell, DatasetDescriptor, DefineRequest, JsonObject } from '../../../src/api.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { dataSuite, planFault, runData } from './data-rig.ts';
import { tinyCell } from './rig.ts';

const test = dataSuite('named data sets in a spec');

const known: readonly DatasetDescriptor[] = [alpaca, cola, mnli, mismatched, mrpc, tsv];
const plugin = ((_kind, name) => known.find((dataset) => dataset.name === name)) as NonNullable<
  DefineRequest['plugin']
>;

const splitOf = (format: string, more: object = {}) => ({
  source: 'file:/rows.tsv',
  format,
  columns: { text: 'text', label: 'label' },
  balance: false,
  offset: 0,
  ...more,
});
const cellOf = (train: object, validation = train, more: object = {}): Cell =>
  tinyCell({ data: { train, validation, ...more } });
const define = (cell: Cell, split = 'train') =>
  data.define([cell], { with: { split }, goals: [], plugin });
const faultOf = (cell: Cell, split = 'train') => {
  const fault = planFault(() => define(cell, split));
  return fault && ([fault.path, fault.message] as const);
};

test('columns and classes are the data set’s', () => {
  const { params } = define(cellOf(splitOf('mrpc')), 'validation');
  assert.equal((params['split'] as JsonObject)['columns'], {
    text: 'sentence1',
    text_pair: 'sentence2',
    label: 'label',
  });
  assert.equal(params['classes'], ['not_equivalent', 'equivalent']);
  assert.is(params['train'], null, 'the training file is not read for its classes');
});

test('the training rows and both validation files of MNLI have the same classes', () => {
  const cell = cellOf(splitOf('mnli'), splitOf('mnli-mismatched'));
  assert.equal(define(cell, 'validation').params['classes'], define(cell).params['classes']);
  assert.is(define(cell, 'validation').params['disagreement'], null);
});

test('the classes of a spec give another order, except where F1 is that of the second', () => {
  const order = { classes: ['acceptable', 'unacceptable'] };
  const cola = cellOf(splitOf('cola'), splitOf('cola'), order);
  assert.equal(define(cola).params['classes'], order.classes);
  assert.is(define(cola, 'validation').params['disagreement'], null);
  const swapped = { classes: ['equivalent', 'not_equivalent'] };
  assert.equal(faultOf(cellOf(splitOf('mrpc'), splitOf('mrpc'), swapped)), [
    'data.classes',
    'data.train.format is mrpc, which is scored by the F1 of its second class, and the spec ' +
      'gives its classes another order',
  ]);
});

test('a spec does not say what the data set knows', () => {
  const columns = { text: 'sentence', label: 'label' };
  assert.equal(faultOf(cellOf(splitOf('cola', { columns }))), [
    'data.train.columns',
    'data.train.format is cola, a data set whose columns are known, and the spec gives them too',
  ]);
  const [path] = faultOf(cellOf(splitOf('cola', { header: false }))) ?? [];
  assert.is(path, 'data.train.header');
});

test('the task is known when a spec is planned', () => {
  const pairs = faultOf(cellOf(splitOf('mrpc'), splitOf('cola')), 'validation');
  assert.match(pairs?.[1] ?? '', /data\.train has pairs of texts/);
  const prompts = faultOf(cellOf(splitOf('alpaca')));
  assert.match(prompts?.[1] ?? '', /head\.type is classifier, which tells classes apart/);
});

test('rows are read in the layout of the file', async ({ dir }) => {
  const file = join(dir, 'rows.tsv');
  writeFileSync(file, 'gj04\t1\t\tThey "met.\nbc01\t0\t*\tThey met him he.\n');
  const source = `file:${file}`;
  const definition = define(cellOf(splitOf('cola', { source })));
  const log: string[] = [];
  const outDir = await runData(definition, join(dir, 'out'), { plugin: plugin as never, log });
  assert.equal(await readRows(outDir), [
    { id: 'train-000000', text: 'They "met.', label: 1 },
    { id: 'train-000001', text: 'They met him he.', label: 0 },
  ]);
  const { classes, counts } = await readDatasetInfo(outDir);
  assert.equal(
    [classes, counts],
    [
      ['unacceptable', 'acceptable'],
      [1, 1],
    ],
  );
  assert.match(log[0] ?? '', /^train: 2 rows \(1 unacceptable, 1 acceptable\) of 2 from file:/);
});

test('evaluate is told by which metrics the data set is scored; others have none', () => {
  const taskOf = (format: string) =>
    evaluate.define([cellOf(splitOf('mnli'), splitOf(format))], { with: {}, goals: [], plugin })
      .params['tasks'];
  assert.equal(taskOf('mnli-mismatched'), [{ dataset: 'mnli-mismatched', metrics: ['accuracy'] }]);
  assert.equal(taskOf('mrpc'), [{ dataset: 'mrpc', metrics: ['f1', 'accuracy'] }]);
  assert.is(taskOf('tsv'), undefined);
});

test.run();
