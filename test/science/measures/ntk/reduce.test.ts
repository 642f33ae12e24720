/** The adapter's kernel alone, for which gradients may be kept in place of h and δ. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { type KernelSet, kernelSet } from '../../../../src/science/measures/ntk/kernels.ts';
import { adaptedModel } from '../../../../src/science/training/adapted-model.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { folder, openAdapter, SPECS } from '../../adapters-golden.ts';
import { backends, useBackend } from '../../backend.ts';
import { openTiny, rows } from '../../tiny-bert.ts';
import { relative } from './fixture/compare.ts';

const bytesOf = ({ groups }: KernelSet): number =>
  groups.reduce((sum, { bytes }) => sum + bytes, 0);

const open = (name: string) =>
  name === 'lora'
    ? openTiny('lora', true)
    : openAdapter(present(SPECS[name]).implementation, { folder: folder(name, 'end') }, true);

for (const backend of backends)
  for (const name of ['lora', 'dora', 'vera'])
    test(`${backend}, ${name}: the kernel is that of both, in less memory`, async () => {
      await useBackend(backend);
      const network = await open(name);
      const model = adaptedModel(network);
      const options = { batchTokens: 48, method: 'explicit' } as const;
      const both = await kernelSet(model, rows.slice(0, 6), options);
      const before = tf.memory().numTensors;
      const alone = await kernelSet(model, rows.slice(0, 6), {
        ...options,
        which: ['lora'],
      });
      assert.is(tf.memory().numTensors, before, 'tensors');
      assert.ok(bytesOf(alone) < bytesOf(both), `${bytesOf(alone)} of ${bytesOf(both)} bytes`);
      const error = relative(present(alone.lora).data, present(both.lora).data);
      assert.ok(error < tolerance.rounding, String(error));
      // Padding does not count in its batches, and a backend's last bits depend on a batch.
      const gap = relative(alone.logits, both.logits);
      assert.ok(gap < tolerance.rounding, String(gap));
      network.dispose();
    });

test('where less is kept, the layers are taken in fewer passes', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const model = adaptedModel(network);
  const options = { batchTokens: 48, memoryMB: 0.5 };
  const both = await kernelSet(model, rows, options),
    alone = await kernelSet(model, rows, { ...options, which: ['lora'] });
  assert.ok(alone.groups.length < both.groups.length);
  network.dispose();
});

test('the layers that read one token of each text are planned so', async () => {
  await useBackend('cpu');
  const network = await openTiny('lora', true);
  const one = network.linears.filter(({ onePerText }) => onePerText === true);
  assert.equal(
    one.map(({ name }) => name),
    [
      'encoder.layer.2.attention.self.query',
      'encoder.layer.2.attention.output.dense',
      'encoder.layer.2.intermediate.dense',
      'encoder.layer.2.output.dense',
      'pooler.dense',
    ],
  );
  tf.tidy(() => {
    network.forward(rows.slice(0, 2), undefined, {
      tap: (layer, x, y) => {
        const tokens = one.some(({ name }) => name === layer) ? 2 : null;
        assert.is(x.shape[0] === 2, tokens === 2, layer);
        return y;
      },
    });
  });
  network.dispose();
});

test.run();
