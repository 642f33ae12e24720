/**
 * What the defences read of a model, against PyTorch in double precision
 * (test/golden/defence_models.py).
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import {
  adversarialShift,
  layerConsistency,
  layerInconsistency,
} from '../../plugins/defences/crow/training.ts';
import { causalLanguageModel } from '../../plugins/defences/onion/causal-model.ts';
import { type MarkedText, rapWord, robustnessLoss } from '../../plugins/defences/rap/judge.ts';
import { evaluated, pooledRepresentations } from '../../src/science/measures/evaluate/predict.ts';
import { inputNorms } from '../../src/science/measures/weights/edit.ts';
import type { Network } from '../../src/science/models/network.ts';
import type { TokenRow } from '../../src/science/models/types.ts';
import {
  gradientsOf,
  type LossAndGradients,
  lossAndGradients,
} from '../../src/science/training/gradients.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';
import { disposeAll } from '../../src/science/training/trained-values.ts';
import { present } from '../rig/present.ts';
import { backends, useBackend } from '../science/backend.ts';
import { openCase, openFamily } from '../science/family-cases.ts';
import { openTiny, rows as tinyRows } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('what the defences read of a model');

interface Golden {
  readonly rap: {
    readonly word: number;
    readonly rows: readonly { readonly ids: number[]; readonly typeIds: number[] }[];
    readonly low: number;
    readonly up: number;
    readonly weight: number;
    readonly rate: number;
    readonly batch: number;
    readonly epochs: number;
    readonly predicted: readonly number[];
    readonly probabilities: readonly number[];
    readonly losses: readonly number[];
    readonly embedding: readonly number[];
    readonly drops: readonly number[];
  };
  readonly crow: readonly {
    readonly kind: string;
    readonly rows: number;
    readonly epsilon: number;
    readonly inconsistency: number;
    readonly by_embedding: readonly number[];
    readonly shifted: number;
    readonly gradients: Readonly<Record<string, readonly [norm: number, dot: number]>>;
  }[];
  readonly pooled: Readonly<Record<string, readonly number[][]>>;
  readonly norms: Readonly<Record<string, readonly number[]>>;
  readonly perplexity: readonly {
    readonly name: string;
    readonly texts: readonly number[][];
    readonly perplexities: readonly number[];
    readonly without: readonly number[];
  }[];
}
const golden = JSON.parse(
  await readFile(new URL('../golden/defence-models.json', import.meta.url), 'utf8'),
) as Golden;

const near = (actual: ArrayLike<number>, expected: readonly number[], what: string): void => {
  assert.is(actual.length, expected.length, what);
  const off = Math.hypot(...expected.map((value, i) => value - present(actual[i])));
  assert.ok(off <= tolerance.double * Math.hypot(...expected), `${what}: off by ${off}`);
};

const opened = async (
  kind: string,
): Promise<{ readonly network: Network; readonly rows: readonly LabelledRow[] }> => {
  if (kind === 'full' || kind === 'lora') return { network: await openTiny(kind), rows: tinyRows };
  const own = await openCase(kind);
  return { network: await openFamily(own, 'full'), rows: own.rows };
};

for (const backend of backends)
  test(`CROW's consistency and its gradients are PyTorch's on ${backend}`, async () => {
    await useBackend(backend);
    for (const { kind, epsilon, rows: count, ...expected } of golden.crow) {
      // The operations are the same in all families, so other backends compute one case.
      if (backend !== backends[0] && kind !== 'lora') continue;
      const { network, rows } = await opened(kind);
      const some = rows.slice(0, count),
        before = tf.memory().numTensors;
      near(
        tf.tidy(() => layerInconsistency(network.hiddenStates(some)).dataSync()),
        [expected.inconsistency],
        kind,
      );

      // δ has the sign of the gradient wherever the gradient is not zero but for rounding.
      const shift = adversarialShift(network, network.initial, some, epsilon);
      const scale = Math.max(...expected.by_embedding.map(Math.abs));
      shift.dataSync().forEach((value, i) => {
        const gradient = present(expected.by_embedding[i]);
        if (Math.abs(gradient) > tolerance.gradient * scale)
          assert.ok(Math.abs(value - epsilon * Math.sign(gradient)) < 1e-7, `${kind}, δ at ${i}`);
      });

      const { loss, gradients } = gradientsOf(network.initial, () =>
        layerInconsistency(network.hiddenStates(some, network.initial, { shift })),
      );
      near(loss.dataSync(), [expected.shifted], `${kind}, perturbed`);
      for (const [name, [norm, dot]] of Object.entries(expected.gradients)) {
        const values = present(gradients.get(name)).dataSync();
        const own = [Math.hypot(...values), 0];
        values.forEach((value, i) => (own[1]! += Math.cos(1 + i) * value));
        own.forEach((value, k) =>
          assert.ok(
            Math.abs(value - [norm, dot][k]!) <= tolerance.kernel * norm + 1e-7,
            `${kind}, ${name}: ${value}, expected ${[norm, dot][k]!}`,
          ),
        );
      }
      disposeAll(gradients, [loss, shift]);
      assert.is(tf.memory().numTensors, before, `${kind}: no tensor is left behind`);
      network.dispose();
    }
  });

const numberOf = ({ loss, gradients }: LossAndGradients): number => {
  const [value] = loss.dataSync();
  disposeAll(gradients, [loss]);
  return present(value);
};

test("CROW's objective is the task's loss plus α times the perturbed inconsistency", async () => {
  await useBackend(present(backends[0]));
  const { network, rows } = await opened('lora');
  try {
    const expected = present(golden.crow.find(({ kind }) => kind === 'lora'));
    const batch = {
      rows: rows.slice(0, expected.rows),
      labels: rows.slice(0, expected.rows).map(({ label }) => label),
    };
    const before = tf.memory().numTensors;
    const task = numberOf(lossAndGradients(network, network.initial, batch));
    const { loss, gradients, penalty } = layerConsistency({ alpha: 5.5, epsilon: 0.1 })(
      network,
      network.initial,
      batch,
      {},
    );
    near([present(penalty)], [5.5 * expected.shifted], 'penalty');
    near(loss.dataSync(), [task + present(penalty)], 'loss');
    assert.equal([...gradients.keys()], network.trainable);
    disposeAll(gradients, [loss]);
    assert.is(tf.memory().numTensors, before);
  } finally {
    network.dispose();
  }
});

test('representations are what the head reads, in the order of the rows', async () => {
  await useBackend(present(backends[0]));
  for (const name of Object.keys(golden.pooled)) {
    const { network, rows } = await opened(name === 'tiny-bert' ? 'lora' : name);
    try {
      const expected = present(golden.pooled[name]);
      const before = tf.memory().numTensors;
      const { values, count, dimensions } = await pooledRepresentations(network, rows, 4);
      assert.is(count, rows.length);
      assert.is(dimensions, present(expected[0]).length);
      near(values, expected.flat(), name);
      assert.is(tf.memory().numTensors, before);
    } finally {
      network.dispose();
    }
  }
});

test("the norms of inputs are PyTorch's, whatever the batches", async () => {
  await useBackend(present(backends[0]));
  const network = await openTiny('full', true);
  try {
    const found = await inputNorms(network, tinyRows, 7);
    const layers = network.linears.filter(({ adaptable }) => adaptable);
    assert.equal([...found.keys()].sort(), layers.map(({ name }) => name).sort());
    const last = layers.filter(({ name }) => name.includes('layer.2.'));
    assert.ok(last.length > 2);
    for (const layer of layers) {
      const own = present(found.get(layer.name));
      assert.is(own.length, layer.in);
      // Beyond its keys and values, the last layer is computed for the tokens that the head reads.
      if (!last.includes(layer) || /\.(key|value)$/.test(layer.name))
        near(own, present(golden.norms[layer.name]), layer.name);
    }
  } finally {
    network.dispose();
  }
});

test("the perplexities of a causal language model are transformers'", async () => {
  await useBackend(present(backends[0]));
  for (const { name, texts, perplexities, without } of golden.perplexity) {
    const { network } = await opened(name);
    // Each word is a token's id.
    const encode = (text: string): TokenRow => {
      const ids = Int32Array.from(text.split(' ').filter(Boolean), Number);
      return { ids, typeIds: new Int32Array(ids.length) };
    };
    try {
      const before = tf.memory().numTensors;
      const model = causalLanguageModel(evaluated(network), { encode }, 64);
      for (const [i, ids] of texts.entries())
        near(
          [(await model.leaveOneOut(ids.map(String))).whole],
          [present(perplexities[i])],
          `${name}, text ${i}`,
        );
      const words = present(texts[0]).map(String),
        found = await model.leaveOneOut(words);
      near(found.without, without, name);
      assert.equal(await model.leaveOneOut(['7']), { whole: Infinity, without: [Infinity] });
      assert.is(tf.memory().numTensors, before);
    } finally {
      network.dispose();
    }
  }
});

for (const backend of backends)
  test(`RAP's word is trained as by PyTorch, and nothing else is, on ${backend}`, async () => {
    await useBackend(backend);
    const network = await openTiny('full', true);
    const { rap } = golden;
    const texts: MarkedText[] = rap.rows.map(({ ids, typeIds }, i) => ({
      row: { ids: Int32Array.from(ids), typeIds: Int32Array.from(typeIds) },
      predicted: present(rap.predicted[i]),
      probability: present(rap.probabilities[i]),
    }));
    const first = texts.slice(0, rap.batch);
    const loss = tf.tidy(() =>
      robustnessLoss(network.forward(first.map(({ row }) => row)), first, rap).dataSync(),
    );
    near(loss, [present(rap.losses[0])], 'the first loss');
    const before = tf.memory().numTensors,
      logits = tf.tidy(() => network.forward(tinyRows).dataSync());
    const word = rapWord(network, rap.word);
    const settings = { ...rap, batchSize: rap.batch, learningRate: rap.rate };
    // Training again starts anew.
    for (let time = 0; time < 2; time++) await word.train(texts, settings);
    const scale = Math.hypot(...rap.embedding);
    const off = Math.hypot(
      ...[...word.embedding()].map((value, i) => value - present(rap.embedding[i])),
    );
    assert.ok(off <= tolerance.kernel * scale, `off by ${off / scale}`);
    (await word.drops(texts, 4)).forEach((drop, i) =>
      assert.ok(Math.abs(drop - present(rap.drops[i])) < tolerance.logits, `Δ of ${i}: ${drop}`),
    );
    word.dispose();
    assert.equal(
      tf.tidy(() => network.forward(tinyRows).dataSync()),
      logits,
    );
    assert.is(tf.memory().numTensors, before);
    network.dispose();
  });

test.run();
