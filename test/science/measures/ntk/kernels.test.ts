import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../../src/api.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { kernels } from '../../kernels.ts';
import { relative } from './fixture/compare.ts';
import {
  finiteDifferenceKernel,
  LAYERS,
  mlpLogits,
  type MlpOptions,
  mlpRows,
  tokenMlp,
} from './fixture/token-mlp.ts';

const test = suite('kernels');
test.before(async () => {
  await useBackend('cpu');
});

const rows = mlpRows([3, 1, 7, 5, 2]);
const lora = { rank: 2, scale: 1.5 };
const weights = LAYERS.map(({ name }) => `${name}.W`);
const factors = LAYERS.flatMap(({ name }) => [`${name}.A`, `${name}.B`]);
const methods = ['plain', 'explicit', 'gram', 'auto'] as const;

for (const backend of backends) {
  for (const tied of [false, true]) {
    test(
      `${backend}: finite differences in double precision, ` +
        (tied ? 'a layer applied twice' : 'each layer once'),
      async () => {
        await useBackend(backend);
        const options: MlpOptions = { tied, lora };
        const model = tokenMlp(options);
        const full = finiteDifferenceKernel(model.weights, rows, options, weights);
        const low = finiteDifferenceKernel(model.weights, rows, options, factors);
        for (const method of methods) {
          const found = await kernels(model, rows, { method });
          assert.ok(
            relative(found.full, full) < tolerance.double,
            `${method}, full: ${relative(found.full, full)}`,
          );
          assert.ok(
            relative(present(found.lora), low) < tolerance.double,
            `${method}, LoRA: ${relative(present(found.lora), low)}`,
          );
          assert.ok(
            relative(
              found.logits,
              rows.flatMap((row) => mlpLogits(model.weights, row, options)),
            ) < tolerance.double,
          );
        }
        model.dispose();
      },
    );
  }
}

test('where A is frozen (LoRA-FA), the kernel is over B alone', async () => {
  const options: MlpOptions = { lora };
  const model = tokenMlp(options);
  const frozen = {
    ...model,
    layers: model.layers.map((layer) => ({
      ...layer,
      lora: { ...present(layer.lora), freezeA: true },
    })),
  };
  const low = finiteDifferenceKernel(
    model.weights,
    rows,
    options,
    LAYERS.map(({ name }) => `${name}.B`),
  );
  for (const method of methods) {
    const found = await kernels(frozen, rows, { method });
    assert.ok(
      relative(present(found.lora), low) < tolerance.double,
      `${method}: ${relative(present(found.lora), low)}`,
    );
  }
  model.dispose();
});

test("each layer's trace is that of its own block", async () => {
  const options: MlpOptions = { lora };
  const model = tokenMlp(options);
  const { layers } = await kernels(model, rows);
  assert.equal(
    layers.map(({ layer }) => layer),
    ['first', 'mix', 'pool'],
  );
  for (const { layer, full, lora: low } of layers) {
    const trace = (names: readonly string[]): number => {
      const K = finiteDifferenceKernel(model.weights, rows, options, names);
      return Array.from({ length: 15 }, (_, i) => present(K[i * 16])).reduce((a, b) => a + b);
    };
    assert.ok(Math.abs(present(full) / trace([`${layer}.W`]) - 1) < tolerance.double);
    assert.ok(Math.abs(present(low) / trace([`${layer}.A`, `${layer}.B`]) - 1) < tolerance.double);
  }
  model.dispose();
});

test('a layer without LoRA adds nothing to K_LoRA; a model without LoRA has none', async () => {
  const options: MlpOptions = { lora };
  const model = tokenMlp(options);
  const partly = { ...model, layers: model.layers.filter(({ name }) => name !== 'mix') };
  const found = await kernels(partly, rows);
  const names = ['first.A', 'first.B', 'pool.A', 'pool.B'];
  assert.ok(
    relative(present(found.lora), finiteDifferenceKernel(model.weights, rows, options, names)) <
      tolerance.double,
  );
  model.dispose();
  const bare = tokenMlp();
  const { lora: none, layers } = await kernels(bare, rows);
  assert.is(none, null);
  assert.equal(
    layers.map((layer) => layer.lora),
    [null, null, null],
  );
  bare.dispose();
});

