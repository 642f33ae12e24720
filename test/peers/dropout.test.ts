/**
 * Training under dropout cannot be compared number for number, since each side draws its own masks.
 * The distribution of one row's logits over many draws can be compared: it shows where dropout is
 * applied, at which rate and how it is scaled.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { randomStream } from '../../src/base/random.ts';
import type { DropoutPlace } from '../../src/science/models/families/description.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig } from '../../src/science/models/head.ts';
import type { ForwardOptions } from '../../src/science/models/network.ts';
import type { LabelledRow } from '../../src/science/training/loop.ts';
import { present } from '../rig/present.ts';
import { backends, useBackend } from '../science/backend.ts';
import { type FamilyCase, openCase, openFamily } from '../science/family-cases.ts';
import { classes, rows } from '../science/tiny-bert.ts';
import { peer } from './peer.ts';
import { asJson, type Start, writeStart } from './replay.ts';

const test = suite('peers/dropout');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-peers-'));
const [best] = backends;
await useBackend(present(best));

const COPIES = 6000,
  CHUNK = 500;
/**
 * Bound in standard errors between two estimates of the same quantity: exceeded once in two
 * million.
 */
const BOUND = 5;
const row = present(rows.find(({ ids }) => ids.length === 11));
const adapterAt = (dropout: number): Promise<Start> =>
  writeStart(join(dir, `adapter-${dropout}`), lora, { rank: 4, alpha: 8, dropout }, 0.3);
const starts = {
  model: await writeStart(join(dir, 'model'), full),
  adapter: await adapterAt(0.3),
  higher: await adapterAt(0.37),
};

/** A run of `under_dropout`: a PEFT folder, and the model's own dropout rates. */
const rates = (hidden: number, attention: number, classifier: number): object => ({
  hidden_dropout_prob: hidden,
  attention_probs_dropout_prob: attention,
  classifier_dropout: classifier,
});
const runs = {
  "the model's dropout": [null, rates(0.2, 0.2, 0.2)],
  'a higher rate': [null, rates(0.25, 0.25, 0.25)],
  'none on attention': [null, rates(0.2, 0, 0.2)],
  'none before the classifier': [null, rates(0.2, 0.2, 0)],
  'none on hidden states': [null, rates(0, 0.2, 0.2)],
  "LoRA's dropout": [starts.adapter.adapter, rates(0, 0, 0)],
  "a higher rate of LoRA's": [starts.higher.adapter, rates(0, 0, 0)],
} as const;
/**
 * The fields of a config.json that set a rate, and where a model of the family applies it. What is
 * not here is DeBERTa's pooler_dropout, which its published checkpoints have at 0.
 */
const FIELDS: {
  readonly [name: string]: { readonly [field: string]: readonly DropoutPlace[] };
} = {
  'bert-classifier': {
    hidden_dropout_prob: ['embeddings', 'attention-output', 'feed-forward-output'],
    attention_probs_dropout_prob: ['attention'],
    classifier_dropout: ['head'],
  },
  'roberta-classifier': {
    hidden_dropout_prob: ['embeddings', 'attention-output', 'feed-forward-output'],
    attention_probs_dropout_prob: ['attention'],
    classifier_dropout: ['head'],
  },
  'distilbert-classifier': {
    dropout: ['embeddings', 'feed-forward-output'],
    attention_dropout: ['attention'],
    seq_classif_dropout: ['head'],
  },
  'modernbert-classifier-cls': {
    embedding_dropout: ['embeddings'],
    attention_dropout: ['attention', 'attention-output'],
    mlp_dropout: ['feed-forward-input'],
    classifier_dropout: ['head'],
  },
  'deberta-v3-classifier': {
    hidden_dropout_prob: ['embeddings', 'attention-output', 'feed-forward-output'],
    attention_probs_dropout_prob: ['attention'],
    cls_dropout: ['head'],
  },
  'gpt2-classifier': {
    embd_pdrop: ['embeddings'],
    attn_pdrop: ['attention'],
    resid_pdrop: ['attention-output', 'feed-forward-output'],
  },
  'gpt-neox-classifier': {
    hidden_dropout: ['embeddings', 'attention-output', 'feed-forward-output'],
    attention_dropout: ['attention'],
  },
};
const FIELD_RATE = 0.2;
const families = await Promise.all(Object.keys(FIELDS).map(openCase));
/** A row of a case whose tokens all have the type 0. */
const rowOf = ({ rows: own }: FamilyCase): LabelledRow =>
  present(own.find(({ ids, typeIds }) => ids.length > 5 && !typeIds.includes(1)));
const familiesOfPeer = await peer<{ [name: string]: { [field: string]: number[][] } }>(
  'parity_peer.families_under_dropout',
  {
    times: COPIES,
    cases: Object.fromEntries(
      families.map((own) => {
        const fields = Object.entries(FIELDS[own.name]!);
        const head = Object.fromEntries(
          fields.map(([field, places]) => [field, places.includes('head') ? FIELD_RATE : 0]),
        );
        const runs = fields.map(([field]) => [field, { ...head, [field]: FIELD_RATE }] as const);
        const { checkpoint: folder } = own;
        return [
          own.name,
          { checkpoint: folder, ids: [...rowOf(own).ids], runs: Object.fromEntries(runs) },
        ];
      }),
    ),
  },
);

