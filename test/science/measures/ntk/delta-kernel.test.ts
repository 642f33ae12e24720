import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { vera } from '../../../../plugins/adapters/vera/vera.ts';
import { measureDelta } from '../../../../plugins/stages/delta/run.ts';
import {
  type PairKernel,
  pairKernel,
  pairKernels,
  pairsAreCheaper,
} from '../../../../plugins/stages/divergence/between.ts';
import { meanTrace } from '../../../../plugins/stages/ntk/run.ts';
import { at } from '../../../../src/base/lookup.ts';
import { kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import { planPairs } from '../../../../src/science/measures/ntk/layerwise.ts';
import { MOST_LOGITS } from '../../../../src/science/models/layout.ts';
import type { Network } from '../../../../src/science/models/network.ts';
import type { TokenRow } from '../../../../src/science/models/types.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { folder, openAdapter, SPECS } from '../../adapters-golden.ts';
import { backends, useBackend } from '../../backend.ts';
import { kernels } from '../../kernels.ts';
import { openStart } from '../../theory-golden.ts';
import { openTiny, rows as tinyRows } from '../../tiny-bert.ts';

const test = suite('Δ_r layer by layer, and kernels between pairs');
const rows = tinyRows.slice(0, 7);
const near = (a: number, b: number, within: number): void =>
  assert.ok(Math.abs(a - b) <= within * Math.abs(b), `${a} is not ${b}`);

async function compared(
  network: Network,
): Promise<NonNullable<Awaited<ReturnType<typeof measureDelta>>>> {
  const model = adaptedModel(network);
  const before = tf.memory().numTensors;
  const delta = present(await measureDelta(model, rows, { batchTokens: 60 }));
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

for (const backend of backends)
  test(`${backend}: at B = 0 A's term is zero, and is not contracted`, async () => {
    await useBackend(backend);
    const network = await openStart();
    const model = adaptedModel(network);
    const { lora, terms } = await kernelSet(model, rows, { which: ['lora'] });
    const methodsOf = (wanted: string): string[] =>
      terms.flatMap(({ parameter, method }) => (parameter === wanted ? [method] : []));
    assert.equal(new Set(methodsOf('A')), new Set(['zero']));
    assert.is(methodsOf('A').length, methodsOf('B').length);
    assert.is(methodsOf('B').includes('zero'), false);
    // LoRA-FA's kernel is over B alone.
    const frozen = model.layers.map((layer) => ({
      ...layer,
      lora: { ...present(layer.lora), freezeA: true },
    }));
    const alone = await kernelSet({ ...model, layers: frozen }, rows, { which: ['lora'] });
    assert.equal(present(lora).data, present(alone.lora).data);
    network.dispose();
  });

test("VeRA's terms that are zero before training are not contracted", async () => {
  await useBackend('cpu');
  const network = await openAdapter(vera, { params: { rank: 3 } }, true);
  const { terms } = await kernelSet(adaptedModel(network), rows, { which: ['lora'] });
  for (const { parameter, method } of terms) assert.is(method === 'zero', parameter === 'd');
  assert.ok(terms.some(({ method }) => method === 'zero'));
  network.dispose();
});

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
  assert.is(await measureDelta(adaptedModel(network), rows), null);
  network.dispose();
});

test("M' by hand: the mean class trace between pairs, raw and as a cosine", () => {
  // P = 2
  const { raw, cosine } = pairKernel({
    between: Float64Array.of(3, 4),
    originals: Float64Array.of(9, 2),
    poisoned: Float64Array.of(4, 32),
  });
  assert.is(raw, 3.5);
  near(cosine, (3 / 6 + 4 / 8) / 2, 1e-12);
});

/** M' from a whole kernel over the originals and then the poisoned rows, (2P, C, 2P, C). */
function fromWhole(kernel: Float64Array, pairs: number, classes: number): PairKernel {
  const size = 2 * pairs * classes;
  const trace = (i: number, j: number): number =>
    Array.from({ length: classes }, (_, c) =>
      at(kernel, (i * classes + c) * size + j * classes + c),
    ).reduce((a, b) => a + b);
  const of = (entry: (i: number) => number): Float64Array =>
    Float64Array.from({ length: pairs }, (_, i) => entry(i));
  return pairKernel({
    between: of((i) => trace(i, pairs + i)),
    originals: of((i) => trace(i, i)),
    poisoned: of((i) => trace(pairs + i, pairs + i)),
  });
}

for (const backend of backends)
  for (const adapter of ['full', 'lora', 'dora', 'vera'])
    test(`${backend}, ${adapter}: M' is that of the whole kernel over all rows`, async () => {
      await useBackend(backend);
      const network =
        adapter === 'full' || adapter === 'lora'
          ? await openTiny(adapter, true)
          : await openAdapter(
              present(SPECS[adapter]).implementation,
              { folder: folder(adapter, 'end') },
              true,
            );
      const model = adaptedModel(network);
      // Pairs of unlike lengths, in several batches and groups of layers.
      const [originals, poisoned] = [tinyRows.slice(0, 6), tinyRows.slice(9, 15)];
      const before = tf.memory().numTensors;
      const found = await pairKernels(model, originals, poisoned, {
        batchTokens: 48,
        memoryMB: 0.5,
      });
      assert.is(tf.memory().numTensors, before, 'tensors');
      const whole = await kernels(model, [...originals, ...poisoned]);
      for (const kind of ['full', 'lora'] as const) {
        const expected = whole[kind];
        if (expected === null) {
          assert.is(found[kind], null);
          continue;
        }
        const { raw, cosine } = fromWhole(expected, 6, model.outputs);
        near(present(found[kind]).raw, raw, tolerance.rounding);
        near(present(found[kind]).cosine, cosine, tolerance.rounding);
      }
      network.dispose();
    });

test("M' does not depend on the number of logits, which bounds the pairs of a batch", async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const plain = adaptedModel(network);
  const [originals, poisoned] = [tinyRows.slice(0, 6), tinyRows.slice(9, 15)];
  // A third of the bound for an original, two thirds for a poisoned row.
  const share = new Map<TokenRow, number>([
    ...originals.map((row) => [row, 1 / 3] as const),
    ...poisoned.map((row) => [row, 2 / 3] as const),
  ]);
  const model = { ...plain, logits: (row: TokenRow) => present(share.get(row)) * MOST_LOGITS };
  const [ofOriginals, ofPoisoned] = planPairs(model, originals, poisoned, {}).parts;
  assert.equal(ofOriginals, ofPoisoned);
  assert.equal(
    present(ofOriginals).map(({ length }) => length),
    [1, 1, 1, 1, 1, 1],
    'two poisoned rows exceed the bound',
  );
  assert.is(present(planPairs(model, originals, originals, {}).parts[0]).length, 2);
  const found = await pairKernels(model, originals, poisoned),
    expected = await pairKernels(plain, originals, poisoned);
  for (const kind of ['full', 'lora'] as const) {
    near(present(found[kind]).raw, present(expected[kind]).raw, tolerance.rounding);
    near(present(found[kind]).cosine, present(expected[kind]).cosine, tolerance.rounding);
  }
  network.dispose();
});

test('matched rows: token pairs for short rows, gradients for long ones', () => {
  assert.is(pairsAreCheaper(12, 2, 384, 384), true);
  assert.is(pairsAreCheaper(200, 2, 384, 384), false);
  assert.is(pairsAreCheaper(12, 2, 384, 8), false);
  assert.is(pairsAreCheaper(4, 2, 384, 8), true);
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
