/**
 * The two engines do the same: losses, logits, answers, texts and what is saved, for every family
 * and head under full fine-tuning and LoRA, and for every adapter.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lora } from '../../plugins/adapters/lora/lora.ts';
import { vera } from '../../plugins/adapters/vera/vera.ts';
import { randomStream } from '../../src/base/random.ts';
import { FREE } from '../../src/run/crosscheck.ts';
import type { AdapterImplementation } from '../../src/science/models/adapter.ts';
import { full } from '../../src/science/models/fine-tuning.ts';
import { readSafetensors } from '../../src/science/models/io/safetensors.ts';
import { openTorchTrainer } from '../../src/science/torch/trainer.ts';
import type { LabelledRow, TrainSettings } from '../../src/science/training/loop.ts';
import {
  openTrainer,
  type TrainedModel,
  type Trainer,
  type TrainerHooks,
  type TrainerOptions,
} from '../../src/science/training/session.ts';
import { listFiles } from '../../src/store/files.ts';
import { torchWorker } from '../../src/torch/worker.ts';
import { present } from '../rig/present.ts';
import { best, useBackend } from '../science/backend.ts';
import {
  caseNames,
  type FamilyCase,
  type From,
  openCase,
  optionsUnder,
} from '../science/family-cases.ts';
import { bitfit, headOnly, lnTuning } from '../science/plain-adapters.ts';
import { plainTraining } from '../science/plain-training.ts';
import { farthest } from '../science/tiny-bert.ts';
import { tolerance } from '../tolerances.ts';
import { recordingInto } from './rig.ts';

const test = suite('torch/equality');
const dir = mkdtempSync(join(tmpdir(), 'dosimeter-equality-'));
test.before(async () => {
  await useBackend(best);
});
test.after(async () => {
  await (await torchWorker()).end();
});

const ENGINES = {
  here: (options: TrainerOptions): Promise<Trainer> => openTrainer(options, null),
  torch: openTorchTrainer,
} as const;
type Engine = keyof typeof ENGINES;

interface Course {
  readonly losses: readonly number[];
  readonly logits: Float32Array;
  readonly answers: readonly (readonly [loss: number, tokens: number])[];
  readonly folder: string;
}

async function trained<T>(
  engine: Engine,
  options: TrainerOptions,
  rows: readonly LabelledRow[],
  settings: TrainSettings,
  look: (model: TrainedModel) => Promise<T>,
  more: Partial<TrainerHooks> = {},
): Promise<T & { readonly losses: readonly number[] }> {
  const trainer = await ENGINES[engine](options),
    losses: number[] = [];
  const model = await trainer.train(rows, settings, { ...recordingInto(losses), ...more });
  try {
    return { losses, ...(await look(model)) };
  } finally {
    model.dispose();
    trainer.dispose();
  }
}

const STEPS = 50;
/** For a case that differs from that of its family in a few settings of config.json. */
const FEW_STEPS = 10;
const ADAPTER_STEPS = 20;

const settingsOf = ({ golden, rows }: FamilyCase): TrainSettings => ({
  ...plainTraining,
  steps: STEPS,
  learningRate: golden.training.lr,
  batchSize: Math.ceil(rows.length / 2),
  weightDecay: 0.01,
  schedule: 'linear',
  warmup: 5,
  shuffle: true,
});

const optionsOf = async (
  own: FamilyCase,
  implementation: AdapterImplementation,
  from: From,
): Promise<TrainerOptions> => ({
  ...(await optionsUnder(own, implementation, from)),
  savedAs: { modelDir: own.checkpoint, classes: ['a', 'b', 'c'].slice(0, own.classes) },
});

async function course(
  engine: Engine,
  own: FamilyCase,
  options: TrainerOptions,
  settings: TrainSettings,
  name: string,
): Promise<Course> {
  const folder = join(dir, name, engine);
  const isCausal = own.golden.head === 'causal-lm';
  return trained(engine, options, own.rows, settings, async (model) => {
    await model.save(folder);
    return {
      folder,
      logits: isCausal ? new Float32Array(0) : await model.logits(own.rows, 2),
      answers: isCausal
        ? (await model.answers(own.rows, 2)).map(({ loss, tokens }) => [loss, tokens] as const)
        : [],
    };
  });
}

