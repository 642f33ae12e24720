/**
 * MiniLM's classifier against transformers and PEFT: logits, loss and the gradient of every
 * parameter, on single texts and on pairs of 3 to 48 tokens.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { openTokenizer } from '../../src/science/text/tokenizer.ts';
import { lossAndGradients } from '../../src/science/training/gradients.ts';
import { present } from '../rig/present.ts';
import { backends, useBackend } from '../science/backend.ts';
import { miniLM } from '../science/minilm.ts';
import { farthest, logitsOf } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';
import { asJson, type Start, writeStart } from './replay.ts';

const test = suite('peers/gradients');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
const [best] = backends;
await useBackend(present(best));

const path = await miniLM(),
  tokenizer = await openTokenizer(path);
const long =
  'The committee met again on Tuesday; nobody had read the minutes, and so the whole morning ' +
  'went by with questions that had been answered before.';
const texts: readonly (readonly [text: string, pair?: string])[] = [
  ['Fine'],
  ['a gripping , clever film with a heart'],
  [long],
  ['Who met on Tuesday?', long],
  ['When?', 'In the year 1815, after a long war.'],
  [long, long],
  ['What is it made of?', 'Nothing here says so.'],
];
const rows = texts.map(([text, pair], i) => ({
  ...tokenizer.encode(text, pair, 48),
  label: i % 2,
}));

const starts: { readonly [kind: string]: Start } = {
  full: await writeStart(join(dir, 'full'), { checkpoint: path, classes: 2, implementation: full }),
  lora: await writeStart(join(dir, 'lora'), {
    checkpoint: path,
    classes: 2,
    implementation: lora,
    params: { rank: 8, alpha: 16 },
    B: 0.02,
  }),
  // Biases of adapted layers and of norms besides the factors, with different ranks.
  'lora with biases': await writeStart(join(dir, 'biases'), {
    checkpoint: path,
    classes: 2,
    implementation: lora,
    params: { rank: 8, alpha: 16, rank_pattern: { value: 3 }, bias: 'all' },
    B: 0.02,
  }),
};
/** Math.max cannot take this many arguments. */
function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, Math.abs(present(values[i])));
  return largest;
}
const file = (kind: string): string => join(dir, `${kind}.safetensors`);
const expected = await peer<{
  [kind: string]: { readonly logits: number[][]; readonly loss: number };
}>('parity_peer.gradients', {
  jobs: Object.fromEntries(
    Object.entries(starts).map(([kind, { checkpoint, adapter, classes }]) => [
      kind,
      { checkpoint, adapter, classes, rows: asJson(rows), file: file(kind) },
    ]),
  ),
});

for (const [kind, start] of Object.entries(starts)) {
  test(`${kind}: logits, loss and every gradient (${best})`, async () => {
    const network = await start.open(),
      wanted = await readSafetensors(file(kind));
    const { loss, gradients } = lossAndGradients(network, network.initial, {
      rows,
      labels: rows.map(({ label }) => label),
    });
    try {
      assert.equal(
        [
          Math.min(...rows.map(({ ids }) => ids.length)),
          Math.max(...rows.map(({ ids }) => ids.length)),
        ],
        [3, 48],
      );
      assert.ok(
        farthest(logitsOf(network, rows), present(expected[kind]).logits.flat()) < tolerance.logits,
      );
      assert.ok(
        Math.abs(present(loss.dataSync()[0]) - present(expected[kind]).loss) < tolerance.loss,
      );
      assert.equal([...gradients.keys()].sort(), [...wanted.keys()].sort());
      for (const [name, { data, shape }] of wanted) {
        const gradient = present(gradients.get(name)),
          largest = largestOf(data);
        assert.equal(gradient.shape, [...shape], name);
        const difference = farthest(gradient.dataSync(), data);
        // Softmax is invariant to a bias of the keys, so its gradient is zero up to rounding. Every
        // other parameter has a gradient.
        if (name.endsWith('.key.bias'))
          assert.ok(largest < 1e-6 && difference < 1e-6, `${name}: ${difference} of ${largest}`);
        else
          assert.ok(
            largest > 1e-5 && difference <= tolerance.gradient * largest,
            `${name}: ${difference} of ${largest}`,
          );
      }
    } finally {
      loss.dispose();
      gradients.forEach((gradient) => gradient.dispose());
      network.dispose();
    }
  });
}

test.run();
