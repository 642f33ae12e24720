/** Generation against `generate` of transformers (test/golden/families.py), and its sampling. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { randomStream } from '../../../../src/base/random.ts';
import {
  drawToken,
  generate,
  type GenerateOptions,
} from '../../../../src/science/models/generate.ts';
import type { TokenRow } from '../../../../src/science/models/types.ts';
import { present } from '../../../rig/present.ts';
import { useBackend } from '../../backend.ts';
import { caseNames, type FamilyCase, openCase, openFamily } from '../../family-cases.ts';

const test = suite('generation');

const rowOf = (ids: readonly number[]): TokenRow => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
});

type Generation = NonNullable<FamilyCase['golden']['generation']>;

/** Asserts that each prompt is continued as in the golden file, in batches of each size. */
async function assertGenerates(
  own: FamilyCase,
  { prompts, outputs, eos, max_new_tokens: maxNewTokens }: Generation,
  batchSizes: readonly number[],
): Promise<void> {
  const network = await openFamily(own, 'full', true);
  try {
    const before = tf.memory().numTensors;
    for (const batchSize of batchSizes) {
      const texts = await generate(network, prompts.map(rowOf), {
        maxNewTokens,
        stops: eos,
        batchSize,
      });
      texts.forEach(({ ids, ended }, i) => {
        const expected = present(outputs[i]),
          stopped = eos.includes(present(expected.at(-1)));
        assert.is(ended, stopped, `prompt ${i}`);
        assert.equal(ids, stopped ? expected.slice(0, -1) : expected, `prompt ${i}`);
      });
    }
    assert.is(tf.memory().numTensors, before);
  } finally {
    network.dispose();
  }
}

for (const name of caseNames.filter((own) => own.includes('causal')))
  test(`${name}: greedy texts are those of transformers, in batches and one by one`, async () => {
    await useBackend('tensorflow');
    const own = await openCase(name);
    const generation = present(own.golden.generation);
    await assertGenerates(own, generation, [generation.prompts.length, 1]);
  });

/** test/golden/generation.py documents the format. */
const fifty = JSON.parse(
  readFileSync(new URL('../../../golden/generation.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, Generation>>;

for (const [name, generation] of Object.entries(fifty))
  test(`${name}: 50 prompts of unlike length are continued as by transformers`, async () => {
    await useBackend('tensorflow');
    assert.is(generation.prompts.length, 50);
    await assertGenerates(await openCase(name), generation, [50]);
  });

/**
 * A model of 4 tokens whose logits after a text are those that `after` gives for its last token.
 */
const scripted = (after: (last: number) => readonly number[]): Parameters<typeof generate>[0] => ({
  forward: (batch) => tf.tensor2d(batch.map(({ ids }) => [...after(present(ids.at(-1)))])),
});
const greedily = (model: Parameters<typeof generate>[0], maxNewTokens: number) =>
  generate(model, [[1], [2, 3]].map(rowOf), { maxNewTokens, stops: [0], batchSize: 2 });

test('an end at once is an empty text that ended, and no padding', async () => {
  await useBackend('cpu');
  assert.equal(
    await greedily(
      scripted(() => [1, 0, 0, 0]),
      5,
    ),
    [
      { ids: [], ended: true },
      { ids: [], ended: true },
    ],
  );
});

test('a text that reaches the limit has not ended, even where the end would be next', async () => {
  await useBackend('cpu');
  const model = scripted((last) => [Number(last === 2), 0, Number(last !== 2), 0]);
  assert.equal(await greedily(model, 1), [
    { ids: [2], ended: false },
    { ids: [2], ended: false },
  ]);
  assert.equal(await greedily(model, 2), [
    { ids: [2], ended: true },
    { ids: [2], ended: true },
  ]);
});

test('of equal logits the first token is taken, as by transformers', async () => {
  await useBackend('cpu');
  const [text] = await greedily(
    scripted(() => [0, 3, 3, 3]),
    2,
  );
  assert.equal(present(text).ids, [1, 1]);
});

test('sampled texts do not depend on the batch, and differ between seeds', async () => {
  await useBackend('tensorflow');
  const own = await openCase('llama-causal');
  const prompts = (own.golden.generation?.prompts ?? []).map(rowOf);
  const network = await openFamily(own, 'full', true);
  const texts = async (batchSize: number, seed: number): Promise<string> => {
    const options: GenerateOptions = {
      maxNewTokens: 12,
      stops: [],
      batchSize,
      sampling: { temperature: 1, top_p: 0.9 },
      random: (prompt) => randomStream(seed, 'generate', `row-${prompt}`),
    };
    return JSON.stringify((await generate(network, prompts, options)).map(({ ids }) => ids));
  };
  try {
    assert.is(await texts(8, 1), await texts(3, 1));
    assert.is.not(await texts(8, 1), await texts(8, 2));
  } finally {
    network.dispose();
  }
});

test('tokens are drawn with the probabilities of the softmax, within top_k and top_p', () => {
  // softmax at temperature 2: .5, .25, .25·.8, .25·.2
  const probabilities = [0.25, 0.5, 0.05, 0.2];
  const logits = Float32Array.from(probabilities, (p) => 2 * Math.log(p));
  const shares = (more: object): number[] => {
    const random = randomStream(3, 'generate', 'shares'),
      counts = [0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++)
      counts[drawToken(logits, { temperature: 2, ...more }, random)]!++;
    return counts.map((count) => count / 20_000);
  };
  const near = (actual: readonly number[], expected: readonly number[]): void => {
    actual.forEach((share, i) => {
      // six standard deviations
      assert.ok(Math.abs(share - expected[i]!) < 6 * Math.sqrt(0.25 / 20_000), actual.join());
    });
  };
  near(shares({}), probabilities);
  near(shares({ top_k: 2 }), [1 / 3, 2 / 3, 0, 0]);
  near(shares({ top_p: 0.7 }), [1 / 3, 2 / 3, 0, 0]);
  near(shares({ top_p: 0.8 }), [0.25 / 0.95, 0.5 / 0.95, 0, 0.2 / 0.95]);
  near(shares({ top_p: 0.01 }), [0, 1, 0, 0]);
});

test.run();
