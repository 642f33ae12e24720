/** What `evaluate` warns of where evaluated rows are rows of another split too. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import tsv from '../../../plugins/datasets/tsv.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import { sharedRowProblems, sharedRows } from '../../../plugins/stages/evaluate/shared-rows.ts';
import type { Row, UpstreamStage, Warning } from '../../../src/api.ts';
import { define, model, testedCell } from './evaluate-rig.ts';
import { assetAt, contextOf, datasetFolder, runStage, spokenRows, tempFolder } from './rig.ts';

test('rows whose text is also one of other rows are found, whatever their form', () => {
  const row = (id: string, text: string, more: object = {}): Row => ({
    id,
    text,
    label: 0,
    ...more,
  });
  const found = (rows: readonly Row[], others: readonly Row[]): string =>
    sharedRows(rows, others)
      .map(({ id }) => id)
      .join(' ');
  assert.is(
    found(
      [
        row('a', 'A caf\u00e9'),
        row('b', 'new'),
        row('c', ' two  words'),
        row('d', ''),
        row('a2', 'a caf\u00e9'),
      ],
      [row('x', 'a cafe\u0301', { label: 1 }), row('y', 'Two\u00a0words '), row('z', '')],
    ),
    'a c a2',
  );
  const pair = (text: string, other: string): Row => row(text + other, text, { text_pair: other });
  assert.is(found([pair('p', 'q'), pair('p', 'r')], [pair('p', 'r'), pair('q', 'p')]), 'pr');
  const chat = (id: string, system: string): Row =>
    row(id, 'hi', { answer: id, context: [{ role: 'system', content: system }] });
  assert.is(found([chat('s', 'be kind'), chat('t', 'be brief')], [chat('u', 'Be kind')]), 's');
});

test('evaluated rows that are training rows are told before anything runs, and with the numbers', async () => {
  const hint =
    'Leave them out of one of the splits, or give each split its own file, its own rows by ' +
    'offset and limit, or a hold_out of a file without duplicates.';
  const copied = await datasetFolder([...spokenRows(3), { id: 'new', text: 'unseen', label: 0 }]);
  const training = await datasetFolder(spokenRows(24));
  const selection = await datasetFolder([{ id: 'v', text: 'Unseen', label: 1 }]);
  const told = [
    {
      path: ['data', 'test'],
      message:
        "3 of 4 test rows have a text that is also a training row's: what is measured on rows " +
        'that were trained on says little of others (r0, r1, r2)',
      hint,
    },
    {
      path: ['data', 'test'],
      message:
        "1 of 4 test rows have a text that is also a validation row's: rows by which a model or a " +
        'setting was chosen are no test of it (new)',
      hint,
    },
  ];
  const cell = testedCell(),
    definition = define(cell, { split: 'test' });
  const stored = (dir: string): UpstreamStage => ({ params: {}, assets: {}, dir });
  const upstream = Object.fromEntries(
    Object.entries({ validation: copied, training, selection }).map(([k, v]) => [k, stored(v)]),
  );
  assert.equal(
    await evaluate.preflight!({ ...contextOf(definition), upstream }),
    told.map((warning) => ({ ...warning, warning: true })),
  );
  const warned: Warning[] = [];
  const given = { model, validation: copied, training, selection };
  await runStage(
    evaluate,
    cell,
    given,
    { split: 'test' },
    {},
    {
      warn: (warning) => void warned.push(warning),
    },
  );
  assert.equal(warned, told);
});

test('what plan can read of the rows is compared there; a part of a file without copies is not', async () => {
  const dir = await tempFolder();
  const file = join(dir, 'rows.tsv');
  await writeFile(file, 'text\tlabel\ngood\tp\nbad\tn\nGood\tp\npoor\tn\n');
  const stage = (name: string, split: object): UpstreamStage => ({
    params: {
      name,
      split: {
        format: 'tsv',
        columns: { text: 'text', label: 'label' },
        header: true,
        offset: 0,
        balance: false,
        ...split,
      },
      classes: ['n', 'p'],
      train: null,
      disagreement: null,
    },
    assets: { data: assetAt(file) },
    dir: null,
  });
  const of = async (train: object, rows: object): Promise<readonly string[]> =>
    (
      await sharedRowProblems({
        upstream: { training: stage('train', train), validation: stage('validation', rows) },
        plugin: () => tsv as never,
      })
    ).map(({ message }) => message.slice(0, message.indexOf(' rows')));
  assert.equal(await of({}, {}), ['4 of 4 validation']);
  assert.equal(await of({ limit: 2 }, { offset: 2 }), ['1 of 2 validation'], 'a copy');
  assert.equal(await of({ limit: 2 }, { offset: 3 }), []);
});

test.run();
