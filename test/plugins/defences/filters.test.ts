/** The shipped defences on hand-made rows, models and weights. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import cleanFineTuning from '../../../plugins/defences/clean-fine-tuning.ts';
import cube from '../../../plugins/defences/cube/index.ts';
import freezeA from '../../../plugins/defences/freeze-a.ts';
import magnitudePruning from '../../../plugins/defences/magnitude-pruning.ts';
import onion from '../../../plugins/defences/onion/index.ts';
import oracle from '../../../plugins/defences/oracle.ts';
import spectralSignatures from '../../../plugins/defences/spectral-signatures/index.ts';
import wanda from '../../../plugins/defences/wanda.ts';
import { metricsOf } from '../../../plugins/stages/evaluate/metrics.ts';
import type {
  AskedModel,
  DefenceContext,
  DefenceHook,
  Judge,
  Row,
  RowsDefence,
} from '../../../src/api.ts';
import type { ModelEdit, WeightsContext } from '../../../src/science/measures/weights/edit.ts';
import type { LinearLayer } from '../../../src/science/models/types.ts';
import { present } from '../../rig/present.ts';
import { standIn } from '../../rig/stand-in.ts';
import { contextOf } from './rig.ts';

const fitted = async (
  hook: DefenceHook<RowsDefence<never, never>> | undefined,
  context: DefenceContext,
): Promise<Judge> => standIn<RowsDefence>(await present(hook).load()).fit(context);

const row = (i: number, text: string, label = 0): Row => ({ id: `r${i}`, text, label });
const texts = (rows: readonly (Row | null)[]): (string | null)[] =>
  rows.map((one) => one?.text ?? null);

test('the oracle drops the poisoned rows', async () => {
  const context = contextOf({}, { poisoned: new Set(['r1']) });
  const judge = await fitted(oracle.rows, context);
  const { rows, suspected, scores } = await judge.judge([row(0, 'a'), row(1, 'b')]);
  assert.equal(
    [texts(rows), suspected, scores],
    [
      ['a', null],
      [false, true],
      [0, 1],
    ],
  );
});

const clean = Array.from({ length: 20 }, (_, i) =>
  row(i, `the film was ${i % 2 === 0 ? 'good' : 'bad'} and ${i % 3 === 0 ? 'long' : 'short'}`),
);
const ONION = { at: 'inputs', suspects: 'clean', frr: 0, order: 3, architecture: 'gpt2' };

test('ONION removes a word that no clean row has, and nothing from clean rows', async () => {
  // By single words, so that a word is not suspected for the word before it.
  const judge = await fitted(onion.inputs, contextOf({ ...ONION, order: 1 }, { clean }));
  const judgement = await judge.judge([
    row(0, 'the film was cf good and long'),
    row(1, 'the film was bad and short'),
  ]);
  assert.equal(texts(judgement.rows), ['the film was good and long', 'the film was bad and short']);
  assert.equal(judgement.suspected, [true, false]);
  assert.ok(present(judgement.scores[0]) >= present(judge.threshold));
  assert.match(JSON.stringify(judge.record), /Kneser–Ney 1-gram model of 20 clean rows/);
});

test('ONION drops whole rows if asked to, and uses a given bar', async () => {
  const rows = [row(0, 'the film was cf good and long'), row(1, 'the film was bad and short')];
  const dropping = await fitted(onion.rows, contextOf({ ...ONION, suspects: 'drop' }, { clean }));
  assert.equal(texts((await dropping.judge(rows)).rows), [null, 'the film was bad and short']);
  const high = await fitted(onion.rows, contextOf({ ...ONION, bar: 1e9 }, { clean }));
  assert.is(high.threshold, 1e9);
  assert.equal((await high.judge(rows)).suspected, [false, false]);
});

test("ONION's bar suspects at most the accepted share of clean rows", async () => {
  const judge = await fitted(onion.inputs, contextOf({ ...ONION, frr: 0.25 }, { clean }));
  const found = present(judge.record)['clean_suspected'];
  assert.ok(Number(found) <= 5);
  let message = '';
  await fitted(onion.inputs, contextOf(ONION, { clean: clean.slice(0, 4) })).catch(
    (error: unknown) => {
      message = String(error);
    },
  );
  assert.match(message, /onion has 4 clean rows, and an n-gram model needs at least 5/);
});

test('ONION acts where its parameter says', () => {
  const acts = (at: string): unknown => onion.acts?.({ ...ONION, at } as never);
  assert.equal(
    [acts('inputs'), acts('rows'), acts('both')],
    [['inputs'], ['rows'], ['rows', 'inputs']],
  );
});

/** A model that represents a row by the numbers of its text. */
const speaking: AskedModel = {
  classes: 2,
  logits: () => Promise.reject(new Error('not asked')),
  representations: (rows) => {
    const values = rows.map(({ text }) => text.split(' ').map(Number));
    return Promise.resolve({
      values: Float64Array.from(values.flat()),
      count: rows.length,
      dimensions: values[0]?.length ?? 0,
    });
  },
};

