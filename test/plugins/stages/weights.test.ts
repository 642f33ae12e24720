/** spectrum, delta and regime on the tiny BERT, each over what train leaves. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import delta from '../../../plugins/stages/delta/index.ts';
import type { Delta } from '../../../plugins/stages/delta/run.ts';
import fisher from '../../../plugins/stages/fisher/index.ts';
import kernel from '../../../plugins/stages/kernel/index.ts';
import ntk from '../../../plugins/stages/ntk/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import spectrum from '../../../plugins/stages/spectrum/index.ts';
import type { LayerSpectrum } from '../../../plugins/stages/spectrum/run.ts';
import train from '../../../plugins/stages/train/index.ts';
import { beforeTraining, type Cell } from '../../../src/api.ts';
import type { Premise } from '../../../src/science/measures/ntk/delta.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { type Chain, file, openChain, rows } from './kernel-chain.ts';
import { modelAsset, poisonedFolder, type Ran, runStage, tinyCell } from './rig.ts';

const test = suite('spectrum, delta, regime');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const json = async <T>(ran: Ran, name: string): Promise<T> =>
  JSON.parse(await readFile(file(ran, name), 'utf8')) as T;
const metricsOf = (ran: Ran): Promise<Record<string, number>> => json(ran, 'metrics.json');
const full = (): Cell => tinyCell({ adapter: { type: 'full' } });

test("spectrum: LoRA's ΔW has at most its rank, a full one more", async () => {
  for (const [cell, rank] of [
    [tinyCell(), 3],
    [full(), 22],
  ] as const) {
    const ran = await chain.run(spectrum, cell, {
      start: (await chain.train(beforeTraining(cell))).dir,
      model: (await chain.train(cell)).dir,
      rows: chain.data,
    });
    assert.equal((await readdir(ran.dir)).sort(), ['metrics.json', 'spectrum.json']);
    assert.match(ran.log.join('\n'), /no pretrained masked-LM head/);
    const { layers } = await json<{ readonly layers: readonly LayerSpectrum[] }>(
      ran,
      'spectrum.json',
    );
    assert.is(layers.length, 19);
    assert.is(present(layers[0]).layer, 'bert.encoder.layer.0.attention.self.query.weight');
    assert.ok(layers.every(({ singular_values: values }) => values.length === rank));
    const metrics = await metricsOf(ran);
    assert.equal([metrics['layers'], metrics['vectors']], [19, 190]);
    assert.ok(
      present(metrics['effective_rank']) >= 1 &&
        present(metrics['effective_rank_largest']) <= rank &&
        present(metrics['relative_change']) > 0,
    );
  }
});

test('spectrum: a run of no steps moved nothing', async () => {
  const still = beforeTraining(tinyCell());
  const ran = await chain.run(spectrum, still, {
    start: (await chain.train(still)).dir,
    model: (await chain.train(still)).dir,
    rows: chain.data,
  });
  const { change, effective_rank: rank, intruder_dimensions: intruders } = await metricsOf(ran);
  assert.equal([change, rank, intruders], [0, 0, 0]);
  assert.match(ran.warned.join('\n'), /ΔW is zero in every layer/);
});

test('delta: at the start, layer by layer, with what the identity leaves', async () => {
  const cell = tinyCell({ poisoning: { attack: 'badnets', rate: 0.1 } });
  const { inputs } = delta.define([cell], { with: {}, goals: [] });
  assert.equal(
    [
      present(inputs['model']).cell.poisoning,
      present(inputs['model']).cell.train.steps,
      present(inputs['rows']).with,
    ],
    [{ attack: 'none' }, 0, { split: 'validation' }],
  );
  const ran = await chain.run(delta, cell, {
    model: (await chain.train(present(inputs['model']).cell)).dir,
    rows: chain.data,
  });
  const { layers, rows: count } = await json<Delta>(ran, 'delta.json');
  assert.equal([layers.length, count], [19, 4]);
  const metrics = await metricsOf(ran);
  assert.ok(
    present(metrics['residual']) < 1e-5 &&
      present(metrics['largest_layer_residual']) < 1e-5 &&
      present(metrics['relative_delta']) > 0.1,
  );
  assert.is(metrics['trace_from_b'], 0);
  assert.ok(
    Math.abs(
      present(metrics['trace_lora']) -
        present(metrics['trace_full']) -
        present(metrics['trace_delta']),
    ) <
      1e-4 * present(metrics['trace_full']),
  );

  const none = await chain.run(delta, full(), {
    model: (await chain.train(beforeTraining(full()))).dir,
    rows: chain.data,
  });
  assert.equal([await json(none, 'delta.json'), await metricsOf(none)], [null, {}]);
  assert.match(none.log.join('\n'), /no layer has low-rank factors/);
});

test('the premise is tested with the σ² of the spec, or with the sample of a given A', async () => {
  const cell = tinyCell({
    adapter: {
      type: 'lora',
      rank: 3,
      alpha: 'r',
      init: { distribution: 'uniform', variance: '1/d' },
    },
  });
  const start = (await chain.train(beforeTraining(cell))).dir;
  const ran = await chain.run(delta, cell, { model: start, rows: chain.data });
  const { layers } = await json<Delta>(ran, 'delta.json');
  assert.ok(
    layers.every((layer) => layer.variance === 1 / layer.width && layer.variance_of === 'spec'),
  );
  const below = layers.filter((layer) => layer.sample_variance < 1 / layer.width).length;
  assert.ok(below > 0 && below < layers.length, `${below} samples of ${layers.length} are below`);
  const metrics = await metricsOf(ran);
  assert.equal(
    [
      metrics['stated_premise_layers'],
      metrics['scaled_premise_layers'],
      metrics['sample_stated_premise_layers'],
    ],
    [0, 0, below / layers.length],
  );

  const facts = async (at: 'init' | 'final'): Promise<Premise[]> =>
    json<Premise[]>(await chain.kernel(cell, at), 'premise.json');
  assert.ok((await facts('init')).every((layer) => !layer.stated && layer.variance_of === 'spec'));
  assert.ok((await facts('final')).every((layer) => layer.variance_of === 'sample'));

  const folder = tinyCell({ adapter: { type: 'lora', init_from: `${start}/adapter` } });
  const loaded = await runStage(
    train,
    beforeTraining(folder),
    { data: chain.data },
    {},
    { adapter: { ...modelAsset, path: `${start}/adapter` } },
  );
  const found = await json<Delta>(
    await chain.run(delta, folder, { model: loaded.dir, rows: chain.data }),
    'delta.json',
  );
  found.layers.forEach((layer, i) => {
    assert.equal(
      [layer.variance_of, layer.variance],
      ['sample', present(layers[i]).sample_variance],
      layer.layer,
    );
  });
});

test('every variant of LoRA has a Δ_r; all but head-only have both kernels', async () => {
  const variants = [
    { rank: 3, alpha: 6, freeze_a: true },
    { rank: 3, alpha: 6, rslora: true },
    { rank: 3, rank_pattern: { query: 2 }, alpha_pattern: { value: 9 } },
    { rank: 2, bias: 'all' },
    { rank: 2, targets: ['query', 'value'] },
  ].map((params) => ({ type: 'lora', init: { distribution: 'kaiming-uniform' }, ...params }));
  const baselines = ['bitfit', 'ln-tuning', 'head-only'].map((type) => ({ type }));
  for (const adapter of [...variants, ...baselines]) {
    const cell = tinyCell({
        adapter,
        train: { ...tinyCell().train, optimizer: 'sgd', learning_rate: 1e-4, steps: 2 },
      }),
      what = JSON.stringify(adapter);
    const start = (await chain.train(beforeTraining(cell))).dir,
      model = (await chain.train(cell)).dir;
    const of = await metricsOf(await chain.run(delta, cell, { model: start, rows: chain.data }));
    if (adapter.type === 'lora')
      assert.ok(
        present(of['residual']) < 1e-5 &&
          present(of['largest_layer_residual']) < 1e-5 &&
          of['trace_from_b'] === 0,
        what,
      );
    else assert.equal(of, {}, what);
    const { change, effective_rank: rank } = await metricsOf(
      await chain.run(spectrum, cell, { start, model, rows: chain.data }),
    );
    // Vectors and the head are in no layer's ΔW.
    assert.equal(
      [present(change) > 0, present(rank) > 0],
      [adapter.type === 'lora', adapter.type === 'lora'],
      what,
    );
    const kernels = await chain.ntk(cell);
    const found = await metricsOf(kernels);
    const hasOwn = adapter.type !== 'head-only';
    assert.is('init.lora.mean_trace' in found, hasOwn, what);
    const bits = await metricsOf(await chain.run(fisher, cell, { ntk: kernels.dir }));
    assert.is(Number.isFinite(bits['final.lora.true.information_bits']), hasOwn, what);
    const linear = await metricsOf(
      await chain.run(regime, cell, { start, model, ntk: kernels.dir, rows: chain.data }),
    );
    assert.ok(
      present(linear['linear.relative_error']) < 0.05 && present(linear['linear.cosine']) > 0.99,
      `${what}: what is trained is what is linearised: ${linear['linear.relative_error']}`,
    );
  }
});

test('regime: drift, and f₀ + J₀(Θ_T − Θ₀) against f_T', async () => {
  const cell = tinyCell({
    train: { ...tinyCell().train, optimizer: 'sgd', learning_rate: 1e-4, steps: 3 },
  });
  const tensors: number[] = [];
  const of = async (one: Cell): Promise<Ran> => {
    const [start, model, ntk] = [
      await chain.train(beforeTraining(one)),
      await chain.train(one),
      await chain.ntk(one),
    ];
    const ran = await chain.run(regime, one, {
      start: start.dir,
      model: model.dir,
      ntk: ntk.dir,
      rows: chain.data,
    });
    tensors.push(tf.memory().numTensors);
    return ran;
  };
  const gentle = await of(cell);
  assert.equal((await readdir(gentle.dir)).sort(), [
    'logits-final.npy',
    'logits-init.npy',
    'logits-linear.npy',
    'metrics.json',
    'regime.json',
  ]);
  const facts = await json<{
    readonly optimizer: string;
    readonly steps: number;
    readonly kernels: Record<string, { readonly drift: number }>;
  }>(gentle, 'regime.json');
  assert.equal(
    [facts.optimizer, facts.steps, Object.keys(facts.kernels)],
    ['sgd', 3, ['lora', 'full']],
  );
  const metrics = await metricsOf(gentle);
  assert.ok(
    present(metrics['linear.relative_error']) < 0.02 && present(metrics['linear.cosine']) > 0.999,
    'a few gentle steps stay linear',
  );
  assert.is(metrics['lora.drift'], present(facts.kernels['lora']).drift);
  assert.equal((await readNpy(file(gentle, 'logits-linear.npy'))).shape, [4, 2]);

  const rough = await metricsOf(
    await of(tinyCell({ train: { ...tinyCell().train, learning_rate: 0.05, steps: 9 } })),
  );
  assert.ok(
    present(rough['linear.relative_error']) > 10 * present(metrics['linear.relative_error']) &&
      present(rough['lora.drift']) > present(metrics['lora.drift']),
  );
  await of(cell);
  assert.is(tensors[2], tensors[1], 'tensors');
});

test('regime: a kept step beside the end, with its own drift and prediction', async () => {
  const one = tinyCell({
    train: {
      ...tinyCell().train,
      optimizer: 'sgd',
      learning_rate: 1e-4,
      steps: 3,
      checkpoints: [1],
    },
    ntk: { ...tinyCell().ntk, at: ['init', 1, 'final'] },
  });
  assert.equal(regime.define([one], { with: {}, goals: [] }).params['steps'], [1]);
  assert.not.ok('steps' in regime.define([tinyCell()], { with: {}, goals: [] }).params);
  const of = async (cell: Cell): Promise<Ran> =>
    chain.run(regime, cell, {
      start: (await chain.train(beforeTraining(cell))).dir,
      model: (await chain.train(cell)).dir,
      ntk: (await chain.ntk(cell)).dir,
      rows: chain.data,
    });
  const ran = await of(one);
  const metrics = await metricsOf(ran),
    { along } = await json<{
      readonly along: readonly {
        readonly at: string;
        readonly step: number;
        readonly linear: { readonly cosine: number };
      }[];
    }>(ran, 'regime.json');
  assert.equal(
    along.map(({ at, step }) => [at, step]),
    [['step-1', 1]],
  );
  assert.is(metrics['step-1.linear.cosine'], present(along[0]).linear.cosine);
  const short = tinyCell({ train: { ...one.train, steps: 1, checkpoints: 0 } });
  const alone = await metricsOf(await of(short));
  assert.is(Object.keys(alone).length, 8);
  for (const [name, value] of Object.entries(alone))
    assert.is(metrics[`step-1.${name}`], value, name);
  assert.is.not(metrics['step-1.linear.relative_error'], metrics['linear.relative_error']);
  assert.equal((await readNpy(file(ran, 'logits-linear-step-1.npy'))).shape, [4, 2]);
});

test('regime: where early stopping kept the best model, its step is named', async () => {
  const cell = tinyCell({
    train: {
      ...tinyCell().train,
      steps: 30,
      learning_rate: 0.02,
      evaluate_every: 1,
      early_stopping: { patience: 4, metric: 'loss', min_delta: 0, keep: 'best' },
    },
  });
  // What the model learns is wrong on these rows, so that training stops early.
  const validation = await poisonedFolder(rows.map((row) => ({ ...row, label: 1 - row.label })));
  const model = (await chain.run(train, cell, { data: chain.data, validation })).dir,
    start = (await chain.train(beforeTraining(cell))).dir;
  const kernels = await Promise.all(
    (['init', 'final'] as const).map((at) =>
      chain.run(kernel, cell, { model: at === 'init' ? start : model, rows: chain.data }, { at }),
    ),
  );
  const measured = await chain.run(ntk, cell, {
    init: present(kernels[0]).dir,
    final: present(kernels[1]).dir,
  });
  const ran = await chain.run(regime, cell, { start, model, ntk: measured.dir, rows: chain.data });
  const record = JSON.parse(await readFile(join(model, 'train.json'), 'utf8')) as {
    readonly steps: number;
    readonly kept_step: number;
  };
  assert.is(record.steps, record.kept_step + 4);
  assert.is((await json<{ readonly steps: number }>(ran, 'regime.json')).steps, record.kept_step);
  assert.match(ran.log.join('\n'), new RegExp(`adamw, ${record.kept_step} steps:`));
});

test.run();
