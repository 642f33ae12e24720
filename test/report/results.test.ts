import { readFileSync } from 'node:fs';
import Ajv from 'ajv';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collectResults } from '../../src/report/results.ts';

const test = suite('results');
const validate = new Ajv({ strict: true, strictTypes: false }).compile(
  JSON.parse(readFileSync(new URL('../../schemas/results.schema.json', import.meta.url), 'utf8')),
);

const evidence = (n: number, missing = 0) => ({
  counts: true,
  reasons: [],
  n,
  missing,
  warnings: [],
});

const cell = { 'poisoning.attack': 'badnets', 'adapter.rank': 8, 'data.train.limit': 600 };

test('there is one row per metric, in order and in the form of the schema', () => {
  const rows = collectResults([
    { cell, seed: 1, metrics: { train: { loss: 0.5 }, evaluate: { accuracy: 0.9, asr: 1 } } },
    { cell, seed: 2, metrics: { evaluate: { accuracy: NaN, asr: 0 } } },
  ]);
  assert.equal(rows, [
    { cell, seed: 1, stage: 'train', metric: 'loss', value: 0.5, evidence: evidence(1, 1) },
    { cell, seed: 1, stage: 'evaluate', metric: 'accuracy', value: 0.9, evidence: evidence(1, 1) },
    { cell, seed: 1, stage: 'evaluate', metric: 'asr', value: 1, evidence: evidence(2) },
    { cell, seed: 2, stage: 'evaluate', metric: 'asr', value: 0, evidence: evidence(2) },
  ]);
  assert.ok(validate(JSON.parse(JSON.stringify(rows))), JSON.stringify(validate.errors));
  assert.ok(validate([]));
});

test('a cell with two names is one row with both', () => {
  const also = [{ ...cell, 'adapter.alpha': 16 }];
  const rows = collectResults([{ cell, also, seed: 1, metrics: { evaluate: { asr: 1 } } }]);
  assert.equal(rows, [
    { cell, also, seed: 1, stage: 'evaluate', metric: 'asr', value: 1, evidence: evidence(1) },
  ]);
  assert.ok(validate(JSON.parse(JSON.stringify(rows))), JSON.stringify(validate.errors));
});

test('numbers that depend on products in bfloat16 say so', () => {
  const rows = collectResults([
    {
      cell,
      seed: 1,
      metrics: { data: { rows: 9 }, evaluate: { asr: 1 } },
      precision: { train: 'bf16', evaluate: 'bf16, nf4' },
    },
  ]);
  assert.equal(
    rows.map(({ stage, precision }) => [stage, precision]),
    [
      ['data', undefined],
      ['evaluate', 'bf16, nf4'],
    ],
  );
  assert.ok(validate(JSON.parse(JSON.stringify(rows))), JSON.stringify(validate.errors));
});

test('the schema refuses what is no result', () => {
  const row = { cell, seed: 1, stage: 'evaluate', metric: 'asr', value: 1, evidence: evidence(1) };
  assert.ok(validate([row]));
  for (const wrong of [
    { ...row, value: '1' },
    { ...row, value: null },
    { ...row, seed: 1.5 },
    { ...row, more: 1 },
    { ...row, cell: {} },
    { ...row, cell: { '0': 1 } },
    { cell, seed: 1, stage: 'evaluate', metric: 'asr', evidence: evidence(1) },
    { cell, seed: 1, stage: 'evaluate', metric: 'asr', value: 1 },
  ]) {
    assert.not.ok(validate([wrong]), JSON.stringify(wrong));
  }
});

test('a number that is not evidence says why, how many seeds have it, and what was warned of', () => {
  const evaluate = { accuracy: 0.6, asr: 1, predicted_share: 1, examples: 10 };
  const rows = collectResults([
    { cell, seed: 1, metrics: { evaluate }, warnings: { evaluate: ['3 rows are empty'] } },
    { cell, seed: 2, metrics: {} },
  ]);
  const found = new Map(rows.map(({ metric, evidence: own }) => [metric, own]));
  const judgement = { n: 1, missing: 1, warnings: ['3 rows are empty'] };
  const collapsed = { counts: false, reasons: ['predicts one class only'], ...judgement };
  assert.equal(found.get('asr'), collapsed);
  assert.equal(found.get('accuracy'), collapsed);
  assert.equal(found.get('examples'), { counts: true, reasons: [], ...judgement });
  assert.ok(validate(JSON.parse(JSON.stringify(rows))), JSON.stringify(validate.errors));
});

test('the data set is named beside the metrics by which it is scored, and no others', () => {
  const tasks = [{ dataset: 'cola', metrics: ['mcc'] }];
  const metrics = { train: { mcc: 0 }, evaluate: { accuracy: 0.9, mcc: 0.5 } };
  const rows = collectResults([{ cell, seed: 1, tasks, metrics }]);
  assert.equal(
    rows.map((row) => [row.stage, row.metric, row.task]),
    [
      ['train', 'mcc', undefined],
      ['evaluate', 'accuracy', undefined],
      ['evaluate', 'mcc', 'cola'],
    ],
  );
  assert.ok(validate(JSON.parse(JSON.stringify(rows))), JSON.stringify(validate.errors));
});

test.run();
