/**
 * The masked-LM loss against transformers + PEFT (test/golden/masked_lm.py), and BERT's masking.
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../../../plugins/adapters/lora/lora.ts';
import {
  type MaskedLm,
  type MaskedRow,
  type Masking,
  maskRow,
  openMaskedLm,
} from '../../../../src/science/measures/evaluate/masked-lm.ts';
import { full } from '../../../../src/science/models/fine-tuning.ts';
import { type Network, openNetwork } from '../../../../src/science/models/network.ts';
import { present } from '../../../rig/present.ts';
import { tolerance } from '../../../tolerances.ts';
import { backends, useBackend } from '../../backend.ts';
import { bert } from '../../families.ts';
import { checkpoint, shape } from '../../tiny-bert.ts';
import { mlmCheckpoint, mlmFolder, openMlm } from '../../tiny-mlm.ts';

const test = suite('masked-LM loss');
const golden = JSON.parse(await readFile(`${mlmFolder}masked.json`, 'utf8')) as {
  readonly rows: { readonly ids: number[]; readonly places: number[]; readonly tokens: number[] }[];
  readonly full: number[];
  readonly lora: number[];
};
const rows: readonly MaskedRow[] = golden.rows.map(({ ids, places, tokens }) => ({
  ids: Int32Array.from(ids),
  typeIds: new Int32Array(ids.length),
  places,
  tokens,
}));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const near = (a: number, b: number): boolean => Math.abs(a - b) < tolerance.loss;
const model = { path: mlmCheckpoint, digest: null };
const opened = async (): Promise<MaskedLm> => {
  const lm = await openMaskedLm(bert, model);
  assert.ok(lm);
  return lm;
};

for (const backend of backends) {
  test(
    `${backend}: the sum over places is BertForMaskedLM's, with LoRA's factors and without, ` +
      'whatever the batch',
    async () => {
      await useBackend(backend);
      const lm = await opened();
      for (const kind of ['full', 'lora'] as const) {
        const body = await openMlm(kind, true);
        const whole = await lm.loss(body, rows, 7);
        assert.is(whole.tokens, golden.rows.flatMap(({ places }) => places).length);
        assert.ok(
          near(whole.sum, sum(golden[kind])),
          `${kind}: ${whole.sum} for ${sum(golden[kind])}`,
        );
        for (const [i, row] of rows.entries())
          assert.ok(
            near((await lm.loss(body, [row], 1)).sum, present(golden[kind][i])),
            `${kind} ${i}`,
          );
        body.dispose();
      }
      lm.dispose();
    },
  );
}

test(
  "a classifier's body has the loss of the checkpoint that it came from; what it was trained " +
    'to changes it, the tied table too',
  async () => {
    await useBackend('cpu');
    const before = tf.memory().numTensors;
    const lm = await opened();
    const of = async (adapter: 'full' | 'lora', moved?: string): Promise<number> => {
      const made =
        adapter === 'full' ? await full.create({}, shape) : await lora.create({ rank: 2 }, shape);
      const network: Network = await openNetwork({
        architecture: bert,
        model,
        adapter: made,
        classes: 3,
        seed: 1,
        evaluation: true,
      });
      if (moved !== undefined) {
        const tensor = network.frozen(moved);
        const shifted: Network = {
          ...network,
          frozen: (name: string) => (name === moved ? other : network.frozen(name)),
        };
        const other = tf.tidy(() =>
          tf.add(tensor, tf.mod(tf.cumsum(tf.fill(tensor.shape, 0.3), 0), 0.7)),
        );
        const loss = (await lm.loss(shifted, rows, 16)).sum;
        other.dispose();
        network.dispose();
        return loss;
      }
      const loss = (await lm.loss(network, rows, 16)).sum;
      network.dispose();
      return loss;
    };
    assert.ok(near(await of('full'), sum(golden.full)));
    assert.ok(near(await of('lora'), sum(golden.full)), 'B = 0');
    for (const [adapter, moved] of [
      ['lora', 'encoder.layer.1.output.dense.lora_B'],
      ['full', 'embeddings.word_embeddings.weight'],
      ['full', 'encoder.layer.2.attention.self.value.weight'],
    ] as const) {
      assert.ok(Math.abs((await of(adapter, moved)) - sum(golden.full)) > 0.1, moved);
    }
    lm.dispose();
    assert.is(tf.memory().numTensors, before, 'tensors');
  },
);

test('a checkpoint without the head, and a family without one, have none', async () => {
  await useBackend('cpu');
  assert.is(await openMaskedLm(bert, { path: checkpoint }), null);
  const { UserFault } = await import('../../../../src/api.ts');
  assert.is(
    await openMaskedLm(
      {
        ...bert,
        withHead: () => {
          throw new UserFault('no cloze head here');
        },
      },
      { path: mlmCheckpoint },
    ),
    null,
  );
});

const masking: Masking = { vocabulary: 101, mask: 4, special: new Set([2, 3]), seed: 11 };
const textOf = (length: number, from: number) => ({
  ids: Int32Array.from([2, ...Array.from({ length }, (_, t) => 10 + ((from + t) % 90)), 3]),
  typeIds: new Int32Array(length + 2),
});

test(
  '15% of a text, one at least, never a special token; of them 80% masked, 10% drawn, 10% as ' +
    'they are',
  () => {
    let places = 0,
      masked = 0,
      same = 0,
      other = 0;
    for (let i = 0; i < 600; i++) {
      const text = textOf(40, i),
        row = present(maskRow(text, `r${i}`, masking));
      assert.is(row.places.length, 6);
      assert.equal(
        row.tokens,
        row.places.map((place) => text.ids[place]),
      );
      assert.ok(row.places.every((place) => place > 0 && place < 41));
      text.ids.forEach((id, t) => {
        if (!row.places.includes(t)) {
          assert.is(row.ids[t], id);
          return;
        }
        places++;
        if (row.ids[t] === 4) masked++;
        else if (row.ids[t] === id) same++;
        else other++;
      });
    }
    assert.is(places, 3600);
    // Four standard deviations of a binomial count.
    const within = (count: number, share: number): void => {
      assert.ok(
        Math.abs(count - share * places) < 4 * Math.sqrt(places * share * (1 - share)),
        `${count} of ${places} for ${share}`,
      );
    };
    within(masked, 0.8 + 0.1 / 101);
    within(same, 0.1 + 0.1 / 101);
    within(other, (0.1 * 99) / 101);
    assert.is(present(maskRow(textOf(2, 0), 'short', masking)).places.length, 1);
    assert.is(maskRow(textOf(0, 0), 'empty', masking), null);
  },
);

test("a text's masking depends only on the seed and its own name", () => {
  const text = textOf(40, 3),
    again = (name: string, seed: number) => maskRow(text, name, { ...masking, seed });
  assert.equal(again('a', 1), again('a', 1));
  assert.not.equal(again('a', 1), again('b', 1));
  assert.not.equal(again('a', 1), again('a', 2));
});

test.run();