const near = (a: ArrayLike<number>, b: ArrayLike<number>, bound: number, what: string): void => {
  assert.is(a.length, b.length, what);
  const off = farthest(a, b);
  assert.ok(off <= bound, `${what}: off by ${off}`);
};

/** Asserts that two folders hold the same files, and tensors within `bound`. */
async function sameFolders(a: string, b: string, bound: number): Promise<void> {
  const names = listFiles(a).map(({ path }) => path);
  assert.equal(
    names,
    listFiles(b).map(({ path }) => path),
  );
  for (const name of names.filter((path) => path.endsWith('.safetensors'))) {
    const theirs = await readSafetensors(join(b, name));
    const ours = await readSafetensors(join(a, name));
    assert.equal([...ours.keys()], [...theirs.keys()]);
    for (const [tensor, { data, shape }] of ours) {
      assert.equal(shape, present(theirs.get(tensor)).shape, tensor);
      if (FREE.test(tensor)) continue; // its gradient is zero but for rounding
      near(data, present(theirs.get(tensor)).data, bound, `${name}: ${tensor}`);
    }
  }
}

async function assertSame(
  own: FamilyCase,
  options: TrainerOptions,
  settings: TrainSettings,
  name: string,
): Promise<void> {
  const here = await course('here', own, options, settings, name),
    torch = await course('torch', own, options, settings, name);
  assert.is(here.losses.length, settings.steps);
  near(here.losses, torch.losses, tolerance.engines.loss, 'losses');
  near(here.logits, torch.logits, tolerance.engines.logits, 'logits');
  near(here.answers.flat(), torch.answers.flat(), tolerance.engines.logits, 'answers');
  await sameFolders(here.folder, torch.folder, tolerance.engines.weights);
}

for (const name of caseNames) {
  const isVariant = !/-(classifier|cloze|causal)$/.test(name);
  for (const kind of isVariant ? (['full'] as const) : (['full', 'lora'] as const))
    test(`${name}, ${kind}: steps, and what they leave, are the same`, async () => {
      const own = await openCase(name);
      const options =
        kind === 'full'
          ? await optionsOf(own, full, { params: {} })
          : await optionsOf(own, lora, { folder: own.adapter });
      const settings = { ...settingsOf(own), steps: isVariant ? FEW_STEPS : STEPS };
      await assertSame(own, options, settings, `${name}-${kind}`);
    });
}

const rank = { rank: 2, alpha: 4, targets: 'all-linear' };
const ADAPTERS: { readonly [name: string]: readonly [AdapterImplementation, object] } = {
  'LoRA, drawn': [lora, { ...rank, init: { distribution: 'uniform', variance: '1/(3d)' } }],
  'LoRA, rank-stabilised, every bias': [lora, { ...rank, rslora: true, bias: 'all' }],
  'LoRA, biases of its layers': [lora, { ...rank, bias: 'lora_only' }],
  'LoRA-FA': [lora, { ...rank, freeze_a: true }],
  'LoRA+': [lora, { ...rank, lora_plus_ratio: 4 }],
  DoRA: [lora, { ...rank, use_dora: true }],
  PiSSA: [lora, { ...rank, init: { distribution: 'pissa' } }],
  OLoRA: [lora, { ...rank, init: { distribution: 'olora' } }],
  'OLoRA, rank-stabilised, DoRA': [
    lora,
    { ...rank, rslora: true, use_dora: true, init: { distribution: 'olora' } },
  ],
  VeRA: [vera, { rank: 8, targets: 'all-linear' }],
  BitFit: [bitfit, {}],
  'norms alone': [lnTuning, {}],
  'the head alone': [headOnly, {}],
};
const FAMILIES = ['bert-classifier', 'gpt2-classifier', 'llama-causal', 'roberta-cloze'];
for (const name of FAMILIES)
  for (const [adapter, [implementation, params]] of Object.entries(ADAPTERS)) {
    // A pretrained head is not trained with these, so nothing is left to train.
    if (/cloze|causal/.test(name) && implementation === headOnly) continue;
    if (name === 'llama-causal' && implementation === bitfit) continue;
    test(`${name}, ${adapter}: steps, and what they leave, are the same`, async () => {
      const own = await openCase(name);
      const options = await optionsOf(own, implementation, { params: { ...params } });
      const settings = { ...settingsOf(own), steps: ADAPTER_STEPS };
      await assertSame(own, options, settings, `${name}-${adapter}`);
    });
  }

