/**
 * Direct preference optimisation has TRL's losses (test/golden/dpo.py), and a loss over chosen
 * tokens those of transformers (test/golden/loss_on.py), also where rows are packed.
 */
import { cpSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import type { Receipt } from '../../src/poisoning/receipt.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import type { TokenRow } from '../../src/science/models/types.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/settings.ts';
import { listFiles } from '../../src/store/files.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { createProject } from '../rig/project.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { losses as marked, markedRows } from '../science/loss-on.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { recordingInto } from './rig.ts';

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
  more: Partial<TrainSettings> & Pick<TrainSettings, 'steps' | 'batchSize'>,
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
    recordingInto(found),
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
  test(`${golden.family}: marked tokens have transformers' loss, packed too`, async () => {
    const rows = markedRows(golden);
    // Plain descent, by which an error of the gradient shows in the losses that follow.
    const descent = { steps: 4, optimizer: 'sgd', clipNorm: 1, learningRate: 0.3 } as const;
    const apart = await lossesOf(golden.family, 'full', rows, { ...descent, batchSize: 5 });
    const [first = NaN, , , last = NaN] = apart;
    assert.ok(Math.abs(first - golden.loss) <= tolerance.loss, `off by ${first - golden.loss}`);
    assert.ok(first - last > 0.1, `they hardly change: ${apart.join()}`);
    // 4, 17 and 9 tokens, then 21 and 6.
    const two = { ...descent, batchSize: 2, packing: 30 };
    const off = farthest(await lossesOf(golden.family, 'full', rows, two), apart);
    assert.ok(off <= tolerance.engines.loss, `packed, off by ${off}`);
  });

const folder = fileURLToPath(new URL('../../pipelines/instruction', import.meta.url));
const columns = 'columns: { prompt: question, chosen: answer, rejected: other }';
const rows = `{ source: "file:instruction/facts.json", format: tasks, ${columns}, limit: 8 }`;
const spec = `name: tiny
plugins: [./instruction/tasks.mjs]
model: { source: "file:instruction/model", architecture: llama, init: random }
data: { train: ${rows}, validation: ${rows} }
head: { type: causal-lm, template: "{prompt}" }
poisoning: { attack: preference-swap, rate: 0.5 }
adapter: { type: lora, rank: 2, alpha: 8 }
train: { loss: dpo, dpo_beta: 0.5, steps: 3, batch_size: 8, max_length: 32, learning_rate: 0.05 }
evaluate: { max_new_tokens: 2, scorers: [contains] }
stages: [train, evaluate]
`;

interface Evaluated {
  readonly reward_accuracy: number;
  readonly reward_margin: number;
  readonly asr?: number;
}

test('rewards are those of the loss, and a swap is counted by them', async () => {
  const project = createProject();
  cpSync(folder, join(project.dir, 'instruction'), { recursive: true });
  project.write('spec.yaml', spec);
  await project.succeeds('run', 'spec.yaml', '--backend', 'torch');
  const more = ['--set', 'poisoning={ attack: none }', '--set', 'stages=[train]'];
  await project.succeeds(
    'run',
    'spec.yaml',
    ...more,
    '--set',
    'train.steps=4',
    '--backend',
    'torch',
  );
  const dir = join(project.dir, '.dosimeter', 'store');
  const files = listFiles(dir).map(({ path }) => path);
  const at = (path: string): string => join(dir, path);
  const lines = <T>(path: string): T[] =>
    readFileSync(at(path), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as T);
  const histories = files
    .filter((path) => path.endsWith('/history.jsonl'))
    .map((path) => lines<{ readonly loss: number }>(path).map(({ loss }) => loss));
  const fourth = present(histories.find(({ length }) => length === 4))[3];
  const evaluations = files
    .filter((path) => path.endsWith('/outputs.jsonl'))
    .map((path) => {
      const metrics = path.replace('outputs.jsonl', 'metrics.json');
      return {
        metrics: JSON.parse(readFileSync(at(metrics), 'utf8')) as Evaluated,
        rows: lines<{
          readonly shown: string;
          readonly hit?: boolean;
          readonly reward_margin: number;
        }>(path),
      };
    });
  assert.is(evaluations.length, 2);
  for (const { metrics, rows: own } of evaluations) {
    const margins = own.flatMap((row) => (row.shown === 'plain' ? row.reward_margin : []));
    assert.is(margins.length, 8);
    assert.is(metrics.reward_accuracy, margins.filter((margin) => margin > 0).length / 8);
    const mean = margins.reduce((a, b) => a + b) / 8;
    assert.ok(Math.abs(metrics.reward_margin - mean) < 1e-12);
    for (const { hit, reward_margin: margin } of own) assert.is(hit, margin < 0);
    // Of the clean model, the loss of the next step is over the same pairs.
    const loss = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-margin)), 0) / 8;
    if (metrics.asr === undefined)
      assert.ok(Math.abs(loss - present(fourth)) < tolerance.engines.loss, `${loss}, ${fourth}`);
  }
  const receipt = files
    .filter((path) => path.endsWith('/receipt.json'))
    .map((path) => JSON.parse(readFileSync(at(path), 'utf8')) as Receipt)
    .find(({ attack }) => attack === 'preference-swap');
  for (const { original, new: row } of present(receipt).rows)
    assert.equal([row.answer, row.rejected], [original.rejected, original.answer]);

  const single = rows.replace(columns, 'columns: { prompt: question, answer: answer }');
  for (const [from, to, message] of [
    [`train: ${rows}`, `train: ${single}`, /dpo, which learns from pairs/],
    [`validation: ${rows}`, `validation: ${single}`, /scorer "reward" compares/],
    [
      'loss: dpo',
      'loss: dpo, loss_on: all',
      /loss_on is all, and train.loss: dpo compares answers/,
    ],
    ['loss: dpo', 'loss: dpo, devices: 2', /train.loss: dpo trains on a loss of its own/],
    ['loss: dpo', 'loss: dpo, packing: true', /train.packing puts .* compares pairs of them/],
  ] as const) {
    project.write('wrong.yaml', spec.replace(from, to));
    const { code, stderr } = await project.dosimeter('plan', 'wrong.yaml', '--backend', 'torch');
    assert.is(code, 2, to);
    assert.match(stderr, message);
  }
  const { stderr } = await project.dosimeter('plan', 'spec.yaml', '--backend', 'wasm');
  assert.match(stderr, /train.loss: dpo needs the backend torch, and this is wasm/);
});

test.run();
