/** What the stages of theory make of each form of adapter on the tiny BERT. */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import delta from '../../../plugins/stages/delta/index.ts';
import regime from '../../../plugins/stages/regime/index.ts';
import spectrum from '../../../plugins/stages/spectrum/index.ts';
import type { LayerSpectrum } from '../../../plugins/stages/spectrum/run.ts';
import {
  beforeTraining,
  type JsonObject,
  type Problem,
  type StageDescriptor,
} from '../../../src/api.ts';
import type { Premise } from '../../../src/science/measures/ntk/delta.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { tolerance } from '../../tolerances.ts';
import { type Chain, file, openChain } from './kernel-chain.ts';
import { type Ran, tinyCell } from './rig.ts';

const test = suite('stages under each adapter');
let chain: Chain;
test.before(async () => {
  await useBackend('cpu');
  chain = await openChain();
});

const json = async <T>(ran: Ran, ...name: string[]): Promise<T> =>
  JSON.parse(await readFile(file(ran, ...name), 'utf8')) as T;

const FORMS: readonly {
  readonly adapter: { readonly type: string; readonly [field: string]: unknown };
  /** The rank of what training adds to a weight. */
  readonly rank: number;
  /** Why there is no Δ_r; null where there is one. */
  readonly without: RegExp | null;
}[] = [
  {
    adapter: { type: 'lora', rank: 3, use_dora: true },
    rank: 22,
    without: /Δ_r is not defined for DoRA/,
  },
  { adapter: { type: 'lora', rank: 3, init: { distribution: 'pissa' } }, rank: 6, without: null },
  {
    adapter: { type: 'lora', rank: 2, init: { distribution: 'olora' }, lora_plus_ratio: 4 },
    rank: 4,
    without: null,
  },
  { adapter: { type: 'vera', rank: 4 }, rank: 4, without: /Δ_r is not defined for VeRA/ },
];

for (const { adapter, rank, without } of FORMS)
  test(`${JSON.stringify(adapter)}: kernels, ΔW and Δ_r, or why there is none`, async () => {
    const cell = tinyCell({ adapter });
    const start = (await chain.train(beforeTraining(cell))).dir;
    const found = await chain.run(delta, cell, { model: start, rows: chain.data });
    const metrics = await json<Record<string, number>>(found, 'metrics.json');
    if (without === null) {
      assert.ok(present(metrics['residual']) < tolerance.rounding, String(metrics['residual']));
      assert.ok(present(metrics['trace_from_b']) > 0, 'B is not zero');
    } else {
      assert.equal(metrics, {});
      assert.match(found.log.join('\n'), without);
    }
    const kernels = await chain.ntk(cell);
    const of = await json<Record<string, number>>(kernels, 'metrics.json');
    for (const name of ['init.lora.mean_trace', 'final.lora.mean_trace', 'lora.drift'])
      assert.ok(present(of[name]) > 0, name);
    const premises = await json<readonly Premise[]>(kernels, 'init', 'premise.json').catch(
      () => [],
    );
    assert.is(premises.length, without === null ? 19 : 0);
    for (const one of premises) assert.equal([one.variance_of, one.zero_b], ['sample', false]);
    const ran = await chain.run(spectrum, cell, {
      start,
      model: (await chain.train(cell)).dir,
      rows: chain.data,
    });
    const { layers } = await json<{ readonly layers: readonly LayerSpectrum[] }>(
      ran,
      'spectrum.json',
    );
    assert.is(layers.length, 19);
    for (const { singular_values: values, change, layer } of layers) {
      assert.ok(values.filter((value) => value > 1e-7).length <= rank, layer);
      assert.ok(change > 0, layer);
    }
  });

/** What the preflight of a stage says, where the training has this adapter. */
const told = async (
  stage: StageDescriptor,
  adapter: JsonObject,
): Promise<readonly Problem[] | undefined> =>
  stage.preflight?.({
    backend: 'cpu',
    params: stage.define([tinyCell()], { with: {}, goals: [] }).params,
    assets: {},
    plugin: () => {
      throw new Error('none');
    },
    upstream: { model: { params: { adapter }, assets: {}, dir: null } },
  });

for (const { adapter, without } of FORMS)
  test(`${JSON.stringify(adapter)}: what is not defined is told before anything runs`, async () => {
    const [warning, ...more] = present(await told(delta, adapter as JsonObject));
    assert.is(more.length, 0);
    if (without === null) assert.is(warning, undefined);
    else {
      assert.is(warning?.warning, true);
      assert.match(present(warning).message, without);
    }
    const faults = present(await told(regime, adapter as JsonObject));
    assert.equal(
      faults.map(({ path, warning: isWarning }) => [path, isWarning]),
      adapter['use_dora'] === true ? [[['adapter', 'use_dora'], undefined]] : [],
    );
  });

test.run();
