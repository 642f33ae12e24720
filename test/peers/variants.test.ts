/**
 * Each form of adapter, and a cloze head, trained for 50 steps on a tiny checkpoint: the losses are
 * those of PEFT, or of PyTorch with the same parameters free.
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
import { backends, useBackend } from '../science/backend.ts';
import { bitfit, headOnly } from '../science/plain-adapters.ts';
import { checkpoint, classes, farthest, rows } from '../science/tiny-bert.ts';
import { clozeBert, mlmCheckpoint, mlmClasses, mlmRows } from '../science/tiny-mlm.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';
import { jobOf, lossesOf, type Replay, settings, writeStart } from './replay.ts';

const test = suite('peers/variants');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
const [best] = backends;
await useBackend(present(best));

/** Every form but the plain one, which parity.test.ts covers. */
const forms: { readonly [name: string]: JsonObject } = {
  patterns: {
    rank: 4,
    alpha: 6,
    rank_pattern: { query: 2, '.*layer.1.*': 3 },
    alpha_pattern: { 'attention.output.dense': 2, 'layer.[01].output.dense': 9 },
  },
  rslora: { rank: 5, alpha: 6, rslora: true },
  'bias all': { rank: 3, bias: 'all' },
  'bias lora_only': { rank: 3, targets: ['query', 'intermediate.dense'], bias: 'lora_only' },
  targets: { rank: 3, alpha: 12, targets: '.*(dense|value)', exclude: ['pooler.dense'] },
  layers: { rank: 3, targets: ['dense', 'key'], layers: [0, 2] },
  'freeze-A': { rank: 4, freeze_a: true },
};
const replays: Record<string, Replay> = {};
const add = async (
  name: string,
  implementation: typeof lora,
  params: JsonObject,
  trained: Replay['trained'],
): Promise<void> => {
  replays[name] = {
    start: await writeStart(join(dir, name.replace(' ', '-')), {
      checkpoint,
      classes,
      implementation,
      params,
    }),
    rows,
    settings: settings(1e-2, 5),
    trained,
  };
};
const addCloze = async (
  name: string,
  implementation: typeof lora,
  trained: Replay['trained'],
): Promise<void> => {
  const start = await writeStart(join(dir, name.replace(' ', '-')), {
    checkpoint: mlmCheckpoint,
    classes: mlmClasses.length,
    implementation,
    architecture: clozeBert,
    params: implementation === lora ? { rank: 4, bias: 'all' } : {},
  });
  replays[name] = { start, rows: mlmRows, settings: settings(5e-3, 5), trained };
};
for (const [name, params] of Object.entries(forms))
  await add(name, lora, params, name === 'freeze-A' ? 'all but A' : 'adapter');
await add('head-only', headOnly, {}, 'head');
await add('bitfit', bitfit, {}, 'biases');
await addCloze('cloze full', full, 'all');
await addCloze('cloze lora', lora, 'adapter');
const expected = await peer<{ [name: string]: number[] }>('parity_peer.losses', {
  jobs: Object.fromEntries(Object.entries(replays).map(([name, replay]) => [name, jobOf(replay)])),
});

for (const [name, replay] of Object.entries(replays)) {
  test(`${name}: the loss of each step (${best})`, async () => {
    const found = await lossesOf(replay);
    assert.is(found.length, 50);
    assert.ok(
      farthest(found, present(expected[name])) < tolerance.loss,
      JSON.stringify(found.map((loss, i) => loss - present(expected[name]![i]))),
    );
  });
}

test('no two forms have the same losses, so a part that is ignored would show', () => {
  const all = Object.entries(expected);
  for (const [i, [name, losses]] of all.entries()) {
    for (const [other, others] of all.slice(i + 1))
      assert.ok(farthest(losses, others) > 2 * tolerance.loss, `${name}, ${other}`);
  }
});

test.run();
