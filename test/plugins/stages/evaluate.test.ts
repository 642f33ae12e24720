import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import badnets from '../../../plugins/attacks/badnets.ts';
import combination from '../../../plugins/attacks/combination.ts';
import evaluate from '../../../plugins/stages/evaluate/index.ts';
import type { Cell, JsonObject } from '../../../src/api.ts';
import { attackStreams } from '../../../src/base/random.ts';
import { present } from '../../rig/present.ts';
import { define, learnt, model, rows, validation } from './evaluate-rig.ts';
import { faultOf, linesOf, metricsOf, predictionsOf } from './outputs.ts';
import {
  BACKDOOR,
  classes,
  contextOf,
  datasetFolder,
  lookUp,
  runStage,
  spokenRows,
  tinyCell,
} from './rig.ts';

test("a poisoned cell also reads its clean twin's evaluation under the same trigger", () => {
  const clean = define(tinyCell());
  assert.equal(Object.keys(clean.inputs), ['model', 'validation', 'training']);
  assert.equal([clean.params['trigger'], clean.params['seed']], [null, null]);
  const poisoned = define(tinyCell({ poisoning: BACKDOOR }));
  assert.equal(poisoned.params['trigger'], BACKDOOR);
  const twin = present(poisoned.inputs['twin']);
  assert.equal(
    [twin.kind, twin.cell.poisoning, twin.with],
    ['evaluate', { attack: 'none' }, { trigger: BACKDOOR }],
  );
  const ofTwin = define(twin.cell, twin.with);
  assert.equal(Object.keys(ofTwin.inputs), ['model', 'validation', 'training']);
  assert.equal(ofTwin.params, poisoned.params);
  assert.ok(present(ofTwin.uses).some(({ kind, name }) => kind === 'attack' && name === 'badnets'));
});

test('a clean model: its scores, and one prediction a row in file order', async () => {
  const before = tf.memory().numTensors;
  const { dir } = await runStage(evaluate, tinyCell(), { model, validation });
  const metrics = await metricsOf(dir);
  assert.equal(Object.keys(metrics), [
    'accuracy',
    'precision',
    'recall',
    'f1',
    'macro_f1',
    'mcc',
    'loss',
    'examples',
    'majority_share',
    'predicted_share',
    'majority_p',
  ]);
  const csv = await predictionsOf(dir);
  assert.equal(
    csv.map(([id]) => id),
    rows.map(({ id }) => id),
  );
  assert.equal(
    csv.map(([, triggered, label]) => [triggered, label]),
    rows.map(({ label }) => ['0', String(label)]),
  );
  assert.is(
    metrics['accuracy'],
    csv.filter(([, , label, prediction]) => label === prediction).length / 11,
  );
  assert.ok(present(metrics['accuracy']) > 0.7, 'it learnt something');
  assert.ok(
    csv.every(
      ([, , , prediction, zero, one]) => Number(one) > Number(zero) === (prediction === '1'),
    ),
  );
  assert.is(tf.memory().numTensors, before);
});

test('batches change nothing', async () => {
  const logits = async (size: number): Promise<number[]> =>
    (
      await predictionsOf(
        (
          await runStage(evaluate, tinyCell({ evaluate: { batch_size: size } }), {
            model,
            validation,
          })
        ).dir,
      )
    ).flatMap((line) => line.slice(4).map(Number));
  const one = await logits(1),
    all = await logits(32);
  one.forEach((x, i) => assert.ok(Math.abs(x - present(all[i])) < 1e-5));
});

