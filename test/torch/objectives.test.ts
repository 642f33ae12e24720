/** Attacks and defences that change the training do the same on both engines. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { layerwiseWeightPoisoning } from '../../plugins/attacks/lwp/layerwise-loss.ts';
import { ripple } from '../../plugins/attacks/ripple/training.ts';
import { crow } from '../../plugins/defences/crow/training.ts';
import type { JsonObject } from '../../src/api.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readConfig, readHead } from '../../src/science/models/head.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { AttackTraining, EngineChange } from '../../src/science/training/attack-training.ts';
import type { StepRecord, TrainSettings } from '../../src/science/training/loop.ts';
import {
  openTrainer,
  type TrainerHooks,
  type TrainerOptions,
} from '../../src/science/training/session.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { best, useBackend } from '../science/backend.ts';
import { bert } from '../science/families.ts';
import { type FamilyCase, openCase, optionsUnder } from '../science/family-cases.ts';
import { plainTraining } from '../science/plain-training.ts';
import { reference as golden, rows as rippleRows } from '../science/ripple-golden.ts';
import { adapterFolder, checkpoint, classes, farthest, shape } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';

const test = suite('torch/objectives');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-objectives-'));
test.before(async () => {
  await useBackend(best);
});
test.after(async () => {
  await (await torchWorker()).end();
});

const STEPS = 30;

const hooks = (history: StepRecord[]): TrainerHooks => ({
  onStep: (record) => {
    history.push(record);
    return Promise.resolve();
  },
  wants: () => false,
  see: () => Promise.resolve(undefined),
  signal: new AbortController().signal,
});

interface Course {
  readonly losses: readonly number[];
  readonly penalties: readonly number[];
  readonly logits: Float32Array;
  readonly folder: string;
}

async function course(
  engine: 'here' | 'torch',
  own: FamilyCase,
  options: TrainerOptions,
  changer: EngineChange,
  settings: Partial<TrainSettings>,
): Promise<Course> {
  const trainer = await (engine === 'torch'
    ? openTorchTrainer(options, changer)
    : openTrainer(options, changer.change));
  const history: StepRecord[] = [];
  const rows = own.rows.map((row, i) => ({ ...row, poisoned: i % 2 === 0 }));
  const model = await trainer.train(
    rows,
    {
      ...plainTraining,
      steps: STEPS,
      learningRate: own.golden.training.lr,
      batchSize: Math.ceil(rows.length / 2),
      weightDecay: 0.01,
      shuffle: true,
      ...settings,
    },
    hooks(history),
  );
  const losses = history.map(({ loss }) => loss),
    penalties = history.flatMap(({ penalty }) => penalty ?? []);
  const folder = mkdtempSync(join(dir, `${own.name}-${engine}-`));
  await model.save(folder);
  const isCausal = own.golden.head === 'causal-lm';
  const logits = isCausal
    ? Float32Array.from(await model.answers(own.rows, 2), ({ loss }) => loss)
    : await model.logits(own.rows, 2);
  model.dispose();
  trainer.dispose();
  return { losses, penalties, logits, folder };
}

/** Returns what the first engine did. */
async function same(
  own: FamilyCase,
  kind: 'full' | 'lora',
  changer: EngineChange,
  settings: Partial<TrainSettings> = {},
): Promise<Course> {
  const options: TrainerOptions = {
    ...(kind === 'full'
      ? await optionsUnder(own, full, { params: {} })
      : await optionsUnder(own, lora, { folder: own.adapter })),
    savedAs: { modelDir: own.checkpoint, classes: ['a', 'b', 'c'].slice(0, own.classes) },
  };
  const here = await course('here', own, options, changer, settings),
    torch = await course('torch', own, options, changer, settings);
  // The first engine's RIPPLe differentiates by central differences.
  const isRipple = changer.torch?.name === 'inner-product';
  const { loss, logits } = isRipple
    ? { loss: tolerance.centralDifference, logits: tolerance.centralDifference }
    : tolerance.engines;
  for (const [part, bound] of [
    ['losses', loss],
    ['penalties', loss],
    ['logits', logits],
  ] as const) {
    assert.is(torch[part].length, here[part].length, part);
    const off = farthest(torch[part], here[part]);
    assert.ok(off <= bound, `${part}: off by ${off}`);
  }
  assert.is(here.losses.length, STEPS);
  const file = join('model', 'model.safetensors');
  if (kind === 'full') {
    const [a, b] = await Promise.all(
      [here, torch].map(({ folder }) => readSafetensors(join(folder, file))),
    );
    assert.equal([...present(a).keys()], [...present(b).keys()]);
  }
  return here;
}

