/**
 * The loss at each of 50 steps against PyTorch + PEFT: the same start, rows and order, no dropout.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { JsonObject } from '../../src/api.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { present } from '../rig/present.ts';
import { best, useBackend } from '../science/backend.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';
import { jobOf, lossesOf, type Replay, replayOf, withFrozenHead, writeStart } from './replay.ts';

const test = suite('peers/parity');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));

/** Faults that a comparison of endpoints would hide. */
const faults: { readonly [name: string]: (replay: Replay) => Parameters<typeof lossesOf>[1] } = {
  'a frozen head': () => ({ network: withFrozenHead }),
  'a learning rate 10% off': ({ settings: { learningRate } }) => ({
    settings: { learningRate: 1.1 * learningRate },
  }),
  'dropout left on': () => ({ settings: { dropout: 0.1 } }),
};

/** LoRA with layers that differ in their rank or scale, or of which only some are adapted. */
const FORMS: { readonly [name: string]: JsonObject } = {
  patterns: {
    rank: 4,
    alpha: 6,
    rank_pattern: { query: 2, '.*layer.1.*': 3 },
    alpha_pattern: { 'attention.output.dense': 2, 'layer.[01].output.dense': 9 },
  },
  targets: { rank: 3, alpha: 12, targets: '.*(dense|value)', exclude: ['pooler.dense'] },
  layers: { rank: 3, targets: ['dense', 'key'], layers: [0, 2] },
};

await useBackend(best);
const replays: Record<string, Replay> = {
  lora: replayOf(await writeStart(join(dir, 'lora'), lora, { rank: 4, alpha: 6 }), 5e-3),
  full: replayOf(await writeStart(join(dir, 'full'), full), 5e-3),
};
for (const [name, params] of Object.entries(FORMS))
  replays[name] = replayOf(await writeStart(join(dir, name), lora, params), 1e-2);
const expected = await peer<{ [name: string]: number[] }>('parity_peer.losses', {
  jobs: Object.fromEntries(Object.entries(replays).map(([name, replay]) => [name, jobOf(replay)])),
});

for (const [name, replay] of Object.entries(replays))
  test(`${name}: the loss of each step (${best})`, async () => {
    const found = await lossesOf(replay),
      theirs = present(expected[name]);
    assert.is(found.length, 50);
    assert.ok(
      farthest(found, theirs) < tolerance.loss,
      JSON.stringify(found.map((loss, i) => loss - present(theirs[i]))),
    );
  });

for (const name of ['lora', 'full'])
  test(`${name}: deliberate faults are detected`, async () => {
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

test('no two forms have the same losses, so a part that is ignored would show', () => {
  const all = Object.entries(expected);
  for (const [i, [name, losses]] of all.entries())
    for (const [other, others] of all.slice(i + 1))
      assert.ok(farthest(losses, others) > 2 * tolerance.loss, `${name}, ${other}`);
});

test.run();