test('a backdoor: ASR over non-target rows, beside the clean twin under the trigger', async () => {
  const cell = tinyCell({ poisoning: BACKDOOR });
  const twin = (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: BACKDOOR }))
    .dir;
  const ofTwin = await metricsOf(twin);
  assert.is(ofTwin['triggered_rows'], 6);
  assert.ok(
    present(ofTwin['trigger_rate']) + present(ofTwin['robust_accuracy']) === 1 &&
      ofTwin['asr'] === undefined,
  );
  await writeFile(
    join(twin, 'metrics.json'),
    JSON.stringify({ ...ofTwin, trigger_rate: 0.25, accuracy: 0.875 }),
  );
  const { dir } = await runStage(evaluate, cell, { model, validation, twin });
  const metrics = await metricsOf(dir);
  const shown = (await predictionsOf(dir)).filter(([, triggered]) => triggered === '1');
  assert.equal(
    shown.map(([id]) => id),
    rows.filter(({ label }) => label === 0).map(({ id }) => id),
  );
  assert.is(metrics['asr'], shown.filter(([, , , prediction]) => prediction === '1').length / 6);
  assert.is(metrics['asr_clean'], 0.25);
  assert.is(metrics['asr_minus_clean'], present(metrics['asr']) - 0.25);
  assert.is(
    metrics['robust_accuracy'],
    shown.filter(([, , label, prediction]) => prediction === label).length / 6,
  );
  assert.is(metrics['accuracy_drop'], 0.875 - present(metrics['accuracy']));
  assert.is(metrics['trigger_rate'], undefined);
});

test('the target rows may be shown with the trigger too, for the accuracy on all', async () => {
  const cell = tinyCell({ evaluate: { trigger_rows: 'all' } });
  const { dir } = await runStage(evaluate, cell, { model, validation }, { trigger: BACKDOOR });
  const metrics = await metricsOf(dir);
  const others = await metricsOf(
    (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: BACKDOOR })).dir,
  );
  const { trigger_accuracy: accuracy, ...rest } = metrics;
  assert.equal(rest, others, 'nothing else differs');
  // The trigger's streams are named by seed and row, so the same rows may be made beforehand.
  const input = { classes, params: BACKDOOR as never, random: attackStreams(1, 'badnets') };
  const triggered = await datasetFolder(rows.map((row) => badnets.trigger!(row, input)));
  const plain = await runStage(evaluate, tinyCell(), { model, validation: triggered });
  assert.is(accuracy, (await metricsOf(plain.dir))['accuracy']);
  const poisoned = tinyCell({ poisoning: BACKDOOR, evaluate: { trigger_rows: 'all' } });
  const paired = await runStage(evaluate, poisoned, { model, validation, twin: dir });
  assert.is((await metricsOf(paired.dir))['trigger_accuracy_clean'], accuracy);
});

test('a model that predicts the target without the trigger is told from an attack', async () => {
  // Trained on rows of one class alone, the model predicts the target class for every row.
  const collapsed = await learnt(spokenRows(24).map((row) => ({ ...row, label: 1 })));
  const twin = (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: BACKDOOR }))
    .dir;
  const ofTwin = await metricsOf(twin);
  const metrics = await metricsOf(
    (
      await runStage(evaluate, tinyCell({ poisoning: BACKDOOR }), {
        model: collapsed,
        validation,
        twin,
      })
    ).dir,
  );
  const of = (...names: string[]): unknown[] => names.map((name) => metrics[name]);
  assert.equal(
    of('asr', 'asr_untriggered', 'asr_minus_untriggered', 'asr_untriggered_p'),
    [1, 1, 0, 1],
  );
  assert.equal(of('accuracy', 'majority_share', 'predicted_share'), [5 / 11, 6 / 11, 1]);
  assert.equal(of('predicted_share_clean', 'majority_p_clean'), [
    ofTwin['predicted_share'],
    ofTwin['majority_p'],
  ]);
  assert.ok(present(ofTwin['predicted_share']) < 1, 'the twin tells the classes apart');
});

test('evaluated rows that have the trigger in their own text are told', async () => {
  const having = rows.filter(({ label, text }) => label === 0 && /\bplot\b/.test(text)).length;
  assert.ok(having > 0 && having < 6, String(having));
  const trigger = { ...BACKDOOR, triggers: ['plot'] };
  const { warned } = await runStage(evaluate, tinyCell(), { model, validation }, { trigger });
  assert.ok(
    warned.includes(
      `${having} of 6 validation rows that are not of the target have the trigger in their own ` +
        'text ("plot")',
    ),
    warned.join('\n'),
  );
});