const theirs = await peer<{ [name in keyof typeof runs]: number[][] }>(
  'parity_peer.under_dropout',
  {
    checkpoint: starts.model.checkpoint,
    classes,
    row: asJson([row])[0],
    times: COPIES,
    runs,
  },
);

async function ours(start: Start, options: (chunk: number) => ForwardOptions): Promise<number[][]> {
  const network = await start.open(),
    logits: number[][] = [];
  for (let chunk = 0; chunk < COPIES / CHUNK; chunk++) {
    logits.push(
      ...tf.tidy(() =>
        network
          .forward(new Array<typeof row>(CHUNK).fill(row), network.initial, options(chunk))
          .arraySync(),
      ),
    );
  }
  network.dispose();
  return logits;
}

/** The logits of a case's row under dropout at some places of the body, and at the head. */
async function oursAt(own: FamilyCase, places: readonly DropoutPlace[]): Promise<number[][]> {
  const { architecture } = own;
  const restricted = (config: unknown): unknown => ({ ...(config as object), dropout: places });
  const network = await openFamily(
    {
      ...own,
      architecture: {
        ...architecture,
        parseConfig: (...given) => restricted(architecture.parseConfig(...given)),
      },
    },
    'full',
  );
  const random = randomStream(3, 'dropout'),
    logits: number[][] = [];
  for (let chunk = 0; chunk < COPIES / CHUNK; chunk++)
    logits.push(
      ...tf.tidy(() =>
        network
          .forward(new Array<LabelledRow>(CHUNK).fill(rowOf(own)), network.initial, {
            dropout: { rate: FIELD_RATE, random },
          })
          .arraySync(),
      ),
    );
  network.dispose();
  return logits;
}

/**
 * Mean, standard deviation and their standard errors (the deviation's by the sample's fourth
 * moment) of one logit.
 */
function moments(values: readonly number[]): {
  mean: [number, number];
  deviation: [number, number];
} {
  const n = values.length,
    mean = values.reduce((a, b) => a + b) / n;
  const central = (k: number): number => values.reduce((sum, x) => sum + (x - mean) ** k, 0) / n;
  const deviation = Math.sqrt(central(2));
  return {
    mean: [mean, deviation / Math.sqrt(n)],
    deviation: [deviation, Math.sqrt((central(4) - central(2) ** 2) / n) / (2 * deviation)],
  };
}

/**
 * The distance between two samples in standard errors: the largest difference of a logit's mean or
 * deviation, or of those of a difference of two logits.
 */
function apart(a: readonly number[][], b: readonly number[][]): number {
  const read: ((logits: readonly number[]) => number)[] = [
    ([x]) => present(x),
    ([, y]) => present(y),
    ([, , z]) => present(z),
    ([x, y]) => present(x) - present(y),
    ([, y, z]) => present(y) - present(z),
    ([x, , z]) => present(x) - present(z),
  ];
  return Math.max(
    ...read.flatMap((of) => {
      const [one, other] = [moments(a.map(of)), moments(b.map(of))];
      return (['mean', 'deviation'] as const).map(
        (moment) =>
          Math.abs(one[moment][0] - other[moment][0]) /
          Math.hypot(one[moment][1], other[moment][1]),
      );
    }),
  );
}

test(
  "the model's dropout: logits are spread as PyTorch's are, and where it sits and at which " +
    'rate shows',
  async () => {
    const random = randomStream(3, 'dropout'),
      found = await ours(starts.model, () => ({ dropout: { rate: 0.2, random } }));
    assert.ok(
      apart(found, theirs["the model's dropout"]) < BOUND,
      String(apart(found, theirs["the model's dropout"])),
    );
    for (const other of [
      'a higher rate',
      'none on attention',
      'none before the classifier',
      'none on hidden states',
    ] as const) {
      assert.ok(apart(found, theirs[other]) > BOUND, `${other}: ${apart(found, theirs[other])}`);
    }
  },
);

for (const own of families)
  test(`${own.name}: each rate of config.json is where transformers has it`, async () => {
    const config = own.architecture.parseConfig(await readConfig(own.checkpoint), own.classes);
    const applied = (config as { readonly dropout: readonly DropoutPlace[] }).dropout;
    assert.equal([...applied].sort(), Object.values(FIELDS[own.name]!).flat().sort());
    for (const [field, places] of Object.entries(FIELDS[own.name]!)) {
      const found = apart(await oursAt(own, places), familiesOfPeer[own.name]![field]!);
      assert.ok(found < BOUND, `${field}: ${found}`);
    }
  });

test("LoRA's dropout: logits have the distribution of PEFT's", async () => {
  const found = await ours(starts.adapter, (chunk) => ({
    adapterRandom: (name) => randomStream(3, 'lora_dropout', `step-${chunk}/${name}`),
  }));
  assert.ok(
    apart(found, theirs["LoRA's dropout"]) < BOUND,
    String(apart(found, theirs["LoRA's dropout"])),
  );
  assert.ok(
    apart(found, theirs["a higher rate of LoRA's"]) > BOUND,
    String(apart(found, theirs["a higher rate of LoRA's"])),
  );
  const none = await ours(starts.adapter, () => ({}));
  assert.ok(moments(none.map(([x]) => present(x))).deviation[0] < 1e-5, 'off, it leaves no spread');
});

test.run();
