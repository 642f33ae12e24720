import { readdir, readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import ntk from '../../../plugins/stages/ntk/index.ts';
import { readNpy } from '../../../src/science/models/io/npy.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { type Chain, file, openChain } from './kernel-chain.ts';
import { type Ran, tinyCell } from './rig.ts';

const test = suite('ntk stage');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const metricsOf = async (ran: Ran): Promise<Record<string, number>> =>
  JSON.parse(await readFile(file(ran, 'metrics.json'), 'utf8')) as Record<string, number>;

test('it reads one kernel a checkpoint', () => {
  const inputs = (at: string[]) =>
    ntk.define([tinyCell({ ntk: { rows: 4, split: 'validation', at } })], {
      with: {},
      goals: [],
    }).inputs;
  assert.equal(
    Object.entries(inputs(['init', 'final'])).map(([name, { kind, with: narrowed }]) => [
      name,
      kind,
      narrowed,
    ]),
    [
      ['init', 'kernel', { at: 'init' }],
      ['final', 'kernel', { at: 'final' }],
    ],
  );
  assert.equal(Object.keys(inputs(['final'])), ['final']);
});

test("LoRA: the kernels under their checkpoints' names, alignment and drift", async () => {
  const cell = tinyCell();
  const kernels = {
    init: await chain.kernel(cell, 'init'),
    final: await chain.kernel(cell, 'final'),
  };
  const ran = await chain.run(ntk, cell, { init: kernels.init.dir, final: kernels.final.dir });
  assert.equal((await readdir(ran.dir)).sort(), ['final', 'init', 'metrics.json']);
  for (const at of ['init', 'final'] as const) {
    for (const name of await readdir(kernels[at].dir))
      assert.equal(await readFile(file(ran, at, name)), await readFile(file(kernels[at], name)));
    assert.is((await readdir(file(ran, at))).length, 7);
  }
  const metrics = await metricsOf(ran);
  assert.equal(Object.keys(metrics).sort(), [
    'final.alignment',
    'final.delta.largest',
    'final.delta.semidefinite_layers',
    'final.full.mean_trace',
    'final.lora.mean_trace',
    'final.rows',
    'full.drift',
    'full.rotation',
    'init.alignment',
    'init.delta.largest',
    'init.delta.semidefinite_layers',
    'init.full.mean_trace',
    'init.lora.mean_trace',
    'init.rows',
    'lora.drift',
    'lora.rotation',
  ]);
  const before = (await readNpy(file(ran, 'init', 'kernel-lora.npy'))).data,
    after = (await readNpy(file(ran, 'final', 'kernel-lora.npy'))).data;
  let difference = 0,
    norm = 0;
  before.forEach((value, i) => {
    difference += (present(after[i]) - value) ** 2;
    norm += value ** 2;
  });
  assert.ok(Math.abs(present(metrics['lora.drift']) - Math.sqrt(difference / norm)) < 1e-12);
  assert.ok(
    present(metrics['init.delta.largest']) < 0 && metrics['init.delta.semidefinite_layers'] === 1,
    "PEFT's own start at s = 1 keeps the premise",
  );
  assert.ok(present(metrics['init.alignment']) > 0 && present(metrics['init.alignment']) < 1);
});

test('kept steps have folders, numbers and drift of their own', async () => {
  const cell = tinyCell({
    train: { ...tinyCell().train, checkpoints: [2, 6] },
    ntk: { ...tinyCell().ntk, at: [6, 'init', 2] },
  });
  assert.equal(Object.keys(ntk.define([cell], { with: {}, goals: [] }).inputs), [
    'step-6',
    'init',
    'step-2',
  ]);
  const ran = await chain.ntk(cell);
  assert.equal((await readdir(ran.dir)).sort(), ['init', 'metrics.json', 'step-2', 'step-6']);
  const metrics = await metricsOf(ran);
  const whole = await metricsOf(await chain.ntk(tinyCell())); // six steps
  for (const name of ['drift', 'rotation'])
    assert.equal(
      [metrics[`step-6.lora.${name}`], metrics[`step-6.full.${name}`]],
      [whole[`lora.${name}`], whole[`full.${name}`]],
    );
  assert.ok(
    present(metrics['step-2.lora.drift']) > 0 &&
      metrics['step-2.lora.drift'] !== metrics['step-6.lora.drift'],
  );
  assert.ok(present(metrics['step-2.full.mean_trace']) > 0);
  assert.not.ok('lora.drift' in metrics, 'without the end there is none of the whole training');
});

test('one checkpoint has no drift; full fine-tuning no alignment', async () => {
  const one = await chain.ntk(tinyCell({ ntk: { rows: 4, split: 'validation', at: ['final'] } }));
  assert.equal((await readdir(one.dir)).sort(), ['final', 'metrics.json']);
  assert.equal(
    Object.keys(await metricsOf(one)).filter((name) => /drift|rotation/.test(name)),
    [],
  );
  const full = await metricsOf(await chain.ntk(tinyCell({ adapter: { type: 'full' } })));
  assert.equal(Object.keys(full).sort(), [
    'final.full.mean_trace',
    'final.rows',
    'full.drift',
    'full.rotation',
    'init.full.mean_trace',
    'init.rows',
  ]);
  assert.ok(present(full['full.drift']) > 0);
});

test.run();