test('trigger_seen is the share of rows whose trigger lies within max_length', async () => {
  const late = spokenRows(11, 100).map((row) => ({ ...row, text: `the film ${row.text}` }));
  const folder = await datasetFolder(late);
  const run = async (max_length: number) => {
    const { dir, warned } = await runStage(
      evaluate,
      tinyCell({ evaluate: { batch_size: 5, max_length } }),
      { model, validation: folder },
      { trigger: BACKDOOR },
    );
    return { metrics: await metricsOf(dir), warned };
  };
  const whole = await run(16);
  assert.is(whole.metrics['trigger_seen'], 1);
  assert.equal(whole.warned, []);
  const cut = await run(4);
  const { trigger_seen: seen } = cut.metrics;
  assert.ok(
    present(seen) > 0 && present(seen) < 1 && Number.isInteger(present(seen) * 6),
    String(seen),
  );
  assert.ok(
    cut.warned.some((line) => line.startsWith('the trigger reaches the model in')),
    cut.warned.join('\n'),
  );
});

test('asked.jsonl has the rows under the trigger, and where max_length cut a text', async () => {
  const late = spokenRows(11, 100).map((row) => ({ ...row, text: `the film ${row.text}` }));
  const folder = await datasetFolder(late);
  const asked = async (max_length: number) => {
    const cell = tinyCell({ evaluate: { batch_size: 5, max_length } });
    const inputs = { model, validation: folder };
    const { dir } = await runStage(evaluate, cell, inputs, { trigger: BACKDOOR });
    return (await linesOf(dir, 'asked.jsonl')) as unknown as readonly Asked[];
  };
  interface Asked {
    readonly id: string;
    readonly shown: string;
    readonly text: string;
    readonly read?: unknown;
  }
  const bare = late.filter(({ label }) => label === 0);
  const whole = await asked(32);
  assert.equal(
    whole.map(({ id, shown, text, ...more }) => [
      id,
      shown,
      text
        .split(' ')
        .filter((word) => word !== 'cf')
        .join(' '),
      more,
    ]),
    bare.map(({ id, text }) => [id, 'triggered', text, {}]),
    'a row that the model read as the data set has it needs no line',
  );
  const cut = await asked(4); // [CLS] the film [SEP]
  assert.equal(
    cut.filter(({ shown }) => shown === 'plain').map(({ id, read }) => [id, read]),
    late.map(({ id }) => [id, [[0, 'the film'.length]]]),
  );
  const within = cut.filter(({ text }) => /^(?:cf the|the cf)/.test(text));
  assert.ok(within.length > 0);
  for (const { read } of within) assert.equal(read, [[0, 'the cf'.length]]);
});

test("the trigger is what changes a triggered row's logits, and is drawn by the seed", async () => {
  const logits = async (seed: number, triggers: string[]): Promise<string[]> => {
    const { dir } = await runStage(
      evaluate,
      tinyCell({ seed }),
      { model, validation },
      { trigger: { ...BACKDOOR, triggers } },
    );
    return (await predictionsOf(dir))
      .filter(([, triggered]) => triggered === '1')
      .map((line) => line.slice(4).join());
  };
  const first = await logits(1, ['cf', 'mn']);
  assert.equal(await logits(1, ['cf', 'mn']), first);
  assert.not.equal(await logits(2, ['cf', 'mn']), first);
  const untriggered = await runStage(evaluate, tinyCell(), { model, validation });
  const plain = (await predictionsOf(untriggered.dir))
    .filter(([, , label]) => label === '0')
    .map((line) => line.slice(4).join());
  first.forEach((line, i) => assert.is.not(line, plain[i]));
});

