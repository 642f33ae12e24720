/**
 * The loss of layer-wise weight poisoning, compared with PyTorch (layerwise.py), and what it
 * requires of a model.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import {
  layerwiseLoss,
  layerwiseWeightPoisoning,
} from '../../../plugins/attacks/lwp/layerwise-loss.ts';
import { at, named } from '../../../src/base/lookup.ts';
import { randomStream } from '../../../src/base/random.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { crossEntropy } from '../../../src/science/models/loss.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { tokenRowNetwork } from '../../../src/science/models/token-rows.ts';
import type { Architecture } from '../../../src/science/models/types.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import {
  gradientsOf,
  type LossAndGradients,
  lossAndGradients,
} from '../../../src/science/training/gradients.ts';
import { type LabelledRow, train } from '../../../src/science/training/loop.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { plainTraining } from '../plain-training.ts';
import { checkpoint, classes, farthest, logitsOf, openTiny, rows, shape } from '../tiny-bert.ts';
import { mlmRows, openMlm } from '../tiny-mlm.ts';

const folder = fileURLToPath(new URL('../../golden/layerwise/', import.meta.url));
interface Golden {
  readonly steps: number;
  readonly batch_size: number;
  readonly class_weights: number[];
  readonly runs: Readonly<
    Record<
      'full' | 'lora' | 'cloze',
      {
        readonly settings: { readonly lr: number; readonly weight_decay: number };
        /** (L, N, C) */
        readonly logits: number[][][];
        readonly weighted_loss: number;
        readonly losses: number[];
      }
    >
  >;
}
const golden = JSON.parse(await readFile(`${folder}golden.json`, 'utf8')) as Golden;
const kinds = ['full', 'lora', 'cloze'] as const;
const LAYERS = 3;

const open = (kind: (typeof kinds)[number]): Promise<Network> =>
  kind === 'cloze' ? openMlm('full') : openTiny(kind);
const rowsOf = (kind: (typeof kinds)[number]): readonly LabelledRow[] =>
  kind === 'cloze' ? mlmRows : rows;
const batchOf = (some: readonly LabelledRow[]) => ({
  rows: some,
  labels: some.map(({ label }) => label),
});
const layerLogits = (network: Network, some: readonly LabelledRow[]): Float32Array =>
  tf.tidy(() => network.forward(some, undefined, { layerwise: true }).dataSync() as Float32Array);
const valueOf = ({ loss, gradients }: LossAndGradients): number => {
  const [value] = loss.dataSync();
  loss.dispose();
  disposeAll(gradients);
  return present(value);
};
const scaleOf = (values: ArrayLike<number>): number => Math.max(...Array.from(values, Math.abs));

