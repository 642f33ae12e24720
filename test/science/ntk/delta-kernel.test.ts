import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { adaptedModel } from '../../../src/science/nn/adapted-model.ts';
import type { Network } from '../../../src/science/nn/network.ts';
import { meanTrace } from '../../../src/science/ntk/compare.ts';
import { deltaKernels } from '../../../src/science/ntk/delta-kernel.ts';
import { kernels } from '../../../src/science/ntk/kernels.ts';
import { pairKernel, pairKernels } from '../../../src/science/ntk/pairs.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { openStart } from '../theory-golden.ts';
import { openTiny, rows as tinyRows } from '../tiny-bert.ts';

const test = suite('Δ_r layer by layer, and kernels between pairs');
const rows = tinyRows.slice(0, 7);
const near = (a: number, b: number, within: number): void =>
  assert.ok(Math.abs(a - b) <= within * Math.abs(b), `${a} is not ${b}`);

async function compared(
  network: Network,
): Promise<NonNullable<Awaited<ReturnType<typeof deltaKernels>>>> {
  const model = adaptedModel(network);
  const before = tf.memory().numTensors;
  const delta = present(await deltaKernels(model, rows, { batchTokens: 60 }));
  assert.is(tf.memory().numTensors, before, 'tensors');
  const whole = await kernels(model, rows);
  near(
    delta.total.full / rows.length,
    meanTrace(whole.full, rows.length, model.outputs),
    tolerance.rounding,
  );
  near(
    delta.total.lora / rows.length,
    meanTrace(present(whole.lora), rows.length, model.outputs),
    tolerance.rounding,
  );
  for (const part of ['full', 'lora', 'delta', 'from_b'] as const)
    near(
      delta.layers.reduce((sum, layer) => sum + layer[part], 0) + 1,
      delta.total[part] + 1,
      tolerance.rounding,
    );
  return delta;
}

for (const backend of backends) {
  test(`${backend}: at B = 0, K_LoRA − K_ff − Δ_r is rounding in every layer`, async () => {
    await useBackend(backend);
    const network = await openStart();
    const { layers, total } = await compared(network);
    assert.is(layers.length, 19);
    for (const {
      layer,
      residual,
      relative_delta: size,
      from_b: b,
      zero_b: zero,
      eigenvalues,
      measured,
      rank,
    } of layers) {
      assert.ok(residual < tolerance.rounding, `${layer}: ${residual}`);
      assert.ok(size > 0.1, `${layer}: Δ_r is no small part`);
      assert.equal([b, zero, eigenvalues.length], [0, true, rank]);
      near(present(eigenvalues[0]) + 1, measured.high + 1, 1e-9);
      near(present(eigenvalues[rank - 1]) + 1, measured.low + 1, 1e-9);
    }
    assert.ok(total.residual < tolerance.rounding);
    network.dispose();
  });
}

test("after training the rest is s²Σ(Bᵀδ·Bᵀδ')(h·h'), reported separately", async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const { layers, total } = await compared(network);
  assert.ok(
    layers.every(
      ({ zero_b: zero, from_b: b, residual }) => !zero && b > 0 && residual < tolerance.rounding,
    ),
  );
  assert.ok(total.from_b > 0.01 * total.full);
  network.dispose();
});

test('full fine-tuning has no Δ_r', async () => {
  const network = await openTiny('full', true);
  assert.is(await deltaKernels(adaptedModel(network), rows), null);
  network.dispose();
});

test("M' by hand: the mean class trace between pairs, raw and as a cosine", () => {
  // P = 1, C = 2: rows (x; x̃), K over (x,0), (x,1), (x̃,0), (x̃,1).
  const K = Float64Array.of(4, 9, 2, 9, /**/ 9, 5, 9, 1, /**/ 2, 9, 1, 9, /**/ 9, 1, 9, 3);
  const { raw, cosine } = pairKernel(K, 1, 2);
  assert.is(raw, 3);
  near(cosine, 3 / Math.sqrt(9 * 4), 1e-12);
});

test('a text that an attack leaves unchanged has cosine 1, whatever its label', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const model = adaptedModel(network);
  const originals = rows.slice(0, 3);
  const same = await pairKernels(model, originals, originals);
  for (const of of [same.full, present(same.lora)]) near(of.cosine, 1, tolerance.rounding);
  near(
    present(same.lora).raw,
    meanTrace(present((await kernels(model, originals)).lora), 3, 3),
    tolerance.rounding,
  );
  const other = await pairKernels(model, originals, rows.slice(3, 6));
  assert.ok(present(other.lora).cosine < 0.999);
  let fault = '';
  try {
    await pairKernels(model, originals, rows);
  } catch (error) {
    fault = (error as Error).message;
  }
  assert.match(fault, /3 rows cannot be paired with 7/);
  network.dispose();
});

test.run();
