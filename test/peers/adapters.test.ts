/**
 * Every adapter on every form of layer and head, both ways: what is written here is loaded by PEFT
 * (or by transformers, where only parameters of the model changed) with equal logits, and so is
 * read here what PEFT writes. `families.test.ts` does so for LoRA and for whole checkpoints of
 * every family, which shows that names and layouts are the family's own.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import type { JsonObject } from '../../src/api.ts';
import { randomStream } from '../../src/base/random.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import type { Network, Tensors } from '../../src/science/models/network.ts';
import { saveTrained } from '../../src/science/training/session.ts';
import { present } from '../rig/present.ts';
import { useBackend } from '../science/backend.ts';
import { type FamilyCase, openCase, openUnder } from '../science/family-cases.ts';
import { bitfit, headOnly, lnTuning } from '../science/plain-adapters.ts';
import { farthest, logitsOf } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { peer } from './peer.ts';

const test = suite('peers/adapters');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-adapters-'));
test.before(async () => {
  await useBackend('cpu');
});

/**
 * Transposed weights (GPT-2); queries, keys and values in one matrix (GPT-NeoX, ModernBERT, GPT-2);
 * layers and norms without biases, and with them; heads of one layer and of two, and tied ones.
 */
const cases = await Promise.all(
  [
    ...'deberta-v2-classifier distilbert-cloze gemma-classifier gpt2-causal'.split(' '),
    ...'gpt-neox-classifier llama-causal-biases modernbert-classifier-mean'.split(' '),
  ].map(openCase),
);

const SCALE = { rank: 2, alpha: 3 };
const ADAPTERS: Readonly<Record<string, readonly [AdapterImplementation, JsonObject]>> = {
  dora: [lora, { ...SCALE, use_dora: true }],
  pissa: [lora, { ...SCALE, init: { distribution: 'pissa' } }],
  olora: [lora, { ...SCALE, init: { distribution: 'olora' } }],
  rslora: [lora, { ...SCALE, rslora: true }],
  'lora-fa': [lora, { ...SCALE, freeze_a: true }],
  'lora-plus': [lora, { ...SCALE, lora_plus_ratio: 8 }],
  'lora-biases': [lora, { ...SCALE, bias: 'all' }],
  vera: [vera, { rank: 5, d_initial: 0.3 }],
  'vera-biases': [vera, { rank: 3, bias: 'vera_only', projection_prng_key: 7 }],
  bitfit: [bitfit, {}],
  'ln-tuning': [lnTuning, {}],
  'head-only': [headOnly, {}],
};

/** Every trained parameter, moved at random. */
function moved(network: Network): Tensors {
  return new Map(
    network.trainable.map((name) => {
      const random = randomStream(1, 'moved', name),
        start = network.frozen(name);
      const values = start.dataSync().map((value) => value + 0.3 * random.normal());
      return [name, tf.tensor(values, start.shape)];
    }),
  );
}

interface Asked {
  readonly case: FamilyCase;
  readonly adapter: string;
  readonly folder: string;
}

const about = ({ golden: { head, rows, tokens = [] }, checkpoint }: FamilyCase) => ({
  ...{ checkpoint, head, rows, tokens },
});
const keyOf = ({ case: { name }, adapter }: Asked): string => `${name}, ${adapter}`;

const near = (a: ArrayLike<number>, b: ArrayLike<number>, what: string): void => {
  const off = farthest(a, b);
  assert.ok(off < tolerance.logits, `${what}: off by ${off}`);
};

test('PEFT and transformers load every adapter that is written here', async () => {
  const ours = new Map<string, Float32Array>(),
    asked: Record<string, object> = {};
  for (const own of cases)
    for (const [adapter, [implementation, params]] of Object.entries(ADAPTERS)) {
      const one: Asked = { case: own, adapter, folder: join(dir, 'ours', own.name, adapter) };
      const opened = await openUnder(own, implementation, { params }).catch((error: unknown) => {
        // Nothing is left to train beside a pretrained head.
        assert.match(String(error), /nothing (to|is left to) train/, keyOf(one));
        return null;
      });
      if (opened === null) continue;
      const values = moved(opened);
      ours.set(
        keyOf(one),
        tf.tidy(() => opened.forward(own.rows, values).dataSync<'float32'>().slice()),
      );
      const classes = ['a', 'b', 'c'].slice(0, own.classes);
      await saveTrained(opened, values, one.folder, { modelDir: own.checkpoint, classes });
      tf.dispose([...values.values()]);
      opened.dispose();
      asked[keyOf(one)] = { ...about(own), folder: one.folder };
    }
  const theirs = await peer<Readonly<Record<string, number[]>>>('adapters_peer.read', {
    cases: asked,
  });
  for (const [key, logits] of ours) near(logits, present(theirs[key]), key);
  assert.is(ours.size, 7 * 12 - 3);
});

const TASKS = { classifier: 'SEQ_CLS', cloze: null, 'causal-lm': 'CAUSAL_LM' } as const;
const OF_PEFT: Readonly<Record<string, readonly [AdapterImplementation, JsonObject]>> = {
  dora: [lora, { method: 'LoraConfig', r: 2, lora_alpha: 3, use_dora: true }],
  pissa: [lora, { method: 'LoraConfig', r: 2, lora_alpha: 3, init_lora_weights: 'pissa' }],
  rslora: [lora, { method: 'LoraConfig', r: 2, lora_alpha: 3, use_rslora: true }],
  vera: [vera, { method: 'VeraConfig', r: 5, d_initial: 0.3 }],
};

test('every adapter that PEFT writes is read here', async () => {
  const made = cases.flatMap((own): Asked[] =>
    Object.keys(OF_PEFT).map((adapter) => ({
      case: own,
      adapter,
      folder: join(dir, 'theirs', own.name, adapter),
    })),
  );
  const asked = Object.fromEntries(
    made.map((one) => {
      const { method, ...config } = present(OF_PEFT[one.adapter])[1];
      const { head } = one.case.golden;
      // Its layers as PEFT's own golden adapter names them, which leaves the saved modules out.
      const more = { task_type: TASKS[head], ...config };
      return [
        keyOf(one),
        { ...about(one.case), folder: one.folder, method, config: more, like: one.case.adapter },
      ];
    }),
  );
  const theirs = await peer<Readonly<Record<string, number[]>>>('adapters_peer.make', {
    cases: asked,
  });
  for (const one of made) {
    const [implementation] = present(OF_PEFT[one.adapter]);
    const network = await openUnder(one.case, implementation, { folder: one.folder });
    near(logitsOf(network, one.case.rows), present(theirs[keyOf(one)]), keyOf(one));
    network.dispose();
  }
});

test.run();
