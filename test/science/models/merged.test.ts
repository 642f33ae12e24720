/** Weights with what an adapter adds: the same outputs as of the adapter's own layers. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { vera } from '../../../plugins/adapters/vera/vera.ts';
import { mergedWeights } from '../../../src/science/models/adapted-layer.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { folder, openAdapter, SPECS } from '../adapters-golden.ts';
import { useBackend } from '../backend.ts';
import { relative } from '../measures/ntk/fixture/compare.ts';
import { openTiny, rows } from '../tiny-bert.ts';

test.before(async () => {
  await useBackend('cpu');
  // The base model stays open once it was opened.
  (await openTiny('full', true)).dispose();
});

const logits = (network: Network, merged: boolean): Float32Array =>
  tf.tidy(() =>
    network
      .forward(rows, undefined, merged ? { merged: network.merged() } : {})
      .dataSync<'float32'>()
      .slice(),
  );

const at = (name: string): Promise<Network> =>
  openAdapter(present(SPECS[name]).implementation, { folder: folder(name, 'end') }, true);

for (const [name, open] of [
  ['LoRA', () => openTiny('lora', true)],
  ...['dora', 'pissa', 'dora-pissa', 'vera', 'vera-drawn'].map(
    (one) => [one, () => at(one)] as const,
  ),
] as const)
  test(`${name}: merged layers have the adapter's outputs, and belong to the network`, async () => {
    const before = tf.memory().numTensors;
    const network = await open();
    const error = relative(logits(network, true), logits(network, false));
    assert.ok(error > 0 && error < tolerance.rounding, String(error));
    assert.equal([...network.merged().keys()].sort(), [...network.adapter.targets].sort());
    network.dispose();
    assert.is(tf.memory().numTensors, before);
  });

for (const [name, implementation] of [
  ['LoRA', lora],
  ['VeRA', vera],
] as const)
  test(`${name}: where training starts, the merged weight is the checkpoint's`, async () => {
    const network = await openAdapter(implementation, { params: { rank: 2 } }, true);
    for (const [layer, weight] of network.merged())
      assert.is(weight, network.frozen(`${layer}.weight`), layer);
    network.dispose();
  });

test('layers beyond the limit of memory are left to the adapter', async () => {
  const network = await openTiny('lora', true);
  const [first, second] = network.linears.filter(({ name }) =>
    network.adapter.targets.includes(name),
  );
  const { in: n, out: m } = present(first);
  const merged = mergedWeights(
    network.adapter,
    network.linears,
    (name) => network.frozen(name),
    4 * n * m,
  );
  assert.equal([...merged.weights.keys()], [present(first).name]);
  assert.is(merged.weights.has(present(second).name), false);
  merged.dispose();
  network.dispose();
});

test.run();