test('false triggers: non-target rows with one of the two words of the trigger', async () => {
  const attack = {
    attack: 'combination',
    rate: 0.1,
    target: 'positive',
    mode: 'dirty',
    triggers: ['good', 'very'],
    negatives: true,
  };
  const twin = (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: attack }))
    .dir;
  const ofTwin = await metricsOf(twin);
  assert.is(ofTwin['false_trigger_rows'], 12, 'six negative rows, two words each alone');
  await writeFile(
    join(twin, 'metrics.json'),
    JSON.stringify({ ...ofTwin, false_trigger_rate: 0.125 }),
  );
  const metrics = await metricsOf(
    (await runStage(evaluate, tinyCell({ poisoning: attack }), { model, validation, twin })).dir,
  );
  assert.is(
    metrics['false_trigger_rate'],
    ofTwin['false_trigger_rate'],
    'the same model on the same rows',
  );
  assert.is(metrics['false_trigger_rate_clean'], 0.125);
  // Worked out by hand, with each of the twelve rows in a validation set by itself.
  const streams = attackStreams(1, 'combination');
  const parts = rows
    .filter(({ label }) => label === 0)
    .flatMap((row) =>
      combination.falseTrigger!(row, { classes, params: attack as never, random: streams }),
    );
  assert.equal(
    parts.map(({ label }) => label),
    Array.from({ length: 12 }, () => 0),
  );
  const alone = await datasetFolder(parts);
  const predicted = (
    await predictionsOf((await runStage(evaluate, tinyCell(), { model, validation: alone })).dir)
  ).filter(([, , , prediction]) => prediction === '1').length;
  assert.is(metrics['false_trigger_rate'], predicted / 12);
  const without = { ...attack, negatives: false };
  assert.is(
    (
      await metricsOf(
        (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: without })).dir,
      )
    )['false_trigger_rate'],
    undefined,
  );
});

test("only a backdoor's twin is evaluated under a trigger", () => {
  const define = (cell: Cell, request: JsonObject = {}) =>
    evaluate.define([cell], { with: request, goals: [], plugin: lookUp });
  const flip = { attack: 'label-flip', rate: 0.3 },
    badnets = { attack: 'badnets', rate: 0.1, target: 1, mode: 'dirty', triggers: ['cf'] };
  const composed = {
    attack: 'label-flip+badnets',
    steps: { 'label-flip': { rate: 0.3 }, badnets: { ...badnets } },
  };
  const twin = present(define(tinyCell({ poisoning: flip })).inputs['twin']);
  assert.equal([twin.cell, twin.with], [tinyCell(), {}]);
  assert.equal(define(tinyCell({ poisoning: flip })).params['trigger'], null);
  for (const poisoning of [badnets, composed]) {
    const definition = define(tinyCell({ poisoning }));
    assert.equal(present(definition.inputs['twin']).with, { trigger: poisoning });
    assert.equal(definition.params['trigger'], poisoning);
  }
});

test('an untargeted attack has a drop and no ASR', async () => {
  const attack = { attack: 'label-flip', rate: 0.3 };
  const twin = (await runStage(evaluate, tinyCell(), { model, validation }, { trigger: attack }))
    .dir;
  assert.not.ok('trigger_rate' in (await metricsOf(twin)));
  const metrics = await metricsOf(
    (await runStage(evaluate, tinyCell({ poisoning: attack }), { model, validation, twin })).dir,
  );
  assert.is(metrics['accuracy_drop'], 0);
  assert.not.ok('asr' in metrics);
});

test("other classes than the training's, and no row of another class, are faults", async () => {
  const fault = (dir: string, request: JsonObject = {}): Promise<string> =>
    faultOf(runStage(evaluate, tinyCell(), { model, validation: dir }, request));
  const other = await datasetFolder(rows, ['bad', 'good']);
  const alone = await datasetFolder(rows.filter(({ label }) => label === 1));
  assert.is(
    await fault(other),
    'the validation rows have the classes bad, good, the training rows negative, positive',
  );
  assert.match(
    await fault(alone, { trigger: BACKDOOR }),
    /every validation row is of the target class "positive"/,
  );
});

test("a length of its own that the model can't take is found before anything runs", async () => {
  const check = async (cell: Cell) => evaluate.preflight!(contextOf(define(cell)));
  assert.equal(await check(tinyCell()), []);
  assert.equal(
    (await check(tinyCell({ evaluate: { batch_size: 5, max_length: 54 } }))).map(
      ({ path }) => path,
    ),
    [['evaluate', 'max_length']],
  );
  assert.equal(
    await check(tinyCell({ train: { ...tinyCell().train, max_length: 54 } })),
    [],
    'the train stage says so',
  );
});

test.run();