/** Class 0: eight rows near the origin and two far along the second axis. Class 1: ten rows. */
const spread = [
  ...Array.from({ length: 8 }, (_, i) => row(i, `${0.1 * (i % 3)} ${0.01 * i}`)),
  row(8, '0 5'),
  row(9, '0.1 5.1'),
  ...Array.from({ length: 10 }, (_, i) => row(10 + i, `9 ${0.1 * i}`, 1)),
];
const isFar = spread.map((_, i) => i === 8 || i === 9);

test('spectral signatures drop rows beyond the clean rows of their class', async () => {
  const clean = [...spread.slice(0, 8), ...spread.slice(10)];
  const context = contextOf({ frr: 0 }, { clean, model: speaking });
  const judge = await fitted(spectralSignatures.rows, context);
  const { suspected, scores } = await judge.judge(spread);
  assert.equal(suspected, isFar);
  assert.equal(
    scores.map((score) => score >= present(judge.threshold)),
    isFar,
  );
});

test('spectral signatures drop 1.5·ε of each class by the rule of the paper', async () => {
  const context = contextOf({ frr: 0, epsilon: 0.14 }, { model: speaking });
  const { suspected } = await (await fitted(spectralSignatures.rows, context)).judge(spread);
  const count = (label: number): number =>
    suspected.filter((one, i) => one && spread[i]?.label === label).length;
  assert.equal([count(0), count(1)], [2, 2]);
  assert.equal(suspected.slice(8, 10), [true, true]);
});

test('CUBE keeps the largest cluster of a class, and a small class whole', async () => {
  const apart = [
    ...Array.from({ length: 6 }, (_, i) => row(i, `0 ${0.1 * i}`)),
    row(6, '5 50'),
    row(7, '5 50.1'),
    row(8, '5 50.2'),
    ...Array.from({ length: 5 }, (_, i) => row(9 + i, `90 ${i ** 2}`, 1)),
  ];
  const dropped = async (samples: number): Promise<readonly boolean[]> => {
    const params = { components: 2, min_cluster_size: 3, min_samples: samples };
    const judge = await fitted(cube.rows, contextOf(params, { model: speaking }));
    const { rows } = await judge.judge(apart);
    return rows.map((one) => one === null);
  };
  assert.equal(
    await dropped(1),
    apart.map((_, i) => i >= 6 && i <= 8),
  );
  // A class of fewer than min_samples rows has no clusters.
  assert.equal(
    await dropped(50),
    apart.map(() => false),
  );
});

const layer = { name: 'dense', in: 3, out: 2, adaptable: true, bias: false } as LinearLayer;
const weights = (data: readonly number[]): WeightsContext['after'] =>
  new Map([['dense.weight', { shape: [2, 3], data: Float32Array.from(data) }]]);
