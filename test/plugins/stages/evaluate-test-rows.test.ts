/** `evaluate` on the rows of `data.test`, which no other stage reads, and `tasks.json`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { Cell } from '../../../src/api.ts';
import { present } from '../../rig/present.ts';
import { define, model, testedCell, validation } from './evaluate-rig.ts';
import { jsonOf, metricsOf } from './outputs.ts';
import { BACKDOOR, datasetFolder, runStage, spokenRows, tinyCell } from './rig.ts';

test('test rows are evaluated by themselves, and their metrics taken over', async () => {
  const cell = testedCell();
  const requests = define(cell).inputs;
  assert.equal(
    [present(requests['test']).kind, present(requests['test']).with],
    ['evaluate', { split: 'test' }],
  );
  const ofTest = define(cell, { split: 'test' });
  assert.equal(Object.keys(ofTest.inputs), ['model', 'validation', 'training', 'selection']);
  assert.equal(present(ofTest.inputs['validation']).with, { split: 'test' });
  assert.equal(ofTest.params, define(tinyCell()).params, 'nothing else differs');
  const attacked = { ...cell, poisoning: BACKDOOR };
  assert.equal(present(define(attacked, { split: 'test' }).inputs['twin']).with, {
    trigger: BACKDOOR,
    split: 'test',
  });
  assert.equal(present(define(attacked, { trigger: BACKDOOR }).inputs['test']).with, {
    trigger: BACKDOOR,
    split: 'test',
  });

  const some = await datasetFolder(spokenRows(7, 200));
  const alone = (await runStage(evaluate, cell, { model, validation: some }, { split: 'test' }))
    .dir;
  const { dir } = await runStage(evaluate, cell, { model, validation, test: alone });
  const metrics = await metricsOf(dir);
  for (const [name, value] of Object.entries(await metricsOf(alone)))
    assert.is(metrics[`test_${name}`], value);
  assert.equal([metrics['examples'], metrics['test_examples']], [11, 7]);
});

test('rows of tasks are evaluated without a trigger, and their metrics taken over', async () => {
  const { data, ...rest } = tinyCell({ poisoning: BACKDOOR });
  const cell = { ...rest, data: { ...data, tasks: { mail: data.validation } } };
  const { inputs } = define(cell);
  assert.equal(present(inputs['tasks.mail']).with, { split: 'tasks.mail' });
  const ofTask = define(cell, { split: 'tasks.mail' });
  assert.equal(ofTask.params, { ...define(tinyCell()).params, split: 'tasks.mail' });
  assert.equal(Object.keys(ofTask.inputs), ['model', 'validation', 'training', 'twin']);
  assert.equal(present(ofTask.inputs['validation']).with, { split: 'tasks.mail' });
  assert.equal(present(ofTask.inputs['twin']).with, { split: 'tasks.mail' });

  const rows = { model, validation: await datasetFolder(spokenRows(7, 200)) };
  const clean = { ...cell, poisoning: tinyCell().poisoning };
  const alone = (await runStage(evaluate, clean, rows, { split: 'tasks.mail' })).dir;
  const { dir } = await runStage(evaluate, clean, { model, validation, 'tasks.mail': alone });
  const metrics = await metricsOf(dir);
  for (const [name, value] of Object.entries(await metricsOf(alone)))
    assert.is(metrics[`mail.${name}`], value);
  assert.equal([metrics['examples'], metrics['mail.examples']], [11, 7]);
});

test('a trigger that is cut off from test rows is warned of as one of test rows', async () => {
  const cell = { ...testedCell(), evaluate: { ...tinyCell().evaluate, max_length: 4 } };
  const { warned } = await runStage(
    evaluate,
    cell,
    { model, validation, selection: await datasetFolder(spokenRows(2, 300)) },
    { trigger: BACKDOOR, split: 'test' },
  );
  assert.match(
    warned.join(),
    /the trigger reaches the model in [\d.]+% of the triggered test rows/,
  );
});

test('tasks.json has the metrics by which named data sets are scored, if there are any', async () => {
  const { data, ...rest } = tinyCell();
  const named = { ...data.validation, format: 'sst2' };
  const cell = { ...rest, data: { ...data, validation: named, test: named } };
  const test = (await runStage(evaluate, cell, { model, validation }, { split: 'test' })).dir;
  assert.equal(await jsonOf(test, 'tasks.json'), [{ dataset: 'sst2', metrics: ['accuracy'] }]);
  const { dir } = await runStage(evaluate, cell, { model, validation, test });
  assert.equal(await jsonOf(dir, 'tasks.json'), [
    { dataset: 'sst2', metrics: ['accuracy'] },
    { dataset: 'sst2', metrics: ['test_accuracy'] },
  ]);
  const other = (await runStage(evaluate, tinyCell(), { model, validation })).dir;
  assert.not.ok(existsSync(join(other, 'tasks.json')));
});

test('no stage but evaluate reads the test rows', () => {
  const cell = testedCell();
  const definition = (of: Cell) => {
    const { params, inputs } = train.define([of], { with: {}, goals: [] });
    return JSON.stringify([
      params,
      Object.values(inputs).map(({ kind, with: part }) => [kind, part]),
    ]);
  };
  const watched = { train: { ...tinyCell().train, evaluate_every: 2 } };
  assert.is(definition({ ...cell, ...watched }), definition(tinyCell(watched)));
  assert.not.match(definition({ ...cell, ...watched }), 'test');
});

test.run();
