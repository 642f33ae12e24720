/**
 * Packed trainings compared with single ones, with different ranks, variances, seeds, rows, rates,
 * batches and steps.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as tf from '@tensorflow/tfjs-core';
import { at, named } from '../../../src/base/lookup.ts';
import type { AdapterImplementation } from '../../../src/science/models/adapter.ts';
import { lora } from '../../../src/science/models/lora.ts';
import { type Network, openNetwork } from '../../../src/science/models/network.ts';
import { packable } from '../../../src/science/models/packed-network.ts';
import { vera } from '../../../src/science/models/vera.ts';
import {
  type LabelledRow,
  type StepRecord,
  train,
  type TrainSettings,
} from '../../../src/science/training/loop.ts';
import { type PackMember, packSettings, trainPack } from '../../../src/science/training/pack.ts';
import { present } from '../../rig/present.ts';
import { tolerance } from '../../tolerances.ts';
import { backends, best, quick, useBackend } from '../backend.ts';
import { bert } from '../families.ts';
import { openCase, openFamily } from '../family-cases.ts';
import { memberTraining as settings } from '../plain-training.ts';
import { checkpoint, classes, farthest, openTiny, rows, shape } from '../tiny-bert.ts';

interface Trial {
  /** Default: LoRA. */
  readonly implementation?: AdapterImplementation;
  readonly adapter: object;
  readonly rows: readonly LabelledRow[];
  readonly settings: TrainSettings;
}

const flipped = rows.map((row, i) =>
  i % 3 === 0 ? { ...row, label: (row.label + 1) % classes } : row,
);
/** The rows with the last four marked as appended by an attack. */
const appending = rows.map((row, i) =>
  i < rows.length - 4 ? row : { ...row, appendedBy: 'combination' },
);
const trials: readonly Trial[] = [
  { adapter: { rank: 2 }, rows, settings },
  {
    adapter: { rank: 5, alpha: 16, init: { variance: '2/d' } },
    rows: flipped,
    settings: { ...settings, seed: 4, learningRate: 3e-3, schedule: 'linear', warmup: 2 },
  },
  {
    adapter: { rank: 3, targets: ['query', 'output.dense'], rslora: true, alpha: 6 },
    rows: rows.slice(0, 9),
    settings: { ...settings, seed: 5, weightDecay: 0, batchSize: 3, steps: 4 },
  },
  {
    adapter: { rank: 7, rank_pattern: { value: 1 } },
    rows: flipped.slice(5),
    settings: {
      ...settings,
      seed: 6,
      weightDecay: 0.1,
      batchSize: 7,
      shuffle: false,
      schedule: 'cosine',
    },
  },
];

async function open(
  {
    implementation = lora,
    adapter,
    settings: { seed },
  }: Pick<Trial, 'implementation' | 'adapter'> & { readonly settings: { readonly seed: number } },
  path = checkpoint,
): Promise<Network> {
  return openNetwork({
    architecture: bert,
    model: { path, digest: 'tiny-bert' },
    classes,
    seed,
    adapter: await implementation.create(adapter as never, shape),
  });
}

interface Course {
  readonly history: readonly StepRecord[];
  readonly values: ReadonlyMap<string, Float32Array>;
  readonly error: string | null;
}

async function follow(
  network: Network,
  history: StepRecord[],
  promise: Promise<Map<string, tf.Tensor>>,
): Promise<Course> {
  try {
    const trained = await promise,
      values = new Map(
        [...trained].map(([name, tensor]) => [name, tensor.dataSync() as Float32Array]),
      );
    trained.forEach((tensor) => tensor.dispose());
    return { history, values, error: null };
  } catch (error) {
    return { history, values: new Map(), error: (error as Error).message };
  } finally {
    network.dispose();
  }
}

async function solo(trial: Trial): Promise<Course> {
  const network = await open(trial),
    history: StepRecord[] = [];
  return follow(
    network,
    history,
    train(network, trial.rows, trial.settings, {
      onStep: (record) => {
        history.push(record);
      },
    }),
  );
}

async function packed(
  some: readonly Trial[],
  watch: (step: number, k: number) => void = () => undefined,
): Promise<Course[]> {
  const networks = await Promise.all(some.map((trial) => open(trial))),
    histories = some.map((): StepRecord[] => []);
  const promises = trainPack(
    some.map((trial, k): PackMember => ({
      network: at(networks, k),
      rows: trial.rows,
      settings: trial.settings,
      onStep: (record) => {
        at(histories, k).push(record);
        watch(record.step, k);
      },
    })),
  );
  return Promise.all(
    promises.map((promise, k) => follow(at(networks, k), at(histories, k), promise)),
  );
}

