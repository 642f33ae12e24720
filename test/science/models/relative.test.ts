/**
 * DeBERTa's relative positions, which belong to a batch and not to its rows: where they are looked
 * up, and under dropout. test/science/models/families.test.ts has the model itself.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import deberta from '../../../plugins/models/deberta-v2.ts';
import { UserFault } from '../../../src/api.ts';
import { randomStream } from '../../../src/base/random.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { relativeRow } from '../../../src/science/models/relative.ts';
import { train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { useBackend } from '../backend.ts';
import { openCase } from '../family-cases.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest } from '../tiny-bert.ts';

const test = suite('relative positions');
const own = await openCase('deberta-v3-classifier');
const config = await readConfig(own.checkpoint);

async function open(adapter: object, seed = 1): Promise<Network> {
  const { architecture, checkpoint, classes } = own;
  const parsed = architecture.parseConfig(config, classes);
  const shape = {
    architecture,
    linears: architecture.linears(parsed),
    parameters: architecture.parameters(parsed),
  };
  return openNetwork({
    architecture,
    model: { path: checkpoint, digest: own.name },
    classes,
    seed,
    adapter: await lora.create(adapter as never, shape),
  });
}

test('the row of each distance is the one of transformers', async () => {
  const path = fileURLToPath(new URL('../../golden/relative.json', import.meta.url));
  const cases = JSON.parse(await readFile(path, 'utf8')) as {
    readonly buckets: number;
    readonly positions: number;
    readonly rows: readonly number[];
  }[];
  for (const { buckets: count, positions, rows } of cases) {
    const table = { name: '', span: count, buckets: { count, positions }, norm: null };
    rows.forEach((row, distance) => {
      const what = `${distance} of ${count} buckets and ${positions} positions`;
      assert.is(relativeRow(table, distance), row, what);
      // Distances are odd about the row of no distance, but for the clip at the upper end.
      if (row < 2 * count - 1) assert.is(relativeRow(table, -distance), 2 * count - row, what);
    });
  }
  const clipped = { name: '', span: 3, buckets: null, norm: null };
  assert.equal(
    [-9, -3, -1, 0, 2, 9].map((distance) => relativeRow(clipped, distance)),
    [0, 0, 2, 3, 5, 5],
  );
});

test('a config.json that asks for what is not implemented is refused by name', async () => {
  const architecture = await deberta.load();
  for (const [change, message] of [
    [{ conv_kernel_size: 3 }, 'config.json: conv_kernel_size 3 is not implemented'],
    [{ embedding_size: 8 }, 'config.json: embedding_size 8 is not implemented'],
    [{ pooler_hidden_size: 8 }, 'config.json: pooler_hidden_size 8 is not implemented'],
    [{ attention_head_size: 4 }, 'config.json: attention_head_size 4 is not implemented'],
    [{ relative_attention: false }, 'config.json: relative_attention false is not implemented'],
    [{ pos_att_type: 'p2c|p2p' }, 'config.json: pos_att_type "p2c|p2p" is not implemented'],
    [{ pos_att_type: [] }, 'config.json: pos_att_type [] is not implemented'],
    [{ norm_rel_ebd: 'batch_norm' }, 'config.json: norm_rel_ebd "batch_norm" is not implemented'],
    [
      { position_buckets: 64 },
      'config.json: position_buckets 64 is not implemented for 31 positions',
    ],
    [
      { position_buckets: 1 },
      'config.json: position_buckets 1 is not implemented for 31 positions',
    ],
    [
      { position_buckets: 2.5 },
      'config.json: position_buckets is 2.5; it must be a whole number from 1 to 10000000',
    ],
  ] as const)
    assert.throws(
      () => architecture.parseConfig({ ...(config as object), ...change }, 3),
      (error: unknown) => error instanceof UserFault && error.message === message,
      message,
    );
});

const settings: TrainSettings = {
  ...plainTraining,
  steps: 5,
  batchSize: 2,
  learningRate: 3e-3,
  weightDecay: 0.01,
  shuffle: true,
  seed: 3,
};

test("dropout reaches the table's rows in each layer, and a seed repeats it", async () => {
  await useBackend('cpu');
  const network = await open({ rank: 2 });
  const drawn = (seed: number) => {
    const stream = randomStream(seed, 'dropout');
    let draws = 0;
    const uniform = (): number => {
      draws++;
      return stream.uniform();
    };
    const logits = tf.tidy(() =>
      network
        .forward(own.rows, network.initial, {
          dropout: { rate: 0.3, random: { ...stream, uniform } },
        })
        .dataSync<'float32'>()
        .slice(),
    );
    return { logits, draws };
  };
  assert.equal(drawn(1), drawn(1));
  assert.ok(farthest(drawn(1).logits, drawn(2).logits) > 0.01);
  const lengths = own.rows.map(({ ids }) => ids.length),
    [B, H, h] = [lengths.length, 2, 16],
    T = Math.max(...lengths),
    S = lengths.reduce((a, b) => a + b, 0);
  const table = { name: '', span: 8, buckets: { count: 8, positions: 31 }, norm: null };
  const reach = relativeRow(table, T - 1) - relativeRow(table, 1 - T) + 1;
  // Embeddings; table, attention and two outputs of each layer, of which the last computes [CLS]
  // only; the input of the classifier.
  const masks = [
    [S * h],
    [reach * h, B * H * T * T, S * h, S * h],
    [reach * h, B * H * T, B * h, B * h],
    [B * h],
  ];
  assert.is(
    drawn(1).draws,
    masks.flat().reduce((a, b) => a + b, 0),
  );
  const losses: number[] = [];
  const trained = await train(
    network,
    own.rows,
    { ...settings, dropout: 0.1 },
    {
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    },
  );
  assert.is(losses.filter(Number.isFinite).length, settings.steps);
  tf.dispose([...trained.values()]);
  network.dispose();
});

test("LoRA's dropout draws another mask where a layer reads the table", async () => {
  await useBackend('cpu');
  const network = await open({ rank: 2, dropout: 0.5, targets: ['query_proj'], layers: [1] });
  const asked: string[] = [];
  const adapterRandom = (name: string) => {
    asked.push(name);
    return randomStream(1, 'lora_dropout', name);
  };
  tf.tidy(() => network.forward(own.rows, network.initial, { adapterRandom }));
  const name = 'encoder.layer.1.attention.self.query_proj';
  assert.equal(asked, [name, `${name}/2`]);
  network.dispose();
});

test.run();
