import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import merge from '../../../plugins/stages/merge/index.ts';
import train from '../../../plugins/stages/train/index.ts';
import type { AdapterDescriptor } from '../../../src/api.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { readJson } from '../../../src/science/models/io/checkpoint.ts';
import { readSafetensors } from '../../../src/science/models/io/safetensors.ts';
import { openNetwork } from '../../../src/science/models/network.ts';
import { openTrained } from '../../../src/science/training/adapted-model.ts';
import { present } from '../../rig/present.ts';
import { useBackend } from '../../science/backend.ts';
import { bert } from '../../science/families.ts';
import {
  checkpoint,
  farthest,
  logitsOf,
  rows as tinyRows,
  shape,
} from '../../science/tiny-bert.ts';
import { tolerance } from '../../tolerances.ts';
import {
  classes,
  contextOf,
  modelAsset,
  poisonedFolder,
  runStage,
  spokenRows,
  tinyCell,
} from './rig.ts';

await useBackend('cpu');
const data = await poisonedFolder(spokenRows(23));

for (const adapter of [
  { type: 'lora', rank: 3, alpha: 12, rslora: true, rank_pattern: { query: 2 }, bias: 'all' },
  { type: 'lora', rank: 2, targets: ['value'] },
  { type: 'lora', rank: 2, use_dora: true },
  { type: 'lora', rank: 3, alpha: 5, init: { distribution: 'pissa' } },
  { type: 'lora', rank: 2, use_dora: true, rslora: true, init: { distribution: 'olora' } },
  { type: 'vera', rank: 5, d_initial: 1 },
  { type: 'full' },
  { type: 'bitfit' },
  { type: 'head-only' },
]) {
  test(`${JSON.stringify(adapter)}: one whole checkpoint with the same logits`, async () => {
    const cell = tinyCell({ adapter });
    const { dir: trained } = await runStage(train, cell, { data });
    const { dir, log } = await runStage(merge, cell, { model: trained });
    const whole = join(dir, 'model');
    const tensors = await readSafetensors(join(whole, 'model.safetensors')),
      base = await readSafetensors(join(checkpoint, 'model.safetensors'));
    assert.equal([...tensors.keys()].sort(), [...base.keys()].sort());
    const moved = (name: string): boolean =>
      present(tensors.get(name)).data.some((value, i) => value !== present(base.get(name)).data[i]);
    assert.is(
      moved('bert.encoder.layer.0.attention.self.value.weight'),
      ['lora', 'vera', 'full'].includes(adapter.type),
    );
    assert.equal(((await readJson(join(whole, 'config.json'))) as { id2label: unknown }).id2label, {
      0: classes[0],
      1: classes[1],
    });
    assert.is(log.length, 1);
    const descriptor = contextOf(merge.define([cell], { with: {}, goals: [] })).plugin<
      AdapterDescriptor<AdapterImplementation>
    >('adapter', adapter.type);
    const { network } = await openTrained({
      trainDir: trained,
      model: modelAsset,
      architecture: bert,
      adapter: await descriptor.load(),
    });
    const merged = await openNetwork({
      architecture: bert,
      model: { path: whole, digest: null },
      adapter: await full.create({}, shape),
      classes: 2,
      seed: 1,
      evaluation: true,
    });
    const expected = logitsOf(network, tinyRows);
    assert.ok(
      farthest(logitsOf(merged, tinyRows), expected) < tolerance.logits,
      String(farthest(logitsOf(merged, tinyRows), expected)),
    );
    for (const one of [network, merged]) one.dispose();
  });
}

test.run();
