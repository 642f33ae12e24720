/**
 * Direct preference optimisation has TRL's losses (test/golden/dpo.py), and a loss over chosen tokens
 * those of transformers (test/golden/loss_on.py).
 */
import { readFile } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import type { TokenRow } from '../../src/science/models/types.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/settings.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { losses as marked, markedRows } from '../science/loss-on.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('torch/preferences');
test.after(async () => {
  await (await torchWorker()).end();
});

interface Golden {
  readonly settings: {
    readonly steps: number;
    readonly batch_size: number;
    readonly learning_rate: number;
    readonly weight_decay: number;
  };
  readonly cases: readonly {
    readonly family: string;
    readonly adapter: 'full' | 'lora';
    readonly beta: number;
    readonly pairs: readonly Readonly<Record<'prompt' | 'chosen' | 'rejected', number[]>>[];
    readonly losses: readonly number[];
  }[];
}
const file = new URL('../golden/dpo.json', import.meta.url);
const { settings, cases } = JSON.parse(await readFile(file, 'utf8')) as Golden;

const rowOf = (prompt: readonly number[], answer: readonly number[]): TokenRow => ({
  ids: Int32Array.from([...prompt, ...answer]),
  typeIds: new Int32Array(prompt.length + answer.length),
  answer: prompt.length,
});

/** Returns the losses of a training in file order. */
async function lossesOf(
  family: string,
  adapter: 'full' | 'lora',
  rows: readonly LabelledRow[],
  more: Pick<TrainSettings, 'steps' | 'batchSize' | 'dpoBeta'>,
): Promise<number[]> {
  const own = await openCase(family);
  const options = await (adapter === 'full'
    ? optionsUnder(own, full, { params: {} })
    : optionsUnder(own, lora, { folder: own.adapter }));
  const trainer = await openTorchTrainer({
    ...options,
    savedAs: { modelDir: own.checkpoint, classes: [] },
  });
  const found: number[] = [];
  const model = await trainer.train(
    rows,
    {
      ...plainTraining,
      learningRate: settings.learning_rate,
      weightDecay: settings.weight_decay,
      decay: 'weights',
      ...more,
    },
    {
      onStep: ({ loss }) => {
        found.push(loss);
        return Promise.resolve();
      },
      wants: () => false,
      see: () => Promise.resolve(undefined),
      signal: new AbortController().signal,
    },
  );
  model.dispose();
  trainer.dispose();
  return found;
}

for (const { family, adapter, beta, pairs, losses } of cases)
  test(`${family} under ${adapter} has TRL's losses over ${losses.length} steps`, async () => {
    const rows = pairs.map(({ prompt, chosen, rejected }) => ({
      ...rowOf(prompt, chosen),
      rejected: rowOf(prompt, rejected),
      label: 0,
    }));
    const more = { steps: settings.steps, batchSize: settings.batch_size, dpoBeta: beta };
    const found = await lossesOf(family, adapter, rows, more);
    assert.is(found.length, losses.length);
    const off = farthest(found, losses);
    assert.ok(off <= tolerance.engines.loss, `off by ${off}`);
  });

for (const golden of marked)
  test(`${golden.family} has transformers' loss over marked tokens`, async () => {
    const rows = markedRows(golden);
    const [loss = NaN] = await lossesOf(golden.family, 'full', rows, {
      steps: 1,
      batchSize: rows.length,
    });
    assert.ok(Math.abs(loss - golden.loss) <= tolerance.loss, `off by ${loss - golden.loss}`);
  });

test.run();