function equal(a: Course, b: Course): void {
  assert.is(a.error, b.error);
  assert.equal(
    a.history.map(({ step, learning_rate: rate }) => [step, rate]),
    b.history.map(({ step, learning_rate: rate }) => [step, rate]),
  );
  assert.ok(
    farthest(
      a.history.map(({ loss }) => loss),
      b.history.map(({ loss }) => loss),
    ) < tolerance.logits,
    JSON.stringify(a.history.map(({ loss }, i) => loss - at(b.history, i).loss)),
  );
  assert.equal([...a.values.keys()].sort(), [...b.values.keys()].sort());
  for (const [name, value] of a.values)
    assert.ok(
      farthest(value, named(b.values, name)) < tolerance.logits,
      `${name}: ${farthest(value, named(b.values, name))}`,
    );
}

test('a member whose attack appends rows has the same batches as alone', async () => {
  await useBackend(quick);
  const trial: Trial = { ...present(trials[0]), rows: appending };
  const [together] = await packed([trial, at(trials, 1)]);
  equal(present(together), await solo(trial));
  assert.not.equal(
    present(together).history.map(({ loss }) => loss),
    (await solo(at(trials, 0))).history.map(({ loss }) => loss),
  );
});

test('a pack of models that write answers has the losses that each has alone', async () => {
  await useBackend('cpu');
  const own = await openCase('llama-causal');
  const settingsOf = (learningRate: number): TrainSettings => ({
    ...settings,
    batchSize: 2,
    steps: 4,
    learningRate,
  });
  const rates = [1e-3, 3e-3];
  const courses = async (
    trainAll: (networks: readonly Network[]) => readonly Promise<Map<string, tf.Tensor>>[],
  ): Promise<Course[]> => {
    const networks = await Promise.all(rates.map(() => openFamily(own, 'lora')));
    const promises = trainAll(networks);
    return Promise.all(promises.map((promise, k) => follow(at(networks, k), [], promise)));
  };
  const together = await courses((networks) =>
    trainPack(
      networks.map((network, k) => ({
        network,
        rows: own.rows,
        settings: settingsOf(at(rates, k)),
      })),
    ),
  );
  const alone = await courses((networks) =>
    networks.map((network, k) => train(network, own.rows, settingsOf(at(rates, k)))),
  );
  together.forEach((course, k) => equal(course, at(alone, k)));
  assert.not.equal(present(together[0]).values, present(together[1]).values);
});

/** Adapters that share packs, each with the rows and settings of a trial above. */
const FORMS: Readonly<Record<string, readonly Pick<Trial, 'adapter' | 'implementation'>[]>> = {
  'every form of LoRA': [
    { adapter: { rank: 2, use_dora: true } },
    { adapter: { rank: 4, init: { distribution: 'pissa' }, lora_plus_ratio: 4 } },
    { adapter: { rank: 3, targets: ['query', 'output.dense'], rslora: true, alpha: 6 } },
    { adapter: { rank: 3, use_dora: true, init: { distribution: 'olora' } } },
  ],
  VeRA: [
    { implementation: vera, adapter: { rank: 5 } },
    { implementation: vera, adapter: { rank: 5, d_initial: 0.3 } },
    { implementation: vera, adapter: { rank: 5 } },
  ],
};
for (const [name, forms] of Object.entries(FORMS)) {
  for (const optimizer of ['adamw', 'sgd'] as const) {
    test(`${name} in one pack has the same results as alone: ${optimizer}`, async () => {
      await useBackend(quick);
      const some = forms.map((form, k): Trial => {
        const trial = at(trials, k);
        return { ...trial, ...form, settings: { ...trial.settings, optimizer } };
      });
      const together = await packed(some);
      for (const [k, trial] of some.entries()) equal(at(together, k), await solo(trial));
    });
  }
}

test('networks of unlike kinds of adapters, or of unlike shared factors, share no pack', async () => {
  await useBackend(quick);
  const networks = await Promise.all(
    [
      { adapter: { rank: 5 } },
      { implementation: vera, adapter: { rank: 5 } },
      { implementation: vera, adapter: { rank: 5, projection_prng_key: 1 } },
      { implementation: vera, adapter: { rank: 4 } },
      { implementation: vera, adapter: { rank: 5, dropout: 0.1 } },
    ].map((form) => open({ ...form, settings })),
  );
  for (const [i, a] of networks.entries())
    for (const [k, b] of networks.entries())
      assert.is(packable(a, b), i === k && i < 4, `${i} with ${k}`);
  networks.forEach((network) => network.dispose());
});

