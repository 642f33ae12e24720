/** The real MiniLM, compared with transformers and PEFT (test/golden/minilm.py). */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { at } from '../../../src/base/lookup.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../../src/science/models/head.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import type { HostTensor } from '../../../src/science/models/types.ts';
import { openTokenizer } from '../../../src/science/text/tokenizer.ts';
import { train } from '../../../src/science/training/loop.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { miniLM } from '../minilm.ts';
import { plainTraining } from '../plain-training.ts';
import { farthest, logitsOf } from '../tiny-bert.ts';

type Kind = 'full' | 'lora';
interface Golden {
  readonly max_length: number;
  readonly batch_size: number;
  readonly learning_rates: Readonly<Record<Kind, number>>;
  readonly rows: readonly {
    readonly text: string;
    readonly pair: string | null;
    readonly label: number;
    readonly ids: number[];
    readonly typeIds: number[];
  }[];
  readonly logits: Readonly<Record<Kind, number[][]>>;
  readonly losses: Readonly<Record<Kind, number[]>>;
}
const golden = JSON.parse(
  await readFile(new URL('../../golden/minilm.json', import.meta.url), 'utf8'),
) as Golden;
const rows = golden.rows.map(({ ids, typeIds, label }) => ({
  ids: Int32Array.from(ids),
  typeIds: Int32Array.from(typeIds),
  label,
}));

const test = suite('MiniLM');
const path = await miniLM();

/** The weights that the golden script computes by a formula. */
function wave(
  [rows, columns]: readonly [number, number],
  phase: number,
  scale: number,
): HostTensor {
  return {
    shape: [rows, columns],
    data: Float32Array.from(
      { length: rows * columns },
      (_, k) => scale * Math.sin(phase + 0.7 * Math.floor(k / columns) + 1.3 * (k % columns)),
    ),
  };
}

async function open(kind: Kind): Promise<Network> {
  const config = bert.parseConfig(await readConfig(path), 2),
    linears = bert.linears(config);
  const context = { architecture: bert, linears, parameters: bert.parameters(config) };
  const plain = await (kind === 'lora'
    ? lora.create({ rank: 8 }, context)
    : full.create({}, context));
  const initial = new Map(
    plain.targets.flatMap((name, layer): [string, HostTensor][] => {
      const { in: n, out: m } = present(linears.find((one) => one.name === name));
      return [
        [`${name}.lora_A`, wave([8, n], layer, 0.04)],
        [`${name}.lora_B`, wave([m, 8], layer + 0.25, 0.01)],
      ];
    }),
  );
  return openNetwork({
    architecture: bert,
    model: { path, digest: 'minilm' },
    adapter: kind === 'lora' ? { ...plain, initial: () => initial } : plain,
    classes: 2,
    seed: 1,
    head: new Map([
      ['classifier.weight', wave([2, 384], 0.5, 0.1)],
      ['classifier.bias', { shape: [2], data: new Float32Array(2) }],
    ]),
  });
}

test('a text has the same token ids as in transformers', async () => {
  const tokenizer = await openTokenizer(path);
  for (const { text, pair, ids, typeIds } of golden.rows) {
    const row = tokenizer.encode(text, pair ?? undefined, golden.max_length);
    assert.equal([[...row.ids], [...row.typeIds]], [ids, typeIds], JSON.stringify([text, pair]));
  }
});

// Plain JavaScript would take minutes for 22 million parameters.
for (const backend of backends.filter((name) => name !== 'cpu')) {
  for (const kind of ['full', 'lora'] as const) {
    test(`${kind}: logits with and without padding are PyTorch's (${backend})`, async () => {
      await useBackend(backend);
      const network = await open(kind);
      assert.ok(farthest(logitsOf(network, rows), golden.logits[kind].flat()) < tolerance.logits);
      for (const i of [2, 13, 27])
        assert.ok(
          farthest(logitsOf(network, [at(rows, i)]), present(golden.logits[kind][i])) <
            tolerance.logits,
        );
      network.dispose();
    });
  }
}

for (const kind of ['full', 'lora'] as const) {
  test(`${kind}: the loss of each step is PyTorch's (${backends[0]})`, async () => {
    await useBackend(at(backends, 0));
    const network = await open(kind),
      losses: number[] = [],
      expected = golden.losses[kind];
    // The batches of the script wrap around in the middle of a batch.
    const sequence = Array.from({ length: expected.length * golden.batch_size }, (_, i) =>
      at(rows, i % rows.length),
    );
    const trained = await train(
      network,
      sequence,
      {
        ...plainTraining,
        steps: expected.length,
        batchSize: golden.batch_size,
        learningRate: golden.learning_rates[kind],
        weightDecay: 0.01,
      },
      {
        onStep: ({ loss }) => {
          losses.push(loss);
        },
      },
    );
    assert.ok(
      farthest(losses, expected) < tolerance.loss,
      JSON.stringify(losses.map((loss, i) => loss - at(expected, i))),
    );
    trained.forEach((tensor) => tensor.dispose());
    network.dispose();
  });
}

test.run();
