/** A regression head in the stages: rows, training, scores, and what is refused. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import stsb from '../../../plugins/datasets/stsb.ts';
import tsv from '../../../plugins/datasets/tsv.ts';
import data from '../../../plugins/stages/data/index.ts';
import delta from '../../../plugins/stages/delta/index.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import poison from '../../../plugins/stages/poison/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import theoryMap from '../../../plugins/stages/theory-map/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { Cell, Row, StageDescriptor, UserFault, Warning } from '../../../src/api.ts';
import { pearson } from '../../../src/base/stats.ts';
import { knownCounts } from '../../../src/data/known-counts.ts';
import { readDatasetInfo, readRows } from '../../../src/data/rows-file.ts';
import { sweepSpec } from '../../../src/run/learning-rates.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { assetAt } from '../datasets/reading.ts';
import { jsonOf, metricsOf, predictionsOf } from './outputs.ts';
import {
  BACKDOOR,
  type Change,
  contextOf,
  datasetFolder,
  lookUp,
  poisonedFolder,
  runStage,
  spokenRows,
  tempFolder,
  tinyCell,
} from './rig.ts';

await useBackend('cpu');
const SCORE = ['score'];
/** Good films have 3.5 points, bad ones 1. */
const scored = (rows: readonly Row[]): Row[] =>
  rows.map((row) => ({ ...row, label: row.label === 1 ? 3.5 : 1 }));
const cellOf = (change: Change = {}): Cell => tinyCell({ head: { type: 'regression' }, ...change });
const longer = { train: { ...tinyCell().train, steps: 40, learning_rate: 0.02 } };
const plugin = ((kind: never, name: string) =>
  [stsb, tsv].find((dataset) => dataset.name === name) ?? lookUp(kind, name)) as typeof lookUp;

function faultOf(stage: StageDescriptor, cell: Cell, request = {}): readonly string[] | null {
  try {
    stage.define([cell], { with: request, goals: [], plugin });
  } catch (error) {
    const { name, message, path = [] } = error as UserFault;
    assert.is(name, 'UserFault', message);
    return [path.join('.'), message];
  }
  return null;
}

test('the head learns numbers, and evaluate correlates them', async () => {
  const { dir } = await runStage(train, cellOf(longer), {
    data: await poisonedFolder(scored(spokenRows(24)), undefined, SCORE),
  });
  assert.equal(((await jsonOf(dir, 'train.json')) as { classes: unknown }).classes, SCORE);
  const rows = scored(spokenRows(11, 100));
  const evaluated = await runStage(evaluate, cellOf(), {
    model: dir,
    validation: await datasetFolder(rows, SCORE),
  });
  const metrics = await metricsOf(evaluated.dir);
  assert.equal(Object.keys(metrics), ['pearson', 'spearman', 'r2', 'loss', 'examples']);
  const lines = await predictionsOf(evaluated.dir);
  assert.match(
    await readFile(join(evaluated.dir, 'predictions.csv'), 'utf8'),
    /^id,triggered,label,prediction\n/,
  );
  assert.equal(
    lines.map(([id, , label]) => [id, label]),
    rows.map(({ id, label }) => [id, String(label)]),
  );
  const predictions = lines.map(([, , , prediction]) => Number(prediction)),
    labels = rows.map(({ label }) => label);
  assert.is(metrics['pearson'], pearson(labels, predictions));
  assert.ok(present(metrics['pearson']) > 0.7, 'it learnt something');
  const total = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0);
  const squares = (from: (i: number) => number): number =>
    total(labels.map((label, i) => (label - from(i)) ** 2));
  const centre = total(labels) / labels.length,
    r2 = 1 - squares((i) => predictions[i] ?? NaN) / squares(() => centre);
  assert.ok(Math.abs(present(metrics['r2']) - r2) < 1e-12 && r2 > 0);
  const equal = await runStage(evaluate, cellOf(), {
    model: dir,
    validation: await datasetFolder(
      rows.map((row) => ({ ...row, label: 1 })),
      SCORE,
    ),
  });
  assert.not('r2' in (await metricsOf(equal.dir)), 'labels without variance');
});