for (const backend of backends) {
  for (const optimizer of backend === best ? (['adamw', 'sgd'] as const) : (['adamw'] as const)) {
    test(`each member has the same result as alone: ${optimizer} (${backend})`, async () => {
      await useBackend(backend);
      const some = trials.map((trial) => ({
        ...trial,
        settings: {
          ...trial.settings,
          optimizer,
          learningRate: trial.settings.learningRate * (optimizer === 'sgd' ? 30 : 1),
        },
      }));
      const counts = new Map<number, Set<number>>();
      const together = await packed(some, (step, k) => {
        if (k === 3) counts.set(step, new Set([tf.memory().numTensors]));
      });
      for (const [k, trial] of some.entries()) equal(at(together, k), await solo(trial));
      const during = (from: number, to: number): number =>
        new Set(
          [...counts]
            .filter(([step]) => step >= from && step <= to)
            .flatMap(([, seen]) => [...seen]),
        ).size;
      assert.equal(
        [during(1, 3), during(5, 6)],
        [1, 1],
        'the number of tensors stays the same until a member leaves',
      );
    });
  }

  test(`only a member that diverges fails, with its own message (${backend})`, async () => {
    await useBackend(backend);
    const wild: Trial = {
      ...present(trials[1]),
      settings: {
        ...present(trials[1]).settings,
        schedule: 'constant',
        warmup: 0,
        learningRate: 1e30,
      },
    };
    const some = [at(trials, 0), wild, at(trials, 2)];
    const alone = await solo(wild);
    assert.match(
      present(alone.error),
      /^the (loss is NaN at step 2; the last finite one was|weights are not finite)/,
    );
    const before = tf.memory().numTensors;
    const together = await packed(some);
    assert.is(tf.memory().numTensors, before);
    assert.is(
      present(at(together, 1).error).replace(/\d\.\d+/, 'x'),
      present(alone.error).replace(/\d\.\d+/, 'x'),
    );
    assert.is(at(together, 1).history.length, alone.history.length);
    equal(at(together, 0), await solo(at(trials, 0)));
    equal(at(together, 2), await solo(at(trials, 2)));
  });
}

test('a member whose last step leaves weights that are not finite fails', async () => {
  await useBackend(quick);
  const last: Trial = {
    ...present(trials[0]),
    settings: { ...settings, steps: 1, learningRate: Number.MAX_VALUE },
  };
  const [failed, other] = await packed([last, at(trials, 1)]);
  assert.match(
    present(failed!.error),
    /^the weights are not finite after step 1, the last one; its loss was \d\.\d+$/,
  );
  equal(present(other), await solo(at(trials, 1)));
});

test('a hook that throws ends only its member', async () => {
  const [stopped, other] = await packed([at(trials, 0), at(trials, 1)], (step, k) => {
    if (k === 0 && step === 3) throw new Error('enough');
  });
  assert.is(present(stopped).error, 'enough');
  equal(present(other), await solo(at(trials, 1)));
});

test('the time of a step is divided by the number of tokens', async () => {
  const networks = await Promise.all(trials.slice(0, 2).map((trial) => open(trial)));
  const shares: { tokens: number; seconds: number }[] = [];
  const promises = trainPack(
    networks.map((network, k): PackMember => ({
      network,
      rows: at(trials, k).rows,
      settings: { ...present(trials[k]).settings, steps: 1 },
      onStep: (_record, batch) => {
        shares.push(batch);
      },
    })),
  );
  for (const promise of promises) (await promise).forEach((tensor) => tensor.dispose());
  networks.forEach((network) => network.dispose());
  assert.ok(
    Math.abs(
      at(shares, 0).seconds / at(shares, 0).tokens - at(shares, 1).seconds / at(shares, 1).tokens,
    ) < 1e-12,
  );
});

test('only plain LoRA trainings with the same settings can form a pack', async () => {
  const a = await open(at(trials, 0)),
    b = await open(at(trials, 3)),
    full = await openTiny('full'),
    frozen = await open({ adapter: { rank: 2, freeze_a: true }, settings });
  assert.equal(
    [packable(a, b), packable(a, full), packable(full, full), packable(a, frozen)],
    [true, false, false, false],
  );
  [a, b, full, frozen].forEach((network) => network.dispose());
  assert.is(
    packSettings(settings),
    packSettings({
      ...settings,
      steps: 1,
      batchSize: 1,
      learningRate: 1,
      weightDecay: 1,
      schedule: 'cosine',
      warmup: 1,
      shuffle: false,
      seed: 9,
    }),
  );
  assert.not.equal(packSettings(settings), packSettings({ ...settings, beta1: 0.8 }));
  assert.is(
    packSettings({ ...settings, optimizer: 'sgd' }),
    packSettings({ ...settings, optimizer: 'sgd', beta1: 0.8 }),
  );
  assert.is(packSettings({ ...settings, dropout: 0.1 }), null);
});

test.run();