for (const backend of backends) {
  for (const kind of kinds) {
    test(`${kind}: logits after each layer are those of transformers (${backend})`, async () => {
      await useBackend(backend);
      const network = await open(kind),
        some = rowsOf(kind),
        logits = layerLogits(network, some);
      assert.ok(farthest(logits, golden.runs[kind].logits.flat(2)) < tolerance.logits);
      assert.ok(
        farthest(logits.subarray((LAYERS - 1) * some.length * classes), logitsOf(network, some)) <
          tolerance.rounding,
      );
      network.dispose();
    });

    test(`${kind}: the loss over layers and its gradients are PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const expected = await readSafetensors(`${folder}gradients-${kind}.safetensors`);
      const network = await open(kind),
        batch = batchOf(rowsOf(kind).slice(0, golden.batch_size)),
        [first] = golden.runs[kind].losses;
      const mine = layerwiseLoss(network, network.initial, batch, {}),
        last = lossAndGradients(network, network.initial, batch);
      assert.equal([...mine.gradients.keys()].sort(), [...expected.keys()].sort());
      const isTheirs = ({ gradients }: LossAndGradients, name: string): boolean => {
        const { data } = named(expected, name);
        return (
          farthest(named(gradients, name).dataSync(), data) <=
          tolerance.gradient * scaleOf(data) + 1e-6
        );
      };
      for (const [name, { shape: dims, data }] of expected) {
        assert.equal(named(mine.gradients, name).shape, [...dims], name);
        assert.ok(isTheirs(mine, name), name);
        // The last layer has one loss in both. The bias of a key does not change attention, and an
        // unused table has no gradient.
        if (!name.includes('layer.2.') && scaleOf(data) > 1e-6)
          assert.not.ok(
            isTheirs(last, name),
            `${name}: one loss makes the same gradient as ${LAYERS}`,
          );
      }
      assert.ok(Math.abs(valueOf(mine) - present(first)) < tolerance.loss);
      assert.ok(Math.abs(valueOf(last) - present(first)) > 1, "the last layer's loss alone");
      const weighted = valueOf(
        layerwiseLoss(network, network.initial, batch, { classWeights: golden.class_weights }),
      );
      assert.ok(
        Math.abs(weighted - golden.runs[kind].weighted_loss) < tolerance.loss,
        'weighted by class',
      );
      network.dispose();
    });

    test(`${kind}: the loss of each step is PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const network = await open(kind),
        { settings, losses } = golden.runs[kind],
        seen: number[] = [],
        counts: number[] = [];
      const trained = await train(
        network,
        rowsOf(kind),
        {
          ...plainTraining,
          steps: golden.steps,
          batchSize: golden.batch_size,
          learningRate: settings.lr,
          weightDecay: settings.weight_decay,
          objective: layerwiseLoss,
        },
        {
          onStep: ({ loss }) => {
            seen.push(loss);
            counts.push(tf.memory().numTensors);
          },
        },
      );
      assert.ok(
        farthest(seen, losses) < tolerance.loss,
        JSON.stringify(seen.map((loss, i) => loss - at(losses, i))),
      );
      assert.is(new Set(counts).size, 1, `tensors over the steps: ${counts.join(' ')}`);
      disposeAll(trained);
      network.dispose();
    });
  }

  test(`with dropout it is the sum of losses under the same masks (${backend})`, async () => {
    await useBackend(backend);
    const network = await openNetwork({
      architecture: bert,
      model: { path: checkpoint, digest: 'tiny-bert' },
      classes,
      seed: 1,
      adapter: await lora.create({ rank: 3, dropout: 0.3, bias: 'all' }, shape),
    });
    // B starts at zero, where A has no gradient and LoRA's dropout no effect.
    const values = new Map(
      [...network.initial].map(([name, value]) => [
        name,
        tf.tidy(() => tf.keep(tf.add(value, 0.1))),
      ]),
    );
    const batch = batchOf(rows.slice(3, 10)),
      B = batch.rows.length;
    const options = () => ({
      dropout: { rate: 0.2, random: randomStream(3, 'dropout') },
      adapterRandom: (name: string) => randomStream(3, 'lora_dropout', name),
    });
    const whole = layerwiseLoss(network, values, batch, options());
    const parts = Array.from({ length: LAYERS }, (_, l) =>
      gradientsOf(values, () => {
        const logits = network.forward(batch.rows, values, { ...options(), layerwise: true });
        return crossEntropy(tf.slice(logits, [l * B, 0], [B, classes]), batch.labels);
      }),
    );
    for (const [name, gradient] of whole.gradients) {
      const sum = tf.tidy(() =>
        tf.addN(parts.map(({ gradients }) => named(gradients, name))).dataSync(),
      );
      assert.ok(
        farthest(gradient.dataSync(), sum) <= tolerance.gradient * scaleOf(sum) + 1e-6,
        name,
      );
    }
    const total = parts.reduce((sum, part) => sum + valueOf(part), 0),
      value = valueOf(whole);
    assert.ok(Math.abs(value - total) < tolerance.rounding * total);
    assert.ok(
      Math.abs(value - valueOf(layerwiseLoss(network, values, batch, {}))) > tolerance.loss,
      'dropout has an effect',
    );
    disposeAll(values);
    network.dispose();
  });
}

test('the token after each layer has its own dropout mask', async () => {
  await useBackend('cpu');
  const network = await openTiny('full'),
    B = 5;
  const drawn = (layerwise: boolean): number => {
    let count = 0;
    const random = {
      ...randomStream(1, 'dropout'),
      uniform: () => {
        count++;
        return 0.5;
      },
    };
    tf.tidy(() => {
      network.forward(rows.slice(0, B), undefined, { dropout: { rate: 0.1, random }, layerwise });
    });
    return count;
  };
  assert.is(
    drawn(true) - drawn(false),
    (LAYERS - 1) * B * 22,
    'one more entry for each further layer, row and pooled unit',
  );
  network.dispose();
});

test('a network of token rows offers the logits after every layer', async () => {
  await useBackend('cpu');
  const whole = await openTiny('full', true),
    { network } = tokenRowNetwork(whole, [7, 9]);
  assert.ok(farthest(layerLogits(network, rows), layerLogits(whole, rows)) < tolerance.rounding);
  network.dispose();
});

const tokenizer = await openTokenizer(checkpoint);
test('every head of a BERT offers logits after each layer', () => {
  for (const architecture of [bert, bert.withHead({ type: 'cloze', tokens: [1, 2] })]) {
    assert.equal(layerwiseWeightPoisoning.check({}, { architecture, tokenizer }), []);
    assert.equal(layerwiseWeightPoisoning.open({}, { architecture, tokenizer }), {
      objective: layerwiseLoss,
      opaqueTokens: true,
    });
  }
});

test('an architecture without logits after each layer is refused by its path', async () => {
  const architecture: Architecture = { ...bert, modelType: 'mamba' };
  delete architecture.layerwise;
  const message =
    'the model family "mamba" does not offer logits after each layer, ' +
    'which the loss of this attack needs';
  assert.equal(
    layerwiseWeightPoisoning
      .check({}, { architecture, tokenizer })
      .map(({ path, message: said }) => `${path.join('.')}: ${said}`),
    [`model.architecture: ${message}`],
  );
  assert.throws(
    () => layerwiseWeightPoisoning.open({}, { architecture, tokenizer }),
    (error: Error) => error.name === 'UserFault' && error.message === message,
  );
  await useBackend('cpu');
  const network = await openNetwork({
    architecture: { ...architecture, modelType: 'bert' },
    model: { path: checkpoint, digest: 'tiny-bert' },
    classes,
    seed: 1,
    adapter: await lora.create({ rank: 2 }, shape),
  });
  assert.throws(
    () => layerLogits(network, rows.slice(0, 2)),
    /bert offers no logits after each layer/,
  );
  network.dispose();
});

test.run();