const edited = async (load: () => Promise<unknown>, share: number): Promise<readonly number[]> => {
  const context = standIn<WeightsContext>({
    ...contextOf({ share }, { clean }),
    before: weights([1, 1, 1, 1, 1, 1]),
    after: weights([1.5, 0, 1, 3, 1.25, 0.5]), // ΔW = 0.5 −1 0, 2 0.25 −0.5
    layers: [layer],
    inputNorms: () => Promise.resolve(new Map([['dense', Float64Array.of(1, 1, 8)]])),
  });
  const { changed } = await ((await load()) as ModelEdit).edit(context);
  return Array.from(present(changed.get('dense.weight')).data);
};

test('pruning returns the smallest changes to what they were', async () => {
  const byMagnitude = present(magnitudePruning.model?.edit);
  assert.equal(await edited(byMagnitude.load, 0), [1.5, 0, 1, 3, 1.25, 0.5]);
  // Of the matrix 0 and 0.25, and the first of two of 0.5.
  assert.equal(await edited(byMagnitude.load, 0.5), [1, 0, 1, 3, 1, 0.5]);
  assert.equal(await edited(byMagnitude.load, 1), [1, 1, 1, 1, 1, 1]);
  // Of each output the smallest of |ΔW|·‖X‖: 0 of 0.5 1 0, and 0.25 of 2 0.25 4.
  const byWanda = present(wanda.model?.edit);
  assert.equal(await edited(byWanda.load, 0.34), [1.5, 0, 1, 3, 1, 0.5]);
  assert.equal(await edited(byWanda.load, 0.67), [1, 0, 1, 1, 1, 0.5]);
});

test('freeze-A needs LoRA, and clean fine-tuning names its settings', () => {
  const adapter = present(freezeA.training?.adapter);
  assert.equal(adapter({ type: 'lora', rank: 2 }, {}), { type: 'lora', rank: 2, freeze_a: true });
  assert.throws(() => adapter({ type: 'full' }, {}), /the adapter "full" has none/);
  const retrain = present(cleanFineTuning.model?.retrain);
  assert.equal(retrain({ epochs: 2 }), { epochs: 2 });
  assert.equal(retrain({ epochs: 2, learning_rate: 0.1 }), { epochs: 2, learning_rate: 0.1 });
});

test('a rejected row is wrong, and no success of the attack', () => {
  // Predictions 0 1 0 1; the last row is rejected.
  const logits = Float32Array.of(1, 0, 0, 1, 1, 0, 0, 1);
  const plain = { labels: [0, 1, 0, 1], logits, rejected: [false, false, false, true] };
  const triggered = {
    labels: [0, 0],
    logits: Float32Array.of(0, 1, 0, 1),
    rejected: [true, false],
  };
  const twin = {
    ...{ accuracy: 0.8, accuracy_accepted: 0.9, majority_share: 0.6 },
    ...{ predicted_share: 0.5, majority_p: 1, trigger_rate: 0.25 },
  };
  const metrics = metricsOf({
    classes: 2,
    plain,
    underTrigger: {
      target: 1,
      triggered,
      partial: { logits: new Float32Array(0) },
      seen: 1,
    },
    twin,
    before: null,
  });
  assert.equal(
    ['accuracy', 'accuracy_accepted', 'rejected_share', 'examples'].map((name) => metrics[name]),
    [0.75, 1, 0.25, 4],
  );
  assert.equal(
    ['accuracy_drop', 'accuracy_accepted_drop'].map((name) => metrics[name]?.toFixed(6)),
    ['0.050000', '-0.100000'],
  );
  assert.is(metrics['majority_share_clean'], 0.6);
  assert.equal(
    ['asr', 'asr_minus_clean', 'robust_accuracy', 'triggered_rejected_share'].map(
      (name) => metrics[name],
    ),
    [0.5, 0.25, 0, 0.5],
  );
});

test.run();