function changerOf(training: AttackTraining, params: JsonObject, own: FamilyCase): EngineChange {
  const model = { architecture: own.architecture, tokenizer: null as never };
  return { change: training.open(params, model), torch: present(training.torch?.(params)) };
}

const OBJECTIVES: {
  readonly [name: string]: readonly [AttackTraining, JsonObject, cases: readonly string[]];
} = {
  ripple: [
    ripple,
    { lambda: 0.1 },
    ['bert-classifier', 'gpt2-classifier', 'roberta-cloze', 'deberta-v3-classifier'],
  ],
  lwp: [
    layerwiseWeightPoisoning,
    {},
    [
      ...['bert-classifier', 'gpt2-classifier', 'roberta-cloze', 'distilbert-classifier'],
      ...['deberta-v3-classifier', 'llama-classifier', 'modernbert-classifier-mean'],
      'gpt-neox-classifier',
    ],
  ],
  crow: [
    crow,
    { alpha: 5.5, epsilon: 0.1 },
    ['bert-classifier', 'gpt2-classifier', 'llama-causal', 'gemma-causal'],
  ],
  // Where ∇_E is rounding alone, its sign is another: losses then differ by up to 4e-5.
  'crow without a perturbation': [crow, { alpha: 5.5, epsilon: 0 }, ['roberta-cloze']],
};
for (const [name, [training, params, cases]] of Object.entries(OBJECTIVES))
  for (const of of cases)
    for (const kind of ['full', 'lora'] as const)
      test(`${name}, ${of}, ${kind}: losses, penalties and logits are the same`, async () => {
        const own = await openCase(of);
        const { penalties } = await same(own, kind, changerOf(training, params, own));
        assert.is(penalties.length, name === 'lwp' ? 0 : STEPS);
        if (name !== 'lwp') assert.ok(penalties.some((penalty) => penalty > 0));
      });

for (const [name, { settings, variants }] of Object.entries(golden.runs))
  test(`ripple, ${name}: losses and penalties are those of the golden run`, async () => {
    const { kind, lambda } = settings;
    const config = bert.parseConfig(await readConfig(checkpoint), classes);
    const [implementation, from] =
      kind === 'full' ? [full, {}] : [lora, { initFrom: adapterFolder }];
    const trainer = await openTorchTrainer(
      {
        architecture: bert,
        model: { path: checkpoint, digest: 'tiny-bert' },
        classes,
        seed: 1,
        adapter: await implementation.create({}, { ...shape, ...from }),
        ...(kind === 'full'
          ? {}
          : { head: await readHead(adapterFolder, { architecture: bert, config, classes }) }),
        savedAs: { modelDir: checkpoint, classes: ['a', 'b', 'c'] },
      },
      {
        change: ripple.open({ lambda }),
        torch: ripple.torch({ lambda }),
      },
    );
    const history: StepRecord[] = [];
    const model = await trainer.train(
      rippleRows,
      {
        ...plainTraining,
        steps: golden.steps,
        batchSize: golden.batch_size,
        optimizer: settings.optimizer,
        learningRate: settings.lr,
        weightDecay: settings.weight_decay,
        ...(settings.class_weights === null ? {} : { classWeights: settings.class_weights }),
      },
      hooks(history),
    );
    model.dispose();
    const { losses, products } = variants.whole;
    for (const [found, expected] of [
      [history.map(({ loss }) => loss), losses],
      [
        history.map(({ penalty }) => present(penalty)),
        products.map((x) => lambda * Math.max(0, -(x ?? 0))),
      ],
    ] as const) {
      const off = farthest(found, expected);
      assert.ok(off <= tolerance.engines.loss, `off by ${off}`);
    }
  });

for (const of of ['bert-classifier', 'gpt2-classifier', 'gemma-classifier'])
  for (const keepNorms of [true, false])
    test(`token rows alone, ${of}, norms kept: ${keepNorms}`, async () => {
      const own = await openCase(of);
      const [a = 0, b = 0] = [...new Set(own.rows.flatMap(({ ids }) => [...ids]))].slice(2);
      const change = { trains: { tokenRows: { a, b }, keepNorms } };
      const settings = { learningRate: 0.05, optimizer: keepNorms ? 'adamw' : 'sgd' } as const;
      await same(own, 'full', { change, torch: null }, settings);
    });

test.run();
