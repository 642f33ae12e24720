import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { UserFault } from '../../../src/api.ts';
import { at } from '../../../src/base/lookup.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { checkpoint, farthest, forward, logitsOf, openTiny, rows } from '../tiny-bert.ts';

for (const backend of backends) {
  test(`the logits of ragged batches are those of transformers (${backend})`, async () => {
    await useBackend(backend);
    for (const kind of ['full', 'lora'] as const) {
      const network = await openTiny(kind);
      const expected = (kind === 'full' ? forward.logits : forward.adapter_logits).flat();
      assert.ok(farthest(logitsOf(network, rows), expected) < tolerance.logits, kind);
      network.dispose();
    }
  });

  test(`neither padding nor the other rows of a batch change a row (${backend})`, async () => {
    await useBackend(backend);
    const network = await openTiny('lora', true);
    const together = logitsOf(network, rows);
    rows.forEach((row, i) =>
      assert.ok(
        farthest(logitsOf(network, [row]), together.subarray(3 * i, 3 * i + 3)) <
          tolerance.rounding,
        `row ${i}`,
      ),
    );
    // Rows of the same length need no padding.
    const even = rows.filter(({ ids }) => ids.length === at(rows, 0).ids.length);
    assert.ok(even.length > 1);
    assert.ok(
      farthest(logitsOf(network, even).subarray(0, 3), together.subarray(0, 3)) <
        tolerance.rounding,
    );
    network.dispose();
  });
}

test('a forward pass leaves no tensor behind', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora');
  const before = tf.memory().numTensors;
  logitsOf(network, rows);
  assert.is(tf.memory().numTensors, before);
  network.dispose();
});

test('what is not implemented for BERT is refused with the field and its value', async () => {
  const config = (await readConfig(checkpoint)) as Record<string, unknown>;
  const fault = (change: Record<string, unknown>, what: RegExp): void =>
    assert.throws(
      () => bert.parseConfig({ ...config, ...change }, 2),
      (e: unknown) => e instanceof UserFault && what.test(e.message),
    );
  fault({ model_type: 'roberta' }, /model_type "roberta"/);
  fault({ hidden_act: 'mish' }, /hidden_act "mish" is not implemented/);
  fault({ position_embedding_type: 'relative_key' }, /position_embedding_type "relative_key"/);
  fault({ hidden_size: undefined }, /lacks hidden_size/);
  fault({ num_attention_heads: 3 }, /hidden_size 22 is not a multiple of num_attention_heads 3/);
  fault({ num_hidden_layers: 'six' }, /num_hidden_layers is "six"/);
  assert.throws(
    () => bert.parseConfig('text', 2),
    (e: unknown) => e instanceof UserFault,
  );
});

test('layers come in forward order, the head last and not adaptable', async () => {
  const layers = bert.linears(bert.parseConfig(await readConfig(checkpoint), 3));
  assert.is(layers.length, 3 * 6 + 2);
  assert.equal(layers[4], {
    name: 'encoder.layer.0.intermediate.dense',
    in: 22,
    out: 37,
    bias: true,
    adaptable: true,
  });
  assert.equal(layers[5], {
    name: 'encoder.layer.0.output.dense',
    in: 37,
    out: 22,
    bias: true,
    adaptable: true,
  });
  assert.equal(
    layers.slice(-2).map(({ name, adaptable }) => [name, adaptable]),
    [
      ['pooler.dense', true],
      ['classifier', false],
    ],
  );
  assert.is(bert.externalName('pooler.dense.weight'), 'bert.pooler.dense.weight');
  assert.is(bert.externalName('classifier.bias'), 'classifier.bias');
});

test.run();
