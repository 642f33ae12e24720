/**
 * Trainings, evaluations and texts have the same bits whether their steps are compiled or not.
 */
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import type { Tensor } from '@tensorflow/tfjs-core';
import { lora } from '../../../plugins/adapters/lora/lora.ts';
import { vera } from '../../../plugins/adapters/vera/vera.ts';
import { layerwiseLoss } from '../../../plugins/attacks/lwp/layerwise-loss.ts';
import { restrictedInnerProduct } from '../../../plugins/attacks/ripple/training.ts';
import { predict } from '../../../src/science/measures/evaluate/predict.ts';
import { full } from '../../../src/science/models/fine-tuning.ts';
import { generate } from '../../../src/science/models/generate.ts';
import type { Network } from '../../../src/science/models/network.ts';
import { tokenRowNetwork } from '../../../src/science/models/token-rows.ts';
import { type LabelledRow, train, type TrainSettings } from '../../../src/science/training/loop.ts';
import { disposeAll } from '../../../src/science/training/trained-values.ts';
import { prepareCompiling } from '../../../src/tensor/compiled/compiled.ts';
import { backends, useBackend } from '../backend.ts';
import { assertSame } from '../compiled-same.ts';
import { openCase, openFamily } from '../family-cases.ts';
import { bitfit } from '../plain-adapters.ts';
import { plainTraining } from '../plain-training.ts';
import { openAdapted, rows } from '../tiny-bert.ts';

/** Batches of four and, at the end of an epoch, of three rows, all of different lengths. */
const settings: TrainSettings = {
  ...plainTraining,
  steps: 6,
  batchSize: 4,
  learningRate: 1e-3,
  weightDecay: 0.01,
  schedule: 'linear',
  warmup: 3,
  shuffle: true,
  seed: 3,
};

/** Each trained value as the digest of its bits. */
function digests(trained: ReadonlyMap<string, Tensor>): string[] {
  const found = [...trained].map(([name, tensor]) => {
    const digest = createHash('sha256').update(tensor.dataSync().slice()).digest('hex');
    return `${name} ${digest.slice(0, 12)}`;
  });
  disposeAll(trained);
  return found;
}

/** The losses of a training, and what it ends with. */
async function result(
  network: Network,
  changed: Partial<TrainSettings> = {},
  trainingRows: readonly LabelledRow[] = rows,
): Promise<unknown> {
  const losses: number[] = [];
  const trained = await train(
    network,
    trainingRows,
    { ...settings, ...changed },
    {
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    },
  );
  return { losses, trained: digests(trained) };
}

const poisoned = rows.map((row, i) => ({ ...row, poisoned: i % 2 === 0 }));
const trainings: Readonly<Record<string, () => Promise<unknown>>> = {
  'LoRA, clipped, two batches a step': async () =>
    result(await openAdapted(lora, { rank: 3 }), { clipNorm: 0.5, accumulate: 2 }),
  'LoRA and DoRA with dropout': async () =>
    result(await openAdapted(lora, { rank: 3, dropout: 0.2, dora: true }), { dropout: 0.1 }),
  'full fine-tuning with class weights': async () =>
    result(await openAdapted(full), { classWeights: [1, 2, 0.5] }),
  'BitFit under SGD': async () => result(await openAdapted(bitfit), { optimizer: 'sgd' }),
  VeRA: async () => result(await openAdapted(vera, { rank: 4 })),
  "RIPPLe's loss": async () =>
    result(
      await openAdapted(full),
      { objective: restrictedInnerProduct(0.1), wholeTable: true },
      poisoned,
    ),
  "layerwise poisoning's loss": async () =>
    result(await openAdapted(full), { objective: layerwiseLoss }),
  "an embedding attack's rows": async () => {
    const { network, atFirstNorms } = tokenRowNetwork(await openAdapted(full), [5, 6]);
    return result(network, { project: atFirstNorms });
  },
};

if (backends.includes('tensorflow')) {
  for (const [what, run] of Object.entries(trainings))
    test(`${what}: the same bits`, async () => {
      await useBackend('tensorflow');
      await assertSame(run, what);
    });

  // Norms of every kind, relative and rotary positions, a mean over tokens.
  for (const name of [
    'deberta-v3-classifier',
    'gpt2-causal',
    'qwen3-classifier',
    'gemma-causal',
    'modernbert-classifier-mean',
  ])
    test(`${name}: the same bits`, async () => {
      await useBackend('tensorflow');
      const family = await openCase(name);
      const run = async (kind: 'full' | 'lora'): Promise<unknown> =>
        result(await openFamily(family, kind), { batchSize: 2 }, family.rows);
      await assertSame(() => run('lora'), `${name}, LoRA`);
      await assertSame(() => run('full'), `${name}, full`);
    });

  test('evaluation and generation: the same bits', async () => {
    await useBackend('tensorflow');
    await assertSame(async () => [...(await predict(await openAdapted(full), rows, 3))], 'logits');
    const family = await openCase('llama-causal');
    const network = await openFamily(family, 'full', true);
    const prompts = family.rows.map(({ ids, typeIds }) => ({ ids, typeIds }));
    await assertSame(
      () => generate(network, prompts, { maxNewTokens: 6, stops: [], batchSize: 2 }),
      'texts',
    );
  });
}

test.after(() => {
  if (backends.includes('tensorflow')) prepareCompiling();
});

test.run();
