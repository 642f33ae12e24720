import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { targetedLayers } from '../../../plugins/adapters/lora/plan.ts';
import { UserFault } from '../../../src/api.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { openNetwork } from '../../../src/science/models/network.ts';
import { lossAndGradients } from '../../../src/science/training/gradients.ts';
import { train } from '../../../src/science/training/loop.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, farthest, logitsOf, shape } from '../tiny-bert.ts';
import {
  clozeBert,
  mlm,
  mlmAdapter,
  mlmCheckpoint,
  mlmClasses,
  mlmFolder,
  mlmLinears,
  mlmRows,
  mlmShape,
  openMlm,
} from '../tiny-mlm.ts';

for (const backend of backends) {
  for (const kind of ['full', 'lora'] as const) {
    test(`${kind}: a verbalizer's logits equal those of BertForMaskedLM (${backend})`, async () => {
      await useBackend(backend);
      const network = await openMlm(kind, true);
      const together = logitsOf(network, mlmRows);
      assert.ok(farthest(together, mlm[kind].logits.flat()) < tolerance.logits);
      mlmRows.forEach((row, i) =>
        assert.ok(
          farthest(logitsOf(network, [row]), together.subarray(3 * i, 3 * i + 3)) <
            tolerance.rounding,
          `row ${i}`,
        ),
      );
      network.dispose();
    });

    test(`${kind}: loss and gradients are PyTorch's, also of the table (${backend})`, async () => {
      await useBackend(backend);
      const network = await openMlm(kind);
      const expected = await readSafetensors(`${mlmFolder}gradients-${kind}.safetensors`);
      const chosen = mlmRows.slice(0, mlm.batch_size);
      const { loss, gradients } = lossAndGradients(network, network.initial, {
        rows: chosen,
        labels: chosen.map(({ label }) => label),
      });
      assert.ok(
        Math.abs(present(loss.dataSync()[0]) - present(mlm[kind].losses[0])) < tolerance.loss,
      );
      assert.equal([...gradients.keys()].sort(), [...expected.keys()].sort());
      for (const [name, { data, shape }] of expected) {
        const gradient = named(gradients, name);
        const difference = farthest(gradient.dataSync(), data),
          scale = Math.max(...data.map(Math.abs));
        assert.equal(gradient.shape, [...shape], name);
        assert.ok(
          difference <= tolerance.gradient * scale + 1e-6,
          `${name}: ${difference} of ${scale}`,
        );
      }
      tf.dispose([loss, [...gradients.values()]]);
      network.dispose();
    });
  }

  test(`the loss of each step is PyTorch's, with the table trained (${backend})`, async () => {
    await useBackend(backend);
    for (const kind of ['full', 'lora'] as const) {
      const network = await openMlm(kind),
        losses: number[] = [];
      const trained = await train(
        network,
        mlmRows,
        {
          ...plainTraining,
          steps: mlm.steps,
          batchSize: mlm.batch_size,
          learningRate: mlm[kind].learning_rate,
          weightDecay: 0.05,
        },
        {
          onStep: ({ loss }) => {
            losses.push(loss);
          },
        },
      );
      assert.ok(
        farthest(losses, mlm[kind].losses) < tolerance.loss,
        JSON.stringify(losses.map((loss, i) => loss - present(mlm[kind].losses[i]))),
      );
      tf.dispose([...trained.values()]);
      network.dispose();
    }
  });
}

test('all-linear means the same layers as in PEFT, without the tied decoder', async () => {
  const { layers } = await import('../../../src/science/models/io/peft.ts').then(({ readPeft }) =>
    readPeft(mlmAdapter, mlmShape),
  );
  assert.equal(
    targetedLayers({ targets: 'all-linear' }, mlmShape).map(({ name }) => name),
    [...layers.keys()],
  );
  assert.is(at(mlmLinears, mlmLinears.length - 1).name, 'cls.predictions.transform.dense');
  assert.is(clozeBert.externalName('cls.predictions.bias'), 'cls.predictions.bias');
  assert.is(
    clozeBert.externalName('encoder.layer.0.output.dense.bias'),
    'bert.encoder.layer.0.output.dense.bias',
  );
  assert.is(clozeBert.tokenTable, null);
  assert.is(clozeBert.withHead({ type: 'classifier' }).tokenTable, bert.tokenTable);
});

test('LoRA does not train a cloze head, which PEFT freezes too', async () => {
  await useBackend('cpu');
  const network = await openMlm('lora');
  assert.ok(network.trainable.every((name) => /\.lora_[AB]$/.test(name)));
  network.dispose();
});

test('a missing masked-LM head and an untied decoder are refused', async () => {
  await useBackend('cpu');
  const fault = async (
    run: () => Promise<unknown>,
    message: RegExp,
    hint: RegExp,
  ): Promise<void> => {
    let error: unknown = null;
    try {
      await run();
    } catch (thrown) {
      error = thrown;
    }
    assert.instance(error, UserFault);
    assert.match((error as UserFault).message, message);
    assert.match((error as UserFault).hint ?? '', hint);
  };
  await fault(
    async () =>
      openNetwork({
        architecture: clozeBert,
        model: { path: checkpoint, digest: null },
        adapter: await lora.create({}, mlmShape),
        classes: 3,
        seed: 1,
      }),
    /has no tensor "cls\.predictions\.transform\.dense\.weight"/,
    /needed for a cloze head: .* BertForMaskedLM/,
  );
  const config = (await readConfig(mlmCheckpoint)) as Record<string, unknown>;
  await fault(
    () =>
      Promise.resolve().then(() =>
        clozeBert.parseConfig({ ...config, tie_word_embeddings: false }, 3),
      ),
    /tie_word_embeddings false is not implemented for a cloze head/,
    /tied/,
  );
});

test('a masked-LM checkpoint can be the body under a classifier', async () => {
  await useBackend('cpu');
  const network = await openNetwork({
    architecture: bert,
    model: { path: mlmCheckpoint, digest: null },
    adapter: await lora.create({ rank: 2 }, shape),
    classes: 3,
    seed: 1,
  });
  assert.equal(
    network.trainable.filter((name) => !name.includes('lora')),
    ['classifier.weight', 'classifier.bias'],
  );
  assert.is(logitsOf(network, mlmRows).length, mlmRows.length * mlmClasses.length);
  network.dispose();
});

test.run();
