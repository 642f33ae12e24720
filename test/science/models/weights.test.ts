/**
 * The sources of a model's weights: half precision and shards written by transformers, and draws
 * from a config.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { checkpoint, classes, farthest, linears, logitsOf, rows } from '../tiny-bert.ts';

const folder = fileURLToPath(new URL('../../golden/weights/', import.meta.url));
const golden = JSON.parse(await readFile(`${folder}logits.json`, 'utf8')) as Readonly<
  Record<string, { readonly shards: number; readonly logits: number[][] }>
>;
const context = { architecture: bert, linears, parameters: [] };
const bare = await mkdtemp(join(tmpdir(), 'config-'));
await cp(join(checkpoint, 'config.json'), join(bare, 'config.json'));

const random = async (
  seed: number,
  more: { readonly head?: 'cloze'; readonly adapter?: 'lora' } = {},
): Promise<Network> => {
  const architecture =
    more.head === undefined ? bert : bert.withHead({ type: 'cloze', tokens: [60, 61] });
  const adapter =
    more.adapter === undefined
      ? await full.create({}, { ...context, architecture })
      : await lora.create({ rank: 2 }, { ...context, architecture });
  return openNetwork({
    architecture,
    model: { path: bare, digest: 'bare', init: 'random' },
    adapter,
    classes,
    seed,
  });
};
const values = (network: Network, name: string): Float32Array =>
  network.frozen(name).dataSync() as Float32Array;
const moments = (data: Float32Array): { mean: number; deviation: number } => {
  const mean = data.reduce((a, b) => a + b) / data.length;
  return {
    mean,
    deviation: Math.sqrt(data.reduce((a, b) => a + (b - mean) ** 2, 0) / data.length),
  };
};

for (const backend of backends) {
  for (const [name, { shards, logits }] of Object.entries(golden)) {
    test(`${name} in ${shards} file(s): the logits are PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const network = await openNetwork({
        architecture: bert,
        model: { path: `${folder}${name}`, digest: null },
        adapter: await full.create({}, context),
        classes,
        seed: 1,
        evaluation: true,
      });
      assert.ok(farthest(logitsOf(network, rows), logits.flat()) < tolerance.logits);
      network.dispose();
    });
  }
}

test('random weights are initialised as in transformers', async () => {
  await useBackend('cpu');
  const network = await random(3);
  for (const { name, shape } of network.parameters) {
    const data = values(network, name);
    if (/LayerNorm\.weight$/.test(name))
      assert.ok(
        data.every((x) => x === 1),
        name,
      );
    else if (name.endsWith('.bias'))
      assert.ok(
        data.every((x) => x === 0),
        name,
      );
    else if (data.length > 400) {
      const drawn = name.includes('word_embeddings') ? data.subarray(22) : data;
      const { mean, deviation } = moments(drawn),
        error = 0.02 / Math.sqrt(drawn.length);
      assert.ok(
        Math.abs(mean) < 5 * error && Math.abs(deviation - 0.02) < 5 * error,
        `${name} ${String(shape)}: ${mean}, ${deviation}`,
      );
    }
  }
  const table = values(network, 'embeddings.word_embeddings.weight');
  assert.ok(
    table.subarray(0, 22).every((x) => x === 0) && table.subarray(22, 44).every((x) => x !== 0),
    'pad_token_id is 0',
  );
  network.dispose();
});

test('each random parameter has its own stream, whatever the adapter and the head', async () => {
  await useBackend('cpu');
  const name = 'encoder.layer.1.attention.self.key.weight',
    other = 'encoder.layer.1.attention.self.value.weight';
  const [a, same, cloze, later] = [
    await random(3),
    await random(3, { adapter: 'lora' }),
    await random(3, { head: 'cloze' }),
    await random(4),
  ];
  const start = values(a, name);
  assert.equal(values(same, name), start);
  assert.equal(values(cloze, name), start);
  assert.is(farthest(values(later, name), start) > 0.01, true);
  assert.is(farthest(values(a, other), start) > 0.01, true);
  assert.equal(
    values(cloze, 'cls.predictions.transform.LayerNorm.weight'),
    new Float32Array(22).fill(1),
  );
  assert.is(farthest(logitsOf(same, rows), logitsOf(a, rows)), 0, 'B is zero');
  for (const network of [a, same, cloze, later]) network.dispose();
});

test('random weights follow the range and the padding token of the config', async () => {
  await useBackend('cpu');
  const config = JSON.parse(await readFile(join(checkpoint, 'config.json'), 'utf8')) as Record<
    string,
    unknown
  >;
  const dir = await mkdtemp(join(tmpdir(), 'config-'));
  const row = async (change: Record<string, unknown>, id: number): Promise<Float32Array> => {
    await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, ...change }));
    const network = await openNetwork({
      architecture: bert,
      model: { path: dir, digest: null, init: 'random' },
      adapter: await full.create({}, context),
      classes,
      seed: 3,
    });
    const data = values(network, 'embeddings.word_embeddings.weight').slice(22 * id, 22 * id + 22);
    network.dispose();
    return data;
  };
  const usual = await row({}, 5);
  assert.ok(
    farthest(
      await row({ initializer_range: 0.04 }, 5),
      usual.map((x) => 2 * x),
    ) < 1e-7,
  );
  assert.ok((await row({ pad_token_id: 5 }, 5)).every((x) => x === 0));
  assert.ok((await row({ pad_token_id: null }, 0)).every((x) => x !== 0));
  await rm(dir, { recursive: true });
});

test.run();
