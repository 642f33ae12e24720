/**
 * The loss at each of 50 steps against PyTorch + PEFT: the same start, rows and order, no dropout.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { openTokenizer } from '../../src/science/text/tokenizer.ts';
import { present } from '../rig/present.ts';
import { backends, useBackend } from '../science/backend.ts';
import { miniLM } from '../science/minilm.ts';
import { checkpoint, classes, farthest, rows } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';
import { jobOf, lossesOf, type Replay, settings, withFrozenHead, writeStart } from './replay.ts';
import { textSets } from './texts.ts';

const test = suite('peers/parity');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
const [best] = backends,
  MAX_LENGTH = 48;

/** Faults that a comparison of endpoints would hide. */
const faults: { readonly [name: string]: (replay: Replay) => Parameters<typeof lossesOf>[1] } = {
  'a frozen head': () => ({ network: withFrozenHead }),
  'a learning rate 10% off': ({ settings: { learningRate } }) => ({
    settings: { learningRate: 1.1 * learningRate },
  }),
  'dropout left on': () => ({ settings: { dropout: 0.1 } }),
};

await useBackend(present(best));
const path = await miniLM(),
  tokenizer = await openTokenizer(path),
  sets = await textSets(64);
const encoded = new Map(
  sets.map(({ name, texts }) => [
    name,
    texts.map(({ text, text_pair: pair, label }) => ({
      ...tokenizer.encode(text, pair, MAX_LENGTH),
      label,
    })),
  ]),
);

const replays: Record<string, Replay> = {};
for (const [kind, implementation, trained, rates] of [
  ['lora', lora, 'adapter', [5e-3, 1e-3]],
  ['full', full, 'all', [5e-3, 1e-4]],
] as const) {
  const params = kind === 'lora' ? { rank: 4, alpha: 6 } : {};
  replays[`tiny, ${kind}`] = {
    start: await writeStart(join(dir, `tiny-${kind}`), {
      checkpoint,
      classes,
      implementation,
      params,
    }),
    rows,
    settings: settings(rates[0], 5),
    trained,
  };
  const start = await writeStart(join(dir, `minilm-${kind}`), {
    checkpoint: path,
    classes: 2,
    implementation,
    params: kind === 'lora' ? { rank: 8, alpha: 16 } : {},
  });
  for (const [name, some] of encoded)
    replays[`MiniLM on ${name}, ${kind}`] = {
      start,
      rows: some,
      settings: settings(rates[1], 4),
      trained,
    };
}
const expected = await peer<{ [name: string]: number[] }>('parity_peer.losses', {
  jobs: Object.fromEntries(Object.entries(replays).map(([name, replay]) => [name, jobOf(replay)])),
});

test('both sides read the texts as the same tokens', async () => {
  for (const { name, texts } of sets) {
    const theirs = await peer<[number[], number[]][]>('parity_peer.tokens', {
      checkpoint: path,
      texts: texts.map(({ text, text_pair: pair }) => [text, pair ?? null]),
      max_length: MAX_LENGTH,
    });
    assert.ok(texts.length > 40, name);
    assert.equal(
      present(encoded.get(name)).map(({ ids, typeIds }) => [[...ids], [...typeIds]]),
      theirs,
      name,
    );
  }
});

for (const [name, replay] of Object.entries(replays)) {
  // Plain JavaScript and WebAssembly would take long over 22 million parameters.
  for (const backend of name.startsWith('tiny') ? backends : [present(best)]) {
    test(`${name}: the loss of each step (${backend})`, async () => {
      await useBackend(backend);
      const found = await lossesOf(replay);
      assert.is(found.length, 50);
      assert.ok(
        farthest(found, present(expected[name])) < tolerance.loss,
        JSON.stringify(found.map((loss, i) => loss - present(expected[name]![i]))),
      );
    });
  }
}

for (const name of ['tiny, lora', 'tiny, full', 'MiniLM on mail, lora', 'MiniLM on mail, full']) {
  test(`${name}: deliberate faults are detected`, async () => {
    await useBackend(present(best));
    const replay = present(replays[name]),
      theirs = present(expected[name]);
    for (const [fault, change] of Object.entries(faults)) {
      const off = (losses: readonly number[]): number =>
        farthest(losses, theirs.slice(0, losses.length));
      const enough = (losses: readonly number[]): boolean => off(losses) > 3 * tolerance.loss;
      const found = await lossesOf(replay, { ...change(replay), enough });
      assert.ok(enough(found), `${fault}: ${off(found)}`);
    }
  });
}

test.run();