test("neither batches nor memory limits nor the rows' order change an entry", async () => {
  const model = tokenMlp({ lora });
  const whole = await kernels(model, rows);
  for (const options of [
    { batchTokens: 1 },
    { batchTokens: 8 },
    { memoryMB: 1e-9 },
    { batchTokens: 10, memoryMB: 0.0005 },
  ]) {
    for (const method of methods) {
      const part = await kernels(model, rows, { ...options, method });
      assert.ok(
        relative(part.full, whole.full) < tolerance.rounding,
        JSON.stringify({ ...options, method }),
      );
      assert.ok(
        relative(present(part.lora), present(whole.lora)) < tolerance.rounding,
        JSON.stringify({ ...options, method }),
      );
      assert.equal(
        part.layers.map(({ layer }) => layer),
        whole.layers.map(({ layer }) => layer),
      );
    }
  }
  const order = [3, 0, 4, 2, 1],
    C = 3,
    size = rows.length * C;
  const shuffled = await kernels(
    model,
    order.map((i) => present(rows[i])),
  );
  const expected = Float64Array.from({ length: size * size }, (_, k) => {
    const place = (x: number): number => present(order[Math.floor(x / C)]) * C + (x % C);
    return present(whole.full[place(Math.floor(k / size)) * size + place(k % size)]);
  });
  assert.ok(relative(shuffled.full, expected) < tolerance.rounding);
  model.dispose();
});

test('a kernel of rows with themselves is exactly symmetric', async () => {
  const model = tokenMlp({ lora });
  const { full, lora: low } = await kernels(model, rows, { method: 'explicit' });
  const size = rows.length * 3;
  for (const K of [full, present(low)])
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) assert.is(K[i * size + j], K[j * size + i]);
  model.dispose();
});

test('leaves no tensor behind, whether it ends or is stopped', async () => {
  const model = tokenMlp({ lora });
  const before = tf.memory().numTensors;
  await kernels(model, rows, { batchTokens: 8 });
  assert.is(tf.memory().numTensors, before);
  const stop = new AbortController();
  const seen: number[] = [];
  let fault: unknown;
  try {
    await kernels(model, rows, {
      batchTokens: 8,
      signal: stop.signal,
      progress: (done) => {
        seen.push(done);
        if (done === 2) stop.abort();
      },
    });
  } catch (error) {
    fault = error;
  }
  assert.is((fault as Error).name, 'AbortError');
  assert.equal(seen, [1, 2]);
  assert.is(tf.memory().numTensors, before);
  model.dispose();
});

test('progress counts every batch and every layer to the end', async () => {
  const model = tokenMlp({ lora });
  const seen: [number, number][] = [];
  await kernels(model, rows, {
    batchTokens: 8,
    memoryMB: 1e-9,
    progress: (done, total) => {
      seen.push([done, total]);
    },
  });
  assert.equal(
    seen,
    seen.map((_, i) => [i + 1, seen.length]),
  );
  model.dispose();
});

test('refuses an empty set of rows, and reports a model that has diverged', async () => {
  const model = tokenMlp({ lora });
  const faultOf = async (run: () => Promise<unknown>): Promise<Error> => {
    try {
      await run();
    } catch (error) {
      return error as Error;
    }
    throw new Error('no fault');
  };
  assert.instance(await faultOf(() => kernels(model, [])), RangeError);
  const broken = {
    ...model,
    forward: (...args: Parameters<typeof model.forward>) =>
      tf.mul<ReturnType<typeof model.forward>>(model.forward(...args), NaN),
  };
  const fault = await faultOf(() => kernels(broken, rows));
  assert.instance(fault, UserFault);
  assert.match(fault.message, /not finite/);
  model.dispose();
});

test.run();