interface Asked {
  readonly options: TrainerOptions;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
}
const ERRORS: { readonly [name: string]: (asked: Asked) => Partial<Asked> } = {
  'a learning rate 10% higher': ({ settings }) => ({
    settings: { ...settings, learningRate: 1.1 * settings.learningRate },
  }),
  dropout: ({ settings }) => ({ settings: { ...settings, dropout: 0.05 } }),
  'a frozen head': ({ options }) => ({
    options: { ...options, architecture: { ...options.architecture, headModules: [] } },
  }),
  'one row in the place of another': ({ rows }) => ({
    rows: [present(rows.at(-1)), ...rows.slice(1)],
  }),
};
for (const name of FAMILIES)
  test(`${name}: losses show an error of one engine`, async () => {
    const own = await openCase(name);
    const options = await optionsOf(own, lora, { params: rank });
    const asked: Asked = {
      options,
      rows: own.rows,
      settings: { ...settingsOf(own), steps: ADAPTER_STEPS },
    };
    const lossesOf = async (engine: Engine, { options: of, rows, settings }: Asked) =>
      (await trained(engine, of, rows, settings, () => Promise.resolve({}))).losses;
    const here = await lossesOf('here', asked);
    near(here, await lossesOf('torch', asked), tolerance.engines.loss, 'without an error');
    for (const [error, change] of Object.entries(ERRORS)) {
      if (error === 'a frozen head' && own.golden.head !== 'classifier') continue;
      const off = farthest(here, await lossesOf('torch', { ...asked, ...change(asked) }));
      assert.ok(off > tolerance.engines.loss, `${error}: off by ${off} alone`);
    }
  });

const VARIANTS: { readonly [name: string]: Partial<TrainSettings> } = {
  'gradient descent': { optimizer: 'sgd' },
  'accumulated, clipped, weighted, no decay of biases': {
    accumulate: 2,
    clipNorm: 0.5,
    classWeights: [1, 2, 3],
    decay: 'weights',
    batchSize: 2,
  },
  bucketed: { batching: 'bucketed', batchSize: 2 },
};
for (const [name, changes] of Object.entries(VARIANTS))
  test(`${name}: 50 steps, and what they leave, are the same`, async () => {
    const own = await openCase('bert-classifier');
    const options = await optionsOf(own, full, { params: {} });
    await assertSame(own, options, { ...settingsOf(own), ...changes }, name);
  });

test('batches that are read back to front give the same but for rounding', async () => {
  const own = await openCase('bert-classifier');
  const options = { ...(await optionsOf(own, full, { params: {} })), reversed: true };
  await assertSame(own, options, settingsOf(own), 'reversed');
});

test('a model that is drawn at random starts and trains the same', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsOf(own, full, { params: {} });
  const random = { ...options, model: { ...options.model, init: 'random' as const } };
  await assertSame(own, random, settingsOf(own), 'random');
});

test('numbers are learnt by the mean squared error', async () => {
  const opened = await openCase('bert-classifier');
  const own = { ...opened, classes: 1, rows: opened.rows.map((row) => ({ ...row, label: 0.25 })) };
  const options = await optionsOf(own, full, { params: {} });
  await assertSame(own, options, settingsOf(own), 'regression');
});

