/**
 * Frozen weights in bfloat16 and quantised: trainings, and what is evaluated of what they saved, as
 * transformers, PEFT and bitsandbytes compute them (held.py).
 */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import type { HeldWeights } from '../../src/api.ts';
import type { EvaluatedModel } from '../../src/science/measures/evaluate/predict.ts';
import { openNetwork } from '../../src/science/models/network.ts';
import { openTorchModel, readTorchStart } from '../../src/science/torch/model.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { TrainSettings } from '../../src/science/training/loop.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { rejects } from '../rig/rejects.ts';
import { openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { real, recordingInto } from './rig.ts';

const test = suite('torch/held');
/** held.py, which answers a line for each. */
const plain = spawn(real, [fileURLToPath(new URL('held.py', import.meta.url))], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const answers: AsyncIterator<string, undefined> = createInterface({ input: plain.stdout })[
  Symbol.asyncIterator
]();
async function expectedOf(asked: object): Promise<Expected> {
  plain.stdin.write(`${JSON.stringify(asked)}\n`);
  const { done, value } = await answers.next();
  assert.not.ok(done, 'held.py ended');
  return JSON.parse(value ?? '') as Expected;
}
test.after(async () => {
  plain.stdin.end();
  await (await torchWorker()).end();
});

const temporary = (): string => mkdtempSync(join(tmpdir(), 'dosimeter-held-'));

const nf4 = { method: 'nf4', double_quantization: true } as const,
  int8 = { method: 'int8', threshold: 6 } as const;
const FORMS: { readonly [name: string]: HeldWeights } = {
  bf16: { dtype: 'bf16' },
  nf4: { dtype: 'float32', quantize: nf4 },
  'nf4 over bf16': { dtype: 'bf16', quantize: nf4 },
  int8: { dtype: 'float32', quantize: int8 },
};
const LAYERS: { readonly [name: string]: string } = { nf4: 'Linear4bit', int8: 'Linear8bitLt' };
const ADAPTERS = {
  lora: [lora, { rank: 2, alpha: 4, targets: 'all-linear' }],
  dora: [lora, { rank: 2, alpha: 4, targets: 'all-linear', use_dora: true }],
  vera: [vera, { rank: 8, targets: 'all-linear' }],
} as const;

interface Expected {
  readonly losses: readonly number[];
  readonly outputs: readonly number[];
  readonly layers: readonly string[];
}

const STEPS = 10;

for (const [name, kind] of [
  ['llama-causal', 'lora'],
  ['llama-causal', 'vera'],
  ['bert-classifier', 'lora'],
  ['bert-classifier', 'dora'],
] as const)
  for (const [form, weights] of Object.entries(FORMS)) {
    if (kind === 'dora' && form === 'int8') continue;
    test(`${name}, ${kind}, ${form}: as transformers, PEFT and bitsandbytes compute it`, async () => {
      const own = await openCase(name);
      const [implementation, params] = ADAPTERS[kind];
      const options = {
        ...(await optionsUnder(own, implementation, { params: { ...params } })),
        weights,
      };
      const classes = ['a', 'b', 'c'].slice(0, own.classes);
      const trainer = await openTorchTrainer({
        ...options,
        savedAs: { modelDir: own.checkpoint, classes },
      });
      const started = temporary(),
        ended = temporary();
      await trainer.save(started);
      const settings: TrainSettings = {
        ...plainTraining,
        steps: STEPS,
        learningRate: own.golden.training.lr,
        batchSize: own.rows.length,
        weightDecay: 0.01,
        schedule: 'constant',
        warmup: 0,
        shuffle: false,
      };
      const losses: number[] = [];
      const model = await trainer.train(own.rows, settings, recordingInto(losses));
      const outputs = async (of: EvaluatedModel): Promise<readonly number[]> =>
        own.classes > 0
          ? [...(await of.logits(own.rows, own.rows.length))]
          : (await of.answers(own.rows, own.rows.length)).map(({ loss }) => loss);
      await model.save(ended);
      const found = await outputs(model);
      model.dispose();
      const expected = await expectedOf({
        checkpoint: own.checkpoint,
        adapter: join(started, 'adapter'),
        class: own.architecture.transformersName,
        classes: own.classes,
        weights,
        rate: settings.learningRate,
        steps: STEPS,
        rows: own.rows.map(({ ids, typeIds, ...row }) => ({
          ...row,
          ids: [...ids],
          typeIds: [...typeIds],
        })),
      });
      assert.equal(expected.layers, [LAYERS[weights.quantize?.method ?? ''] ?? 'Linear']);
      assert.ok(
        farthest(losses, expected.losses) <= tolerance.engines.loss,
        `losses: ${losses.join()}, not ${expected.losses.join()}`,
      );
      const theirs = own.classes > 0 ? expected.outputs : perRow(own.rows, expected.outputs);
      assert.ok(
        farthest(found, theirs) <= tolerance.engines.logits,
        `outputs: ${found.join()}, not ${theirs.join()}`,
      );
      // It is not the model in float32.
      assert.ok(Math.abs((own.golden.training.losses[0] ?? 0) - (losses[0] ?? 0)) > 1e-6);

      // What was saved is evaluated unmerged, over the same weights, with the same numbers.
      const again = await optionsUnder(own, implementation, { folder: join(ended, 'adapter') });
      const opened = await openTorchModel(await readTorchStart({ ...again, weights }));
      assert.equal(await outputs(opened), found);
      opened.dispose();
    });
  }

/** The sums over each row's answer. */
function perRow(
  rows: readonly { readonly ids: Int32Array; readonly answer?: number }[],
  losses: readonly number[],
): number[] {
  let start = 0;
  return rows.map(({ ids, answer = ids.length }) => {
    const own = losses.slice(start, (start += ids.length - answer));
    return own.reduce((a, b) => a + b, 0);
  });
}

test('DoRA over weights in 8 bits is refused', async () => {
  const own = await openCase('bert-classifier');
  const [implementation, params] = ADAPTERS.dora;
  const options = await optionsUnder(own, implementation, { params: { ...params } });
  const folder = temporary();
  const trainer = await openTorchTrainer({
    ...options,
    weights: { dtype: 'float32', quantize: int8 },
    savedAs: { modelDir: own.checkpoint, classes: ['a', 'b', 'c'].slice(0, own.classes) },
  });
  await trainer.save(folder);
  const again = await optionsUnder(own, implementation, { folder: join(folder, 'adapter') });
  const start = await readTorchStart({ ...again, weights: { dtype: 'float32', quantize: int8 } });
  await rejects(openTorchModel(start), /DoRA reads weights in 8 bits/);
});

test('the first engine has no such weights', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsUnder(own, lora, { folder: own.adapter });
  await rejects(openNetwork({ ...options, weights: { dtype: 'bf16' } }), /only PyTorch computes/);
});

test.run();