test('labels are read as numbers; what is none has its place', async () => {
  const dir = await tempFolder();
  const file = join(dir, 'rows.tsv');
  const split = (format: string, more = {}) => ({
    source: `file:${file}`,
    format,
    columns: { text: 'text', label: 'label' },
    balance: false,
    offset: 0,
    ...more,
  });
  const warned: string[] = [];
  const warn = ({ message }: Warning): void => void warned.push(message);
  const run = async (content: string, format: string): Promise<string> => {
    writeFileSync(file, content);
    const both = { train: split(format), validation: split(format) };
    const { params } = data.define([cellOf({ data: both })], {
      with: { split: 'train' },
      goals: [],
      plugin,
    });
    const outDir = await tempFolder();
    mkdirSync(outDir, { recursive: true });
    const asset = assetAt(file);
    const context = { ...contextOf({ params }), assets: { data: asset }, outDir, plugin, warn };
    await data.run(context as never);
    return outDir;
  };
  const glue =
    'index\tsentence1\tsentence2\tscore\n0\tA man.\t"A" man.\t4.750\n1\tA dog.\tA car.\t0\n';
  const out = await run(glue, 'stsb');
  assert.equal(await readRows(out), [
    { id: 'train-000000', text: 'A man.', text_pair: '"A" man.', label: 4.75 },
    { id: 'train-000001', text: 'A dog.', text_pair: 'A car.', label: 0 },
  ]);
  const info = { task: 'regression', classes: SCORE, rows: 2, counts: [2] };
  assert.equal(await readDatasetInfo(out), info);
  const known = await knownCounts({ plugin } as never, { params: {}, assets: {}, dir: out });
  assert.equal([known?.classes, known?.counts, known?.answers], [SCORE, [2], undefined]);
  assert.equal(warned, []);
  await run('text\tlabel\na\t1.5\nb\t1.50\n', 'tsv');
  assert.equal(warned, ['all 2 train rows have the same label: nothing correlates with it']);
  for (const label of ['high', '', '0x10', 'NaN', '1e999'])
    try {
      await run(`text\tlabel\na\t1.5\nb\t${label}\n`, 'tsv');
      assert.unreachable(label);
    } catch (error) {
      assert.match((error as Error).message, `rows.tsv:3: the label "${label}" is not a number`);
    }
});

test('head and labels must be of one kind', () => {
  const split = (format: string, more = {}) => ({
    source: 'file:/rows.tsv',
    format,
    columns: { text: 'text', label: 'label' },
    balance: false,
    offset: 0,
    ...more,
  });
  const of = (format: string, more = {}, also = {}) => ({
    train: split(format, more),
    validation: split(format, more),
    ...also,
  });
  assert.is(faultOf(data, cellOf({ data: of('tsv') })), null);
  assert.is(faultOf(data, cellOf({ data: of('stsb') }), { split: 'validation' }), null);
  assert.equal(faultOf(data, tinyCell({ data: of('stsb') })), [
    'data.train.columns',
    'head.type is classifier, which tells classes apart, and the rows of data.train are texts ' +
      'labelled with numbers',
  ]);
  assert.equal(faultOf(data, cellOf({ data: of('tsv', {}, { classes: ['a', 'b'] }) })), [
    'data.classes',
    'the rows of data.train are texts labelled with numbers, which have no classes',
  ]);
  assert.is(
    faultOf(data, cellOf({ data: of('tsv', { balance: true }) }))?.[0],
    'data.train.balance',
  );
  assert.is(faultOf(data, cellOf({ data: of('tsv', { classes: ['a', 'b'] }) }))?.[0], 'head.type');
});

test('attacks, defences, kernels and Fisher information are refused when a spec is planned', () => {
  assert.is(faultOf(poison, cellOf()), null);
  assert.equal(faultOf(poison, cellOf({ poisoning: BACKDOOR })), [
    'poisoning.attack',
    'the attack "badnets" is not for rows that are labelled with numbers',
  ]);
  assert.is(faultOf(evaluate, cellOf({ poisoning: BACKDOOR }))?.[0], 'poisoning.attack');
  for (const stage of [kernel, ntk, delta, regime, theoryMap, fisher] as StageDescriptor[])
    assert.equal(faultOf(stage, cellOf()), [
      'stages',
      `${stage.name} measures class logits or the log probability of answers, and head.type is ` +
        'regression',
    ]);
});

test('settings that need classes are faults of the training', async () => {
  const settings = { class_weights: 'balanced', evaluate_every: 2 };
  const cell = cellOf({ train: { ...tinyCell().train, ...settings } });
  const definition = train.define([cell], { with: {}, goals: [], plugin });
  const problems = await train.preflight?.(contextOf(definition));
  assert.equal(
    (problems ?? []).map(({ path }) => path.join('.')),
    ['train.class_weights', 'train.evaluate_every'],
  );
  const rates = { rates: {}, seeds: 1, share: 0.2 };
  const resolved = { head: { type: 'regression' }, data: { train: {} }, seeds: [1], adapter: [] };
  assert.throws(() => sweepSpec(resolved, rates), /chosen by accuracy/);
});

test.run();