for (const name of caseNames.filter((own) => own.endsWith('-causal')))
  test(`${name}: the texts are the same, greedy and drawn`, async () => {
    const own = await openCase(name);
    const { max_new_tokens: maxNewTokens, eos, prompts } = present(own.golden.generation);
    const rows = prompts.map((ids) => ({
      ids: Int32Array.from(ids),
      typeIds: new Int32Array(ids.length),
    }));
    const options = await optionsOf(own, full, { params: {} });
    const texts = (engine: Engine): Promise<object> =>
      trained(engine, options, own.rows, { ...settingsOf(own), steps: 1 }, async (model) => {
        const asked = { maxNewTokens, stops: eos, batchSize: 2 };
        const greedy = await model.generate(rows, asked);
        const drawn = await model.generate(rows, {
          ...asked,
          sampling: { temperature: 1.3, top_k: 9, top_p: 0.9 },
          random: (prompt) => randomStream(3, 'sampling', `prompt-${prompt}`),
        });
        return { texts: [...greedy, ...drawn].map(({ ids, ended }) => ({ ids: [...ids], ended })) };
      }).then(({ texts: found }) => found);
    assert.equal(await texts('torch'), await texts('here'));
  });

test('what the last layer reads of each row is the same', async () => {
  for (const name of ['bert-classifier', 'gpt2-classifier', 'roberta-cloze']) {
    const own = await openCase(name);
    const options = await optionsOf(own, full, { params: {} });
    const found = (engine: Engine) =>
      trained(engine, options, own.rows, { ...settingsOf(own), steps: 1 }, async (model) => ({
        read: await model.representations(own.rows, 2),
      }));
    const [here, torch] = [await found('here'), await found('torch')];
    assert.is(here.read.dimensions, torch.read.dimensions);
    near(here.read.values, torch.read.values, tolerance.engines.logits, name);
  }
});

test('a training that is cut short goes on to the same bits, and so does what was kept', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsOf(own, lora, { params: { ...rank, dropout: 0.1 } });
  const settings = { ...settingsOf(own), dropout: 0.1 };
  const at = (stop: number, folder: string, signal: AbortController) =>
    trained(
      'torch',
      options,
      own.rows,
      settings,
      async (model) => {
        const last = [...(await model.logits(own.rows, 2))];
        const best = await model.useKept();
        return { last, kept: [...(await best.logits(own.rows, 2))] };
      },
      {
        wants: (step) => step === 10 || step === stop,
        see: async (step, model) => {
          if (step === 10) await model.keep();
          if (step === stop) signal.abort();
          return undefined;
        },
        resume: {
          dir: join(dir, folder),
          log: () => undefined,
          complete: () => true,
          gathered: () => ({ journal: 1 }),
          restore: (gathered) => assert.equal(gathered, { journal: 1 }),
        },
        signal: signal.signal,
      },
    );
  const whole = await at(-1, 'whole', new AbortController());
  const stopped = await at(20, 'cut', new AbortController()).then(
    () => null,
    (error: unknown) => error as Error,
  );
  assert.is(stopped?.name, 'AbortError');
  const again = await at(-1, 'cut', new AbortController());
  assert.equal(again.losses, whole.losses.slice(20));
  assert.equal([again.last, again.kept], [whole.last, whole.kept]);
  assert.not.equal(whole.last, whole.kept);
});

for (const name of caseNames.filter((own) => !/-cloze$/.test(own)))
  test(`${name}: gradient checkpointing trains to the same bits`, async () => {
    const own = await openCase(name);
    for (const [implementation, params] of [
      [full, {}],
      [lora, { ...rank, dropout: 0.1 }],
    ] as const) {
      const options = await optionsOf(own, implementation, { params: { ...params } });
      const losses = async (gradientCheckpointing: boolean): Promise<readonly number[]> => {
        const settings = { ...settingsOf(own), steps: 4, dropout: 0.1, gradientCheckpointing };
        return (await trained('torch', options, own.rows, settings, () => Promise.resolve({})))
          .losses;
      };
      assert.equal(await losses(true), await losses(false));
    }
  });

test('a loss that is not finite is told as the other engine tells it', async () => {
  const own = await openCase('bert-classifier');
  const options = await optionsOf(own, full, { params: {} });
  const told = (engine: Engine): Promise<string> =>
    trained(engine, options, own.rows, { ...settingsOf(own), learningRate: 1e30, warmup: 0 }, () =>
      Promise.resolve({}),
    ).then(
      () => 'no fault',
      (error: unknown) => (error as Error).message.replace(/[\d.]+(?= at step)/, 'x'),
    );
  assert.match(await told('here'), /is NaN at step|not finite/);
  assert.is(await told('torch'), await told('here'));
});

test.run();
